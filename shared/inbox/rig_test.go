package inbox

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const secret = "whsec_sim"

// rig is an inbox over a real database and Pub/Sub client, with the core and the
// simulated Stripe behind it. Webhooks are gathered, for the test to hand over.
type rig struct {
	*Inbox
	t      *testing.T
	clock  *clock.Clock
	pubsub *outboxtest.PubSub
	sim    *providersim.Stripe
	core   *payment.Service
	caller payment.Caller

	mu       sync.Mutex
	webhooks []webhook
}

type webhook struct {
	header http.Header
	body   []byte
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFrozen(time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC))
	r := &rig{t: t, clock: c, pubsub: outboxtest.NewPubSub(t)}
	receiver := httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(receiver.Close)
	r.sim = providersim.NewStripe(providersim.StripeConfig{
		Now: c.Now, SecretKeys: []string{"sk_test_sim"}, WebhookSecrets: []string{secret}, WebhookURL: receiver.URL,
	})
	api := httptest.NewServer(r.sim)
	t.Cleanup(api.Close)
	t.Cleanup(r.sim.Close)
	adapter, err := stripe.New(stripe.Config{SecretKey: "sk_test_sim", APIBase: api.URL}, stripe.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adapter.Close)

	pool, newID, log := pgtest.Pool(t), id.Source{Now: c.Now}.New, slog.New(slog.NewJSONHandler(io.Discard, nil))
	r.core = &payment.Service{
		Pool: pool, Now: c.Now, NewID: newID, Name: "test", Log: log,
		Providers: map[string]provider.Adapter{stripe.Name: adapter},
	}
	r.caller = payment.Caller{MerchantID: outboxtest.Merchant(t, pool, newID, c.Now()), KeyID: newID()}
	r.Inbox = &Inbox{
		Pool: pool, Topic: r.pubsub.Topics.ProviderEvents, Payments: r.core, Now: c.Now, NewID: newID, Log: log,
		Sources: map[string]Source{stripe.Name: {
			Verify: func(_ context.Context, h http.Header, body []byte, now time.Time) error {
				return stripe.Verify(h.Get(stripe.SignatureHeader), body, []telemetry.Secret{secret}, now)
			},
			Parse: adapter.ParseEvent,
		}},
	}
	return r
}

func (r *rig) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.webhooks = append(r.webhooks, webhook{req.Header, body})
	w.WriteHeader(http.StatusOK)
}

// pay makes a payment and returns what Stripe then told us about it.
func (r *rig) pay() []webhook {
	r.t.Helper()
	n := len(r.sent())
	_, err := r.core.Create(r.t.Context(), r.caller,
		idempotency.Request{MerchantID: r.caller.MerchantID, Key: r.NewID().String(), Method: "POST", Path: "/v1/payments"},
		payment.CreateParams{Amount: 5000, Currency: "JPY", PaymentMethod: "pm_card_visa"})
	if err != nil {
		r.t.Fatal(err)
	}
	sent := r.sent()[n:]
	if len(sent) == 0 {
		r.t.Fatal("Stripe sent nothing")
	}
	return sent
}

// sent waits until all webhooks are here.
func (r *rig) sent() []webhook {
	r.t.Helper()
	if err := r.sim.Quiesce(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.webhooks
}

// succeeded picks the event that says that the money moved.
func (r *rig) succeeded(sent []webhook) webhook {
	r.t.Helper()
	for _, w := range sent {
		if e, err := stripe.ParseEvent(w.body); err == nil && e.Type == "payment_intent.succeeded" {
			return w
		}
	}
	r.t.Fatal("Stripe did not say that the payment succeeded")
	return webhook{}
}

// ingest takes a webhook in and publishes it, as the function does.
func (r *rig) ingest(w webhook) {
	r.t.Helper()
	publish, err := r.Ingest(telemetry.WithRequestID(r.t.Context(), "req_ingest"), stripe.Name, w.header, w.body)
	if err != nil {
		r.t.Fatal(err)
	}
	if publish != nil {
		publish(r.t.Context())
	}
}

// kept is what a test looks at of a row.
type kept struct {
	id          id.ID
	state       string
	reason      string
	transaction id.ID
	tries       int
	due         *time.Time
}

func (r *rig) rows() []kept {
	r.t.Helper()
	rows, err := r.Pool.Query(r.t.Context(),
		`SELECT id, state, coalesce(reason, ''), transaction_id, tries, due_at FROM webhook_events ORDER BY id`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	var all []kept
	for rows.Next() {
		var k kept
		if err := rows.Scan(&k.id, &k.state, &k.reason, &k.transaction, &k.tries, &k.due); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, k)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// find is the row that is so. Rows of one instant are in no order.
func (r *rig) find(is func(kept) bool) kept {
	r.t.Helper()
	for _, k := range r.rows() {
		if is(k) {
			return k
		}
	}
	r.t.Fatalf("no such row among %+v", r.rows())
	return kept{}
}

// only is the one row there is.
func (r *rig) only() kept {
	r.t.Helper()
	all := r.rows()
	if len(all) != 1 {
		r.t.Fatalf("there are %d events", len(all))
	}
	return all[0]
}

func (r *rig) apply(event id.ID) {
	r.t.Helper()
	if err := r.Apply(r.t.Context(), event); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	if err := r.clock.Advance(r.t.Context(), d); err != nil {
		r.t.Fatal(err)
	}
}

// sweep publishes again what is due.
func (r *rig) sweep() int {
	r.t.Helper()
	n, err := r.DueAgain(r.t.Context(), 100)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// applyFunc is a core that a test makes up.
type applyFunc func(e provider.Event) (string, error)

func (f applyFunc) ApplyEvent(_ context.Context, _ string, e provider.Event, _ id.ID) (string, error) {
	return f(e)
}
