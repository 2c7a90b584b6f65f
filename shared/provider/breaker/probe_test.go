package breaker_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// Probes that hang are bad before they end.
func TestProbesThatHangOpenItAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand()
		b := instance(newLine(), h.now)
		calls(t, b, 10, failed)
		h.pass(61 * second)
		var under []breaker.Permit
		for range 3 {
			p, refused := b.Ask(t.Context())
			if refused != nil {
				t.Fatal(refused.Why)
			}
			under = append(under, p)
		}
		h.pass(5 * second)
		for i := range under {
			under[i] = under[i].Overdue(t.Context())
		}
		if _, refused := b.Ask(t.Context()); refused == nil || refused.RetryAfter < 50*second {
			t.Errorf("after three probes that hang: %+v", refused)
		}
		for _, p := range under { // what they come to is too late
			p.Done(t.Context(), ok, 20*second)
		}
		if _, refused := b.Ask(t.Context()); refused == nil {
			t.Error("closed by probes that were bad")
		}
	})
}

// halfOpen is a circuit that was opened a minute ago.
func halfOpen(t *testing.T, store control.Store, h *hand) {
	t.Helper()
	trip(t, instance(store, h.now))
	h.pass(time.Minute)
}

func TestAtMostFiveProbesAcrossAllInstances(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		halfOpen(t, l, h)
		all := instances(12, l, h.now)
		var mu sync.Mutex
		var probes []breaker.Permit
		var wg sync.WaitGroup
		for _, b := range all {
			for range 8 {
				wg.Go(func() {
					p, refused := b.Ask(t.Context())
					if refused != nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					probes = append(probes, p)
				})
			}
		}
		wg.Wait()
		for _, b := range all { // those who were in each other's way
			if p, refused := b.Ask(t.Context()); refused == nil {
				probes = append(probes, p)
			}
		}
		if len(probes) != 5 {
			t.Fatalf("%d probes, want 5", len(probes))
		}
		is(t, show(t, l), breaker.HalfOpen, 2)
		if r := refused(t, all[3]); r.RetryAfter != 5*second || !strings.Contains(r.Why, "10 of 10 calls failed") {
			t.Errorf("refused with %+v", r)
		}
		if ready, why := readyNow(t.Context(), all[3]); ready || why == "" {
			t.Errorf("ready %v %q with all places taken", ready, why)
		}
		for _, p := range probes { // at once, too
			wg.Go(func() { p.Done(t.Context(), ok, second) })
		}
		wg.Wait()
		is(t, show(t, l), breaker.Closed, 3)
		h.pass(2 * second)
		for _, b := range all {
			calls(t, b, 20, ok)
		}
	})
}

// A probe that found something out keeps its place: no round has more than five.
func TestARoundHasNoMoreThanFiveProbesThatTell(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		halfOpen(t, l, h)
		b := instance(l, h.now)
		call(t, b, ok, second)
		call(t, b, failed, second)
		call(t, b, ok, second)
		call(t, b, failed, second)
		last := allowed(t, b)
		refused(t, b)
		last.Done(t.Context(), breaker.Ignored, second) // told nothing
		last = allowed(t, b)
		refused(t, b)
		last.Done(t.Context(), ok, second)
		is(t, show(t, l), breaker.Closed, 3)
	})
}

func TestTheThirdBadProbeOpensItAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		halfOpen(t, l, h)
		b := instance(l, h.now)
		call(t, b, ok, second)
		call(t, b, failed, second)
		call(t, b, ok, 6*second) // slow
		is(t, show(t, l), breaker.HalfOpen, 2)
		h.pass(10 * second)
		call(t, b, failed, second)
		c := show(t, l)
		is(t, c, breaker.Open, 3)
		if !c.OpenedAt.Equal(h.now()) || c.Why != "3 of 4 probes failed" {
			t.Errorf("opened %+v", c)
		}
		h.pass(time.Minute - 1)
		refused(t, b)
		h.pass(1)
		calls(t, b, 3, ok)
		is(t, show(t, l), breaker.Closed, 5)
	})
}

func TestALeaseEndsWhenItsHolderDies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		halfOpen(t, l, h)
		dead := instance(l, h.now)
		var late []breaker.Permit
		for range 5 {
			late = append(late, allowed(t, dead))
		}
		b := instance(l, h.now)
		h.pass(30*second - 1)
		refused(t, b)
		h.pass(1)
		call(t, b, failed, second)
		// It was frozen, not dead. What it found is old by now.
		for _, p := range late {
			p.Done(t.Context(), ok, second)
		}
		c := show(t, l)
		is(t, c, breaker.HalfOpen, 2)
		if c.Successes != 0 || c.Failures != 1 || len(c.Probes) != 0 {
			t.Errorf("after late words: %+v", c)
		}
		calls(t, b, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
	})
}

func TestAProbeFailsAfterTheOthersClosedIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		halfOpen(t, l, h)
		one, other := instance(l, h.now), instance(l, h.now)
		late := []breaker.Permit{allowed(t, one), allowed(t, one)}
		calls(t, other, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
		for _, p := range late {
			p.Done(t.Context(), failed, second)
		}
		is(t, show(t, l), breaker.Closed, 3)
		h.pass(2 * second)
		calls(t, one, 9, failed) // the late ones are not among the ten
		is(t, show(t, l), breaker.Closed, 3)
		calls(t, one, 1, failed)
		is(t, show(t, l), breaker.Open, 4)
	})
}
