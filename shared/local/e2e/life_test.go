package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Lives that need no time to pass, side by side in one system that runs by itself.
func TestLives(t *testing.T) {
	t.Parallel()
	s := newStack(t, stack.Options{Run: true})
	for name, life := range map[string]func(*testing.T, *world){
		"Captured, and refunded in two parts": capturedAndRefunded,
		"Captured automatically":              automatic,
		"Canceled":                            canceled,
		"Declined":                            declined,
		"The payer authenticates":             authenticated,
		"The payer fails to authenticate":     notAuthenticated,
		"Canceled before the bank's page":     canceledTransfer,
		"A transfer can't wait for a capture": transferByHand,
		"The same request again":              repeated,
		"Another merchant's payment":          notTheirs,
		"Without a good key":                  notAuthorized,
		"Refused, and nothing happened":       refused,
		"Listed page by page":                 listed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			life(t, enter(t, s))
		})
	}
}

func capturedAndRefunded(t *testing.T, w *world) {
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", body{"merchant_reference": "order-17"}))
	if p.Status != "AUTHORIZED" || p.Authorized != 5000 {
		t.Fatal(p)
	}
	path := "/v1/payments/" + p.ID
	if c := w.post(http.StatusOK, path+"/capture", body{"amount": 3000}); c.Status != "CAPTURED" || c.Captured != 3000 {
		t.Error(c)
	}
	if r := w.post(http.StatusCreated, path+"/refund", body{"amount": 1000}); r.Status != "SUCCEEDED" || r.PaymentID != p.ID {
		t.Error(r)
	}
	if r := w.post(http.StatusCreated, path+"/refund", body{}); r.Status != "SUCCEEDED" || r.Amount != 2000 {
		t.Error(r)
	}
	w.wantEvents(p, "payment.authorized", "payment.captured", "refund.created", "refund.succeeded",
		"refund.created", "refund.succeeded", "payment.refunded")
	got := w.read(p)
	if got.Status != "REFUNDED" || got.Captured != 3000 || got.Refunded != 3000 || got.Refundable != 0 || len(got.Refunds) != 2 {
		t.Error(got)
	}
	if got.Sequence != 7 || len(got.Events) != 7 {
		t.Errorf("the payment's sequence is %d, and it has %d events", got.Sequence, len(got.Events))
	}
	w.wantEffects(p, map[string]int{"authorize": 1, "capture": 1, "refund": 2})
}

func automatic(t *testing.T, w *world) {
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", body{"capture_method": "automatic"}))
	if p.Status != "CAPTURED" || p.Captured != 5000 {
		t.Error(p)
	}
	w.wantEvents(p, "payment.captured")
	w.wantEffects(p, map[string]int{"authorize": 1, "capture": 1})
}

func canceled(t *testing.T, w *world) {
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	if c := w.post(http.StatusOK, "/v1/payments/"+p.ID+"/cancel", body{}); c.Status != "CANCELED" {
		t.Error(c)
	}
	if c := w.post(http.StatusConflict, "/v1/payments/"+p.ID+"/capture", body{}); c.Code != "invalid_state" {
		t.Error(c)
	}
	w.wantEvents(p, "payment.authorized", "payment.canceled")
	w.wantEffects(p, map[string]int{"authorize": 1, "void": 1})
}

func declined(t *testing.T, w *world) {
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa_chargeDeclinedInsufficientFunds", nil))
	if p.Status != "FAILED" || p.Failure == nil || p.Failure.Code != "insufficient_funds" {
		t.Error(p)
	}
	w.wantEvents(p, "payment.failed")
	w.wantEffects(p, map[string]int{})
}

// payer answers at the page that the payer is sent to.
func (w *world) payer(p answer, outcome string) {
	w.t.Helper()
	if p.Status != "PENDING" || p.NextAction == nil {
		w.t.Fatalf("nothing for the payer to do: %v", p)
	}
	a, err := shop.Visit(w.t.Context(), p.NextAction.RedirectURL, outcome)
	if err != nil {
		w.t.Fatal(err)
	}
	if back := a.Header.Get("Location"); a.Status != http.StatusSeeOther || !strings.HasPrefix(back, "https://shop.example/back?") {
		w.t.Errorf("the payer was sent to %q (%d %s)", back, a.Status, a.Body)
	}
}

func authenticated(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments",
		pay("pm_card_threeDSecureRequired", body{"return_url": "https://shop.example/back"}))
	w.wantEvents(p, "payment.requires_action")
	w.payer(p, "success")
	w.wantEvents(p, "payment.requires_action", "payment.authorized")
	if got := w.read(p); got.Status != "AUTHORIZED" || got.NextAction != nil {
		t.Error(got)
	}
	w.wantEffects(p, map[string]int{"authorize": 1})
}

func notAuthenticated(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments",
		pay("pm_card_threeDSecureRequired", body{"return_url": "https://shop.example/back"}))
	w.payer(p, "fail")
	w.wantEvents(p, "payment.requires_action", "payment.failed")
	if got := w.read(p); got.Status != "FAILED" {
		t.Error(got)
	}
	w.wantEffects(p, map[string]int{})
}

func repeated(t *testing.T, w *world) {
	key := shop.NewKey()
	first := w.parse(w.Post(t.Context(), "/v1/payments", key, pay("pm_card_visa", nil)))
	again := w.parse(w.Post(t.Context(), "/v1/payments", key, pay("pm_card_visa", nil)))
	if again.http.Status != http.StatusCreated || !bytes.Equal(first.http.Body, again.http.Body) ||
		again.http.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("first %v\nagain %v", first, again)
	}
	other := w.parse(w.Post(t.Context(), "/v1/payments", key, pay("pm_card_visa", body{"amount": 5001})))
	if other.http.Status != http.StatusUnprocessableEntity || other.Code != "idempotency_key_reused" {
		t.Errorf("another request under the same key: %v", other)
	}
	w.wantEvents(first, "payment.authorized")
	w.wantEffects(first, map[string]int{"authorize": 1})
}

func notTheirs(t *testing.T, w *world) {
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	stranger := enter(t, w.Stack)
	for _, a := range []answer{
		stranger.get(http.StatusNotFound, "/v1/payments/"+p.ID),
		stranger.post(http.StatusNotFound, "/v1/payments/"+p.ID+"/capture", body{}),
		stranger.post(http.StatusNotFound, "/v1/payments/"+p.ID+"/cancel", body{}),
		stranger.post(http.StatusNotFound, "/v1/payments/"+p.ID+"/refund", body{}),
	} {
		if a.Code != "not_found" {
			t.Error(a)
		}
	}
	w.wantEvents(p, "payment.authorized")
	if n := len(stranger.shop.Received()); n != 0 {
		t.Errorf("the stranger was told of %d events", n)
	}
	w.wantEffects(p, map[string]int{"authorize": 1})
}

func notAuthorized(t *testing.T, w *world) {
	other := w.APIKey[:len(w.APIKey)-1] + "A"
	if other == w.APIKey {
		other = w.APIKey[:len(w.APIKey)-1] + "B"
	}
	for name, key := range map[string]string{
		"none": "", "not one": "sk_x", "another's secret": other, "a gateway's own token": w.Tokens.Token("x@y", "z"),
	} {
		c := shop.Client{BaseURL: w.GatewayURL, APIKey: key}
		a := w.parse(c.Post(t.Context(), "/v1/payments", shop.NewKey(), pay("pm_card_visa", nil)))
		if a.http.Status != http.StatusUnauthorized || a.Code != "unauthenticated" {
			t.Errorf("%s: %v", name, a)
		}
	}
	if n := w.count(`SELECT count(*) FROM transactions WHERE merchant_id = $1`, w.merchantID); n != 0 {
		t.Errorf("%d payments", n)
	}
}

func refused(t *testing.T, w *world) {
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"not JSON":         {`{"amount":`, 400, "invalid_json"},
		"two documents":    {`{} {}`, 400, "invalid_json"},
		"an exponent":      {`{"amount":5e3,"currency":"JPY","payment_method":"pm_card_visa"}`, 400, "invalid_request"},
		"unknown member":   {`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","x":1}`, 400, "invalid_request"},
		"no such currency": {`{"amount":5000,"currency":"JPX","payment_method":"pm_card_visa"}`, 400, "invalid_request"},
		"a card number":    {`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","description":"4242 4242 4242 4242"}`, 400, "card_number_refused"},
		"too large":        {`{"description":"` + strings.Repeat("x", 65<<10) + `"}`, 413, "body_too_large"},
	} {
		a := w.parse(w.Post(t.Context(), "/v1/payments", shop.NewKey(), []byte(c.body)))
		if a.http.Status != c.status || a.Code != c.code {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := w.parse(w.Post(t.Context(), "/v1/payments", "", pay("pm_card_visa", nil))); a.Code != "idempotency_key_missing" {
		t.Error(a)
	}
	for _, table := range []string{"transactions", "idempotency_keys", "transaction_saga", "transaction_audit_log"} {
		if n := w.count(fmt.Sprintf(`SELECT count(*) FROM %s WHERE merchant_id = $1`, table), w.merchantID); n != 0 {
			t.Errorf("refused requests left %d rows in %s", n, table)
		}
	}
}

func listed(t *testing.T, w *world) {
	made := map[string]bool{}
	for range 5 {
		made[w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil)).ID] = true
	}
	var page struct {
		Data       []answer `json:"data"`
		HasMore    bool     `json:"has_more"`
		NextCursor *string  `json:"next_cursor"`
	}
	path := "/v1/payments?limit=2&status=AUTHORIZED"
	pages := 0
	for next := path; next != ""; pages++ {
		if err := w.get(http.StatusOK, next).http.Into(&page); err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Data {
			if !made[p.ID] {
				t.Errorf("%s was listed twice, or is not ours", p.ID)
			}
			delete(made, p.ID)
		}
		next = ""
		if page.HasMore {
			next = path + "&cursor=" + url.QueryEscape(*page.NextCursor)
		}
	}
	if len(made) != 0 || pages != 3 {
		t.Errorf("after %d pages %d payments were not listed", pages, len(made))
	}
}

// The names are a contract with the alerts and dashboards.
func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	w.settle()
	w.wantEvents(p, "payment.authorized")
	if err := w.RunJob(t.Context(), "sweep"); err != nil {
		t.Fatal(err)
	}
	ready, err := http.Get(w.HostConfig().URL("createpayment") + "/health/readiness")
	if err != nil || ready.StatusCode != http.StatusOK || ready.Body.Close() != nil {
		t.Fatalf("createpayment is not ready: %v, %v", ready, err)
	}
	text := w.metrics()
	missing := map[string]bool{
		// Nothing of the kind has happened.
		"provider_api_timeout_total": true, "unknown_outcomes_resolved_total": true, "webhook_delivery_failure_total": true,
		"circuit_breaker_failures_total": true, "provider_bulkhead_full_total": true, "payment_failovers_total": true,
		"health_check_failures_total": true,
		// Night has not come, nor the hour.
		"audit_findings_total": true, "batch_job_duration_seconds": true, "batch_processed_transactions_total": true,
		"batch_last_success_timestamp_seconds": true, "reconciled_payments_total": true, "reconciliation_calls_total": true,
		"reconciliation_differences_total": true,
	}
	for _, d := range telemetry.Descriptions() {
		if shown := strings.Contains(text, "\n# TYPE "+d.Name+" "+d.Type+"\n"); shown == missing[d.Name] {
			t.Errorf("%s %s is shown: %t", d.Type, d.Name, shown)
		}
	}
	for _, line := range []string{
		`http_requests_total{code="201",function="createpayment"} 1`,
		`payment_operations_total{operation="authorize",outcome="approved",provider="stripe"} 1`,
		`webhook_delivery_success_total{event_type="payment.authorized",merchant_id="` + id.Merchant.External(w.merchantID) + `"} 1`,
		`outbox_unpublished 0`,
		`health_check_duration_seconds_count{function="createpayment",probe="readiness"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}
