package main

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// An operation that never ends is not waited for without end.
func TestAnOperationThatIsStuck(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deploy(2)
	r.Stuck(true)
	r.refused([]string{"getpayment: not done after 10m", "not every function is back"}, "smoke")
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

// halfPromoted brings release 2 to all requests, after a release before it of which there
// is a revision to go back to, and promotes it for some functions.
func halfPromoted(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.released()
	r.must("promote", "--now")
	r.deploy(3)
	r.must("smoke")
	r.must("canary", "--steps", "100", "--soak", "1m")
	r.Fail(func(call, resource string) error {
		if call == "UpdateService" && resource == "sweep" {
			return status.Error(codes.PermissionDenied, "denied")
		}
		return nil
	})
	r.refused([]string{"give the command again"}, "promote")
	r.Fail(away())
	r.has("createpayment", "N-3 100 stable, N-2 0 previous")
	r.has("sweep", "N-2 0 stable, N-3 100 canary")
	return r
}

// A release of which half is promoted goes back whole: the functions were tried together.
func TestAPromotionThatWasCutOffGoesBack(t *testing.T) {
	t.Parallel()
	r := halfPromoted(t)
	r.must("rollback")
	r.is("N-2 100 stable")
}

// The same, when one of them can't go back at first.
func TestARollbackOfHalfAPromotionIsGivenAgain(t *testing.T) {
	t.Parallel()
	r := halfPromoted(t)
	r.Fail(func(call, resource string) error {
		if call == "UpdateService" && resource == "createpayment" {
			return status.Error(codes.PermissionDenied, "denied")
		}
		return nil
	})
	r.refused([]string{"createpayment: ", "give scripts/rollout rollback --previous again"}, "rollback")
	r.has("getpayment", "N-2 100 stable")
	r.has("sweep", "N-2 100 stable")
	r.has("createpayment", "N-3 100 stable, N-2 0 previous")
	r.Fail(away())
	r.must("rollback", "--previous")
	r.is("N-2 100 stable")
}

// A release whose canaries are gone, as when another one has pinned meanwhile, does not
// end as if it were out.
func TestWithoutTheirTagsNewRevisionsAreNotOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	r.must("pin") // another build
	r.is("N-1 100 stable")
	want := []string{"getpayment-2", "tagged canary", "scripts/rollout smoke"}
	r.refused(want, "promote")
	r.refused(want, "promote", "--now")
	r.refused(want, "canary")
	r.is("N-1 100 stable")
	r.must("smoke")
	r.must("canary", "--soak", "1m")
	r.must("promote")
	r.is("N-2 100 stable, N-1 0 previous")
	r.must("promote") // again: there is nothing left
	r.must("canary")
}

// A canary that somebody gave everything by hand has not been promoted, and the release
// before it stays.
func TestACanaryMovedByHandIsNoPromotion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	r.must("promote", "--now")
	r.Deploy("getpayment", "getpayment-3", true)
	r.must("smoke")
	r.Shift("getpayment", target(stableTag, "getpayment-2", 0), target(canaryTag, "getpayment-3", 100), target(previousTag, "getpayment-1", 0))
	r.must("rollback")
	r.is("N-2 100 stable, N-1 0 previous")
}

// However it is carried on, all of it can be taken back afterwards.
func TestAPromotionThatWasCutOffKeepsTheWayBack(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][]string{
		"by canary": {"canary --steps 100 --soak 1m", "promote"},
		"at once":   {"promote --now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := halfPromoted(t)
			for _, c := range commands {
				r.must(strings.Fields(c)...)
			}
			r.is("N-3 100 stable, N-2 0 previous")
			r.must("rollback", "--previous")
			r.is("N-2 100 stable")
		})
	}
}

func TestPromoteNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.released()
	r.must("promote", "--now")
	r.is("N-2 100 stable, N-1 0 previous")
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
		if r.all("50 canary") {
			r.Shift("getpayment", target(stableTag, "getpayment-1", 100))
		}
	}
	r.refused([]string{"getpayment: the canary is gone", "rolled back"}, "canary")
	r.clock.waited = nil
	r.is("N-1 100 stable")
}

// Who rolls back between two steps is not overruled by the next.
func TestARollbackBetweenTwoSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.load(600)
	r.released()
	last := r.clock.Now().Add(settling + 10*time.Minute + lag) // when the first step is judged for good
	r.Fail(func(call, _ string) error {
		if call == "ListTimeSeries" && !r.clock.Now().Before(last) {
			r.Shift("getpayment", target(stableTag, "getpayment-1", 100))
		}
		return nil
	})
	r.refused([]string{"getpayment: the canary is gone", "rolled back"}, "canary", "--soak", "10m")
	r.is("N-1 100 stable")
	if more := r.clock.Now().Sub(last); more > judgedEvery {
		t.Errorf("it was found out %s later", more)
	}
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
	var polls atomic.Int64
	r.Fail(func(call, _ string) error { // its state can't be had for a while, and it is not run again for that
		if call == "GetOperation" && polls.Add(1) < 4 {
			return status.Error(codes.Unavailable, "away")
		}
		return nil
	})
	r.must("migrate")
	if n := r.Runs("migrate"); n != 2 {
		t.Errorf("it ran %d times", n)
	}
	r.Fail(away())
	r.AddJob("migrate", false)
	r.refused([]string{"job migrate failed", "no function has changed", "console.cloud.google.com/logs"}, "migrate")
	r.Fail(away("GetOperation"))
	r.refused([]string{"job migrate", "unavailable"}, "migrate")
	r.Fail(away())
	r.Stuck(true)
	r.refused([]string{"job migrate", "not done after 1h5m"}, "migrate")
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
