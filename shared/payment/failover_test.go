package payment

import (
	"context"
	"iter"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/saga"
)

// The process dies at each of its recovery points while a payment fails over, and once
// just after the failover is recorded, before the next provider is called.
func TestACrashWhileFailingOver(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]string{"declined": "pm_card_chargeDeclinedProcessingError", "not_sent": "pm_card_visa"} {
		w := newTown(t)
		g := w.gated("stripe")
		w.Providers["stripe"] = struct{ provider.Adapter }{g} // thought to be well
		in := w.params(Manual)
		in.PaymentMethod, in.Alternatives = method, []Alternative{{PaymentMethod: "paypal"}}
		died := []string{}
		for n := 0; len(died) == n; n++ {
			key := w.key("/v1/payments")
			done := make(chan struct{})
			g.open = name == "not_sent"
			go func() {
				defer close(done)
				dying, left := *w.Service, n
				dying.Hook = func(_ context.Context, point string) {
					if left--; left < 0 {
						died = append(died, point)
						runtime.Goexit()
					}
				}
				_, _ = dying.Create(t.Context(), w.caller, key, in)
			}()
			<-done
			g.open = false
			w.pass(2*time.Minute, 10*time.Second)
			p := w.state(w.must(w.Create(t.Context(), w.caller, key, in)))
			if p.NextAction != nil {
				w.approve(p, providersim.PayPalApproves)
				w.hint(p, "paypal")
				w.carryOn()
			}
			at := "paypal"
			if name == "not_sent" && n < 4 { // before the failover is recorded, Stripe may have been asked
				at = "stripe"
			}
			if got := w.get(p); got.Status != Authorized || got.Provider != at {
				t.Errorf("%s, after a death at %v: %s at %s", name, died, got.Status, got.Provider)
			}
			w.wantDone(p, map[string]int{at + " authorize": 1})
		}
		want := []string{PointClaiming, PointClaimed, PointCalled, PointRecording, PointRecorded, PointCalled, PointRecording, PointRecorded}
		if !slices.Equal(died, want) {
			t.Errorf("%s: it died at %v, want %v", name, died, want)
		}
		w.fold()
		w.gapless()
	}
}

// The lease runs out while the first provider is being called, and the worker that takes
// over moves the payment on. The late reply must not move it again.
func TestALeaseThatIsLostWhileFailingOver(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]*provider.Result{"declined": nil, "not sent": {Outcome: provider.NotSent}, "approved": {
		Outcome: provider.Approved, Reference: "pi_late", Facts: []provider.Fact{{
			Kind: provider.KindAuthorization, State: provider.StateAuthorized, ObjectID: "pi_late", Reference: "pi_late",
			Amount: money5000, Units: 5000, UnitCurrency: "jpy",
		}},
	}} {
		w := newTown(t)
		h := &hooked{Adapter: w.Providers["stripe"]}
		h.before = func(call provider.Call) *provider.Result {
			h.before = nil
			h.Adapter.Execute(t.Context(), call)
			if err := w.clock.Advance(t.Context(), saga.Lease); err != nil {
				t.Error(err)
			}
			w.carryOn()
			if late == nil {
				res := h.Adapter.Execute(t.Context(), call)
				return &res
			}
			return late
		}
		w.Providers["stripe"] = h
		in := w.params(Manual)
		in.PaymentMethod, in.Alternatives = "pm_card_chargeDeclinedProcessingError", []Alternative{{PaymentMethod: "paypal"}}
		a := w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), in))
		if p := w.state(a); a.Status != http.StatusAccepted || p.Provider != "paypal" || p.NextAction == nil || p.Status != Pending {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
		want := []string{"stripe declined", "paypal requires_action"}
		if got := w.strings(`SELECT provider || ' ' || outcome FROM saga_attempts ORDER BY number`); !slices.Equal(got, want) {
			t.Errorf("%s: attempts %v", name, got)
		}
		if n := w.count(`SELECT count(*) FROM obligations WHERE reference = 'pi_late' AND kind = 'void'`); n != 1 && name == "approved" {
			t.Errorf("%s: nothing is owed at Stripe", name)
		}
		w.fold()
	}
}

// What an operator wrote, and how our machines are called, is not for merchants.
func TestAMerchantIsNotToldWhyAProviderWasNotCalled(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	in := w.params(Manual)
	in.Alternatives = []Alternative{{PaymentMethod: "paypal"}}
	g := w.gated("stripe")
	g.open = true
	seen := []View{w.pay(in)} // put behind
	w.Providers["stripe"] = struct{ provider.Adapter }{g}
	seen = append(seen, w.pay(in)) // left
	for _, p := range seen {
		for _, c := range p.Route.Candidates {
			if c.Provider == "stripe" && deref(c.Reason) != "unavailable" || c.Provider == "paypal" && c.Reason != nil {
				t.Errorf("%s is %s, because %q", c.Provider, c.State, deref(c.Reason))
			}
		}
	}
	if n := w.count(`SELECT count(*) FROM transactions WHERE route::text LIKE '%circuit open%'`); n != 2 {
		t.Errorf("%d of 2 reasons are kept", n)
	}
}

// The provider's event that it declined comes before its reply does.
func TestADeclineThatIsToldTwice(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]provider.State{"declined": provider.StateFailed, "only made": provider.StatePending} {
		w := newTown(t)
		h := &hooked{Adapter: w.Providers["stripe"]}
		h.after = func(call provider.Call) {
			payment := call.Attempt().Request.PaymentID
			found := h.Find(t.Context(), provider.Query{Account: "test", PaymentID: payment, Since: epoch})
			for i := range found.Facts {
				found.Facts[i].State = state
			}
			if _, err := w.ApplyEvent(t.Context(), "stripe", provider.Event{ID: "evt_1", PaymentID: payment, Facts: found.Facts}, w.NewID()); err != nil {
				t.Error(err)
			}
		}
		w.Providers["stripe"] = h
		in := w.params(Manual)
		in.PaymentMethod, in.Alternatives = "pm_card_chargeDeclinedProcessingError", []Alternative{{PaymentMethod: "paypal"}}
		p := w.pay(in)
		if p.Status != Pending || p.Provider != "paypal" || p.NextAction == nil {
			t.Errorf("%s: %s at %s", name, p.Status, p.Provider)
		}
		w.carryOn()
		if got := w.strings(`SELECT kind || ' ' || provider || ' ' || state FROM obligations`); len(got) != 1 || got[0] != "void stripe done" {
			t.Errorf("%s: obligations %v", name, got)
		}
		w.fold()
		w.gapless()
	}
}

// What is heard of the provider that was left, in every order: money that is held there is
// owed, and what is over is not.
func TestEveryOrderOfNewsFromTheProviderThatWasLeft(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	in := w.params(Automatic)
	in.PaymentMethod, in.Alternatives = "pm_card_chargeDeclinedProcessingError", []Alternative{{PaymentMethod: "paypal"}}
	authorization := func(s provider.State) provider.Fact { return provider.Fact{Kind: provider.KindAuthorization, State: s} }
	moved := func(k provider.Kind, s provider.State) provider.Fact { return provider.Fact{Kind: k, State: s} }
	released := [][]provider.Fact{
		{authorization(provider.StatePending)}, {authorization(provider.StateAuthorized)}, {authorization(provider.StateCanceled)},
	}
	taken := [][]provider.Fact{
		{authorization(provider.StateAuthorized)},
		{authorization(provider.StateAuthorized), moved(provider.KindCapture, provider.StateSucceeded)},
		{moved(provider.KindRefund, provider.StateSucceeded)},
		{moved(provider.KindRefund, provider.StateFailed)},
	}
	for want, news := range map[string][][]provider.Fact{"": released, "refund": taken} {
		for order := range permutations(len(news)) {
			p := w.pay(in)
			object := w.NewID().String()
			for _, i := range order {
				e := provider.Event{ID: "evt", PaymentID: paymentID(t, p)}
				for _, f := range news[i] {
					f.ObjectID, f.Reference, f.PaymentID = string(f.Kind)+object, "pi_"+object, paymentID(t, p)
					f.Amount, f.Units, f.UnitCurrency = money5000, 5000, "jpy"
					if f.Kind == provider.KindAuthorization {
						f.ObjectID = f.Reference
					}
					e.Facts = append(e.Facts, f)
				}
				for range 2 { // every event comes twice
					if _, err := w.ApplyEvent(t.Context(), "stripe", e, w.NewID()); err != nil {
						t.Fatal(err)
					}
				}
			}
			open := w.strings(`SELECT kind FROM obligations WHERE reference = $1 AND state = 'open'`, "pi_"+object)
			if len(open) > 1 || len(open) == 1 && open[0] != want || len(open) == 0 && want != "" {
				t.Errorf("news in the order %v: %v is owed, want %q", order, open, want)
			}
			if got := w.get(p); got.Status != Pending || got.Provider != "paypal" || got.AuthorizedAmount+got.CapturedAmount+got.RefundedAmount != 0 ||
				got.ReconciliationStatus != Synced {
				t.Errorf("news in the order %v moved the payment: %+v", order, got)
			}
		}
	}
	w.fold()
	w.gapless()
}

var money5000 = money.Money{Minor: 5000, Currency: money.MustParseCurrency("JPY")}

// permutations are the orders of n things.
func permutations(n int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		var extend func(order []int) bool
		extend = func(order []int) bool {
			if len(order) == n {
				return yield(order)
			}
			for i := range n {
				if !slices.Contains(order, i) && !extend(append(slices.Clip(order), i)) {
					return false
				}
			}
			return true
		}
		extend(nil)
	}
}
