package applywebhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestApply(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	p := w.Lost("automatic") // the money moved, and the reply was lost
	event := w.Store(w.Webhook(p, "payment_intent.succeeded"))
	message := outboxtest.Message{Data: `{"id":"` + event.String() + `"}`, Attributes: map[string]string{"request-id": "req_from_stripe"}}
	for range 3 { // Pub/Sub delivers at least once
		if rec := w.Push(h, message); rec.Code != http.StatusNoContent {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
	}
	var status, state, reason string
	var captured, events int
	err := w.Pool.QueryRow(t.Context(), `
		SELECT t.status, t.captured_minor, w.state, w.reason, (SELECT count(*) FROM events e WHERE e.transaction_id = t.id)
		FROM transactions t, webhook_events w WHERE w.id = $1`, event).Scan(&status, &captured, &state, &reason, &events)
	if err != nil {
		t.Fatal(err)
	}
	if status != "CAPTURED" || captured != 5000 || state != "applied" || !strings.Contains(reason, "applied") {
		t.Errorf("the payment is %s with %d captured, the event %s: %s", status, captured, state, reason)
	}
	if published := w.PubSub.Published(); len(published) != events || published[0].Attributes["type"] != "payment.captured" {
		t.Errorf("%d events, published %+v", events, published)
	}
	if !strings.Contains(w.Log.String(), `"request_id":"req_from_stripe"`) {
		t.Error("the log does not name the request that the event came with")
	}
}

// Events of disputes name the PaymentIntent and nothing of ours.
func TestADisputeIsApplied(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	p := w.Payment("automatic")
	intent := w.Text(`SELECT provider_transaction_id FROM transactions WHERE merchant_reference = $1`, p.Reference)
	dispute, err := w.Stripe.Dispute(providersim.Complaint{Payment: intent, AmountMinor: 2000})
	if err != nil {
		t.Fatal(err)
	}
	w.Advance(time.Minute)
	if err := w.Stripe.Decide(dispute, providersim.DisputeLost); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"charge.dispute.closed", "charge.dispute.funds_withdrawn", "charge.dispute.created"} { // out of order
		event := w.Store(w.Webhook(p, name))
		if rec := w.Push(h, outboxtest.Message{Data: `{"id":"` + event.String() + `"}`}); rec.Code != http.StatusNoContent {
			t.Fatalf("%s: got %d %s", name, rec.Code, rec.Body)
		}
	}
	got := w.Text(`SELECT string_agg(concat_ws(' ', d.status, d.amount_minor, d.reason, t.disputed_minor), ', ')
		FROM disputes d JOIN transactions t ON t.id = d.transaction_id WHERE d.provider_dispute_id = $1`, dispute)
	if got != "LOST 2000 fraudulent 2000" {
		t.Errorf("the dispute is %s", got)
	}
	told := w.Text(`SELECT string_agg(type, ' ' ORDER BY sequence) FROM events`)
	if told != "payment.captured dispute.opened payment.disputed dispute.lost" {
		t.Errorf("the merchant is told %s", told)
	}
}

func TestMessagesThatAreNoneOfOursEndInTheDeadLetters(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	for _, data := range []string{"", "{}", "x", `{"id":"1"}`, `{"id":"00000000-0000-0000-0000-000000000000"}`} {
		if rec := w.Push(h, outboxtest.Message{Data: data}); rec.Code != http.StatusInternalServerError {
			t.Errorf("%q: got %d", data, rec.Code)
		}
	}
	if rec := w.Push(h, outboxtest.Message{Data: `{"id":"` + w.Env.NewID().String() + `"}`}); rec.Code != http.StatusNoContent {
		t.Errorf("an event that is not there: got %d; no repetition mends that", rec.Code)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}")))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("without a token: got %d", rec.Code)
	}
}

func TestItNeedsCallers(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	delete(w.Config, "OIDC_CALLERS")
	if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), "OIDC_CALLERS") {
		t.Errorf("built for anybody: %v", err)
	}
}
