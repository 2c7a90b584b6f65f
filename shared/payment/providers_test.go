package payment

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
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
		w.wantEvents(p, EventRequiresAction, EventAuthorized, EventCaptured, EventRefundCreated, EventRefundSucceeded,
			EventRefundCreated, EventRefundSucceeded, EventRefunded)
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
func TestALateFailureOfATransfer(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	in := w.byBank()
	in.Amount = providersim.GoCardlessChargedBack
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), in)))
	if err := w.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"); err != nil {
		t.Fatal(err)
	}
	w.pass(3*time.Hour, 10*time.Minute)
	if got := w.get(p); got.Status != Captured {
		t.Fatalf("confirmed: %+v", got)
	}
	w.pass(48*time.Hour, time.Hour)
	w.hint(p, "bank")
	got := w.get(p)
	if got.DisputedAmount != in.Amount || got.RefundableAmount != 0 || got.ReconciliationStatus != ManualReview {
		t.Errorf("charged back: %+v", got)
	}
	if _, err := w.refundOf(p, minor(1)); !fault.Is(err, fault.AmountExceeds) {
		t.Errorf("a refund of money that is gone: %v", err)
	}
	if got := w.eventTypes(p); got[len(got)-1] != EventDisputed {
		t.Errorf("events: %v", got)
	}
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

// gate is an adapter behind limits that a test sets.
type gate struct {
	provider.Adapter
	full, open bool
	asked      int
}

func (g *gate) Enter(ctx context.Context) (context.Context, func(), bool) {
	return ctx, func() {}, !g.full
}

func (g *gate) Ready(context.Context) (bool, string) {
	if g.open {
		return false, "circuit open"
	}
	return true, ""
}

func (g *gate) Execute(ctx context.Context, call provider.Call) provider.Result {
	if g.open {
		outcome := provider.NotSent
		if !call.First() {
			outcome = provider.Unknown
		}
		return provider.Result{Outcome: outcome, RetryAfter: time.Minute, Evidence: provider.Evidence{Error: "circuit open"}}
	}
	g.asked++
	return g.Adapter.Execute(ctx, call)
}

func (w *town) gated(name string) *gate {
	g := &gate{Adapter: w.Providers[name]}
	w.Providers[name] = g
	return g
}

func TestWhoTakesAPayment(t *testing.T) {
	t.Parallel()
	both := func(in CreateParams) CreateParams {
		in.Alternatives = []Alternative{{PaymentMethod: "paypal"}}
		return in
	}
	for name, c := range map[string]struct {
		in     func(CreateParams) CreateParams
		prefer []string
		ill    string
		want   string
		reason string
	}{
		"by the payment method":   {in: func(in CreateParams) CreateParams { return in }, want: "stripe", reason: routeMethod},
		"as named":                {in: func(in CreateParams) CreateParams { in.Provider = "stripe"; return in }, want: "stripe", reason: routeRequested},
		"in the request's order":  {in: both, want: "stripe", reason: routeOrder},
		"by preference":           {in: both, prefer: []string{"bank", "paypal"}, want: "paypal", reason: routePreferred},
		"as named, not preferred": {in: func(in CreateParams) CreateParams { in.Provider = "stripe"; return both(in) }, prefer: []string{"paypal"}, want: "stripe", reason: routeRequested},
		"by health":               {in: both, ill: "stripe", want: "paypal", reason: routeHealth},
		"by preference and health": {
			in: both, prefer: []string{"paypal"}, ill: "paypal", want: "stripe", reason: routeHealth,
		},
	} {
		w := newTown(t)
		if c.ill != "" {
			w.gated(c.ill).open = true
		}
		w.caller.Preference = c.prefer
		p := w.pay(c.in(w.params(Manual)))
		if p.Provider != c.want || p.Route.Reason != c.reason || p.Route.Candidates[0].Provider != c.want || p.Route.Candidates[0].State != Chosen {
			t.Errorf("%s: at %s by %+v", name, p.Provider, p.Route)
		}
		if got := w.get(p); got.Provider != c.want || got.Route == nil || got.Route.Reason != c.reason {
			t.Errorf("%s: read as %+v", name, got.Route)
		}
	}
}

func TestFailover(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	in := w.params(Manual)
	in.Alternatives = []Alternative{{PaymentMethod: "paypal"}}

	// Declined for a reason of the provider's own.
	in.PaymentMethod = "pm_card_chargeDeclinedProcessingError"
	p := w.pay(in)
	if p.Status != Pending || p.Provider != "paypal" || p.NextAction == nil || p.PaymentMethod != "paypal" || p.Route.Reason != routeFailover ||
		p.Route.Candidates[0].State != Declined || *p.Route.Candidates[0].Reason != "processing_error" || p.Failure != nil {
		t.Errorf("after a refusal of Stripe's own: %+v %+v", p, p.Route)
	}
	w.carryOn() // the declined object is let go of
	if n := w.count(`SELECT count(*) FROM obligations WHERE provider = 'stripe' AND kind = 'void' AND state = 'done'`); n != 1 {
		t.Errorf("%d obligations done at Stripe", n)
	}
	w.approve(p, providersim.PayPalApproves)
	w.hint(p, "paypal")
	w.carryOn()
	if p = w.get(p); p.Status != Authorized {
		t.Errorf("in the end: %+v", p)
	}
	w.wantDone(p, map[string]int{"paypal authorize": 1})

	// Provably not sent.
	stripe := w.gated("stripe")
	stripe.open = true
	in.PaymentMethod, in.Provider = "pm_card_visa", "stripe"
	in.Alternatives[0].PaymentMethod = "paypal"
	paypal := w.gated("paypal")
	paypal.open = true // so that the first stays first
	a := w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), in))
	if code, _ := problem(t, a); a.Status != http.StatusServiceUnavailable || code != string(fault.StripeUnavailable) || a.RetryAfter != time.Minute {
		t.Errorf("both away: %d %s, retry after %s", a.Status, a.Body, a.RetryAfter)
	}
	paypal.open = false
	w.pass(2*time.Minute, 10*time.Second)
	_, id := problem(t, a)
	if p = w.get(View{ID: id}); p.Provider != "paypal" || p.NextAction == nil || p.Route.Candidates[0].State != NotSent {
		t.Errorf("PayPal is back: %+v %+v", p, p.Route)
	}
	w.fold()
	w.gapless()
}

func problem(t *testing.T, a idempotency.Answer) (code, payment string) {
	t.Helper()
	u := decode[struct {
		Code      string `json:"code"`
		PaymentID string `json:"payment_id"`
	}](t, a)
	return u.Code, u.PaymentID
}

// Never on unknown, and never for a reason that is the payer's.
func TestNoFailover(t *testing.T) {
	t.Parallel()
	for _, kind := range []providersim.FaultKind{providersim.DropAfter, providersim.Error500Before, providersim.BadJSON, providersim.HTMLBefore, providersim.LateDrop} {
		w := newTown(t)
		w.inject(providersim.Authorize, kind)
		in := w.params(Manual)
		in.Alternatives = []Alternative{{PaymentMethod: "paypal"}}
		p := w.pay(in)
		w.pass(3*time.Hour, 5*time.Minute)
		w.pass(24*time.Hour, time.Hour)
		if p = w.get(p); p.Provider != "stripe" || p.Route.Candidates[1].State != Waiting {
			t.Errorf("%s: %+v %+v", kind, p, p.Route)
		}
	}
	w := newTown(t)
	in := w.params(Manual)
	in.PaymentMethod, in.Alternatives = "pm_card_chargeDeclinedInsufficientFunds", []Alternative{{PaymentMethod: "paypal"}}
	if p := w.pay(in); p.Provider != "stripe" || p.Status != Failed {
		t.Errorf("a payer without funds: %+v", p)
	}
}

// A success that turns up at the provider that was left is given back there, whatever
// became of the payment.
func TestALateSuccessAtTheProviderThatWasLeft(t *testing.T) {
	t.Parallel()
	for _, method := range []CaptureMethod{Manual, Automatic} {
		w := newTown(t)
		in := w.params(method)
		in.PaymentMethod, in.Alternatives = "pm_card_chargeDeclinedProcessingError", []Alternative{{PaymentMethod: "paypal"}}
		p := w.pay(in)
		if p.Provider != "paypal" {
			t.Fatalf("not failed over: %+v", p)
		}
		w.carryOn()
		// Stripe proves a success of the object that it had declined.
		late := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.params(method))))
		reference := *late.ProviderTransactionID
		facts := w.Providers["stripe"].Find(t.Context(), provider.Query{Account: "test", PaymentID: paymentID(t, late), Reference: reference, Since: epoch}).Facts
		for i := range facts {
			facts[i].PaymentID = id.ID{}
		}
		if _, err := w.ApplyEvent(t.Context(), "stripe", provider.Event{ID: "evt_late", PaymentID: paymentID(t, p), Reference: reference, Facts: facts}, w.NewID()); err != nil {
			t.Fatal(err)
		}
		kind := map[CaptureMethod]string{Manual: "void", Automatic: "refund"}[method]
		if n := w.count(`SELECT count(*) FROM obligations WHERE transaction_id = $1 AND provider = 'stripe' AND reference = $2 AND kind = $3 AND state = 'open'`,
			paymentID(t, p), reference, kind); n != 1 {
			t.Errorf("%s: %d obligations to %s", method, n, kind)
		}
		if got := w.get(p); got.Status != Pending || got.Provider != "paypal" || got.CapturedAmount != 0 || got.AuthorizedAmount != 0 {
			t.Errorf("%s: the payment moved: %+v", method, got)
		}
	}
}

func TestNothingIsClaimedThatCantBeTried(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	key := w.key("/v1/payments")
	p := w.state(w.must(w.Create(t.Context(), w.caller, key, w.params(Manual))))
	g := w.gated("stripe")
	g.full = true
	before := w.count(`SELECT count(*) FROM transaction_saga`)
	if _, err := w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.params(Manual)); !fault.Is(err, fault.ProviderBusy) {
		t.Errorf("create: %v", err)
	}
	if _, err := w.capture(p, nil); !fault.Is(err, fault.ProviderBusy) {
		t.Errorf("capture: %v", err)
	}
	if a := w.must(w.Create(t.Context(), w.caller, key, w.params(Manual))); !a.Replayed || a.Status != http.StatusCreated {
		t.Errorf("a repeat: %d, replayed %t", a.Status, a.Replayed)
	}
	if after := w.count(`SELECT count(*) FROM transaction_saga`); after != before {
		t.Errorf("%d operations were claimed", after-before)
	}
	g.full = false
	w.must(w.capture(p, nil))
}

// While a circuit is open every operation waits, and is carried out after.
func TestOperationsWaitForTheCircuit(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.pay(w.params(Manual))
	g := w.gated("stripe")
	g.open = true
	if got := w.state(w.must(w.capture(p, nil))); got.Status != Authorized || *got.PendingOperation != "capture" {
		t.Errorf("capture: %+v", got)
	}
	if due := w.strings(`SELECT state || ' ' || (due_at - $1::timestamptz)::text FROM transaction_saga WHERE state <> 'done'`, w.Now()); !slices.Equal(due, []string{"scheduled 00:01:00"}) {
		t.Errorf("it waits as %v", due)
	}
	g.open = false
	w.pass(2*time.Minute, 10*time.Second)
	if got := w.get(p); got.Status != Captured || g.asked != 1 {
		t.Errorf("after: %+v, asked %d times", got, g.asked)
	}
}

func TestRoutesThatCantBe(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	for name, c := range map[string]struct {
		change func(*CreateParams)
		field  string
	}{
		"no such form":               {func(in *CreateParams) { in.PaymentMethod = "4711" }, "payment_method"},
		"not of this provider":       {func(in *CreateParams) { in.Provider = "paypal" }, "payment_method"},
		"no such provider":           {func(in *CreateParams) { in.Provider = "adyen" }, "provider"},
		"no separate capture":        {func(in *CreateParams) { in.PaymentMethod, in.Currency = "bank_transfer", "GBP" }, "capture_method"},
		"a currency of another":      {func(in *CreateParams) { in.PaymentMethod, in.CaptureMethod = "bank_transfer", "automatic" }, "currency"},
		"an alternative to itself":   {func(in *CreateParams) { in.Alternatives = []Alternative{{PaymentMethod: "pm_card_amex"}} }, "alternatives[0].provider"},
		"an alternative of no form":  {func(in *CreateParams) { in.Alternatives = []Alternative{{PaymentMethod: "x"}} }, "alternatives[0].payment_method"},
		"too many alternatives":      {func(in *CreateParams) { in.Alternatives = make([]Alternative, 4) }, "alternatives"},
		"an alternative of nobody's": {func(in *CreateParams) { in.Alternatives = []Alternative{{"adyen", "x"}} }, "alternatives[0].provider"},
		"an alternative that can't": {func(in *CreateParams) {
			in.Currency, in.Alternatives = "GBP", []Alternative{{PaymentMethod: "bank_transfer"}}
		}, "capture_method"},
	} {
		in := w.params(Manual)
		c.change(&in)
		_, err := w.Create(t.Context(), w.caller, w.key("/v1/payments"), in)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if f := fault.As(err).Fields; len(f) == 0 || !slices.ContainsFunc(f, func(f fault.Field) bool { return f.Name == c.field }) {
			t.Errorf("%s: %v, want %s named", name, err, c.field)
		}
	}
	if n := w.count(`SELECT count(*) FROM transactions`); n > 0 {
		t.Errorf("%d payments", n)
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

// slowly is an adapter whose calls take their time, by the clock of the test.
type slowly struct {
	provider.Adapter
	takes func()
}

func (s *slowly) Execute(ctx context.Context, call provider.Call) provider.Result {
	s.takes()
	return s.Adapter.Execute(ctx, call)
}

// A request that has taken long leaves the next provider to a task, so that it is answered
// before its caller gives it up.
func TestASlowDeclineLeavesTheNextProviderToATask(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.Providers["stripe"] = &slowly{w.Providers["stripe"], func() {
		if err := w.clock.Advance(t.Context(), 6*time.Second); err != nil {
			t.Error(err)
		}
	}}
	in := w.params(Manual)
	in.PaymentMethod, in.Alternatives = "pm_card_chargeDeclinedProcessingError", []Alternative{{PaymentMethod: "paypal"}}
	a := w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), in))
	p := w.state(a)
	if a.Status != http.StatusAccepted || p.Status != Pending || p.Provider != "paypal" || p.NextAction != nil {
		t.Errorf("answered: %d %s", a.Status, a.Body)
	}
	if got := w.strings(`SELECT s.state || ' ' || s.provider || ' ' || a.unsent FROM transaction_saga s JOIN saga_attempts a ON a.saga_id = s.id AND a.number = 2`); !slices.Equal(got, []string{"scheduled paypal true"}) {
		t.Errorf("left as %v", got)
	}
	w.carryOn()
	if got := w.get(p); got.NextAction == nil {
		t.Errorf("carried on: %+v", got)
	}
	w.approve(w.get(p), providersim.PayPalApproves)
	w.pass(time.Hour, time.Minute)
	if got := w.get(p); got.Status != Authorized {
		t.Errorf("in the end: %+v", got)
	}
	w.wantDone(p, map[string]int{"paypal authorize": 1})
	w.fold()
}
