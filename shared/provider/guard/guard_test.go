package guard

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

func TestAnotherAccountIsNeverAsked(t *testing.T) {
	t.Parallel()
	f := approves()
	g := New(f, Options{Limits: someLimits(), Now: newFrozen().now})
	old := attempt(provider.Capture, "another")
	got := g.Execute(t.Context(), firstOf(t, old))
	if got.Outcome != provider.NotSent || !strings.Contains(got.Evidence.Error, `account "another"`) || got.Reference != "pi_1" || got.RetryAfter != 0 {
		t.Errorf("a first call: %+v", got)
	}
	if got := g.Execute(t.Context(), replayOf(t, old)); got.Outcome != provider.Unknown || len(got.Facts) != 0 {
		t.Errorf("a replay: %+v", got)
	}
	q := query()
	q.Account = "another"
	if got := g.Find(t.Context(), q); got.Complete || len(got.Facts) != 0 || !strings.Contains(got.Evidence.Error, "account") {
		t.Errorf("a look-up: %+v", got)
	}
	if n := f.calls.Load(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// What a guard holds back is not sent only if nothing of the attempt was sent before.
func TestAnOpenCircuitHoldsCallsBack(t *testing.T) {
	t.Parallel()
	clock, store, f := newFrozen(), control.NewMemory(), approves()
	g := New(f, Options{Limits: someLimits(), Now: clock.now, Breaker: breaker.New(breaker.Options{
		Provider: "fake", Store: store, Now: clock.now, NewID: id.Source{Now: clock.now}.New,
	})})
	if got := g.Execute(t.Context(), first(t, provider.Authorize)); got.Outcome != provider.Approved {
		t.Fatalf("closed: %+v", got)
	}
	if ready, why := g.Ready(t.Context()); !ready || why != "" {
		t.Errorf("closed: ready %t, %q", ready, why)
	}
	if err := breaker.Force(t.Context(), store, "fake", breaker.ForcedOpen, "op@example.com", "their incident 17", clock.now()); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute) // for the cached reading to be too old
	for name, c := range map[string]struct {
		call provider.Call
		want provider.Outcome
	}{
		"first":  {first(t, provider.Authorize), provider.NotSent},
		"replay": {replay(t, provider.Authorize), provider.Unknown},
	} {
		got := g.Execute(t.Context(), c.call)
		if got.Outcome != c.want || got.RetryAfter != time.Minute || got.TimedOut || !strings.Contains(got.Evidence.Error, "circuit is open") ||
			!strings.Contains(got.Evidence.Error, "their incident 17") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := g.Find(t.Context(), query()); got.Complete || !strings.Contains(got.Evidence.Error, "circuit is open") {
		t.Errorf("a look-up: %+v", got)
	}
	if ready, why := g.Ready(t.Context()); ready || !strings.Contains(why, "their incident 17") {
		t.Errorf("ready %t, %q", ready, why)
	}
	if n := f.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
	if free := cap(g.places) - len(g.places); free != DefaultConcurrency {
		t.Errorf("%d places are free", free)
	}
}

// Every operation has its own time, and one that is over counts as timed out, whatever
// the adapter made of it.
func TestEveryOperationHasItsTime(t *testing.T) {
	t.Parallel()
	limits := someLimits()
	limits.Timeouts = Timeouts{
		Connect: time.Second, Authorize: 2 * time.Second, Capture: 3 * time.Second, Void: 4 * time.Second,
		Refund: 5 * time.Second, LookUp: 6 * time.Second,
	}
	most := map[provider.Step]time.Duration{
		provider.Authorize: 3 * time.Second, provider.Capture: 4 * time.Second, provider.Void: 5 * time.Second, provider.Refund: 6 * time.Second,
	}
	synctest.Test(t, func(t *testing.T) {
		g := New(hangs(), Options{Limits: limits, Now: time.Now}) // the bubble's clock
		for _, step := range steps {
			began := time.Now()
			got := g.Execute(t.Context(), first(t, step))
			if took := time.Since(began); took != most[step] || got.Outcome != provider.Unknown || !got.TimedOut ||
				!strings.Contains(got.Evidence.Error, string(step)+": no answer within "+took.String()) {
				t.Errorf("%s: %v: %+v", step, took, got)
			}
		}
		began := time.Now()
		got := g.Find(t.Context(), query())
		if took := time.Since(began); took != 7*time.Second || got.Complete || !strings.Contains(got.Evidence.Error, "no answer within 7s") {
			t.Errorf("look-up: %v: %+v", took, got)
		}
		// A caller with less time than that is not kept waiting.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if g.Execute(ctx, first(t, provider.Refund)); time.Since(began) != time.Second {
			t.Errorf("a caller with a second waited %v", time.Since(began))
		}
	})
}

// A circuit opens for what hangs, and not for callers that lose patience.
func TestHangingOpensTheCircuit(t *testing.T) {
	t.Parallel()
	settings := breaker.Default()
	settings.Window = time.Hour // of which ten calls in a row that time out take some minutes
	for name, c := range map[string]struct {
		patience time.Duration
		opens    bool
	}{"callers wait": {time.Hour, true}, "callers go": {time.Second, false}} {
		synctest.Test(t, func(t *testing.T) {
			b := breaker.New(breaker.Options{Provider: "fake", Now: time.Now, NewID: id.Source{Now: time.Now}.New, Settings: settings})
			g := New(hangs(), Options{Limits: someLimits(), Now: time.Now, Breaker: b})
			for range settings.MinCalls {
				ctx, cancel := context.WithTimeout(t.Context(), c.patience)
				g.Execute(ctx, first(t, provider.Authorize))
				cancel()
			}
			if ready, why := g.Ready(t.Context()); ready == c.opens {
				t.Errorf("%s: ready %t, %q", name, ready, why)
			}
		})
	}
}

// Calls that hang open the circuit when they are slow, long before their time is up.
func TestHangingIsFoundOutBeforeItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{Provider: "fake", Now: time.Now, NewID: id.Source{Now: time.Now}.New})
		limits := someLimits()
		limits.Timeouts.Authorize, limits.Concurrency = 20*time.Second, 12
		g := New(hangs(), Options{Limits: limits, Now: time.Now, Breaker: b})
		began := time.Now()
		var under sync.WaitGroup
		for range 12 {
			under.Go(func() { g.Execute(t.Context(), first(t, provider.Authorize)) })
		}
		<-time.After(5*time.Second + time.Millisecond)
		synctest.Wait()
		if shut := b.Shut(t.Context()); shut == nil || time.Since(began) > 6*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), shut)
		}
		under.Wait()
	})
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	const timedOut = true
	for _, c := range []struct {
		name     string
		outcome  provider.Outcome
		status   int
		timedOut bool
		gone     bool
		want     breaker.Verdict
	}{
		{"approved", provider.Approved, 200, false, false, breaker.Succeeded},
		{"declined", provider.Declined, 402, false, false, breaker.Succeeded},
		{"requires action", provider.RequiresAction, 201, false, false, breaker.Succeeded},
		{"pending", provider.Pending, 200, false, false, breaker.Succeeded},
		{"rejected", provider.Rejected, 401, false, false, breaker.Succeeded},
		{"decided although the caller has gone", provider.Approved, 200, false, true, breaker.Succeeded},
		{"decided in the second request, after a time-out", provider.Approved, 200, timedOut, false, breaker.Succeeded},
		{"rejected here, before anything was sent", provider.Rejected, 0, false, false, breaker.Ignored},
		{"refused connection", provider.NotSent, 0, false, false, breaker.Failed},
		{"no connection in time", provider.NotSent, 0, timedOut, false, breaker.Failed},
		{"no reply in time", provider.Unknown, 0, timedOut, false, breaker.Failed},
		{"connection cut", provider.Unknown, 0, false, false, breaker.Failed},
		{"500", provider.Unknown, 500, false, false, breaker.Failed},
		{"503 before anything was sent", provider.NotSent, 503, false, false, breaker.Failed},
		{"a reply that can't be read", provider.Unknown, 200, false, false, breaker.Failed},
		{"a redirect", provider.Unknown, 302, false, false, breaker.Failed},
		{"429", provider.NotSent, 429, false, false, breaker.Ignored},
		{"429 to a replay", provider.Unknown, 429, false, false, breaker.Ignored},
		{"a replay refused as our mistake", provider.Unknown, 400, false, false, breaker.Ignored},
		{"a 4xx that broke off", provider.Unknown, 400, timedOut, false, breaker.Failed},
		{"the caller has gone", provider.Unknown, 0, false, true, breaker.Ignored},
		{"the caller has gone before it was sent", provider.NotSent, 0, timedOut, true, breaker.Ignored},
	} {
		e := ending{outcome: string(c.outcome), decided: decides(c.outcome), status: c.status, timedOut: c.timedOut}
		if got := verdictOf(e, c.gone); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestABulkheadHoldsAgainstACrowd(t *testing.T) {
	t.Parallel()
	limits := someLimits()
	limits.Concurrency = 3
	f := approves()
	entered, release := make(chan struct{}), make(chan struct{})
	approve := f.execute
	f.execute = func(ctx context.Context) provider.Result {
		entered <- struct{}{}
		<-release
		return approve(ctx)
	}
	g := New(f, Options{Limits: limits, Now: newFrozen().now})
	var within, outside sync.WaitGroup
	for range 3 {
		within.Go(func() {
			if got := g.Execute(t.Context(), first(t, provider.Authorize)); got.Outcome != provider.Approved {
				t.Errorf("inside: %+v", got)
			}
		})
		<-entered
	}
	for range 20 { // none of these waits, and none gets through
		outside.Go(func() {
			got := g.Execute(t.Context(), first(t, provider.Authorize))
			if got.Outcome != provider.NotSent || got.RetryAfter != time.Second || !strings.Contains(got.Evidence.Error, "all 3 places") {
				t.Errorf("outside: %+v", got)
			}
			if got := g.Execute(t.Context(), replay(t, provider.Authorize)); got.Outcome != provider.Unknown {
				t.Errorf("a replay outside: %+v", got)
			}
			if got := g.Find(t.Context(), query()); got.Complete || !strings.Contains(got.Evidence.Error, "all 3 places") {
				t.Errorf("a look-up outside: %+v", got)
			}
			if _, _, ok := g.Enter(t.Context()); ok {
				t.Error("entered")
			}
			if ready, why := g.Ready(t.Context()); ready || !strings.Contains(why, "all 3 places") {
				t.Errorf("ready %t, %q", ready, why)
			}
		})
	}
	outside.Wait()
	if n := f.calls.Load(); n != 3 {
		t.Errorf("%d calls", n)
	}
	close(release)
	within.Wait()

	// Then everybody at once, by all ways in.
	f.execute = approve
	for range 50 {
		outside.Go(func() { g.Execute(t.Context(), first(t, provider.Capture)) })
		outside.Go(func() { g.Find(t.Context(), query()) })
		outside.Go(func() {
			ctx, leave, _ := g.Enter(t.Context())
			g.Execute(ctx, first(t, provider.Refund))
			leave()
		})
	}
	outside.Wait()
	if most, taken := f.most.Load(), len(g.places); most > 3 || taken != 0 {
		t.Errorf("%d calls at a time; %d places are still taken", most, taken)
	}
}

// Calls that hang take all places and open the circuit. Who comes then hears of the circuit, and when it is worth
// coming again, not of places.
func TestOpenCircuitIsToldBeforeFullPlaces(t *testing.T) {
	t.Parallel()
	limits := someLimits()
	limits.Concurrency = 1
	clock := newFrozen()
	store := control.NewMemory()
	b := breaker.New(breaker.Options{Provider: "fake", Store: store, Now: clock.now, NewID: id.Source{Now: clock.now}.New})
	f := approves()
	g := New(f, Options{Limits: limits, Breaker: b, Now: clock.now})
	_, leave, ok := g.Enter(t.Context())
	if !ok {
		t.Fatal("the only place is taken")
	}
	defer leave()
	if _, _, ok := g.Enter(t.Context()); ok {
		t.Fatal("entered, full and with the circuit closed")
	}
	if err := breaker.Force(t.Context(), store, "fake", breaker.ForcedOpen, "ann", "their incident 17", clock.now()); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute) // past what was read
	inside, leaveNothing, ok := g.Enter(t.Context())
	if !ok {
		t.Error("not let in to hear of the open circuit")
	}
	got := g.Execute(inside, first(t, provider.Authorize))
	if got.Outcome != provider.NotSent || !strings.Contains(got.Evidence.Error, "their incident 17") || got.RetryAfter != time.Minute {
		t.Errorf("%+v", got)
	}
	leaveNothing()
	if len(g.places) != 1 || f.calls.Load() != 0 {
		t.Errorf("%d places taken, %d calls", len(g.places), f.calls.Load())
	}
}

func TestAPlaceIsForCallsOfItsContext(t *testing.T) {
	t.Parallel()
	limits := someLimits()
	limits.Concurrency = 1
	f, other := approves(), approves()
	other.name = "other"
	g, h := New(f, Options{Limits: limits, Now: newFrozen().now}), New(other, Options{Limits: limits, Now: newFrozen().now})
	ctx, leave, ok := g.Enter(t.Context())
	if !ok {
		t.Fatal("the only place is taken")
	}
	again, leaveAgain, ok := g.Enter(ctx)
	leaveAgain() // it took nothing, and frees nothing
	if ready, why := g.Ready(again); !ok || !ready {
		t.Errorf("inside: entered %t, ready %t, %q", ok, ready, why)
	}
	for range 2 { // one after the other, in the one place
		if got := g.Execute(again, first(t, provider.Authorize)); got.Outcome != provider.Approved {
			t.Errorf("inside: %+v", got)
		}
		if got := g.Find(again, query()); !got.Complete {
			t.Errorf("inside: %+v", got)
		}
	}
	if got := g.Execute(t.Context(), first(t, provider.Authorize)); got.Outcome != provider.NotSent {
		t.Errorf("outside: %+v", got)
	}
	// At another provider it is no place.
	_, leaveOther, ok := h.Enter(t.Context())
	if got := h.Execute(ctx, first(t, provider.Authorize)); !ok || got.Outcome != provider.NotSent {
		t.Errorf("at another: entered %t, %+v", ok, got)
	}
	leaveOther()
	// What outlives its place has none.
	leave()
	leave()
	taken, leaveTaken, ok := g.Enter(t.Context())
	if got := g.Execute(ctx, first(t, provider.Authorize)); !ok || got.Outcome != provider.NotSent {
		t.Errorf("with a place that was left: entered %t, %+v", ok, got)
	}
	if got := g.Execute(taken, first(t, provider.Authorize)); got.Outcome != provider.Approved {
		t.Errorf("in the new place: %+v", got)
	}
	leaveTaken()
	f.execute = func(context.Context) provider.Result { panic("an adapter's mistake") }
	func() {
		defer func() { _ = recover() }()
		g.Execute(t.Context(), first(t, provider.Authorize))
	}()
	if len(g.places) != 0 || len(h.places) != 0 {
		t.Errorf("places taken: %d and %d", len(g.places), len(h.places))
	}
}
