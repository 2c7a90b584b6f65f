package stripe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const webhookSecret = "whsec_bench"

// bench is an adapter before a simulated account, with a receiver of its webhooks.
type bench struct {
	t       *testing.T
	sim     *providersim.Stripe
	adapter *stripe.Adapter
	server  *httptest.Server

	mu     sync.Mutex
	at     time.Time
	events []provider.Event
	number byte // of the last id
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	b.sim = providersim.NewStripe(providersim.StripeConfig{
		Now: b.now, SecretKeys: []string{"sk_test_bench"}, WebhookSecrets: []string{webhookSecret},
	})
	t.Cleanup(b.sim.Close)
	server := httptest.NewServer(b.sim)
	b.server = server
	t.Cleanup(server.Close)
	receiver := httptest.NewServer(http.HandlerFunc(b.receive))
	t.Cleanup(receiver.Close)
	b.sim.SetWebhook(receiver.URL)

	adapter, err := stripe.New(stripe.Config{SecretKey: "sk_test_bench", APIBase: server.URL}, stripe.Options{
		Now: b.now, ConnectTimeout: time.Minute, ReadTimeout: time.Minute, // a busy machine is no timeout
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adapter.Close)
	b.adapter = adapter
	return b
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

// advance moves the clock once the webhooks under way have been taken, so that none
// arrives too old.
func (b *bench) advance(d time.Duration) {
	b.t.Helper()
	if err := b.sim.Quiesce(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.at = b.at.Add(d)
	b.mu.Unlock()
	b.sim.RunDue(b.t.Context())
}

// receive verifies and parses a webhook as ingestion does.
func (b *bench) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = stripe.Verify(r.Header.Get(stripe.SignatureHeader), body, []telemetry.Secret{webhookSecret}, b.now())
	}
	if err != nil {
		b.t.Errorf("webhook: %v", err)
	}
	e, err := b.adapter.ParseEvent(body)
	if err != nil {
		b.t.Errorf("webhook %s: %v", body, err)
	}
	b.mu.Lock()
	b.events = append(b.events, e)
	b.mu.Unlock()
}

// heard waits for the webhooks and returns the facts in them, for one payment.
func (b *bench) heard(payment id.ID) []provider.Fact {
	b.t.Helper()
	if err := b.sim.Quiesce(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var facts []provider.Fact
	for _, e := range b.events {
		if e.PaymentID == payment {
			facts = append(facts, e.Facts...)
		}
	}
	return facts
}

func (b *bench) newID() id.ID {
	b.number++
	return id.ID{0: 1, 15: b.number}
}

// authorization is the request for a new payment of 5000 yen.
func (b *bench) authorization(method string) provider.Request {
	return provider.Request{
		Step: provider.Authorize, Account: "test", MerchantID: b.newID(), PaymentID: b.newID(),
		Amount: money.New(5000, money.MustParseCurrency("JPY")), PaymentMethod: method,
	}
}

// follow is a later step of the payment that a result is about.
func follow(r provider.Request, made provider.Result, step provider.Step, minor int64) provider.Request {
	return provider.Request{
		Step: step, Account: r.Account, MerchantID: r.MerchantID, PaymentID: r.PaymentID, Reference: made.Reference,
		Amount: money.New(minor, r.Amount.Currency),
	}
}

func (b *bench) refundOf(r provider.Request, made provider.Result, minor int64) provider.Request {
	next := follow(r, made, provider.Refund, minor)
	next.RefundID = b.newID()
	return next
}

func (b *bench) attempt(r provider.Request) provider.Attempt {
	return provider.NewAttempt(b.newID(), 1, r, b.now())
}

func (b *bench) first(a provider.Attempt) provider.Result {
	b.t.Helper()
	call, err := provider.FirstCall(a)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.adapter.Execute(b.t.Context(), call)
}

func (b *bench) replay(a provider.Attempt) provider.Result {
	b.t.Helper()
	call, ok := provider.Replay(a, b.adapter.Capabilities(), b.now())
	if !ok {
		b.t.Fatal("the key window is closed")
	}
	return b.adapter.Execute(b.t.Context(), call)
}

// do makes a first call and expects its outcome and facts.
func (b *bench) do(r provider.Request, want provider.Outcome, facts string) provider.Result {
	b.t.Helper()
	got := b.first(b.attempt(r))
	b.expect(string(r.Step), got, want)
	if s := summary(got.Facts); s != facts {
		b.t.Errorf("%s: facts %q, want %q", r.Step, s, facts)
	}
	return got
}

func (b *bench) expect(what string, got provider.Result, want provider.Outcome) {
	b.t.Helper()
	if got.Outcome != want {
		b.t.Fatalf("%s: %s, want %s (status %d, %q, refusal %v)", what, got.Outcome, want, got.Evidence.Status, got.Evidence.Error, got.Refusal)
	}
}

func (b *bench) find(r provider.Request, reference string) []provider.Fact {
	b.t.Helper()
	got := b.adapter.Find(b.t.Context(), provider.Query{
		Account: r.Account, PaymentID: r.PaymentID, Reference: reference, Since: b.now().Add(-time.Hour),
	})
	if !got.Complete {
		b.t.Fatalf("the look-up is not complete: %s", got.Evidence.Error)
	}
	return got.Facts
}

// summary writes facts as "kind.state units", in their order.
func summary(facts []provider.Fact) string {
	var all []string
	for _, f := range facts {
		all = append(all, string(f.Kind)+"."+string(f.State)+" "+f.Amount.String())
	}
	return strings.Join(all, ", ")
}

const (
	authorized = "authorization.authorized JPY 5000"
	captured   = authorized + ", capture.succeeded JPY 5000"
)

func TestLife(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization("pm_card_visa")
	made := b.do(r, provider.Approved, authorized)
	if before := made.Facts[0].CaptureBefore; !before.Equal(b.now().AddDate(0, 0, 7)) {
		t.Errorf("capture before %v", before)
	}
	part := authorized + ", capture.succeeded JPY 3000"
	b.do(follow(r, made, provider.Capture, 3000), provider.Approved, part)
	b.do(b.refundOf(r, made, 1000), provider.Approved, "refund.succeeded JPY 1000")
	b.do(b.refundOf(r, made, 500), provider.Approved, "refund.succeeded JPY 500")
	tooMuch := b.do(b.refundOf(r, made, 1501), provider.Declined, "refund.failed JPY 1501")
	if tooMuch.Refusal.Code != "amount_not_accepted" {
		t.Errorf("refusal %+v", tooMuch.Refusal)
	}
	b.do(b.refundOf(r, made, 1500), provider.Approved, "refund.succeeded JPY 1500")

	// What the partial capture released is a refund to Stripe, but none to us.
	want := part + ", refund.succeeded JPY 1500, refund.succeeded JPY 500, refund.succeeded JPY 1000"
	byReference := b.find(r, made.Reference)
	if got := summary(byReference); got != want {
		t.Errorf("look-up: %s\nwant %s", got, want)
	}
	if got := summary(b.find(r, "")); got != want {
		t.Errorf("look-up by metadata: %s\nwant %s", got, want)
	}
	known := map[string]provider.Fact{}
	for _, f := range byReference {
		known[f.ObjectID] = f
	}
	heard := b.heard(r.PaymentID)
	if len(heard) < 6 {
		t.Errorf("webhooks told %d facts: %s", len(heard), summary(heard))
	}
	for _, f := range heard {
		if k, ok := known[f.ObjectID]; !ok || k.Kind != f.Kind || k.RefundID != f.RefundID || k.Rank() < f.Rank() {
			t.Errorf("a webhook told %+v, which the look-up does not know", f)
		}
	}
}

func TestAutomaticCaptureAndVoid(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization("pm_card_visa")
	r.AutoCapture = true
	made := b.do(r, provider.Approved, captured)
	refused := b.do(follow(r, made, provider.Void, 5000), provider.Declined, captured)
	if refused.Refusal.Code != "invalid_provider_state" {
		t.Errorf("refusal %+v", refused.Refusal)
	}

	r = b.authorization("pm_card_visa")
	made = b.do(r, provider.Approved, authorized)
	canceled := "authorization.canceled JPY 5000"
	b.do(follow(r, made, provider.Void, 5000), provider.Approved, canceled)
	b.do(follow(r, made, provider.Capture, 5000), provider.Declined, canceled)
	b.do(follow(r, made, provider.Void, 0), provider.Approved, canceled) // as an obligation does
	if got := summary(b.find(r, made.Reference)); got != canceled {
		t.Errorf("look-up: %s", got)
	}
}

func TestDeclines(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for method, code := range map[string]string{
		"pm_card_visa_chargeDeclined":                      "card_declined",
		"pm_card_visa_chargeDeclinedInsufficientFunds":     "insufficient_funds",
		"pm_card_visa_chargeDeclinedLostCard":              "lost_or_stolen_card",
		"pm_card_visa_chargeDeclinedStolenCard":            "lost_or_stolen_card",
		"pm_card_visa_chargeDeclinedFraudulent":            "suspected_fraud",
		"pm_card_visa_chargeDeclinedVelocityLimitExceeded": "limit_exceeded",
		"pm_card_chargeDeclinedExpiredCard":                "expired_card",
		"pm_card_chargeDeclinedIncorrectCvc":               "incorrect_cvc",
		"pm_card_chargeDeclinedProcessingError":            "processing_error",
	} {
		r := b.authorization(method)
		a := b.attempt(r)
		got := b.first(a)
		b.expect(method, got, provider.Declined)
		if got.Refusal.Code != code || !strings.HasPrefix(got.Reference, "pi_") || got.Facts[0].ObjectID != got.Reference {
			t.Errorf("%s: refusal %+v, reference %q, facts %+v", method, got.Refusal, got.Reference, got.Facts)
		}
		again := b.replay(a) // the stored answer carries the object
		b.expect(method+" again", again, provider.Declined)
		if !again.Evidence.Replayed || again.Refusal.Code != code {
			t.Errorf("%s, again: %+v", method, again.Refusal)
		}
		// The object that a decline leaves is canceled, so that nobody can confirm it.
		b.expect("void", b.first(b.attempt(follow(r, got, provider.Void, 0))), provider.Approved)
	}
	got := b.do(b.authorization("pm_card_unheard_of"), provider.Rejected, "authorization.failed JPY 5000")
	if got.Refusal.ProviderCode != "resource_missing" {
		t.Errorf("refusal %+v", got.Refusal)
	}
}

func TestThreeDSecure(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, success := range []bool{true, false} {
		r := b.authorization("pm_card_authenticationRequired")
		r.ReturnURL = "https://shop.example/back"
		made := b.do(r, provider.RequiresAction, "authorization.requires_action JPY 5000")
		next := made.Facts[0].NextAction
		if next == nil || next.Type != "redirect_to_url" || !strings.Contains(next.RedirectURL, made.Reference) {
			t.Fatalf("next action %+v", next)
		}
		if err := b.sim.CompleteAuthentication(made.Reference, success); err != nil {
			t.Fatal(err)
		}
		found := b.find(r, made.Reference)
		if success && summary(found) != authorized {
			t.Errorf("authenticated: %s", summary(found))
		}
		if !success && (summary(found) != "authorization.failed JPY 5000" || found[0].Refusal.Code != "authentication_failed") {
			t.Errorf("not authenticated: %s, %+v", summary(found), found[0].Refusal)
		}
	}
	r := b.authorization("pm_card_authenticationRequired") // without a way back
	if made := b.do(r, provider.RequiresAction, "authorization.requires_action JPY 5000"); made.Facts[0].NextAction != nil {
		t.Errorf("next action %+v", made.Facts[0].NextAction)
	}
}

func TestWhatTakesTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization("pm_sim_processing")
	made := b.do(r, provider.Pending, "authorization.pending JPY 5000")
	b.advance(10 * time.Minute)
	if got := summary(b.find(r, "")); got != authorized {
		t.Errorf("after processing: %s", got)
	}
	b.advance(7 * 24 * time.Hour)
	canceled := "authorization.canceled JPY 5000"
	b.do(follow(r, made, provider.Capture, 5000), provider.Declined, canceled)
	if got := b.heard(r.PaymentID); !strings.HasSuffix(summary(got), canceled) {
		t.Errorf("webhooks of an expiry: %s", summary(got))
	}

	for card, states := range map[string][2]provider.State{
		"pm_card_pendingRefund": {provider.StatePending, provider.StateSucceeded},
		"pm_card_refundFail":    {provider.StateSucceeded, provider.StateFailed},
	} {
		r := b.authorization(card)
		r.AutoCapture = true
		made := b.do(r, provider.Approved, captured)
		refund := b.first(b.attempt(b.refundOf(r, made, 5000)))
		if len(refund.Facts) != 1 || refund.Facts[0].State != states[0] {
			t.Errorf("%s: %s", card, summary(refund.Facts))
		}
		b.advance(10 * time.Minute)
		heard := b.heard(r.PaymentID)
		last := heard[len(heard)-1]
		if last.State != states[1] || last.Kind != provider.KindRefund || last.ObjectID != refund.Facts[0].ObjectID || last.Rank() <= refund.Facts[0].Rank() {
			t.Errorf("%s, later: %+v", card, last)
		}
		if last.State == provider.StateFailed && (last.Refusal == nil || last.Refusal.Code != "expired_card") {
			t.Errorf("%s: refusal %+v", card, last.Refusal)
		}
	}
}

// Whatever happens to one request, what it yields is what is proven, replaying it
// within the window never does it twice, and a look-up shows what was done.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  string
		want   provider.Outcome
		replay provider.Outcome
		done   int // what the simulator did, in the end
	}{
		{fault: "drop_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_before; silent", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_after; silent", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "500_before", want: provider.Unknown, replay: provider.Unknown, done: 0},
		{fault: "500_after", want: provider.Unknown, replay: provider.Unknown, done: 1},
		{fault: "409", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "429", want: provider.NotSent, replay: provider.Approved, done: 1},
		{fault: "html_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "html_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "html_after; status=404", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "bad_json", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "wrong_amount", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "late_drop", want: provider.Unknown, replay: provider.Unknown, done: 0},
		{fault: "late_500", want: provider.Unknown, replay: provider.Unknown, done: 0},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund} {
				r := b.authorization("pm_card_visa")
				r.AutoCapture = step == provider.Refund
				switch made := (provider.Result{}); step {
				case provider.Capture, provider.Void:
					made = b.do(r, provider.Approved, authorized)
					r = follow(r, made, step, 5000)
				case provider.Refund:
					made = b.do(r, provider.Approved, captured)
					r = b.refundOf(r, made, 5000)
				}
				b.strike(r, c.fault, c.want, c.replay, c.done)
			}
		})
	}
}

// strike makes a request that a fault befalls, replays it, and counts.
func (b *bench) strike(r provider.Request, text string, want, again provider.Outcome, done int) {
	b.t.Helper()
	fault, err := providersim.ParseFault(text)
	if err == nil {
		err = b.sim.Inject(providersim.Rule{Operation: providersim.Operation(r.Step), Fault: fault})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	a := b.attempt(r)
	got := b.first(a)
	b.expect(string(r.Step)+" under "+text, got, want)
	if len(got.Facts) > 0 {
		b.t.Errorf("%s: %s, but with facts %s", r.Step, got.Outcome, summary(got.Facts))
	}
	b.expect(string(r.Step)+", replayed", b.replay(a), again)
	b.count(r, done)
	if strings.HasPrefix(text, "late_") {
		b.advance(10 * time.Minute)
		b.count(r, 1)
	}
}

// count compares the simulator's effects with their number and with the look-up.
func (b *bench) count(r provider.Request, want int) {
	b.t.Helper()
	did := 0
	for _, e := range b.sim.EffectsFor("tollgate_payment", id.Payment.External(r.PaymentID)) {
		if string(e.Kind) == string(r.Step) {
			did++
		}
	}
	if did != want {
		b.t.Errorf("the simulator did %d times what was asked once (%s), want %d", did, r.Step, want)
	}
	shows := map[provider.Step]string{
		provider.Authorize: "authorization.authorized", provider.Capture: "capture.succeeded",
		provider.Void: "authorization.canceled", provider.Refund: "refund.succeeded",
	}[r.Step]
	if seen := strings.Count(summary(b.find(r, r.Reference)), shows); seen != want {
		b.t.Errorf("the look-up shows %s %d times, want %d", shows, seen, want)
	}
}

func TestHangingRequestsTimeOut(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	quick, err := stripe.New(stripe.Config{SecretKey: "sk_test_bench", APIBase: b.server.URL}, stripe.Options{
		Now: b.now, ConnectTimeout: time.Minute, ReadTimeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(quick.Close)
	for _, kind := range []providersim.FaultKind{providersim.HangBefore, providersim.HangAfter} {
		if err := b.sim.Inject(providersim.Rule{Operation: providersim.Authorize, Fault: providersim.Fault{Kind: kind}}); err != nil {
			t.Fatal(err)
		}
		a := b.attempt(b.authorization("pm_card_visa"))
		call, err := provider.FirstCall(a)
		if err != nil {
			t.Fatal(err)
		}
		got := quick.Execute(t.Context(), call)
		b.expect(string(kind), got, provider.Unknown)
		if !got.TimedOut {
			t.Errorf("%s: not timed out: %q", kind, got.Evidence.Error)
		}
		b.expect(string(kind)+", replayed", b.replay(a), provider.Approved)
		b.count(a.Request, 1)
	}
}
