package breaker

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/shared/control"
)

// Permit is the leave to make one call. The zero Permit's Done does nothing.
type Permit struct {
	b      *Breaker
	key    key
	lease  string // of a probe
	counts bool   // for the window
	late   int64  // the slice of the window in which it was counted as slow; 0: it was not
}

// Overdue tells that the call has taken longer than Settings.Slow and is still under way. A call that hangs is known
// to be slow long before it ends: the circuit need not wait for that. The permit it returns takes the place of p.
func (p Permit) Overdue(ctx context.Context) Permit {
	switch {
	case p.b == nil:
	case p.lease != "":
		p.b.report(ctx, p, bad)
		p.lease = ""
	case p.counts && p.late == 0:
		p.late = p.b.record(ctx, p, &ending{slow: true})
	}
	return p
}

// Done tells how the call went and how long it took. It is called once; should it never be, or late, nothing gets
// stuck. It waits at most 200 ms for the store, and only if the call changed something for all instances.
func (p Permit) Done(ctx context.Context, v Verdict, took time.Duration) {
	if p.b == nil {
		return
	}
	if v == Failed && p.b.o.Metrics != nil {
		p.b.o.Metrics.CircuitFailure(ctx, p.b.o.Provider)
	}
	slow := took > p.b.o.Settings.Slow
	switch {
	case p.lease != "":
		p.b.report(ctx, p, findingOf(v, slow))
	case v != Ignored && p.counts:
		p.b.record(ctx, p, &ending{failed: v == Failed, slow: slow})
	case p.late != 0:
		p.b.record(ctx, p, nil)
	}
}

// findingOf says what a probe found. A slow success is no reason to send everybody again.
func findingOf(v Verdict, slow bool) finding {
	switch {
	case v == Ignored:
		return nothing
	case v == Failed || slow:
		return bad
	default:
		return good
	}
}

// record counts a call, in place of what was counted of it while it was overdue, and opens the circuit if that was
// one too many. Without an ending it only forgets. It returns the slice of the window, 0 when nothing was counted.
func (b *Breaker) record(ctx context.Context, p Permit, s *ending) (slice int64) {
	now := b.o.Now()
	b.mu.Lock()
	if p.key != b.key() {
		b.mu.Unlock()
		return 0
	}
	if b.counted != p.key {
		b.counted, b.window = p.key, window{}
	} else if p.late != 0 {
		b.window.forget(p.late)
	}
	if s == nil {
		b.mu.Unlock()
		return 0
	}
	slice = b.window.add(now, s.failed, s.slow, b.o.Settings)
	joined := b.judge(ctx, now)
	b.mu.Unlock()
	b.wait(joined)
	return slice
}

// judge opens the circuit if what the window holds is reason enough, with mu held. The channel is closed when the
// others know of it; it is nil when there is nothing to wait for.
func (b *Breaker) judge(ctx context.Context, now time.Time) <-chan struct{} {
	if b.counted != b.key() || b.circuit().At(now) != Closed {
		return nil // what was counted is of a former generation
	}
	b.window.moveOn(now, b.o.Settings)
	why, trips := b.window.sum().trips(b.o.Settings)
	if !trips {
		return nil
	}
	opened := b.circuit().opened(b.instance, why, now, b.o.Settings)
	if b.own == nil {
		b.fork(opened)
	} else {
		b.own.Circuit = opened
	}
	b.tell(ctx, now)
	return b.join(ctx, now)
}

// ending is what one call adds to the window.
type ending struct{ failed, slow bool }

// join starts to tell the others what this instance has come to by itself, with mu held. It returns when that is
// done by closing the channel, which is nil when there is nothing to wait for. A round of probes is finished first.
func (b *Breaker) join(ctx context.Context, now time.Time) <-chan struct{} {
	if b.doc == nil || b.joining || now.Before(b.nextWrite) || b.own.State == HalfOpen {
		return nil
	}
	b.joining = true
	mine := *b.own
	return b.write(ctx, now, func(c Circuit) Circuit { return c.join(mine.base, mine.Circuit) }, func(r reading, err error) {
		b.joining = false
		if err == nil && r.Version == b.shared.Version && b.own != nil && b.own.fork == mine.fork {
			b.own = nil
		}
	})
}

type reading = control.Reading[Circuit]

// write changes the document in the background, and calls then, with mu held, when it did or could not. The channel
// is closed after that.
func (b *Breaker) write(ctx context.Context, now time.Time, change func(Circuit) Circuit, then func(reading, error)) <-chan struct{} {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxWrite)
	go func() {
		defer close(done)
		defer cancel()
		r, err := b.doc.Change(ctx, func(c Circuit) (Circuit, error) { return change(c), nil })
		b.mu.Lock()
		defer b.mu.Unlock()
		b.wrote(now, err)
		if err == nil {
			b.adopt(r)
		}
		then(r, err)
		b.tell(ctx, now)
	}()
	return done
}

func (b *Breaker) wait(done <-chan struct{}) {
	if done == nil {
		return
	}
	timer := time.NewTimer(b.patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// probe takes a place in the round, with mu held, which it gives up while it asks the store. The zero Permit means
// that it got none.
func (b *Breaker) probe(ctx context.Context, now time.Time) Permit {
	lease := b.o.NewID().String()
	if b.own == nil {
		p, answered := b.askForLease(ctx, now, lease)
		if answered || !b.away(now) {
			return p
		}
	}
	if b.own == nil { // still
		b.fork(b.shared.Value.alone())
	}
	c, granted := b.own.probe(lease, now, b.o.Settings)
	if !granted {
		return Permit{}
	}
	b.own.Circuit = c
	return Permit{b: b, key: b.key(), lease: lease}
}

// askForLease asks the store, one call at a time: more would only be in each other's way. It tells whether the store
// answered. A lease that comes when nobody waits for it any more is given back.
func (b *Breaker) askForLease(ctx context.Context, now time.Time, lease string) (p Permit, answered bool) {
	if b.asking || now.Before(b.nextWrite) || !b.silent.IsZero() {
		return Permit{}, false
	}
	b.asking = true
	var granted, left bool
	done := b.write(ctx, now, func(c Circuit) Circuit {
		c, granted = c.probe(lease, now, b.o.Settings)
		return c
	}, func(r reading, err error) {
		b.asking = false
		if err != nil {
			return
		}
		answered = true
		if granted {
			p = Permit{b: b, key: key{0, r.Value.Generation}, lease: lease}
		}
		if granted && left {
			b.tellFinding(ctx, p, nothing, now)
		}
	})
	b.mu.Unlock()
	b.wait(done)
	b.mu.Lock()
	left = true
	return p, answered
}

// report tells what a probe found.
func (b *Breaker) report(ctx context.Context, p Permit, found finding) {
	now := b.o.Now()
	b.mu.Lock()
	var done <-chan struct{}
	switch {
	case p.key.fork == 0:
		done = b.tellFinding(ctx, p, found, now)
	case b.own != nil:
		b.own.Circuit = b.own.report(p.lease, found, b.instance, now, b.o.Settings)
		b.tell(ctx, now)
		done = b.join(ctx, now)
	}
	b.mu.Unlock()
	b.wait(done)
}

// tellFinding starts to tell all what a probe of theirs found.
func (b *Breaker) tellFinding(ctx context.Context, p Permit, found finding, now time.Time) <-chan struct{} {
	return b.write(ctx, now, func(c Circuit) Circuit {
		return c.report(p.lease, found, b.instance, now, b.o.Settings)
	}, func(reading, error) {})
}
