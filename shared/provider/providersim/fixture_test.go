package providersim_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/balancetransaction"
	"github.com/stripe/stripe-go/v76/charge"
	"github.com/stripe/stripe-go/v76/event"
	"github.com/stripe/stripe-go/v76/paymentintent"
	"github.com/stripe/stripe-go/v76/refund"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

const (
	secretKey     = "sk_test_simulator"
	webhookSecret = "whsec_first"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Set(t time.Time) {
	c.mu.Lock()
	c.now = t
	c.mu.Unlock()
}

// bench is a simulator behind HTTP, Stripe's own client in front of it, and a
// receiver of its webhooks.
type bench struct {
	*providersim.Stripe
	t        testing.TB
	clock    *clock
	server   *httptest.Server
	http     *http.Client
	receiver *receiver

	intents      paymentintent.Client
	refunds      refund.Client
	charges      charge.Client
	transactions balancetransaction.Client
	events       event.Client
}

func newBench(t testing.TB, change ...func(*providersim.StripeConfig)) *bench {
	t.Helper()
	// Stripe's own check of signatures goes by the real clock, so start there; but never at
	// midnight to the second, when payouts are made.
	b := &bench{t: t, clock: &clock{now: time.Now().Truncate(time.Minute).Add(time.Second)}, receiver: newReceiver(t)}
	cfg := providersim.StripeConfig{
		Now: b.clock.Now, SecretKeys: []string{secretKey}, WebhookSecrets: []string{webhookSecret},
		WebhookURL: b.receiver.server.URL, Seed: 1,
	}
	for _, f := range change {
		f(&cfg)
	}
	b.Stripe = providersim.NewStripe(cfg)
	b.server = httptest.NewServer(b)
	b.http = b.server.Client()
	t.Cleanup(func() {
		b.Close()
		b.server.Close()
	})

	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(b.server.URL), HTTPClient: b.http,
		MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	b.intents = paymentintent.Client{B: backend, Key: secretKey}
	b.refunds = refund.Client{B: backend, Key: secretKey}
	b.charges = charge.Client{B: backend, Key: secretKey}
	b.transactions = balancetransaction.Client{B: backend, Key: secretKey}
	b.events = event.Client{B: backend, Key: secretKey}
	return b
}

// advance moves the clock, stopping wherever something is due, and lets the
// webhooks arrive.
func (b *bench) advance(d time.Duration) {
	b.t.Helper()
	end := b.clock.Now().Add(d)
	for {
		due, ok := b.NextDue()
		if !ok || due.After(end) {
			break
		}
		if due.After(b.clock.Now()) {
			b.clock.Set(due)
		}
		b.RunDue(context.Background())
		b.quiesce()
	}
	b.clock.Set(end)
}

func (b *bench) quiesce() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.Quiesce(ctx); err != nil {
		b.t.Fatalf("the simulator did not come to rest: %v", err)
	}
}

// payment is a create request for a card, without redirects.
func payment(amount int64, card string, change ...func(*stripe.PaymentIntentParams)) *stripe.PaymentIntentParams {
	p := &stripe.PaymentIntentParams{
		Amount: stripe.Int64(amount), Currency: stripe.String("jpy"), Confirm: stripe.Bool(true),
		PaymentMethod: stripe.String(card), PaymentMethodTypes: stripe.StringSlice([]string{"card"}),
		Metadata: map[string]string{"order": "17"},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func manual(p *stripe.PaymentIntentParams) { p.CaptureMethod = stripe.String("manual") }

func keyed(key string) func(*stripe.PaymentIntentParams) {
	return func(p *stripe.PaymentIntentParams) { p.SetIdempotencyKey(key) }
}

func faulty(fault string) func(*stripe.PaymentIntentParams) {
	return func(p *stripe.PaymentIntentParams) { p.Headers = http.Header{"Sim-Fault": {fault}} }
}

func (b *bench) create(p *stripe.PaymentIntentParams) *stripe.PaymentIntent {
	b.t.Helper()
	pi, err := b.intents.New(p)
	if err != nil {
		b.t.Fatalf("create: %v", err)
	}
	return pi
}

// wantError checks status and code of an error from Stripe.
func wantError(t testing.TB, err error, status int, code stripe.ErrorCode) *stripe.Error {
	t.Helper()
	e, ok := err.(*stripe.Error)
	if !ok {
		t.Fatalf("got %v, want a Stripe error %d %s", err, status, code)
	}
	if e.HTTPStatusCode != status || e.Code != code {
		t.Fatalf("got %d %q (%s), want %d %q", e.HTTPStatusCode, e.Code, e.Msg, status, code)
	}
	if e.RequestID == "" {
		t.Errorf("the error has no request id")
	}
	return e
}

func wantEqual[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// effects returns the kinds of the effects on the payments with order=17.
func (b *bench) effects() (kinds []string) {
	for _, e := range b.EffectsFor("order", "17") {
		kinds = append(kinds, string(e.Kind))
	}
	return kinds
}

// until waits for a condition.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// receiver is a webhook endpoint that verifies what it gets with Stripe's library.
type receiver struct {
	server *httptest.Server

	mu     sync.Mutex
	status int
	events []stripe.Event
	errs   []error
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{status: http.StatusOK}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	// The clock of these tests may be days ahead of the real one.
	ev, err := webhook.ConstructEventIgnoringTolerance(body, req.Header.Get("Stripe-Signature"), webhookSecret)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, err)
	}
	if r.status == http.StatusOK {
		r.events = append(r.events, ev)
	}
	w.WriteHeader(r.status)
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	r.status = status
	r.mu.Unlock()
}

// names returns the types of the events received so far.
func (r *receiver) names(t testing.TB) (names []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.errs {
		t.Errorf("webhook refused by Stripe's library: %v", err)
	}
	for _, e := range r.events {
		names = append(names, string(e.Type))
	}
	return names
}
