package paypal_test

import (
	"bytes"
	"crypto/x509"
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
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// bench is an adapter before a simulated account, with a receiver of its webhooks.
type bench struct {
	t        *testing.T
	sim      *providersim.PayPal
	adapter  *paypal.Adapter
	verifier *paypal.Verifier
	server   *httptest.Server

	mu     sync.Mutex
	at     time.Time
	events []provider.Event
	number byte // of the last id
}

const webhookID = "WH-BENCH"

var benchStart = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, at: benchStart}
	b.sim = providersim.NewPayPal(providersim.PayPalConfig{
		Now: b.now, ClientID: "app", ClientSecret: "secret", WebhookID: webhookID,
	})
	t.Cleanup(b.sim.Close)
	b.server = httptest.NewServer(b.sim)
	t.Cleanup(b.server.Close)
	receiver := httptest.NewServer(http.HandlerFunc(b.receive))
	t.Cleanup(receiver.Close)
	b.sim.SetWebhook(receiver.URL)
	b.adapter = b.newAdapter(time.Minute)
	b.verifier = b.newVerifier("offline")
	return b
}

func (b *bench) newAdapter(read time.Duration) *paypal.Adapter {
	b.t.Helper()
	a, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: "secret", APIBase: b.server.URL}, paypal.Options{
		Now: b.now, ConnectTimeout: time.Minute, ReadTimeout: read, // a busy machine is no timeout
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(a.Close)
	return a
}

func (b *bench) newVerifier(how string) *paypal.Verifier {
	b.t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b.sim.CA()) {
		b.t.Fatal("the simulator's CA is no PEM")
	}
	v, err := paypal.NewVerifier(paypal.WebhookConfig{WebhookID: webhookID, Verify: how, CertBase: b.server.URL}, paypal.VerifierOptions{
		Now: b.now, Roots: roots, API: b.adapter, ConnectTimeout: time.Minute, ReadTimeout: time.Minute,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(v.Close)
	return v
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

// advance moves the clock once the webhooks under way have been taken.
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
func (b *bench) receive(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = b.verifier.Verify(r.Context(), r.Header, body)
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

// heard waits for the webhooks and returns those of one payment.
func (b *bench) heard(payment id.ID) []provider.Event {
	b.t.Helper()
	if err := b.sim.Quiesce(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var events []provider.Event
	for _, e := range b.events {
		if e.PaymentID == payment {
			events = append(events, e)
		}
	}
	return events
}

// newID is as a UUIDv7: it has the time in it.
func (b *bench) newID() id.ID {
	b.number++
	return id.Source{Now: b.now, Read: func(p []byte) (int, error) {
		clear(p)
		p[len(p)-1] = b.number
		return len(p), nil
	}}.New()
}

// authorization is the request for a new payment of 5000 yen.
func (b *bench) authorization() provider.Request {
	return provider.Request{
		Step: provider.Authorize, Account: "sandbox", MerchantID: b.newID(), PaymentID: b.newID(),
		Amount: money.New(5000, money.MustParseCurrency("JPY")), PaymentMethod: paypal.PaymentMethod,
		ReturnURL: "https://shop.example/back", Description: "order 17",
	}
}

// follow is a later step of the payment that a result is about.
func follow(r provider.Request, reference string, step provider.Step, minor int64) provider.Request {
	return provider.Request{
		Step: step, Account: r.Account, MerchantID: r.MerchantID, PaymentID: r.PaymentID, Reference: reference,
		Amount: money.New(minor, r.Amount.Currency),
	}
}

func (b *bench) refundOf(r provider.Request, reference string, minor int64) provider.Request {
	next := follow(r, reference, provider.Refund, minor)
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
	got := b.adapter.Find(b.t.Context(), provider.Query{Account: r.Account, PaymentID: r.PaymentID, Reference: reference})
	if !got.Complete {
		b.t.Fatalf("the look-up is not complete: %s", got.Evidence.Error)
	}
	return got.Facts
}

// summary writes facts as "kind.state amount", in their order.
func summary(facts []provider.Fact) string {
	var all []string
	for _, f := range facts {
		all = append(all, string(f.Kind)+"."+string(f.State)+" "+f.Amount.String())
	}
	return strings.Join(all, ", ")
}

const (
	waiting    = "authorization.requires_action JPY 5000"
	authorized = "authorization.authorized JPY 5000"
	captured   = authorized + ", capture.succeeded JPY 5000"
	canceled   = "authorization.canceled JPY 5000"
)

// approved makes an order that its payer has answered, and returns its reference.
func (b *bench) approved(r provider.Request, answer string) string {
	b.t.Helper()
	made := b.do(r, provider.RequiresAction, waiting)
	if err := b.sim.Approve(made.Reference, answer); err != nil {
		b.t.Fatal(err)
	}
	return made.Reference
}

// authorized makes a payment that is authorized, or captured if that is asked for.
func (b *bench) authorized(r provider.Request, answer string) string {
	b.t.Helper()
	reference := b.approved(r, answer)
	next, want := r, authorized
	next.Reference = reference
	if r.AutoCapture {
		want = captured
	}
	b.do(next, provider.Approved, want)
	return reference
}

func TestLife(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	a := b.attempt(r)
	made := b.first(a)
	b.expect("create", made, provider.RequiresAction)
	next := made.Facts[0].NextAction
	if next == nil || next.Type != "redirect_to_url" || !strings.Contains(next.RedirectURL, made.Reference) {
		t.Fatalf("next action %+v", next)
	}
	b.expect("create again, before the payer", b.replay(a), provider.RequiresAction)
	noRedirect := *http.DefaultClient
	noRedirect.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := noRedirect.Get(next.RedirectURL + "?outcome=approve")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if back := resp.Header.Get("Location"); back != "https://shop.example/back?token="+made.Reference {
		t.Errorf("the payer comes back to %q", back)
	}
	if got := summary(b.find(r, made.Reference)); got != "authorization.pending JPY 5000" {
		t.Errorf("an approved order is %s", got)
	}
	done := b.replay(a) // the same attempt goes on where the payer left it
	b.expect("authorize", done, provider.Approved)
	if before := done.Facts[0].CaptureBefore; !before.Equal(b.now().AddDate(0, 0, 29)) {
		t.Errorf("capture before %v", before)
	}
	part := authorized + ", capture.succeeded JPY 3000"
	ref := made.Reference
	b.do(follow(r, ref, provider.Capture, 3000), provider.Approved, part)
	b.do(b.refundOf(r, ref, 1000), provider.Approved, "refund.succeeded JPY 1000")
	tooMuch := b.do(b.refundOf(r, ref, 2001), provider.Declined, "refund.failed JPY 2001")
	if tooMuch.Refusal.Code != "amount_not_accepted" {
		t.Errorf("refusal %+v", tooMuch.Refusal)
	}
	obliged := follow(r, ref, provider.Refund, 2000)
	obliged.ObligationID = b.newID()
	got := b.do(obliged, provider.Approved, "refund.succeeded JPY 2000")
	if f := got.Facts[0]; f.ObligationID != obliged.ObligationID || !f.RefundID.IsZero() || f.PaymentID != r.PaymentID {
		t.Errorf("the refund names %+v", f)
	}
	b.do(follow(r, ref, provider.Capture, 3000), provider.Approved, part+", refund.succeeded JPY 1000, refund.succeeded JPY 2000")
	again := b.do(follow(r, ref, provider.Capture, 2000), provider.Declined, part+", refund.succeeded JPY 1000, refund.succeeded JPY 2000")
	if again.Refusal.Code != "already_captured" {
		t.Errorf("refusal %+v", again.Refusal)
	}
	b.agree(r, ref)
}

// agree compares what webhooks told with what the look-up shows.
func (b *bench) agree(r provider.Request, reference string) {
	b.t.Helper()
	known := map[string]provider.Fact{}
	for _, f := range b.find(r, reference) {
		known[f.ObjectID] = f
	}
	events := b.heard(r.PaymentID)
	if len(events) < 4 {
		b.t.Errorf("%d events", len(events))
	}
	for _, e := range events {
		for _, f := range e.Facts {
			if k, ok := known[f.ObjectID]; !ok || k.Kind != f.Kind || k.RefundID != f.RefundID {
				b.t.Errorf("%s told %+v, which the look-up does not know", e.Type, f)
			}
		}
		if e.Reference == "" {
			e.Reference = reference // a refund's event does not name the order
		}
		confirmed, err := b.adapter.Confirm(b.t.Context(), e)
		if err != nil || len(confirmed.Facts) != len(known) {
			b.t.Errorf("confirm %s: %s, %v", e.Type, summary(confirmed.Facts), err)
		}
	}
}

func TestAutomaticCaptureAndVoid(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	r.AutoCapture = true
	ref := b.authorized(r, providersim.PayPalApproves)
	b.do(b.refundOf(r, ref, 5000), provider.Approved, "refund.succeeded JPY 5000")
	refused := b.first(b.attempt(follow(r, ref, provider.Void, 5000)))
	b.expect("void of what was captured", refused, provider.Declined)

	r = b.authorization()
	ref = b.authorized(r, providersim.PayPalApproves)
	b.do(follow(r, ref, provider.Void, 5000), provider.Approved, canceled)
	b.do(follow(r, ref, provider.Capture, 5000), provider.Declined, canceled)
	b.do(follow(r, ref, provider.Void, 0), provider.Approved, canceled) // as an obligation does
	b.do(b.refundOf(r, ref, 1), provider.Declined, "refund.failed JPY 1")
	if got := summary(b.find(r, ref)); got != canceled {
		t.Errorf("look-up: %s", got)
	}
}

// An order that nobody authorized holds nothing, whether PayPal remembers it or not.
func TestVoidOfWhatWasNeverAuthorized(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	made := b.do(r, provider.RequiresAction, waiting)
	b.do(follow(r, made.Reference, provider.Void, 0), provider.Approved, canceled)
	b.advance(3 * time.Hour)
	b.do(follow(r, made.Reference, provider.Void, 0), provider.Approved, "authorization.canceled JPY 0")
	b.do(follow(r, made.Reference, provider.Void, 5000), provider.Rejected, "")
	if got := b.find(r, made.Reference); len(got) > 0 {
		t.Errorf("a forgotten order is %s", summary(got))
	}
	if got := b.find(r, ""); len(got) > 0 {
		t.Errorf("no order is %s", summary(got))
	}
	late := r
	late.Reference = made.Reference
	b.do(late, provider.Declined, canceled)
}

func TestWhatBecomesOfAnApproval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer      string
		automatic   bool
		want        provider.Outcome
		facts, then string
		code        string
	}{
		{answer: providersim.PayPalDeclined, want: provider.Declined, facts: "authorization.failed JPY 5000", then: "authorization.pending JPY 5000", code: "card_declined"},
		{answer: providersim.PayPalDenied, want: provider.Declined, facts: "authorization.failed JPY 5000", then: "authorization.failed JPY 5000", code: "card_declined"},
		{answer: providersim.PayPalDenied, automatic: true, want: provider.Declined, facts: "authorization.failed JPY 5000, capture.failed JPY 5000", then: "authorization.failed JPY 5000, capture.failed JPY 5000", code: "card_declined"},
		{answer: providersim.PayPalReview, want: provider.Pending, facts: "authorization.pending JPY 5000", then: authorized},
		{answer: providersim.PayPalReview, automatic: true, want: provider.Pending, facts: "authorization.pending JPY 5000, capture.pending JPY 5000", then: captured},
		{answer: providersim.PayPalReviewDenied, want: provider.Pending, facts: "authorization.pending JPY 5000", then: "authorization.failed JPY 5000"},
	} {
		t.Run(c.answer, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := b.authorization()
			r.AutoCapture = c.automatic
			next := r
			next.Reference = b.approved(r, c.answer)
			got := b.do(next, c.want, c.facts)
			if c.code != "" && got.Refusal.Code != c.code {
				t.Errorf("refusal %+v", got.Refusal)
			}
			b.advance(10 * time.Minute)
			if found := summary(b.find(r, next.Reference)); found != c.then {
				t.Errorf("later: %s, want %s", found, c.then)
			}
			if c.want == provider.Declined { // as the core does, so that nobody can complete it
				b.expect("void", b.first(b.attempt(follow(r, next.Reference, provider.Void, 0))), provider.Approved)
			}
		})
	}
}

func TestRefundsThatTakeTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for answer, states := range map[string][2]provider.State{
		providersim.PayPalRefundPending: {provider.StatePending, provider.StateSucceeded},
		providersim.PayPalRefundFails:   {provider.StateSucceeded, provider.StateFailed},
	} {
		r := b.authorization()
		r.AutoCapture = true
		ref := b.authorized(r, answer)
		a := b.attempt(b.refundOf(r, ref, 5000))
		made := b.first(a)
		if len(made.Facts) != 1 || made.Facts[0].State != states[0] {
			t.Errorf("%s: %s", answer, summary(made.Facts))
		}
		b.advance(10 * time.Minute)
		found := b.find(r, ref)
		last := found[len(found)-1]
		if last.State != states[1] || last.ObjectID != made.Facts[0].ObjectID || last.Rank() <= made.Facts[0].Rank() {
			t.Errorf("%s, later: %+v", answer, last)
		}
		events := b.heard(r.PaymentID)
		if told := events[len(events)-1].Facts; len(told) != 1 || told[0].State != states[1] || told[0].ObjectID != last.ObjectID {
			t.Errorf("%s: the last event told %s", answer, summary(told))
		}
		if again := b.replay(a); len(again.Facts) != 1 || again.Facts[0].State != states[1] {
			t.Errorf("%s: a replay shows %s", answer, summary(again.Facts))
		}
	}
}

// After the honor period a capture authorizes anew first, and a replay of it captures the
// same authorization.
func TestHonorPeriodAndExpiry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	ref := b.authorized(r, providersim.PayPalApproves)
	b.advance(71 * time.Hour)
	early := b.attempt(follow(r, ref, provider.Capture, 5000))
	b.advance(2 * time.Hour)
	b.inject("capture", "drop_before")
	b.expect("a capture from before the period's end", b.replay(early), provider.Unknown)
	if n := b.sim.Counters()["reauthorize.requests"]; n != 0 {
		t.Errorf("it was authorized anew %d times", n)
	}
	late := b.attempt(follow(r, ref, provider.Capture, 5000))
	b.inject("capture", "drop_after")
	b.expect("a capture from after it", b.first(late), provider.Unknown)
	b.expect("replayed", b.replay(late), provider.Approved)
	if n := b.sim.Counters()["reauthorize.requests"]; n != 1 {
		t.Errorf("it was authorized anew %d times", n)
	}
	b.count(follow(r, ref, provider.Capture, 5000), 1)
	b.count(r, 1)

	r = b.authorization()
	ref = b.authorized(r, providersim.PayPalApproves)
	b.advance(29 * 24 * time.Hour)
	b.do(follow(r, ref, provider.Capture, 5000), provider.Declined, canceled)
	events := b.heard(r.PaymentID)
	if last := events[len(events)-1]; last.Type != "PAYMENT.AUTHORIZATION.VOIDED" || summary(last.Facts) != canceled || last.Facts[0].ObjectID != ref {
		t.Errorf("the last event of an expiry: %s, %s", last.Type, summary(last.Facts))
	}
}

func (b *bench) inject(op providersim.Operation, text string) {
	b.t.Helper()
	fault, err := providersim.ParseFault(text)
	if err == nil {
		err = b.sim.Inject(providersim.Rule{Operation: op, Fault: fault})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// Whatever happens to one request, what it yields is what is proven, replaying it within
// the window never does it twice, and a look-up shows what was done.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  string
		want   provider.Outcome
		replay provider.Outcome // Approved, or RequiresAction of an order
		done   int              // what the simulator did by then
	}{
		{fault: "drop_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_before; silent", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_after; silent", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "500_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "500_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "409", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "429", want: provider.NotSent, replay: provider.Approved, done: 1},
		{fault: "html_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "html_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "html_after; status=404", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "bad_json", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "wrong_amount", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "delay_before; for=1ms", want: provider.Approved, replay: provider.Approved, done: 1},
		{fault: "delay_after; for=1ms", want: provider.Approved, replay: provider.Approved, done: 1},
		{fault: "late_drop", want: provider.Unknown, replay: provider.Unknown, done: 0},
		{fault: "late_500", want: provider.Unknown, replay: provider.Unknown, done: 0},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.strikeCreate(c.fault, c.want, c.replay)
			for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund} {
				r, op := b.authorization(), providersim.Operation(step)
				r.AutoCapture = step == provider.Refund
				switch step {
				case provider.Authorize:
					r.Reference, op = b.approved(r, providersim.PayPalApproves), providersim.Confirm
				case provider.Refund:
					r = b.refundOf(r, b.authorized(r, providersim.PayPalApproves), 5000)
				default:
					r = follow(r, b.authorized(r, providersim.PayPalApproves), step, 5000)
				}
				b.strike(r, op, c.fault, c.want, c.replay, c.done)
			}
		})
	}
}

// strike makes a request that a fault befalls, replays it, and counts.
func (b *bench) strike(r provider.Request, op providersim.Operation, fault string, want, again provider.Outcome, done int) {
	b.t.Helper()
	b.inject(op, fault)
	a := b.attempt(r)
	got := b.first(a)
	b.expect(string(r.Step)+" under "+fault, got, want)
	if want != provider.Approved && len(got.Facts) > 0 {
		b.t.Errorf("%s: %s, but with facts %s", r.Step, got.Outcome, summary(got.Facts))
	}
	b.expect(string(r.Step)+", replayed", b.replay(a), again)
	b.count(r, done)
	if strings.HasPrefix(fault, "late_") {
		b.advance(10 * time.Minute)
		b.count(r, 1)
		b.expect(string(r.Step)+", replayed later", b.replay(a), provider.Approved)
		b.count(r, 1)
	}
}

// strikeCreate does the same to the making of an order, which moves nothing.
func (b *bench) strikeCreate(fault string, want, again provider.Outcome) {
	b.t.Helper()
	b.inject(providersim.Authorize, fault)
	asWaiting := map[provider.Outcome]provider.Outcome{provider.Approved: provider.RequiresAction}
	toOrder := func(o provider.Outcome) provider.Outcome {
		if other, ok := asWaiting[o]; ok {
			return other
		}
		return o
	}
	r := b.authorization()
	a := b.attempt(r)
	b.expect("create under "+fault, b.first(a), toOrder(want))
	got := b.replay(a)
	b.expect("create, replayed", got, toOrder(again))
	if strings.HasPrefix(fault, "late_") {
		b.advance(10 * time.Minute)
		got = b.replay(a)
		b.expect("create, replayed later", got, provider.RequiresAction)
	}
	if second := b.replay(a); second.Reference != got.Reference {
		b.t.Errorf("a replay made a second order: %s, %s", got.Reference, second.Reference)
	}
	if err := b.sim.Approve(got.Reference, providersim.PayPalApproves); err != nil {
		b.t.Fatal(err)
	}
	b.expect("authorize", b.replay(a), provider.Approved)
	b.expect("authorize again", b.replay(a), provider.Approved)
	b.count(r, 1)
}

// count compares the simulator's effects with their number and with the look-up.
func (b *bench) count(r provider.Request, want int) {
	b.t.Helper()
	did, order := 0, r.Reference
	for _, e := range b.sim.EffectsFor("invoice_id", id.Payment.External(r.PaymentID)) {
		order = e.Payment
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
	if seen := strings.Count(summary(b.find(r, order)), shows); seen != want {
		b.t.Errorf("the look-up shows %s %d times, want %d", shows, seen, want)
	}
}

// What befalls the reading of the order before a first call leaves it unsent.
func TestFaultsOfTheLookBeforehand(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"drop_before", "500_before", "429", "html_after", "html_before", "bad_json"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := b.authorization()
			capture := follow(r, b.authorized(r, providersim.PayPalApproves), provider.Capture, 5000)
			a := b.attempt(capture)
			b.inject(providersim.Retrieve, fault)
			b.expect("a first call", b.first(a), provider.NotSent)
			b.inject(providersim.Retrieve, fault)
			b.expect("a replay", b.replay(a), provider.Unknown)
			b.inject(providersim.Retrieve, fault)
			if got := b.adapter.Find(t.Context(), provider.Query{PaymentID: r.PaymentID, Reference: capture.Reference}); got.Complete {
				t.Errorf("the look-up is complete: %s", summary(got.Facts))
			}
			b.count(capture, 0)
			b.expect("at last", b.first(a), provider.Approved)
			b.count(capture, 1)
		})
	}
}

func TestHangingRequestsTimeOut(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, kind := range []string{"hang_before", "hang_after", "late_hang; for=1ms"} {
		r := b.authorization()
		capture := follow(r, b.authorized(r, providersim.PayPalApproves), provider.Capture, 5000)
		a := b.attempt(capture)
		call, err := provider.FirstCall(a)
		if err != nil {
			t.Fatal(err)
		}
		b.inject(providersim.Capture, kind)
		got := b.newAdapter(500*time.Millisecond).Execute(t.Context(), call)
		if got.Outcome == provider.NotSent { // a busy machine, at the look beforehand
			t.Fatalf("%s: not sent: %s", kind, got.Evidence.Error)
		}
		b.expect(kind, got, provider.Unknown)
		if !got.TimedOut {
			t.Errorf("%s: not timed out: %q", kind, got.Evidence.Error)
		}
		b.advance(time.Second)
		b.expect(kind+", replayed", b.replay(a), provider.Approved)
		b.count(capture, 1)
	}
}

// A token is used until it is about to expire, and one that PayPal no longer takes is
// replaced in mid-flight.
func TestTokens(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	ref := b.authorized(r, providersim.PayPalApproves)
	asked := func() int64 { return b.sim.Counters()["token.requests"] }
	if asked() != 1 {
		t.Errorf("%d tokens for three steps", asked())
	}
	b.advance(9*time.Hour - time.Minute)
	b.find(r, ref)
	if asked() != 2 {
		t.Errorf("%d tokens after one ran out", asked())
	}
	b.sim.ExpireTokens()
	b.do(follow(r, ref, provider.Capture, 5000), provider.Approved, captured)
	if asked() != 3 {
		t.Errorf("%d tokens after they were revoked", asked())
	}
	b.sim.ExpireTokens()
	b.inject(providersim.Token, "500_before")
	refund := b.attempt(b.refundOf(r, ref, 5000))
	b.expect("without a token", b.first(refund), provider.NotSent)
	b.inject(providersim.Token, "drop_before")
	b.expect("without a token, replayed", b.replay(refund), provider.Unknown)
	b.expect("with one", b.replay(refund), provider.Approved)

	wrong, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: "other", APIBase: b.server.URL}, paypal.Options{
		Now: b.now, ConnectTimeout: time.Minute, ReadTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wrong.Close)
	call, err := provider.FirstCall(b.attempt(b.authorization()))
	if err != nil {
		t.Fatal(err)
	}
	got := wrong.Execute(t.Context(), call)
	b.expect("with the wrong secret", got, provider.Rejected)
	if got.Refusal.Code != "provider_credentials" || len(got.Facts) != 1 {
		t.Errorf("refusal %+v, facts %s", got.Refusal, summary(got.Facts))
	}
}

// A second payment under an invoice_id that was paid is no decline.
func TestDuplicateInvoiceIsNoDecline(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	b.authorized(r, providersim.PayPalApproves)
	b.do(r, provider.Unknown, "") // another attempt of the same payment
}

func TestVerifyByAPI(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	byAPI := b.newVerifier("api")
	checked := make(chan error, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		checked <- byAPI.Verify(r.Context(), r.Header, body)
		checked <- byAPI.Verify(r.Context(), r.Header, bytes.Replace(body, []byte(`"1.0"`), []byte(`"1.1"`), 1))
	}))
	t.Cleanup(receiver.Close)
	b.sim.SetWebhook(receiver.URL)
	b.approved(b.authorization(), providersim.PayPalApproves)
	if err := <-checked; err != nil {
		t.Errorf("a true webhook: %v", err)
	}
	if err := <-checked; err == nil {
		t.Error("a webhook with another byte in it is taken for true")
	}
}
