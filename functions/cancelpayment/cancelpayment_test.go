package cancelpayment

import (
	"net/http"
	"testing"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
)

const key = "cancel-of-order-17"

func TestTheBodyIsAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	apitest.MatchSchema(t, "CancelPaymentRequest", request{})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h, path := w.Build(Build), "/v1/payments/"+w.Payment("manual").ID+"/cancel"
	first := w.Do(h, w.Request("POST", path, `{}`, "Idempotency-Key", key))
	if first.Status != http.StatusOK || first.Text("status") != "CANCELED" || first.Text("previous_status") != "AUTHORIZED" {
		t.Fatalf("got %d %s", first.Status, first.Body)
	}
	again := w.Do(h, w.Request("POST", path, `{}`, "Idempotency-Key", key))
	if string(again.Body) != string(first.Body) || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the repeat got %d %s", again.Status, again.Body)
	}
}

func TestCancelIsRefused(t *testing.T) {
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
		"captured":           {captured, `{}`, nil, 409, fault.InvalidState, 1},
		"a member":           {held, `{"reason":"none"}`, nil, 400, fault.InvalidRequest, 0},
		"no body":            {held, ``, nil, 400, fault.InvalidJSON, 0},
		"no key":             {held, `{}`, []string{"Idempotency-Key", ""}, 400, fault.IdempotencyKeyMissing, 0},
		"unknown payment":    {"pay_unknown", `{}`, nil, 404, fault.NotFound, 0},
		"another merchant's": {held, `{}`, []string{"Authorization", "Bearer " + stranger.Reveal()}, 404, fault.NotFound, 0},
		"no API key":         {held, `{}`, []string{"Authorization", ""}, 401, fault.Unauthenticated, 0},
	} {
		before := w.Rows()
		a := w.Do(h, w.Request("POST", "/v1/payments/"+c.payment+"/cancel", c.body, append([]string{"Idempotency-Key", key}, c.header...)...))
		if code, _ := a.Problem(); a.Status != c.status || code != c.code {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
		before["transaction_audit_log"] += c.writes
		if after := w.Rows(); !apitest.Same(before, after) {
			t.Errorf("%s: rows %v, want %v", name, after, before)
		}
	}
}
