package breaker_test

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

func TestAnOperatorsWordComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		b := instance(l, h.now)
		calls(t, b, 9, failed)
		force := func(mode breaker.Mode) {
			t.Helper()
			if err := breaker.Force(t.Context(), l, "stripe", mode, "ann", "a drill", h.now()); err != nil {
				t.Fatal(err)
			}
			h.pass(2 * second)
		}
		force(breaker.ForcedOpen)
		if r := refused(t, b); r.RetryAfter != time.Minute || r.Why != "forced open by an operator: a drill" {
			t.Errorf("refused with %+v", r)
		}
		h.pass(24 * time.Hour)
		refused(t, b)
		if ready, _ := readyNow(t.Context(), b); ready {
			t.Error("ready while forced open")
		}
		force(breaker.ForcedClosed)
		calls(t, b, 50, failed)
		c := show(t, l)
		is(t, c, breaker.Closed, 2)
		if f := c.Forced; f == nil || f.By != "ann" || f.Why != "a drill" || f.Mode != breaker.ForcedClosed || !f.At.Equal(h.now().Add(-2*second)) {
			t.Errorf("forced %+v", f)
		}
		if err := breaker.Reset(t.Context(), l, "stripe", "bob", "the drill is over", h.now()); err != nil {
			t.Fatal(err)
		}
		h.pass(2 * second)
		calls(t, b, 9, failed) // those of before are forgotten
		c = show(t, l)
		is(t, c, breaker.Closed, 3)
		if c.Forced != nil || c.LastReset == nil || c.LastReset.By != "bob" {
			t.Errorf("after the reset: %+v", c)
		}
		calls(t, b, 1, failed)
		is(t, show(t, l), breaker.Open, 4)
		if err := breaker.Reset(t.Context(), l, "stripe", "bob", "it is well", h.now()); err != nil {
			t.Fatal(err)
		}
		h.pass(2 * second)
		calls(t, b, 1, ok)
	})
}

func TestAResetForgetsWhatWasCountedAMomentAgo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		b := instance(l, h.now)
		calls(t, b, 9, failed)
		if err := breaker.Reset(t.Context(), l, "stripe", "ann", "it is well", h.now()); err != nil {
			t.Fatal(err)
		}
		h.pass(2 * second)
		calls(t, b, 9, failed)
		is(t, show(t, l), breaker.Closed, 1)
		calls(t, b, 1, failed)
		is(t, show(t, l), breaker.Open, 2)
	})
}

// What a probe of before says must not undo what an operator did.
func TestAProbeDoesNotUndoWhatAnOperatorForced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l := newHand(), newLine()
		halfOpen(t, l, h)
		b := instance(l, h.now)
		held := []breaker.Permit{allowed(t, b), allowed(t, b), allowed(t, b)}
		if err := breaker.Force(t.Context(), l, "stripe", breaker.ForcedOpen, "ann", "keep out", h.now()); err != nil {
			t.Fatal(err)
		}
		for _, p := range held {
			p.Done(t.Context(), ok, second)
		}
		refused(t, b)
		is(t, show(t, l), breaker.Closed, 3)
		if show(t, l).At(h.now()) != breaker.Open {
			t.Error("no longer forced open")
		}
	})
}

func TestOperatorsSayWhoAndWhy(t *testing.T) {
	t.Parallel()
	m := control.NewMemory()
	for _, err := range []error{
		breaker.Force(t.Context(), m, "stripe", breaker.ForcedOpen, "", "why", epoch),
		breaker.Force(t.Context(), m, "stripe", breaker.ForcedOpen, "ann", " ", epoch),
		breaker.Force(t.Context(), m, "stripe", "ajar", "ann", "why", epoch),
		breaker.Reset(t.Context(), m, "stripe", "ann", "", epoch),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
	is(t, show(t, m), breaker.Closed, 0)
}
