package main

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/scripts/internal/cloudtest"
)

// A release goes from the first deployment to the second one, and back.
func TestARelease(t *testing.T) {
	t.Parallel()
	r := emptyRig(t)
	r.must("status")
	r.must("pin") // there is nothing yet
	r.deploy(1)
	r.is("LATEST 100")
	r.must("smoke")
	r.is("LATEST 100") // what is new has no other revision to be compared with
	r.must("canary")
	r.must("promote")
	r.is("N-1 100 stable")

	r.load(600)
	r.must("pin")
	r.deploy(2)
	r.is("N-1 100 stable") // whatever terraform deploys
	r.must("smoke")
	r.is("N-1 100 stable, N-2 0 canary")
	seen := map[string]bool{}
	r.clock.waited = func(time.Time) { seen[r.Traffic("getpayment")] = true }
	r.must("canary", "--soak", "5m")
	r.clock.waited = nil
	for _, want := range []string{"95 stable, getpayment-2 5", "50 stable, getpayment-2 50", "0 stable, getpayment-2 100"} {
		if !seen["getpayment-1 "+want+" canary"] {
			t.Errorf("the canary never had %s: %v", want, seen)
		}
	}
	r.must("promote")
	r.is("N-2 100 stable, N-1 0 previous")
	if err := r.run("status"); err != nil || !strings.Contains(r.out.String(), "steady") {
		t.Errorf("%v\n%s", err, r.out)
	}

	r.must("rollback", "--previous")
	r.is("N-1 100 stable")
	r.must("rollback", "--previous") // there is nothing before it
	r.is("N-1 100 stable")
}

// A function that a release leaves as it was has no canary, and does not lose or keep a
// revision by another function's promotion.
func TestWhatIsUnchangedStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	r.must("canary", "--steps", "100", "--soak", "2m")
	r.must("promote")
	r.is("N-2 100 stable, N-1 0 previous")

	r.must("pin")
	r.Deploy("getpayment", "getpayment-3", true)
	r.must("smoke")
	r.has("createpayment", "N-2 100 stable, N-1 0 previous")
	r.has("getpayment", "N-2 100 stable, N-3 0 canary, N-1 0 previous")
	r.must("canary", "--soak", "2m")
	r.must("promote")
	r.has("createpayment", "N-2 100 stable")
	r.has("getpayment", "N-3 100 stable, N-2 0 previous")
	r.must("rollback", "--previous")
	r.has("createpayment", "N-2 100 stable") // release 3 did not touch it
	r.has("getpayment", "N-2 100 stable")
}

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
	t.Run("the metrics, from the second step on", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.load(600)
		r.released()
		r.clock.waited = func(time.Time) {
			if strings.Contains(r.Traffic("getpayment"), "50 canary") {
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
			if strings.Contains(r.Traffic("getpayment"), "50 canary") {
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

// A rollback that is given twice writes once.
func TestRollbackTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	r.must("rollback")
	r.is("N-1 100 stable")
	before := r.writes()
	r.must("rollback")
	if after := r.writes(); after != before {
		t.Errorf("the second rollback wrote %d times", after-before)
	}
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
		if strings.Contains(r.Traffic("getpayment"), "50 canary") {
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
	r.killed(func() bool { return strings.Contains(r.Traffic("getpayment"), "50 canary") }, "canary")
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

// A promotion of which half was done is finished by the same command.
func TestAPromotionThatWasCutOffGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	r.refused([]string{"has 0 % of the requests", "--now"}, "promote")
	r.is("N-1 100 stable, N-2 0 canary")
	r.must("canary", "--steps", "100", "--soak", "1m")
	r.Fail(func(call, resource string) error {
		if call == "UpdateService" && resource == "sweep" {
			return status.Error(codes.PermissionDenied, "denied")
		}
		return nil
	})
	r.refused([]string{"sweep: ", "give the command again"}, "promote")
	r.has("createpayment", "N-2 100 stable, N-1 0 previous")
	r.has("sweep", "N-1 0 stable, N-2 100 canary")
	r.Fail(away())
	r.must("promote")
	r.is("N-2 100 stable, N-1 0 previous")
}

func TestPromoteNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	r.must("promote", "--now")
	r.is("N-2 100 stable, N-1 0 previous")
}

// The smoke test finds what does not answer as it should, and leaves no canary behind.
func TestSmokeFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	answer := func(status int, kind string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
		})
	}
	healthyBut := func(path string, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/health/", answer(http.StatusOK, "application/json"))
		mux.Handle(path, h)
		return mux
	}
	for name, c := range map[string]struct {
		spoil func(r *rig)
		want  []string
	}{
		"a revision that does not start": {
			func(r *rig) { r.Deploy("getpayment", "getpayment-3", false) },
			[]string{"getpayment", "getpayment-3 is not ready", "startup probe"},
		},
		"a function that is not ready": {
			func(r *rig) {
				r.Serve("getpayment-2", healthyBut("/health/readiness", answer(http.StatusServiceUnavailable, "application/json")))
			},
			[]string{"getpayment-2: GET /health/readiness: 503, not 200"},
		},
		"strangers are let in": {
			func(r *rig) {
				r.Serve("createpayment-2", healthyBut("/v1/", answer(http.StatusCreated, "application/json")))
			},
			[]string{"createpayment-2: POST /v1/payments: 201, not 401"},
		},
		"a refusal that is not ours": {
			func(r *rig) {
				r.Serve("createpayment-2", healthyBut("/v1/", answer(http.StatusUnauthorized, "text/html")))
			},
			[]string{"createpayment-2: POST /v1/payments: 401"},
		},
		"no token": {
			func(r *rig) {
				r.Fail(func(call, _ string) error {
					if call == "GenerateIdToken" {
						return status.Error(codes.PermissionDenied, "iam.serviceAccounts.getOpenIdToken is denied")
					}
					return nil
				})
			},
			[]string{"a token of call-from-gateway@demo.iam.gserviceaccount.com", "denied"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deploy(2)
			c.spoil(r)
			r.refused(append(c.want, "rolled back"), "smoke")
			r.is("N-1 100 stable")
		})
	}
}

// An address that is not known everywhere yet is tried again.
func TestSmokeWaitsForANewAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deploy(2)
	ready := r.clock.Now().Add(40 * time.Second)
	r.Serve("getpayment-2", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case r.clock.Now().Before(ready):
			http.Error(w, "Page not found", http.StatusNotFound)
		case strings.HasPrefix(q.URL.Path, "/health/"):
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	r.must("smoke")
	r.is("N-1 100 stable, N-2 0 canary")
}

// A new function that fails is named as one that can't go back.
func TestANewFunctionThatFails(t *testing.T) {
	t.Parallel()
	r := emptyRig(t)
	r.deploy(1)
	r.Serve("getpayment-1", http.NotFoundHandler())
	r.refused([]string{"getpayment-1", "404"}, "smoke")
	if said := r.out.String(); !strings.Contains(said, "nothing to go back to") {
		t.Errorf("it said\n%s", said)
	}
}

// Somebody else's write in between is seen, and nothing of it is lost.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	var once atomic.Bool
	r.Fail(func(call, resource string) error {
		if call == "UpdateService" && resource == "createpayment" && once.CompareAndSwap(false, true) {
			return status.Error(codes.Aborted, "conflict: the etag is another one")
		}
		return nil
	})
	r.must("rollback")
	r.is("N-1 100 stable")

	r.load(600)
	r.released()
	r.clock.waited = func(time.Time) { // another operator, meanwhile
		if strings.Contains(r.Traffic("getpayment"), "50 canary") {
			r.Shift("getpayment", target(stableTag, "getpayment-1", 100))
		}
	}
	r.refused([]string{"getpayment: the canary is gone", "rolled back"}, "canary")
	r.clock.waited = nil
	r.is("N-1 100 stable")
}

// Traffic that somebody shared by hand is not guessed at. One revision with all of it is
// the stable one, and rollback goes by the tag.
func TestTrafficByHand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deploy(2)
	r.Shift("getpayment", target("", "getpayment-1", 60), target("", "getpayment-2", 40))
	r.refused([]string{"getpayment: ", "no rollout makes", "getpayment-1 60 %, getpayment-2 40 %"}, "pin")
	r.refused([]string{"getpayment: "}, "smoke")
	r.refused([]string{"no revision is tagged stable to go back to"}, "rollback")

	r.Shift("getpayment", target(stableTag, "getpayment-1", 60), target("", "getpayment-2", 40))
	r.must("rollback")
	r.has("getpayment", "N-1 100 stable")

	r.Shift("getpayment", target("", "getpayment-2", 100), target(stableTag, "getpayment-1", 0))
	r.must("pin")
	r.has("getpayment", "N-2 100 stable")
}

func target(tag, revision string, percent int32) *runpb.TrafficTarget {
	return &runpb.TrafficTarget{
		Type:     runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION,
		Revision: revision, Percent: percent, Tag: tag,
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	r := emptyRig(t)
	r.refused([]string{"job migrate", "there is no"}, "migrate")
	r.AddJob("migrate", true)
	r.must("migrate")
	if n := r.Runs("migrate"); n != 1 {
		t.Errorf("it ran %d times", n)
	}
	r.AddJob("migrate", false)
	r.refused([]string{"job migrate failed", "no function has changed", "console.cloud.google.com/logs"}, "migrate")
	r.Fail(away("GetOperation"))
	r.refused([]string{"job migrate", "unavailable"}, "migrate")
}

func TestMistakesInTheCommandLine(t *testing.T) {
	t.Parallel()
	r := emptyRig(t)
	for _, c := range []struct{ args, want string }{
		{"deploy", "no command"},
		{"pin now", "takes 0 arguments"},
		{"review", "takes 1 arguments"},
		{"pin --fast", "-fast"},
		{"canary --steps 5,50", "rise to 100"},
		{"canary --steps 50,5,100", "rise to 100"},
		{"canary --steps 0,100", "no percentage"},
		{"pin --region=", "which deployment"},
	} {
		r.refused([]string{c.want}, strings.Fields(c.args)...)
	}
}
