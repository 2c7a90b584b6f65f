package capturepayment

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

const key = "capture-of-order-17"

func TestTheBodyIsAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	apitest.MatchSchema(t, "CapturePaymentRequest", request{})
}

func TestCapture(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]float64{`{}`: 5000, `{"amount":3000}`: 3000} {
		w := apitest.New(t)
		h, path := w.Build(Build), "/v1/payments/"+w.Payment("manual").ID+"/capture"
		first := w.Do(h, w.Request("POST", path, body, "Idempotency-Key", key))
		if first.Status != http.StatusOK || first.Text("status") != "CAPTURED" || first.Member("captured_amount") != want {
			t.Fatalf("%s: got %d %s", body, first.Status, first.Body)
		}
		again := w.Do(h, w.Request("POST", path, body, "Idempotency-Key", key))
		if string(again.Body) != string(first.Body) || again.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s: the repeat got %d %s", body, again.Status, again.Body)
		}
		if n := len(w.PubSub.Published()); n != 2 { // the authorization was still to be published
			t.Errorf("%s: %d events", body, n)
		}
	}
}

func TestCaptureIsRefused(t *testing.T) {
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
		"above authorized":      {held, `{"amount":5001}`, nil, 422, fault.AmountExceeds, 1},
		"zero":                  {held, `{"amount":0}`, nil, 400, fault.InvalidRequest, 0},
		"fraction":              {held, `{"amount":1.5}`, nil, 400, fault.InvalidRequest, 0},
		"unknown member":        {held, `{"amuont":1}`, nil, 400, fault.InvalidRequest, 0},
		"no body":               {held, ``, nil, 400, fault.InvalidJSON, 0},
		"no key":                {held, `{}`, []string{"Idempotency-Key", ""}, 400, fault.IdempotencyKeyMissing, 0},
		"captured before":       {captured, `{}`, nil, 409, fault.InvalidState, 1},
		"unknown payment":       {id.Payment.External(id.ID{7}), `{}`, nil, 404, fault.NotFound, 0},
		"no identifier":         {"4242424242424242", `{}`, nil, 404, fault.NotFound, 0},
		"another merchant's":    {held, `{}`, []string{"Authorization", "Bearer " + stranger.Reveal()}, 404, fault.NotFound, 0},
		"wrong API key":         {held, `{}`, []string{"Authorization", "Bearer sk_no"}, 401, fault.Unauthenticated, 0},
		"a card number as note": {held, `{"note":"4242424242424242"}`, nil, 400, fault.CardNumber, 0},
	} {
		before := w.Rows()
		a := w.Do(h, w.Request("POST", "/v1/payments/"+c.payment+"/capture", c.body, append([]string{"Idempotency-Key", key}, c.header...)...))
		if code, _ := a.Problem(); a.Status != c.status || code != c.code || strings.Contains(string(a.Body), "4242") {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
		if c.code == fault.InvalidState && a.Text("current_status") != "CAPTURED" {
			t.Errorf("%s: %s", name, a.Body)
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
	h, path := w.Build(Build), "/v1/payments/"+w.Payment("manual").ID+"/capture"
	w.Inject(providersim.Capture, providersim.DropAfter)
	a := w.Do(h, w.Request("POST", path, `{}`, "Idempotency-Key", key))
	if a.Status != http.StatusAccepted || a.Text("status") != "AUTHORIZED" || a.Text("pending_operation") != "capture" || a.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
	if n := len(w.Tasks.Pending(apitest.ResumeQueue)); n != 1 {
		t.Errorf("%d tasks will find out", n)
	}
}
