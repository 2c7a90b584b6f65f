package clock

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// start runs c in the background and returns a function that stops it and reports its error.
func start(t *testing.T, c *Clock) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestRunFiresAsTimeFlows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewFlowing(epoch)
		var log []string
		d := &diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch, epoch.Add(time.Second), epoch.Add(time.Hour)}}
		c.Register(d)
		stop := start(t, c)

		pass(2 * time.Second)
		synctest.Wait()
		d.add(c.Now())
		c.Wake()
		synctest.Wait() // woken, so no time needs to pass
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if diff := cmp.Diff([]string{"d 0s", "d 1s", "d 2s"}, log); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRunIsNotHeldUpBySlowWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewFlowing(epoch)
		var log []string
		var finished atomic.Int32
		d := &diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch, epoch.Add(time.Second)}}
		d.after = func(time.Time) {
			pass(time.Minute)
			finished.Add(1)
		}
		c.Register(d)
		stop := start(t, c)
		pass(5 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"d 0s", "d 1s"}, log); diff != "" {
			t.Error(diff)
		}
		if n := finished.Load(); n != 0 {
			t.Errorf("%d finished before their time", n)
		}
		_ = stop()
		pass(time.Minute) // for the work that outlives Drain
		if n := finished.Load(); n != 2 {
			t.Errorf("%d of 2 finished", n)
		}
	})
}

func TestAdvanceWaitsForWhatRunStarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewFlowing(epoch)
		var log []string
		d := &diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch, epoch.Add(time.Hour)}}
		d.after = func(at time.Time) {
			if at.Equal(epoch) {
				pass(30 * time.Second)
				if got := c.Now().Sub(epoch); got != 30*time.Second {
					t.Errorf("the clock was moved to +%s under the work", got)
				}
			}
		}
		c.Register(d)
		stop := start(t, c)
		synctest.Wait()
		if err := c.Advance(t.Context(), 2*time.Hour); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"d 0s", "d 1h0m0s"}, log); diff != "" {
			t.Error(diff)
		}
		if got := c.Now().Sub(epoch); got != 2*time.Hour+30*time.Second {
			t.Errorf("clock at +%s", got)
		}
		_ = stop()
	})
}

func TestRunEndsWithABrokenParticipant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewFlowing(epoch)
		broken := errors.New("broken")
		c.Register(&diary{clock: c, plan: []time.Time{epoch}, fail: broken})
		if err := c.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDrainKeepsToTheLimitOfItsClaims(t *testing.T) {
	t.Parallel()
	const limit, total = 3, 20
	var running, most, done atomic.Int32
	left := total
	err := Drain(t.Context(), func() []func() {
		var work []func()
		for left > 0 && int(running.Load()) < limit {
			left--
			running.Add(1)
			work = append(work, func() {
				most.Store(max(most.Load(), running.Load()))
				done.Add(1)
				running.Add(-1)
			})
		}
		return work
	})
	if err != nil || done.Load() != total || most.Load() > limit {
		t.Errorf("err %v, %d of %d done, at most %d at once", err, done.Load(), total, most.Load())
	}
}

// pass lets the fake time of a synctest bubble pass.
func pass(d time.Duration) { <-time.After(d) }
