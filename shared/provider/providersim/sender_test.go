package providersim_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	const created, charged, done = "payment_intent.created", "charge.succeeded", "payment_intent.succeeded"
	for fault, want := range map[string]struct{ now, later []string }{
		"webhook_lose":                {[]string{charged, done}, nil},
		"webhook_duplicate; copies=2": {[]string{created, created, created, charged, done}, nil},
		"webhook_delay; for=5m":       {[]string{charged, done}, []string{created}},
		"webhook_reorder":             {[]string{charged, created, done}, nil},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			f, err := providersim.ParseFault(fault)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Event: created, Fault: f}}}); err != nil {
				t.Fatal(err)
			}
			b.create(payment(500, "pm_card_visa"))
			b.quiesce()
			if diff := cmp.Diff(want.now, b.receiver.names(t)); diff != "" {
				t.Errorf("at once (-want +got):\n%s", diff)
			}
			if _, ok := b.NextDue(); ok != (want.later != nil) {
				t.Errorf("something is still to be sent: %v", ok)
			}
			b.advance(time.Hour)
			if diff := cmp.Diff(append(want.now, want.later...), b.receiver.names(t)); diff != "" {
				t.Errorf("an hour later (-want +got):\n%s", diff)
			}
			it := b.events.List(nil)
			n := 0
			for it.Next() {
				n++
			}
			wantEqual(t, "events in the list, whatever was sent", n, 3)
		})
	}
}

func TestLastEventHeldBackIsSentAfterAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.SetPlan(providersim.Plan{Rules: []providersim.Rule{{
		Event: "payment_intent.succeeded", Fault: providersim.Fault{Kind: providersim.WebhookReorder, For: time.Minute},
	}}}); err != nil {
		t.Fatal(err)
	}
	b.create(payment(500, "pm_card_visa"))
	b.quiesce()
	wantEqual(t, "arrived at once", len(b.receiver.names(t)), 2)
	b.advance(time.Minute)
	wantEqual(t, "arrived in the end", len(b.receiver.names(t)), 3)
}

func TestWebhookFaultsByMetadata(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.SetPlan(providersim.Plan{Rules: []providersim.Rule{{
		Event: "payment_intent.*", Metadata: map[string]string{"order": "17"}, Fault: providersim.Fault{Kind: providersim.WebhookLose},
	}}}); err != nil {
		t.Fatal(err)
	}
	b.create(payment(500, "pm_card_visa"))
	b.quiesce()
	if diff := cmp.Diff([]string{"charge.succeeded"}, b.receiver.names(t)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
}

func TestWebhooksAreRetriedUntilTheyAreTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.receiver.answer(http.StatusServiceUnavailable)
	b.create(payment(500, "pm_card_visa"))
	b.quiesce()
	wantEqual(t, "failed attempts", b.Counters()["webhook.failed"], 3)
	b.advance(30 * time.Minute) // attempts after 1, 4 and 13 minutes
	wantEqual(t, "failed attempts", b.Counters()["webhook.failed"], 12)
	b.receiver.answer(http.StatusOK)
	b.advance(10 * time.Minute)
	wantEqual(t, "delivered", b.Counters()["webhook.delivered"], 3)
	if _, ok := b.NextDue(); ok {
		t.Errorf("delivered events are still to be retried")
	}
	b.receiver.names(t)
}

func TestWebhooksAreGivenUpAfterThreeDays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.receiver.answer(http.StatusServiceUnavailable)
	start := b.clock.Now()
	b.create(payment(500, "pm_card_visa"))
	b.quiesce()
	b.advance(60 * time.Hour)
	due, ok := b.NextDue()
	if !ok || due.Sub(start) > 72*time.Hour {
		t.Errorf("after 60 hours the next attempt is due at %v (%v)", due.Sub(start), ok)
	}
	b.advance(12 * time.Hour)
	wantEqual(t, "abandoned", b.Counters()["webhook.abandoned"], 3)
	if due, ok := b.NextDue(); ok {
		t.Errorf("an abandoned event is due at %v", due)
	}
}

func TestWebhooksAreSignedWithEverySecret(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var bodies [][]byte
	var signatures []string
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies, signatures = append(bodies, body), append(signatures, r.Header.Get("Stripe-Signature"))
	}))
	t.Cleanup(endpoint.Close)

	b := newBench(t, func(c *providersim.StripeConfig) { c.WebhookSecrets = []string{"whsec_old", "whsec_new"} })
	b.SetWebhook(endpoint.URL)
	b.create(payment(500, "pm_card_visa", keyed("k")))
	b.quiesce()
	mu.Lock()
	defer mu.Unlock()
	wantEqual(t, "events", len(bodies), 3)
	for i, body := range bodies {
		for _, secret := range []string{"whsec_old", "whsec_new"} {
			ev, err := webhook.ConstructEvent(body, signatures[i], secret) // tolerance included
			if err != nil {
				t.Fatalf("%s: %v", secret, err)
			}
			wantEqual(t, "live mode", ev.Livemode, false)
			wantEqual(t, "key", ev.Request.IdempotencyKey, "k")
			wantEqual(t, "request", strings.HasPrefix(ev.Request.ID, "req_"), true)
			wantEqual(t, "created", ev.Created, b.clock.Now().Unix())
		}
		if err := webhook.ValidatePayload(body, signatures[i], "whsec_other"); err == nil {
			t.Errorf("a foreign secret verifies")
		}
	}
}

func TestNoWebhooksWithoutAReceiver(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *providersim.StripeConfig) { c.WebhookURL = "" })
	b.create(payment(500, "pm_card_visa"))
	b.quiesce()
	b.SetWebhook(b.receiver.server.URL)
	b.create(payment(500, "pm_card_visa"))
	b.quiesce()
	wantEqual(t, "arrived", len(b.receiver.names(t)), 3)
}
