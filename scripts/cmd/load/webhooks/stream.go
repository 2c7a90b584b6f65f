package webhooks

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/shared/id"
)

// A sample is one event.
type sample struct {
	Event    id.ID
	Merchant *merchant
	Due      time.Time
	Late     time.Duration // how much later than due it was committed: what the load itself adds, and the database
	At       time.Time     // when it was committed; what is measured counts from then
}

// A load commits events, and keeps a sample of each.
type load struct {
	world *world

	mu      sync.Mutex
	samples []sample
	failed  []error
}

// stream commits so many events a second, of the merchants in turn, until it is stopped or ctx ends, which waits for
// those under way. Each is committed when it is due, however long the earlier ones take.
func (l *load) stream(ctx context.Context, merchants []*merchant, rate float64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var under sync.WaitGroup
		defer under.Wait()
		begun := time.Now()
		for n := 0; ; n++ {
			due := begun.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			if !measure.Pause(ctx, time.Until(due)) {
				return
			}
			m := merchants[n%len(merchants)]
			under.Go(func() { l.commit(context.WithoutCancel(ctx), m, due) })
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// commit commits an event of one of the merchant's payments, and publishes it.
func (l *load) commit(ctx context.Context, m *merchant, due time.Time) {
	payment := m.Payments[rand.IntN(len(m.Payments))]
	e, err := l.world.committer.commit(ctx, payment)
	at := time.Now()
	l.mu.Lock()
	if err != nil {
		l.failed = append(l.failed, err)
	} else {
		l.samples = append(l.samples, sample{Event: e.ID, Merchant: m, Due: due, Late: at.Sub(due), At: at})
	}
	l.mu.Unlock()
	if err == nil {
		l.world.committer.publish(ctx, payment)
	}
}

// of is the samples of the merchants' events that were committed from one time to another.
func (l *load) of(merchants []*merchant, from, to time.Time) (some []sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.samples {
		if !s.At.Before(from) && s.At.Before(to) && slices.Contains(merchants, s.Merchant) {
			some = append(some, s)
		}
	}
	return some
}

// trouble is the errors of commits.
func (l *load) trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.failed[:min(3, len(l.failed))]...)
}

const lookEvery = 50 * time.Millisecond

// await waits until all of the samples' events are received, at most for so long, and returns how many are not.
func (w *world) await(ctx context.Context, samples []sample, patience time.Duration) (missing int) {
	deadline := time.Now().Add(patience)
	left := slices.Clone(samples)
	for {
		left = slices.DeleteFunc(left, func(s sample) bool {
			_, has := w.shops.of(id.Event.External(s.Event))
			return has
		})
		if len(left) == 0 || !time.Now().Before(deadline) || !measure.Pause(ctx, lookEvery) {
			return len(left)
		}
	}
}
