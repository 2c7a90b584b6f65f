// Package clock is the test clock of the local stack: one time that every function, stand-in and simulator reads, and
// that an operator or a test moves. Move it 31 hours and everything that falls due in those hours happens, in order,
// each thing at its own instant.
//
// It owns the time and the order in which the participants (task queues, push subscriptions, cron jobs) do what is
// due. It does not know what they do, and it never turns back. Nothing here is linked into a deployed function.
package clock

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// maxRounds bounds how often the participants may find new work at one and the same instant. A message that causes a
// task that causes a message needs a handful; a retry without a delay never ends, and should be heard of.
const maxRounds = 1000

// A Participant does work at instants of the clock.
type Participant interface {
	// NextDue tells when the earliest waiting work may start; an instant in the past means now. Work under way does
	// not count, nor does work that cannot start before some of it ends. NextDue is asked often and must be cheap.
	NextDue() (time.Time, bool)

	// RunDue does what is due at or before the clock's time and returns when that is done. The work's own failures
	// are the participant's to retry: an error means that the participant itself cannot go on, or that ctx ended.
	// RunDue may be called while an earlier call still runs; each piece of work is taken once.
	RunDue(ctx context.Context) error
}

// Summary tells what an advance did.
type Summary struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Stops int       `json:"stops"` // instants at which something was due
}

// Clock is the test clock. It either flows, with real time from a chosen instant on, or is frozen and stands still
// until it is advanced. It is safe for concurrent use; Now never waits for an advance.
type Clock struct {
	turn     chan struct{} // held by the one Advance or Settle under way
	wake     chan struct{} // tells Run to look again
	finished chan struct{} // tells hold that a RunDue started by Run has ended

	// mu is never held while a participant is called: participants read the clock under locks of their own.
	mu           sync.Mutex
	at           time.Time // the clock's time at the real instant since
	since        time.Time // zero while the clock stands still
	participants []Participant
	held         bool // an advance has the clock; Run starts nothing
	running      int  // RunDue calls that Run started and that have not returned
}

// NewFrozen returns a clock that stands at the given instant.
func NewFrozen(at time.Time) *Clock { return newClock(at, time.Time{}) }

// NewFlowing returns a clock that shows the given instant now and flows on with real time.
func NewFlowing(from time.Time) *Clock { return newClock(from, time.Now()) }

func newClock(at, since time.Time) *Clock {
	return &Clock{
		turn:     make(chan struct{}, 1),
		wake:     make(chan struct{}, 1),
		finished: make(chan struct{}, 1),
		at:       at.UTC().Truncate(time.Microsecond),
		since:    since,
	}
}

// Register adds participants. At one instant they run in the order in which they were registered.
func (c *Clock) Register(p ...Participant) {
	c.mu.Lock()
	c.participants = append(c.participants, p...)
	c.mu.Unlock()
	c.Wake()
}

// Now is the clock's time, in UTC, in whole microseconds as PostgreSQL keeps them.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	if c.since.IsZero() {
		return c.at
	}
	return c.at.Add(time.Since(c.since)).Truncate(time.Microsecond)
}

// Wake tells a running Run that a participant may have new work due. Participants call it, under any lock they like.
func (c *Clock) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Advance moves the clock by d; see AdvanceTo.
func (c *Clock) Advance(ctx context.Context, d time.Duration) error {
	_, err := c.advance(ctx, func(now time.Time) time.Time { return now.Add(d) })
	return err
}

// AdvanceTo moves the clock to target and stops on the way at every instant at which a participant has work due:
// the clock shows exactly that instant while the work runs, also work that only then turns up. While it is under way
// a flowing clock stands still too, and flows on from target afterwards.
//
// If ctx ends, or work keeps turning up at one instant without end, the clock stays where it got to. A target in the
// past is refused. Advances wait for each other, so what a participant runs must not advance the clock itself.
func (c *Clock) AdvanceTo(ctx context.Context, target time.Time) error {
	_, err := c.advance(ctx, func(time.Time) time.Time { return target })
	return err
}

// Settle runs what is due now, and what that makes due now, until nothing is.
func (c *Clock) Settle(ctx context.Context) error { return c.Advance(ctx, 0) }

func (c *Clock) advance(ctx context.Context, target func(now time.Time) time.Time) (Summary, error) {
	release, err := c.hold(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("clock: waiting for the work under way: %w", err)
	}
	defer release()

	now := c.Now()
	to := target(now).UTC().Truncate(time.Microsecond)
	s := Summary{From: now, To: now}
	if to.Before(now) {
		return s, fmt.Errorf("clock: cannot turn back from %s to %s", now.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano))
	}
	for rounds := 0; ; rounds++ {
		due, ok := c.nextDue()
		if !ok || due.After(to) {
			break
		}
		if rounds == 0 || due.After(c.Now()) {
			s.Stops++
			rounds = 0
		}
		if rounds == maxRounds {
			return s, fmt.Errorf("clock: work is still due at %s after %d rounds: %s", c.Now().Format(time.RFC3339Nano), rounds, c.whoIsDue())
		}
		s.To = c.moveTo(due)
		if err := c.runDue(ctx); err != nil {
			return s, fmt.Errorf("clock: at %s: %w", s.To.Format(time.RFC3339Nano), err)
		}
	}
	s.To = c.moveTo(to)
	return s, nil
}

// hold takes the clock for one advance: it waits for its turn and for what Run has started, and stops the flow.
func (c *Clock) hold(ctx context.Context) (release func(), err error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	c.held = true
	flows := !c.since.IsZero()
	for c.running > 0 && err == nil {
		c.mu.Unlock()
		select {
		case <-c.finished:
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.mu.Lock()
	}
	c.at, c.since = c.now(), time.Time{}
	c.mu.Unlock()

	release = func() {
		c.mu.Lock()
		if flows {
			c.since = time.Now()
		}
		c.held = false
		c.mu.Unlock()
		<-c.turn
		c.Wake()
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (c *Clock) moveTo(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.at) {
		// Rounded up, so that what is due at t is due at the clock's time.
		c.at = t.UTC().Add(time.Microsecond - time.Nanosecond).Truncate(time.Microsecond)
	}
	return c.at
}

func (c *Clock) all() []Participant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.participants[:len(c.participants):len(c.participants)]
}

func (c *Clock) nextDue() (next time.Time, ok bool) {
	for _, p := range c.all() {
		if due, has := p.NextDue(); has && (!ok || due.Before(next)) {
			next, ok = due, true
		}
	}
	return next, ok
}

func (c *Clock) runDue(ctx context.Context) error {
	for _, p := range c.all() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if due, ok := p.NextDue(); !ok || due.After(c.Now()) {
			continue
		}
		if err := p.RunDue(ctx); err != nil {
			return fmt.Errorf("%T: %w", p, err)
		}
	}
	return nil
}

func (c *Clock) whoIsDue() string {
	var who []string
	for _, p := range c.all() {
		if due, ok := p.NextDue(); ok && !due.After(c.Now()) {
			who = append(who, fmt.Sprintf("%T", p))
		}
	}
	return strings.Join(who, ", ")
}
