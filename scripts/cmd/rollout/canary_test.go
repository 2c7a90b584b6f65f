package main

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/scripts/internal/cloudtest"
)

// Whatever one canary does worse takes all of them back.
func TestABadCanaryTakesAllBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		perMinute int64
		bad       map[string]cloudtest.Behaviour
		want      []string
		reaches   string // what the traffic of getpayment was at worst
	}{
		"errors": {
			600,
			map[string]cloudtest.Behaviour{"createpayment-2": {Errors: 0.02}},
			[]string{"createpayment: revision createpayment-2 does worse", "5xx", "rolled back"},
			"95 stable, getpayment-2 5",
		},
		"one in three of few": {
			6,
			map[string]cloudtest.Behaviour{"getpayment-2": {Errors: 0.34}},
			[]string{"getpayment: revision getpayment-2 does worse"},
			"95 stable, getpayment-2 5",
		},
		"slower": {
			1200,
			map[string]cloudtest.Behaviour{
				"createpayment-1": {P95: 200 * time.Millisecond}, "createpayment-2": {P95: 900 * time.Millisecond},
			},
			[]string{"createpayment-2", "its p95 is 900ms", "200ms"},
			"95 stable, getpayment-2 5",
		},
		"no requests arrive": {
			600,
			map[string]cloudtest.Behaviour{"sweep-2": {Silent: true}},
			[]string{"sweep-2 does worse: it was due about", "has none"},
			"95 stable, getpayment-2 5",
		},
		"too rare to see at 5 %": {
			100,
			map[string]cloudtest.Behaviour{"createpayment-2": {Errors: 0.01}},
			[]string{"createpayment-2"},
			"50 stable, getpayment-2 50",
		},
		"in each a little, in all too much": {
			200,
			map[string]cloudtest.Behaviour{"createpayment-2": {Errors: 0.0028}, "getpayment-2": {Errors: 0.0028}, "sweep-2": {Errors: 0.0028}},
			[]string{"all functions together"},
			"50 stable, getpayment-2 50",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.load(c.perMinute)
			for revision, b := range c.bad {
				r.Behave(revision, b)
			}
			r.released()
			reached := ""
			r.clock.waited = func(time.Time) {
				if now := r.Traffic("getpayment"); strings.Contains(now, canaryTag) {
					reached = now
				}
			}
			r.refused(c.want, "canary")
			if want := "getpayment-1 " + c.reaches + " canary"; reached != want {
				t.Errorf("it was found at %s, not at %s", reached, want)
			}
			r.is("N-1 100 stable")
		})
	}
}

// What does the stable revision's work no worse is no reason to go back, nor is noise.
func TestAGoodCanaryIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		perMinute int64
		as        map[string]cloudtest.Behaviour
	}{
		"nobody calls": {0, nil},
		"both fail, as when a provider is down": {600, map[string]cloudtest.Behaviour{
			"createpayment-1": {Errors: 0.3}, "createpayment-2": {Errors: 0.3},
		}},
		"one error in a thousand":    {600, map[string]cloudtest.Behaviour{"createpayment-2": {Errors: 0.001}}},
		"a slow start of few":        {8, map[string]cloudtest.Behaviour{"createpayment-2": {P95: 3 * time.Second}}},
		"a little slower":            {1200, map[string]cloudtest.Behaviour{"getpayment-1": {P95: 50 * time.Millisecond}, "getpayment-2": {P95: 140 * time.Millisecond}}},
		"faster, and fewer mistakes": {600, map[string]cloudtest.Behaviour{"getpayment-1": {Errors: 0.1, P95: time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.load(c.perMinute)
			for revision, b := range c.as {
				r.Behave(revision, b)
			}
			r.released()
			r.must("canary")
			r.is("N-1 0 stable, N-2 100 canary")
		})
	}
}

// A nightly function that was busy within the hour and has nothing more to do is no worse
// for it. That requests reach the canary was seen while it shared them.
func TestWorkThatIsOverIsNotMissed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.LoadUntil("sweep", 600, r.clock.Now().Add(27*time.Minute)) // the last step begins after it
	r.released()
	r.must("canary")
	r.is("N-1 0 stable, N-2 100 canary")
}

// While an API is away a command waits for it, and gives up in the end, with everything
// where it was or on the way back.
func TestAnAPIThatIsAway(t *testing.T) {
	t.Parallel()
	t.Run("for a while", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.load(600)
		r.released()
		back := r.clock.Now().Add(2 * time.Minute)
		r.Fail(func(call, _ string) error {
			if r.clock.Now().Before(back) {
				return status.Error(codes.Unavailable, "away")
			}
			return nil
		})
		r.must("canary")
		r.is("N-1 0 stable, N-2 100 canary")
	})
	t.Run("the metrics, for a moment at the end of a step", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.load(600)
		r.released()
		end := r.clock.Now().Add(settling + 10*time.Minute + lag)
		var failed atomic.Bool
		r.Fail(func(call, _ string) error {
			if call == "ListTimeSeries" && !r.clock.Now().Before(end) && failed.CompareAndSwap(false, true) {
				return status.Error(codes.Unavailable, "away")
			}
			return nil
		})
		r.must("canary")
		r.is("N-1 0 stable, N-2 100 canary")
		if !failed.Load() {
			t.Error("they never failed")
		}
	})
	t.Run("the metrics, from the second step on", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.load(600)
		r.released()
		r.clock.waited = func(time.Time) {
			if r.all("50 canary") {
				r.Fail(away("ListTimeSeries"))
			}
		}
		r.refused([]string{"can't be judged", "rolled back"}, "canary")
		r.is("N-1 100 stable")
	})
	t.Run("Cloud Run, midway, and while it is rolled back", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.load(600)
		r.released()
		r.clock.waited = func(time.Time) {
			if r.all("50 canary") {
				r.Fail(away("UpdateService", "GetService"))
			}
		}
		r.refused([]string{"not every function is back", "rollback again"}, "canary")
		r.clock.waited = nil
		r.is("N-1 50 stable, N-2 50 canary")
		r.Fail(away())
		r.refused([]string{"is a canary with 50 %", "scripts/rollout rollback"}, "pin")
		r.must("rollback")
		r.is("N-1 100 stable")
	})
	t.Run("for one function only", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.released()
		r.Fail(func(call, resource string) error {
			if call == "UpdateService" && resource == "getpayment" {
				return status.Error(codes.PermissionDenied, "run.services.update is denied")
			}
			return nil
		})
		r.refused([]string{"getpayment: ", "denied", "not every function is back"}, "canary")
		r.has("createpayment", "N-1 100 stable") // the others went back all the same
		r.has("sweep", "N-1 100 stable")
		r.Fail(away())
		r.must("rollback")
		r.is("N-1 100 stable")
	})
}

// An operator's interrupt takes the canary back.
func TestAnInterruptRollsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.load(600)
	r.released()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.clock.waited = func(time.Time) {
		if r.all("50 canary") {
			cancel()
		}
	}
	if err := run(ctx, r.world, []string{"canary"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.is("N-1 100 stable")
}

// killed runs a command that dies, as by SIGKILL, at the first wait for which when holds:
// it does nothing any more, not even a rollback.
func (r *rig) killed(when func() bool, args ...string) {
	r.Helper()
	var died atomic.Bool
	r.clock.waited = func(time.Time) {
		if when() {
			died.Store(true)
			runtime.Goexit()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(context.WithoutCancel(r.Context()), r.world, args) // it never returns
	}()
	<-done
	r.clock.waited = nil
	if !died.Load() {
		r.Fatalf("scripts/rollout %s ended before it could be killed\n%s", strings.Join(args, " "), r.out)
	}
}

// A canary whose process was killed is carried on at the step that it had reached, and
// that step is done again.
func TestACanaryThatWasCutOffGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.load(600)
	r.released()
	r.killed(func() bool { return r.all("50 canary") }, "canary")
	r.is("N-1 50 stable, N-2 50 canary")
	r.refused([]string{"another rollout is under way"}, "pin")
	r.refused([]string{"has 50 % of the requests"}, "promote")

	var steps []string
	r.clock.waited = func(time.Time) {
		if now := r.Traffic("getpayment"); len(steps) == 0 || steps[len(steps)-1] != now {
			steps = append(steps, now)
		}
	}
	r.must("canary")
	if want := []string{"getpayment-1 50 stable, getpayment-2 50 canary", "getpayment-1 0 stable, getpayment-2 100 canary"}; !slices.Equal(steps, want) {
		t.Errorf("it went on by %v", steps)
	}
	r.must("promote")
	r.is("N-2 100 stable, N-1 0 previous")
}

// The same, when some functions had got further than others.
func TestACanaryThatWasCutOffBetweenFunctionsGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.load(600)
	r.released()
	r.Shift("createpayment", target(stableTag, "createpayment-1", 50), target(canaryTag, "createpayment-2", 50))
	r.must("canary")
	r.is("N-1 0 stable, N-2 100 canary")
}
