package breaker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider/breaker"
)

const (
	ok     = breaker.Succeeded
	failed = breaker.Failed
	second = time.Second
)

func TestHalfOfTheCallsFailingOpensIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			failed, ok, ignored int
			opens               bool
		}{
			{failed: 9, opens: false}, // too few to judge by
			{failed: 10, opens: true},
			{ok: 6, failed: 4, opens: false},
			{ok: 5, failed: 5, opens: true},
			{ok: 5, failed: 4, ignored: 50, opens: false},
			{ok: 50, failed: 49, opens: false},
			{ok: 50, failed: 50, opens: true},
		} {
			h := newHand()
			b := instance(nil, h.now)
			calls(t, b, c.ignored, breaker.Ignored)
			calls(t, b, c.ok, ok)
			calls(t, b, c.failed, failed)
			if ready, _ := readyNow(t.Context(), b); ready == c.opens {
				t.Errorf("%+v: ready is %v", c, ready)
			}
		}
	})
}

func TestMostCallsBeingSlowOpensIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			took  time.Duration
			slow  int
			opens bool
		}{
			{5*second + 1, 8, true},
			{5*second + 1, 7, false},
			{5 * second, 10, false},
		} {
			h := newHand()
			b := instance(nil, h.now)
			for i := range 10 {
				took := time.Millisecond
				if i >= 10-c.slow {
					took = c.took
				}
				call(t, b, ok, took)
			}
			if ready, _ := readyNow(t.Context(), b); ready == c.opens {
				t.Errorf("%+v: ready is %v", c, ready)
			}
		}
	})
}

func TestCallsThatHangOpenItBeforeTheyEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand()
		b := instance(nil, h.now)
		var under []breaker.Permit
		for range 10 {
			p, refused := b.Ask(t.Context())
			if refused != nil {
				t.Fatal(refused.Why)
			}
			under = append(under, p)
		}
		h.pass(5 * second)
		for i := range under {
			if ready, why := readyNow(t.Context(), b); !ready {
				t.Errorf("after %d: %s", i, why)
			}
			under[i] = under[i].Overdue(t.Context()).Overdue(t.Context()) // twice is once
		}
		if ready, why := readyNow(t.Context(), b); ready || !strings.Contains(why, "10 of 10 calls took longer") {
			t.Errorf("ready %t: %s", ready, why)
		}
		for _, p := range under {
			p.Done(t.Context(), failed, 13*second)
		}
	})
}

// Calls that hang may take every place, so that none is made that could be counted. What went well before grows old
// all the same.
func TestCallsThatHangOpenItWhenNoOthersAreMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand()
		b := instance(newLine(), h.now)
		calls(t, b, 60, ok)
		var under []breaker.Permit
		for range 12 {
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
		if ready, why := readyNow(t.Context(), b); !ready {
			t.Errorf("with 60 good calls 5 s ago: %s", why)
		}
		h.pass(5 * second)
		if shut := b.Shut(t.Context()); shut == nil || !strings.Contains(shut.Why, "12 of 12 calls took longer") {
			t.Errorf("10 s after the last good call: %+v", shut)
		}
	})
}

// Nine calls are too few, however often they are told of.
func TestACallIsCountedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand()
		b := instance(nil, h.now)
		for i := range 9 {
			p, _ := b.Ask(t.Context())
			p = p.Overdue(t.Context())
			verdict := ok
			if i == 0 {
				verdict = breaker.Ignored // its caller gave it up: it tells nothing
			}
			p.Done(t.Context(), verdict, 6*second)
		}
		call(t, b, ok, 6*second)
		if ready, why := readyNow(t.Context(), b); !ready {
			t.Errorf("opened by 9 calls: %s", why)
		}
		call(t, b, ok, 6*second)
		if ready, _ := readyNow(t.Context(), b); ready {
			t.Error("10 slow calls")
		}
	})
}

func TestAnOpenCircuitRefusesForAMinute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand()
		b := instance(nil, h.now)
		trip(t, b)
		h.pass(20 * second)
		r := refused(t, b)
		if r.RetryAfter != 40*second || r.Why != "10 of 10 calls failed within 10s" {
			t.Errorf("refused with %+v", r)
		}
		ready, why := readyNow(t.Context(), b)
		if ready || why != r.Why {
			t.Errorf("ready %v, %q", ready, why)
		}
		h.pass(40*second - 1)
		refused(t, b)
		h.pass(1)
		allowed(t, b)
	})
}

// A request reads memory and writes nothing, and a reading is fetched once a second at most.
func TestAClosedCircuitCostsNoRoundTrip(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		b := instance(l, h.now)
		calls(t, b, 1, ok)
		if n := l.reads.Load(); n != 1 {
			t.Fatalf("%d reads by the first call, want 1", n)
		}
		for range 500 {
			h.pass(second / 1000)
			call(t, b, ok, time.Millisecond)
			call(t, b, failed, time.Millisecond)
			call(t, b, ok, 6*second)
		}
		if reads, writes := l.reads.Load(), l.writes.Load(); reads != 1 || writes != 0 {
			t.Errorf("%d reads and %d writes by 1500 calls in half a second", reads, writes)
		}
	})
}

func TestATripIsSeenByAllWithinTwoSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		all := instances(20, l, h.now)
		for i, b := range all {
			if ready, why := readyNow(t.Context(), b); !ready {
				t.Fatalf("%d: %s", i, why)
			}
		}
		h.pass(300 * time.Millisecond)
		trip(t, all[0])
		is(t, show(t, l), breaker.Open, 1)
		refused(t, all[0])
		h.pass(1700 * time.Millisecond)
		for i, b := range all {
			if r := refused(t, b); r.RetryAfter != time.Minute-1700*time.Millisecond {
				t.Errorf("%d: refused with %+v", i, r)
			}
		}
		if n := l.writes.Load(); n != 1 {
			t.Errorf("%d writes, want one", n)
		}
	})
}

func TestTwoInstancesTripAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		one, other := instance(l, h.now), instance(l, h.now)
		calls(t, one, 9, failed)
		h.pass(100 * time.Millisecond)
		calls(t, other, 9, failed)
		last, first := allowed(t, one), allowed(t, other)
		first.Done(t.Context(), failed, second)
		before := show(t, l)
		h.pass(100 * time.Millisecond)
		last.Done(t.Context(), failed, second)
		c := show(t, l)
		is(t, c, breaker.Open, 1)
		if !c.OpenedAt.Equal(before.OpenedAt) || c.OpenedBy != before.OpenedBy {
			t.Errorf("the second trip changed %+v to %+v", before, c)
		}
		refused(t, one)
		refused(t, other)
		h.pass(time.Minute - 100*time.Millisecond) // after the first one's trip
		allowed(t, one)
	})
}

func TestACallFromBeforeTheCircuitOpenedCountsNoMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		b := instance(l, h.now)
		var old []breaker.Permit
		for range 30 {
			old = append(old, allowed(t, b))
		}
		for _, p := range old[:10] {
			p.Done(t.Context(), failed, second)
		}
		for _, p := range old[10:20] {
			p.Done(t.Context(), failed, second)
		}
		is(t, show(t, l), breaker.Open, 1)
		h.pass(time.Minute)
		calls(t, b, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
		for _, p := range old[20:] {
			p.Done(t.Context(), failed, second)
		}
		is(t, show(t, l), breaker.Closed, 3)
		calls(t, b, 9, failed) // nor does what was counted before
		is(t, show(t, l), breaker.Closed, 3)
	})
}

// An instance that was frozen while the circuit opened and closed must not open it by what it saw before.
func TestATripFromAPastGenerationIsNotListenedTo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		frozen, b := instance(l, h.now), instance(l, h.now)
		calls(t, frozen, 9, failed)
		last := allowed(t, frozen)
		halfOpen(t, l, h)
		calls(t, b, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
		for range 10 {
			last.Done(t.Context(), failed, second)
		}
		is(t, show(t, l), breaker.Closed, 3)
		call(t, frozen, ok, second)
	})
}

func TestClocksMayDifferByASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		ahead, behind := instance(l, h.skewed(second)), instance(l, h.skewed(-second))
		calls(t, behind, 1, ok)
		trip(t, ahead)
		h.pass(2 * second)
		if r := refused(t, behind); r.RetryAfter != 60*second {
			t.Errorf("refused with %+v", r)
		}
		h.pass(57 * second)
		refused(t, behind)
		refused(t, ahead)
		h.pass(second) // the minute is over by the clock that is ahead, a second early
		held := []breaker.Permit{allowed(t, ahead), allowed(t, ahead)}
		h.pass(2 * second)
		for range 3 {
			held = append(held, allowed(t, behind))
		}
		refused(t, behind)
		refused(t, ahead)
		h.pass(25 * second) // the longest call there is
		for _, p := range held[1:4] {
			p.Done(t.Context(), ok, second)
		}
		is(t, show(t, l), breaker.Closed, 3)
	})
}

func TestACircuitOpenedFarInTheFutureIsNotBelieved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		trip(t, instance(l, h.skewed(24*time.Hour)))
		b := instance(l, h.now)
		calls(t, b, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
	})
}

// readyNow tells whether a call would be allowed now, and if not, why not.
func readyNow(ctx context.Context, b *breaker.Breaker) (bool, string) {
	if shut := b.Shut(ctx); shut != nil {
		return false, shut.Why
	}
	return true, ""
}
