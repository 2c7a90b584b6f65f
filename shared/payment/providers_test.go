package payment

import (
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// town is a rig with all three providers.
type town struct {
	*rig
	paypal *providersim.PayPal
	bank   *providersim.GoCardless
}

func newTown(t *testing.T) *town {
	t.Helper()
	r := newRig(t)
	w := &town{
		rig:    r,
		paypal: providersim.NewPayPal(providersim.PayPalConfig{Now: r.clock.Now, ClientID: "app", ClientSecret: "secret"}),
		bank:   providersim.NewGoCardless(providersim.GoCardlessConfig{Now: r.clock.Now, AccessTokens: []string{"token"}}),
	}
	t.Cleanup(w.paypal.Close)
	t.Cleanup(w.bank.Close)
	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	pp, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: "secret", APIBase: serve(w.paypal)}, paypal.Options{Now: r.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pp.Close)
	transfers, err := bank.New(bank.Config{AccessToken: "token", APIBase: serve(w.bank)}, bank.Options{Now: r.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transfers.Close)
	r.Providers["paypal"], r.Providers["bank"] = pp, transfers
	return w
}

func (w *town) byPayPal(method CaptureMethod) CreateParams {
	return CreateParams{
		Amount: 5000, Currency: "JPY", PaymentMethod: "paypal", CaptureMethod: string(method), ReturnURL: "https://shop.example/back",
	}
}

func (w *town) byBank() CreateParams {
	return CreateParams{Amount: 5000, Currency: "GBP", PaymentMethod: "bank_transfer", ReturnURL: "https://shop.example/back"}
}

// pass moves the clock on and does what falls due, at the providers too.
func (w *town) pass(d, step time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= step {
		w.rig.pass(step, step)
		w.paypal.RunDue(w.t.Context())
		w.bank.RunDue(w.t.Context())
		w.carryOn()
	}
}

// hint brings what PayPal or the bank would say of the payment: that there is news.
func (w *town) hint(p View, providerName string) {
	w.t.Helper()
	e := provider.Event{ID: "evt_hint", PaymentID: paymentID(w.t, p), LookUp: true}
	if _, err := w.ApplyEvent(w.t.Context(), providerName, e, w.NewID()); err != nil {
		w.t.Error(err)
	}
}

func (w *town) approve(p View, answer string) {
	w.t.Helper()
	if err := w.paypal.Approve(*p.ProviderTransactionID, answer); err != nil {
		w.t.Fatal(err)
	}
}

// did counts what providers really did about the payment.
func (w *town) did(p View) map[string]int {
	n := map[string]int{}
	for name, effects := range map[string][]providersim.Effect{
		"stripe": w.sim.EffectsFor("tollgate_payment", p.ID), "paypal": w.paypal.EffectsFor("invoice_id", p.ID),
		"bank": w.bank.EffectsFor("tollgate_payment", p.ID),
	} {
		for _, e := range effects {
			n[name+" "+string(e.Kind)]++
		}
	}
	return n
}

func (w *town) wantDone(p View, want map[string]int) {
	w.t.Helper()
	got := w.did(p)
	if len(got) != len(want) {
		w.t.Errorf("done at the providers: %v, want %v", got, want)
		return
	}
	for k, n := range want {
		if got[k] != n {
			w.t.Errorf("done at the providers: %v, want %v", got, want)
			return
		}
	}
}

func (w *town) state(a idempotency.Answer) View { return decode[View](w.t, a) }

func TestLifeOfAPayPalPayment(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} { // by the event, or by asking when it was lost
		w := newTown(t)
		a := w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual)))
		p := w.state(a)
		if a.Status != http.StatusAccepted || p.Status != Pending || p.NextAction == nil || p.Provider != "paypal" || *p.PaymentMethodType != "paypal" {
			t.Fatalf("created: %d %s", a.Status, a.Body)
		}
		w.approve(p, providersim.PayPalApproves)
		if told {
			w.hint(p, "paypal")
			if got := w.get(p); got.NextAction != nil {
				t.Errorf("the payer has approved, and is still asked: %+v", got)
			}
			w.carryOn() // due at once
		} else {
			w.pass(5*time.Minute, 10*time.Second)
		}
		if p = w.get(p); p.Status != Authorized || p.AuthorizedAmount != 5000 || p.CaptureBefore == nil {
			t.Fatalf("approved (told: %t): %+v", told, p)
		}
		if p = w.state(w.must(w.capture(p, minor(3000)))); p.Status != Captured {
			t.Fatalf("captured: %+v", p)
		}
		w.must(w.refundOf(p, minor(1000)))
		w.must(w.refundOf(p, nil))
		if p = w.get(p); p.Status != Refunded || p.RefundedAmount != 3000 {
			t.Errorf("in the end: %+v", p)
		}
		w.wantDone(p, map[string]int{"paypal authorize": 1, "paypal capture": 1, "paypal refund": 2})
		w.wantEvents(p, event.PaymentRequiresAction, event.PaymentAuthorized, event.PaymentCaptured, event.RefundCreated, event.RefundSucceeded,
			event.RefundCreated, event.RefundSucceeded, event.PaymentRefunded)
		w.fold()
		w.gapless()
	}
}

func TestAPayerWhoNeverComes(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	atPayPal := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Automatic))))
	atBank := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byBank())))
	w.pass(26*time.Hour, 30*time.Minute)
	for _, p := range []View{atPayPal, atBank} {
		if p = w.get(p); p.Status != Canceled || p.PendingOperation != nil {
			t.Errorf("%s, given up: %+v", p.Provider, p)
		}
		w.wantDone(p, nil)
	}
}

func TestAnApprovalThatIsLateOrDeclined(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]Status{
		providersim.PayPalDeclined: Failed, providersim.PayPalDenied: Failed, providersim.PayPalReview: Captured,
		providersim.PayPalReviewDenied: Failed, providersim.PayPalApproves: Captured,
	} {
		w := newTown(t)
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Automatic))))
		w.pass(2*time.Hour, 10*time.Minute)
		w.approve(p, answer)
		w.pass(4*time.Hour, 10*time.Minute)
		if got := w.get(p); got.Status != want {
			t.Errorf("%s: %+v", answer, got)
		}
		w.pass(30*time.Hour, time.Hour)
		if n := w.count(`SELECT count(*) FROM obligations WHERE state = 'open'`); n > 0 {
			t.Errorf("%s: %d open obligations", answer, n)
		}
	}
}

func TestLifeOfABankTransfer(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byBank()))
	p := w.state(a)
	if a.Status != http.StatusAccepted || p.NextAction == nil || p.Provider != "bank" || *p.PaymentMethodType != "bank_transfer" {
		t.Fatalf("created: %d %s", a.Status, a.Body)
	}
	if err := w.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"); err != nil {
		t.Fatal(err)
	}
	w.hint(p, "bank")
	if got := w.get(p); got.Status != Pending || got.NextAction != nil || got.PendingOperation == nil {
		t.Errorf("authorized by the payer: %+v", got)
	}
	if _, err := w.cancel(p); !fault.Is(err, fault.OperationInProgress) {
		t.Errorf("cancel of a transfer under way: %v", err)
	}
	w.pass(3*time.Hour, 10*time.Minute)
	if p = w.get(p); p.Status != Captured || p.CapturedAmount != 5000 {
		t.Fatalf("confirmed: %+v", p)
	}
	w.must(w.refundOf(p, minor(2000)))
	w.pass(time.Hour, 5*time.Minute)
	if p = w.get(p); p.RefundedAmount != 2000 || p.RefundableAmount != 3000 {
		t.Errorf("refunded: %+v", p)
	}
	w.wantDone(p, map[string]int{"bank authorize": 1, "bank capture": 1, "bank refund": 1})
	w.fold()
}

// A transfer that fails after it was confirmed: the money is gone, and can't be refunded.
// To the merchant it is a dispute that is lost at once.
func TestALateFailureOfATransfer(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.transferred(providersim.GoCardlessFailsLate)
	w.pass(48*time.Hour, time.Hour)
	w.hint(p, "bank")
	got := w.get(p)
	if got.DisputedAmount != p.Amount || got.RefundableAmount != 0 || got.ReconciliationStatus != Synced {
		t.Errorf("failed late: %+v", got)
	}
	if d := w.disputesOf(p); len(d) != 1 || d[0].Status != DisputeLost || deref(d[0].Reason) != "account_closed" {
		t.Errorf("failed late: %+v", d)
	}
	w.wantAccounts("failed late,", map[ledger.Account]int64{})
	if _, err := w.refundOf(p, minor(1)); !fault.Is(err, fault.AmountExceeds) {
		t.Errorf("a refund of money that is gone: %v", err)
	}
	if got := w.eventTypes(p); !slices.Equal(got[len(got)-3:], []string{event.DisputeOpened, event.PaymentDisputed, event.DisputeLost}) {
		t.Errorf("events: %v", got)
	}
	w.counted()
	w.fold()
}

func TestAHintThatIsNotConfirmedWaits(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
	w.approve(p, providersim.PayPalApproves)
	if err := w.paypal.Inject(providersim.Rule{Operation: providersim.Retrieve, Fault: providersim.Fault{Kind: providersim.HTMLBefore}}); err != nil {
		t.Fatal(err)
	}
	// What the event claims is never believed: here it claims a capture.
	e := provider.Event{ID: "evt_1", PaymentID: paymentID(t, p), LookUp: true, Facts: []provider.Fact{{
		Kind: provider.KindCapture, State: provider.StateSucceeded, ObjectID: "CAP", PaymentID: paymentID(t, p),
	}}}
	if _, err := w.ApplyEvent(t.Context(), "paypal", e, w.NewID()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("not confirmed: %v", err)
	}
	if _, err := w.ApplyEvent(t.Context(), "paypal", e, w.NewID()); err != nil {
		t.Error(err)
	}
	if got := w.get(p); got.Status != Pending || got.CapturedAmount != 0 {
		t.Errorf("by a claim alone: %+v", got)
	}
}

// However long the payer took: what is left to do is not put off as the polling was, and
// its task is not taken for one that is there already.
func TestAnApprovalStartsTheTriesAnew(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} {
		w := newTown(t)
		p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Manual))))
		w.pass(90*time.Minute, time.Minute)
		w.approve(p, providersim.PayPalApproves)
		g := w.gated("paypal")
		g.open = true // the circuit opens between the look-up and the authorization
		if told {
			w.hint(p, "paypal")
			if tries := w.strings(`SELECT tries::text FROM transaction_saga`); !slices.Equal(tries, []string{"0"}) {
				t.Errorf("told, with tries %v", tries)
			}
		}
		w.pass(time.Hour, time.Minute)
		g.open = false
		w.pass(5*time.Minute, 10*time.Second)
		if got := w.get(p); got.Status != Authorized {
			t.Errorf("told %t: %s, due %v", told, got.Status, w.strings(`SELECT state || ' ' || tries || ' ' || (due_at - $1::timestamptz)::text FROM transaction_saga`, w.Now()))
		}
	}
}
