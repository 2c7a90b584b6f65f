package paypal_test

import (
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
	got := b.adapter.Find(b.t.Context(), provider.Query{
		Account: r.Account, PaymentID: r.PaymentID, Reference: reference, Since: b.now().Add(-time.Hour),
	})
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
