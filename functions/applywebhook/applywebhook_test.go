package applywebhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
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
