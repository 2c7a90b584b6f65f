package payment

import (
	"context"
	"net/http/httptest"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// finding lets a test stand between a look-up and what is made of it.
type finding struct {
	provider.Adapter
	after func()
}

func (f *finding) Find(ctx context.Context, q provider.Query) provider.Finding {
	found := f.Adapter.Find(ctx, q)
	if f.after != nil {
		f.after()
	}
	return found
}

func TestAnApprovedOrderIsCompletedWhateverBefallsIt(t *testing.T) {
	t.Parallel()
	for _, kind := range []providersim.FaultKind{
		providersim.DropBefore, providersim.DropAfter, providersim.Error500Before, providersim.Error500After, providersim.RateLimited,
		providersim.Conflict, providersim.HTMLBefore, providersim.HTMLAfter, providersim.BadJSON, providersim.LateError, providersim.LateDrop,
	} {
		w := newTown(t)
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Automatic))))
		w.approve(p, providersim.PayPalApproves)
		if err := w.paypal.Inject(providersim.Rule{Operation: providersim.Confirm, Times: 3, Fault: providersim.Fault{Kind: kind}}); err != nil {
			t.Fatal(err)
		}
		w.hint(p, "paypal")
		w.pass(2*time.Hour, time.Minute)
		if got := w.get(p); got.Status != Captured {
			t.Errorf("%s: %s, pending %v", kind, got.Status, deref(got.PendingOperation))
		}
		w.pass(30*time.Hour, time.Hour)
		w.wantDone(p, map[string]int{"paypal authorize": 1, "paypal capture": 1})
		if n := w.count(`SELECT count(*) FROM obligations`); n > 0 {
			t.Errorf("%s: %d obligations", kind, n)
		}
		w.fold()
	}
}

// PayPal forgets an order that was approved and not completed within its time.
func TestAnApprovedOrderThatIsForgotten(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]providersim.Operation{"all of PayPal is away": "*", "completing it fails": providersim.Confirm} {
		w := newTown(t)
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
		w.approve(p, providersim.PayPalApproves)
		w.hint(p, "paypal")
		if err := w.paypal.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Operation: op, Fault: providersim.Fault{Kind: providersim.HTMLBefore}}}}); err != nil {
			t.Fatal(err)
		}
		w.pass(4*time.Hour, 10*time.Minute)
		if err := w.paypal.SetPlan(providersim.Plan{}); err != nil {
			t.Fatal(err)
		}
		w.pass(36*time.Hour, time.Hour)
		if got := w.get(p); got.Status != Canceled || got.PendingOperation != nil {
			t.Errorf("%s: %s, pending %v", name, got.Status, deref(got.PendingOperation))
		}
		w.wantDone(p, nil)
	}
}

// The payer approves while a poll is under way that has just seen that they have not.
func TestAnApprovalThatCrossesAPoll(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
	w.pass(40*time.Minute, 10*time.Second) // polls are rare by now
	f := &finding{Adapter: w.Providers["paypal"]}
	f.after = func() {
		f.after = nil
		w.approve(p, providersim.PayPalApproves)
		w.hint(p, "paypal")
	}
	w.Providers["paypal"] = f
	for f.after != nil {
		w.pass(10*time.Second, 10*time.Second)
	}
	w.pass(time.Minute, 10*time.Second)
	if got := w.get(p); got.Status != Authorized {
		t.Errorf("a minute after the approval: %s, pending %v", got.Status, deref(got.PendingOperation))
	}
	w.wantDone(p, map[string]int{"paypal authorize": 1})
}

// What was charged back is gone, whatever becomes of a refund that was open then.
func TestARefundThatFailsAfterTheMoneyWasTakenBack(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	in := w.byBank()
	in.Amount = providersim.GoCardlessChargedBack
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), in)))
	if err := w.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"); err != nil {
		t.Fatal(err)
	}
	w.pass(3*time.Hour, 10*time.Minute)
	if err := w.bank.Inject(providersim.Rule{Operation: providersim.Refund, Times: 1000, Fault: providersim.Fault{Kind: providersim.DropBefore}}); err != nil {
		t.Fatal(err)
	}
	w.must(w.refundOf(p, minor(10)))
	w.pass(48*time.Hour, time.Hour)
	w.hint(p, "bank")
	w.pass(48*time.Hour, time.Hour)
	got := w.get(p)
	if r := (*got.Refunds)[0]; r.Status != RefundFailed || got.DisputedAmount != in.Amount || got.RefundableAmount != 0 {
		t.Errorf("the refund is %s, %d are disputed, %d refundable of %d", r.Status, got.DisputedAmount, got.RefundableAmount, in.Amount)
	}
	w.fold()
	w.gapless()
}

// A repeat is answered by what was done, whoever could take the payment now.
func TestARepeatAfterAProviderWasTakenAway(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	key := w.key("/v1/payments")
	first := w.must(w.Create(t.Context(), w.caller, key, w.byPayPal(Manual)))
	delete(w.Providers, "paypal")
	a, err := w.Create(t.Context(), w.caller, key, w.byPayPal(Manual))
	if err != nil || a.Status != first.Status || w.state(a).ID != w.state(first).ID {
		t.Errorf("%d %s %v", a.Status, a.Body, err)
	}
	if _, err := w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual)); err == nil {
		t.Error("a new payment by it was taken")
	}
}

// The billing request is made and its page is not, time and again.
func TestAPageThatIsSlowToCome(t *testing.T) {
	t.Parallel()
	for _, kind := range []providersim.FaultKind{providersim.DropBefore, providersim.Error500Before, providersim.HTMLBefore, providersim.BadJSON} {
		w := newTown(t)
		if err := w.bank.Inject(providersim.Rule{Operation: providersim.Confirm, Times: 3, Fault: providersim.Fault{Kind: kind}}); err != nil {
			t.Fatal(err)
		}
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byBank())))
		w.pass(10*time.Minute, 10*time.Second)
		if p = w.get(p); p.NextAction == nil {
			t.Errorf("%s: after ten minutes the payer can't be sent anywhere: %s, pending %v", kind, p.Status, deref(p.PendingOperation))
			continue
		}
		if err := w.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"); err != nil {
			t.Fatal(err)
		}
		w.pass(3*time.Hour, 10*time.Minute)
		if p = w.get(p); p.Status != Captured {
			t.Errorf("%s: %s", kind, p.Status)
		}
	}
}

func TestNobodyIsSentToPayWhatIsBeingCancelled(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
	if err := w.paypal.Inject(providersim.Rule{Operation: providersim.Retrieve, Times: 2, Fault: providersim.Fault{Kind: providersim.HTMLBefore}}); err != nil {
		t.Fatal(err)
	}
	a := w.must(w.cancel(p))
	for _, got := range []View{w.state(a), w.get(p)} {
		if got.Status != Pending || deref(got.PendingOperation) != "cancel" || got.NextAction != nil {
			t.Errorf("while it is being cancelled: %s, pending %v, next %+v", got.Status, deref(got.PendingOperation), got.NextAction)
		}
	}
	w.pass(10*time.Minute, 10*time.Second)
	if got := w.get(p); got.Status != Canceled {
		t.Errorf("in the end: %s", got.Status)
	}
}

// The payer authorizes the transfer while it is being cancelled.
func TestACancelThatComesTooLateForATransfer(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"by the merchant": 0, "given up": 30 * time.Hour} {
		w := newTown(t)
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byBank())))
		h := &hooked{Adapter: w.Providers["bank"]}
		h.before = func(call provider.Call) *provider.Result {
			if call.Attempt().Request.Step == provider.Void {
				h.before = nil
				if err := w.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		w.Providers["bank"] = h
		if after > 0 {
			w.pass(after, time.Hour)
		} else if got := w.state(w.must(w.cancel(p))); got.Status != Pending || deref(got.PendingOperation) != "cancel" {
			t.Errorf("%s: %s, pending %v", name, got.Status, deref(got.PendingOperation))
		}
		w.pass(6*time.Hour, 10*time.Minute)
		if got := w.get(p); got.Status != Captured || got.PendingOperation != nil {
			t.Errorf("%s: %s, pending %v", name, got.Status, deref(got.PendingOperation))
		}
		w.wantDone(p, map[string]int{"bank authorize": 1, "bank capture": 1})
		if n := w.count(`SELECT count(*) FROM obligations`); n > 0 {
			t.Errorf("%s: %d obligations", name, n)
		}
		w.fold()
	}
}

// The circuit is open when the payer has approved: the authorization waits, and can still
// be called off.
func TestACancelOfWhatThePayerHasApproved(t *testing.T) {
	t.Parallel()
	for _, cancelled := range []bool{true, false} {
		w := newTown(t)
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
		g := w.gated("paypal")
		g.open = true
		w.approve(p, providersim.PayPalApproves)
		w.hint(p, "paypal")
		w.carryOn()
		if got := w.strings(`SELECT kind || ' ' || state FROM transaction_saga WHERE state <> 'done'`); len(got) != 1 || got[0] != "authorize scheduled" {
			t.Fatalf("it waits as %v", got)
		}
		want, done := Authorized, map[string]int{"paypal authorize": 1}
		if cancelled {
			w.must(w.cancel(p))
			want, done = Canceled, nil
		}
		w.pass(20*time.Minute, time.Minute) // past expires_at, which is for what was never sent
		g.open = false
		w.pass(40*time.Minute, time.Minute)
		if got := w.get(p); got.Status != want || got.PendingOperation != nil {
			t.Errorf("%s, pending %v; want %s", got.Status, deref(got.PendingOperation), want)
		}
		w.wantDone(p, done)
	}
}

// Of several attempts only the one that was approved says so.
func TestOneAttemptIsApproved(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
	w.approve(p, providersim.PayPalApproves)
	w.hint(p, "paypal")
	w.carryOn()
	var got []string
	for _, a := range *w.get(p).Attempts {
		if a.ClosedAt == nil {
			t.Errorf("attempt %d is open", a.Number)
		}
		got = append(got, deref(a.Outcome))
	}
	if !slices.Equal(got, []string{"requires_action", "approved"}) {
		t.Errorf("the attempts were %v", got)
	}
}

// The payer approves in the moment in which they are given up; what is then asked of
// PayPal acts late.
func TestAnApprovalThatCrossesTheEndOfPatience(t *testing.T) {
	t.Parallel()
	for name, carried := range map[string]bool{"seen": false, "carried on": true} {
		w := newTown(t)
		w.paypal = longOrders(t, w)
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
		w.pass(payerPatience-time.Minute, time.Hour-time.Minute)
		w.pass(payerPatience-w.Now().Sub(p.CreatedAt), time.Minute)
		if got := w.get(p); got.Status != Pending {
			t.Fatalf("%s: too early: %s", name, got.Status)
		}
		sagaID := mustParse(t, w.strings(`SELECT id::text FROM transaction_saga`)[0])
		w.Hook = func(_ context.Context, point string) {
			if point != PointRecorded {
				return
			}
			w.Hook = nil
			w.approve(p, providersim.PayPalApproves)
			w.hint(p, "paypal")
			if err := w.paypal.Inject(providersim.Rule{Operation: providersim.Confirm, Fault: providersim.Fault{Kind: providersim.LateDrop}}); err != nil {
				t.Error(err)
			}
			if carried {
				if err := w.Resume(t.Context(), Wake{SagaID: sagaID, Try: -1}); err != nil {
					t.Error(err)
				}
			}
		}
		if err := w.ResumeNow(t.Context(), sagaID); err != nil {
			t.Fatal(err)
		}
		w.pass(8*time.Hour, 10*time.Minute)
		if got := w.get(p); got.Status != Authorized {
			t.Errorf("%s: %s, pending %v, %v", name, got.Status, deref(got.PendingOperation), w.did(p))
		}
		w.wantDone(p, map[string]int{"paypal authorize": 1})
	}
}

// longOrders puts a PayPal in place that remembers orders for days.
func longOrders(t *testing.T, w *town) *providersim.PayPal {
	t.Helper()
	sim := providersim.NewPayPal(providersim.PayPalConfig{Now: w.clock.Now, ClientID: "app", ClientSecret: "secret", OrderValid: 72 * time.Hour})
	t.Cleanup(sim.Close)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	adapter, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: "secret", APIBase: server.URL}, paypal.Options{Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adapter.Close)
	w.Providers["paypal"] = adapter
	return sim
}

// The payer authorizes a transfer unseen, and it takes its time: patience has ended, and the
// payment has not.
func TestAPaymentThatIsUnderWayAtTheEndOfPatience(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byBank())))
	for w.Now().Add(time.Hour).Before(p.CreatedAt.Add(payerPatience)) {
		w.pass(30*time.Minute, 30*time.Minute)
	}
	if err := w.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"); err != nil {
		t.Fatal(err)
	}
	if err := w.clock.Advance(t.Context(), 3*time.Hour); err != nil {
		t.Fatal(err)
	}
	w.carryOn() // the bank has not done anything yet, as its clock has not been run
	if got := w.get(p); deref(got.PendingOperation) != "authorize" {
		t.Errorf("under way: %s, pending %v", got.Status, deref(got.PendingOperation))
	}
	w.pass(3*time.Hour, 10*time.Minute)
	if got := w.get(p); got.Status != Captured {
		t.Errorf("in the end: %s", got.Status)
	}
	if n := w.count(`SELECT count(*) FROM transaction_saga WHERE kind = 'void'`); n > 0 {
		t.Errorf("%d voids", n)
	}
}
