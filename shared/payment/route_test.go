package payment

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

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
	w.pass(time.Minute+returnWithin, 10*time.Second)
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
			facts[i].ObjectID += "_late" // its own: the other payment's was booked already
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
	// Not all that waits comes back in one instant.
	if early := w.strings(`SELECT state FROM transaction_saga WHERE state <> 'done' AND NOT (state = 'scheduled' AND due_at BETWEEN $1 AND $2)`,
		w.Now().Add(time.Minute), w.Now().Add(time.Minute+returnWithin)); len(early) != 0 {
		t.Errorf("it waits as %v", early)
	}
	g.open = false
	w.pass(time.Minute+returnWithin, 10*time.Second)
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

// What an outage held up does not come back in one instant.
func TestReturnIsSpread(t *testing.T) {
	t.Parallel()
	src := id.Source{Now: time.Now}
	var sum time.Duration
	seen := map[time.Duration]bool{}
	const n = 2000
	for range n {
		i := src.New()
		got := share(i, returnWithin)
		if got < 0 || got >= returnWithin || got != share(i, returnWithin) {
			t.Fatalf("%v of %v", got, returnWithin)
		}
		sum += got
		seen[got.Truncate(returnWithin/20)] = true
	}
	if mean := sum / n; mean < returnWithin*9/20 || mean > returnWithin*11/20 || len(seen) != 20 {
		t.Errorf("on average %v of %v, in %d parts of 20", mean, returnWithin, len(seen))
	}
}
