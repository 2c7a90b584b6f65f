package refundpayment

import (
	"net/http"
	"testing"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

const key = "refund-of-order-17-"

func TestTheBodyIsAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	apitest.MatchSchema(t, "RefundPaymentRequest", request{})
}

func TestRefund(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	p := w.Payment("automatic")
	h, path := w.Build(Build), "/v1/payments/"+p.ID+"/refund"
	first := w.Do(h, w.Request("POST", path, `{"amount":1000,"reason":"one item came back"}`, "Idempotency-Key", key+"1"))
	if first.Status != http.StatusCreated || first.Text("object") != "refund" || first.Text("status") != "SUCCEEDED" ||
		first.Member("amount") != 1000.0 || first.Text("payment_id") != p.ID || first.Text("reason") != "one item came back" {
		t.Fatalf("got %d %s", first.Status, first.Body)
	}
	again := w.Do(h, w.Request("POST", path, `{"amount":1000,"reason":"one item came back"}`, "Idempotency-Key", key+"1"))
	if string(again.Body) != string(first.Body) || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the repeat got %d %s", again.Status, again.Body)
	}
	rest := w.Do(h, w.Request("POST", path, `{}`, "Idempotency-Key", key+"2"))
	if rest.Status != http.StatusCreated || rest.Member("amount") != 4000.0 {
		t.Errorf("the rest got %d %s", rest.Status, rest.Body)
	}
	none := w.Do(h, w.Request("POST", path, `{}`, "Idempotency-Key", key+"3"))
	if code, _ := none.Problem(); none.Status != http.StatusConflict || code != fault.InvalidState || none.Text("current_status") != "REFUNDED" {
		t.Errorf("when nothing is left: %d %s", none.Status, none.Body)
	}
}

func TestRefundIsRefused(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	held, captured := w.Payment("manual").ID, w.Payment("automatic").ID
	_, stranger := w.Merchant("Stranger")
	for name, c := range map[string]struct {
		payment, body string
		header        []string
		status        int
		code          fault.Code
		writes        int // audit rows
	}{
		"above refundable":   {captured, `{"amount":5001}`, nil, 422, fault.AmountExceeds, 1},
		"not captured":       {held, `{}`, nil, 409, fault.InvalidState, 1},
		"negative":           {captured, `{"amount":-1}`, nil, 400, fault.InvalidRequest, 0},
		"a string":           {captured, `{"amount":"1"}`, nil, 400, fault.InvalidRequest, 0},
		"empty reason":       {captured, `{"reason":""}`, nil, 400, fault.InvalidRequest, 0},
		"a card number":      {captured, `{"reason":"to 4242424242424242"}`, nil, 400, fault.CardNumber, 0},
		"no key":             {captured, `{}`, []string{"Idempotency-Key", ""}, 400, fault.IdempotencyKeyMissing, 0},
		"unknown payment":    {"pay_unknown", `{}`, nil, 404, fault.NotFound, 0},
		"another merchant's": {captured, `{}`, []string{"Authorization", "Bearer " + stranger.Reveal()}, 404, fault.NotFound, 0},
		"no API key":         {captured, `{}`, []string{"Authorization", ""}, 401, fault.Unauthenticated, 0},
	} {
		before := w.Rows()
		a := w.Do(h, w.Request("POST", "/v1/payments/"+c.payment+"/refund", c.body, append([]string{"Idempotency-Key", key}, c.header...)...))
		if code, _ := a.Problem(); a.Status != c.status || code != c.code {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
		before["transaction_audit_log"] += c.writes
		if after := w.Rows(); !apitest.Same(before, after) {
			t.Errorf("%s: rows %v, want %v", name, after, before)
		}
	}
}

func TestALostReplyIsNoAnswer(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	path := "/v1/payments/" + w.Payment("automatic").ID + "/refund"
	w.Inject(providersim.Refund, providersim.DropAfter)
	a := w.Do(w.Build(Build), w.Request("POST", path, `{"amount":1000}`, "Idempotency-Key", key))
	if a.Status != http.StatusAccepted || a.Text("status") != "PENDING" || a.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
}
