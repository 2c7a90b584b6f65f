package clock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// diary is a participant that keeps a list of instants and writes down when it did what.
type diary struct {
	name  string
	clock *Clock
	log   *[]string

	mu    sync.Mutex
	plan  []time.Time
	after func(at time.Time) // may plan more
	fail  error
}

func (d *diary) NextDue() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.plan) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(d.plan, time.Time.Compare), true
}

func (d *diary) RunDue(ctx context.Context) error {
	if d.fail != nil {
		return d.fail
	}
	return Drain(ctx, func() []func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for i, at := range d.plan {
			if now := d.clock.Now(); !at.After(now) {
				d.plan = slices.Delete(d.plan, i, i+1)
				*d.log = append(*d.log, fmt.Sprintf("%s %s", d.name, now.Sub(epoch)))
				return []func(){func() {
					if d.after != nil {
						d.after(at)
					}
				}}
			}
		}
		return nil
	})
}

func (d *diary) add(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan = append(d.plan, at)
}

func TestAdvanceStopsAtEveryDueInstantInOrder(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	var log []string
	a := &diary{name: "a", clock: c, log: &log, plan: []time.Time{epoch.Add(2 * time.Hour), epoch.Add(5 * time.Hour)}}
	b := &diary{name: "b", clock: c, log: &log, plan: []time.Time{epoch.Add(time.Hour), epoch.Add(2 * time.Hour), epoch.Add(9 * time.Hour)}}
	// What a does at 2 h makes b work at the same instant, and again at 2 h 30.
	a.after = func(at time.Time) {
		if at.Equal(epoch.Add(2 * time.Hour)) {
			b.add(at)
			b.add(at.Add(30 * time.Minute))
		}
	}
	c.Register(a, b)

	if err := c.Advance(t.Context(), 6*time.Hour); err != nil {
		t.Fatal(err)
	}
	want := []string{"b 1h0m0s", "a 2h0m0s", "b 2h0m0s", "b 2h0m0s", "b 2h30m0s", "a 5h0m0s"}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("work done (-want +got):\n%s", diff)
	}
	if got := c.Now(); !got.Equal(epoch.Add(6 * time.Hour)) {
		t.Errorf("clock at %s after the advance", got)
	}
}

// Whatever the plan, everything up to the target runs, at its own instant, and nothing beyond it does.
func TestAdvanceProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := NewFrozen(epoch)
		var log []string
		var want []time.Duration
		target := time.Duration(rapid.IntRange(0, 50).Draw(t, "target")) * time.Minute
		for _, name := range []string{"a", "b", "c"} {
			d := &diary{name: name, clock: c, log: &log}
			for _, m := range rapid.SliceOf(rapid.IntRange(0, 60)).Draw(t, name) {
				at := time.Duration(m) * time.Minute
				d.add(epoch.Add(at))
				if at <= target {
					want = append(want, at)
				}
			}
			c.Register(d)
		}
		if err := c.Advance(context.Background(), target); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		var got []time.Duration
		for _, line := range log {
			at, err := time.ParseDuration(strings.Fields(line)[1])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, at)
		}
		if !slices.Equal(want, got) {
			t.Fatalf("want work at %v, got %v", want, got)
		}
	})
}

func TestSettleRunsWhatIsDueAndMovesNothing(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	var log []string
	d := &diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch.Add(-time.Minute), epoch.Add(time.Second)}}
	c.Register(d)
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"d 0s"}, log); diff != "" {
		t.Error(diff)
	}
	if !c.Now().Equal(epoch) {
		t.Errorf("clock moved to %s", c.Now())
	}
}

func TestWorkWithoutEndIsAnError(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	due := epoch.Add(time.Hour)
	c.Register(forever{c, due})
	err := c.Advance(t.Context(), 2*time.Hour)
	if err == nil || !strings.Contains(err.Error(), "forever") || !strings.Contains(err.Error(), "10:00:00") {
		t.Fatalf("want an error that names the participant and the instant, got %v", err)
	}
	if !c.Now().Equal(due) {
		t.Errorf("clock at %s, want it left at the instant of the trouble", c.Now())
	}
}

// forever is always due again, at the same instant.
type forever struct {
	clock *Clock
	due   time.Time
}

func (f forever) NextDue() (time.Time, bool)     { return f.due, true }
func (f forever) RunDue(_ context.Context) error { return nil }

func TestParticipantErrorStopsTheAdvance(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	broken := errors.New("broken")
	c.Register(&diary{clock: c, plan: []time.Time{epoch.Add(time.Hour)}, fail: broken})
	if err := c.Advance(t.Context(), 2*time.Hour); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if !c.Now().Equal(epoch.Add(time.Hour)) {
		t.Errorf("clock at %s", c.Now())
	}
}

func TestNeverBackwards(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	if err := c.Advance(t.Context(), -time.Second); err == nil {
		t.Error("advanced by a negative duration")
	}
	if err := c.AdvanceTo(t.Context(), epoch.Add(-time.Second)); err == nil {
		t.Error("advanced to the past")
	}
	if !c.Now().Equal(epoch) {
		t.Errorf("clock moved to %s", c.Now())
	}
}

func TestWholeMicroseconds(t *testing.T) {
	t.Parallel()
	odd := epoch.Add(1500 * time.Nanosecond)
	c := NewFrozen(odd)
	if got := c.Now(); got != epoch.Add(time.Microsecond) {
		t.Errorf("started at %s", got)
	}
	var log []string
	c.Register(&diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch.Add(2500 * time.Nanosecond)}})
	if err := c.Advance(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"d 3µs"}, log); diff != "" {
		t.Error(diff)
	}
	if now := NewFlowing(time.Now()).Now(); now.Nanosecond()%1000 != 0 || now.Location() != time.UTC {
		t.Errorf("flowing clock shows %s", now)
	}
}

func TestFlowingClockStandsStillDuringAnAdvance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewFlowing(epoch)
		pass(time.Minute)
		if got := c.Now().Sub(epoch); got != time.Minute {
			t.Fatalf("after a minute the clock is at +%s", got)
		}
		var log []string
		d := &diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch.Add(time.Hour)}}
		d.after = func(time.Time) {
			pass(10 * time.Second) // slow work does not move the clock
			if got := c.Now().Sub(epoch); got != time.Hour {
				t.Errorf("clock at +%s during work due at +1h", got)
			}
		}
		c.Register(d)
		if err := c.AdvanceTo(t.Context(), epoch.Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := c.Now().Sub(epoch); got != 2*time.Hour {
			t.Errorf("clock at +%s after the advance", got)
		}
		pass(time.Second)
		if got := c.Now().Sub(epoch); got != 2*time.Hour+time.Second {
			t.Errorf("a second later the clock is at +%s", got)
		}
	})
}

func TestAdvanceGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewFrozen(epoch)
		var log []string
		d := &diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch.Add(time.Hour)}}
		stuck := make(chan struct{})
		d.after = func(time.Time) { <-stuck }
		c.Register(d)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Advance(ctx, 2*time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(stuck)
		if err := c.Advance(t.Context(), time.Hour); err != nil {
			t.Errorf("the next advance: %v", err)
		}
	})
}
