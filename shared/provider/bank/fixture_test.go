package bank

import (
	"encoding/json"
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
)

// noon is when the tests take place, unless they have a clock of their own.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var (
	ourPayment    = id.ID{1, 2, 3}
	ourMerchant   = id.ID{4, 5, 6}
	ourRefund     = id.ID{7, 8, 9}
	ourObligation = id.ID{10, 11, 12}
	ourSaga       = id.ID{13, 14, 15}
)

const (
	testToken = "sandbox_adapter1234567890"
	ourUnits  = 5000
)

func pounds(pence int64) money.Money { return money.New(pence, money.MustParseCurrency("GBP")) }

func newAdapter(t testing.TB, base string, opt Options) *Adapter {
	t.Helper()
	if opt.Now == nil {
		opt.Now = func() time.Time { return noon }
	}
	if opt.Dial == nil && opt.ReadTimeout == 0 { // real sockets, in real time: a busy machine is no timeout
		opt.ConnectTimeout, opt.ReadTimeout = time.Minute, time.Minute
	}
	a, err := New(Config{AccessToken: testToken, APIBase: base}, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// request is a plausible one of its step.
func request(step provider.Step) provider.Request {
	r := provider.Request{Step: step, Account: sandboxMode, MerchantID: ourMerchant, PaymentID: ourPayment, Amount: pounds(ourUnits)}
	switch step {
	case provider.Authorize:
		r.AutoCapture, r.Description, r.ReturnURL = true, "order 17", "https://shop.example/back"
	case provider.Refund:
		r.Reference, r.RefundID = "BRQ1", ourRefund
	default:
		r.Reference = "BRQ1"
	}
	return r
}

func firstCall(t testing.TB, r provider.Request) provider.Call {
	t.Helper()
	call, err := provider.FirstCall(provider.NewAttempt(ourSaga, 1, r, noon))
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func replay(t testing.TB, r provider.Request) provider.Call {
	t.Helper()
	caps := capabilities()
	caps.KeyWindow[provider.Capture] = keyWindow // for the step that there is not
	call, ok := provider.Replay(provider.NewAttempt(ourSaga, 1, r, noon), caps, noon)
	if !ok {
		t.Fatal("the key window is closed")
	}
	return call
}

// fields are members of a JSON object.
type fields map[string]any

// with returns a copy with other members.
func (f fields) with(other fields) fields {
	all := fields{}
	for _, m := range []fields{f, other} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func (f fields) text() string {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func ourMetadata() fields { return fields{"tollgate_payment": id.Payment.External(ourPayment)} }

func requestIn(status string) fields {
	f := fields{
		"id": "BRQ1", "status": status, "created_at": noon.Format(time.RFC3339), "metadata": ourMetadata(), "links": fields{},
		"payment_request": fields{"amount": ourUnits, "currency": "GBP"},
		"resources":       fields{"customer": fields{"email": "hush@example.com"}},
	}
	if status == fulfilled {
		f["links"] = fields{"payment_request_payment": "PM1"}
	}
	return f
}

func transferIn(status string) fields {
	return fields{"id": "PM1", "status": status, "amount": ourUnits, "amount_refunded": 0, "currency": "GBP", "metadata": ourMetadata()}
}

func refundIn(status string) fields {
	return fields{
		"id": "RF1", "status": status, "amount": ourUnits, "currency": "GBP", "links": fields{"payment": "PM1"},
		"metadata": ourMetadata().with(fields{"tollgate_refund": id.Refund.External(ourRefund)}),
	}
}

func eventIn(action, cause string) fields {
	return fields{
		"id": "EV1", "created_at": noon.Format(time.RFC3339), "resource_type": "payments", "action": action,
		"details": fields{"cause": cause}, "links": fields{"payment": "PM1"}, "resource_metadata": ourMetadata(),
	}
}

// answer is what one endpoint replies.
type answer struct {
	status int
	body   string
}

// script answers by endpoint: "POST /billing_requests".
type script map[string]answer

func (s script) with(other script) script {
	all := script{}
	for _, m := range []script{s, other} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// The endpoints.
const (
	postRequest = "POST /billing_requests"
	postFlow    = "POST /billing_request_flows"
	postCancel  = "POST /billing_requests/BRQ1/actions/cancel"
	postRefund  = "POST /refunds"
	getRequest  = "GET /billing_requests/BRQ1"
	getPayment  = "GET /payments/PM1"
	getRefund   = "GET /refunds/RF1"
	getEvents   = "GET /events"
	listRefunds = "GET /refunds"
)

func ok(envelope string, f fields) answer { return answer{200, fields{envelope: f}.text()} }

func made(envelope string, f fields) answer { return answer{201, fields{envelope: f}.text()} }

func list(envelope string, all ...fields) answer {
	if all == nil {
		all = []fields{}
	}
	return answer{200, fields{envelope: all, "meta": fields{"cursors": fields{"before": nil, "after": nil}, "limit": 500}}.text()}
}

func refusal(status int, kind, reason string) answer {
	return answer{status, fields{"error": fields{
		"type": kind, "code": status, "message": "No.", "errors": []any{fields{"reason": reason, "message": "No."}},
	}}.text()}
}

// conflict is the answer to a key that has made something.
func conflict(id string) answer {
	return answer{409, fields{"error": fields{"type": "invalid_state", "code": 409, "message": "Used.", "errors": []any{
		fields{"reason": conflictReason, "links": fields{"conflicting_resource_id": id}},
	}}}.text()}
}

// desk is a server that answers by a script.
type desk struct {
	*httptest.Server
	mu     sync.Mutex
	seen   []*http.Request
	bodies []string
}

func newDesk(t testing.TB, s script) *desk {
	t.Helper()
	d := &desk{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		d.mu.Lock()
		d.seen, d.bodies = append(d.seen, r), append(d.bodies, string(body))
		d.mu.Unlock()
		a, known := s[r.Method+" "+r.URL.Path]
		if !known {
			a = answer{500, "no answer is scripted for " + r.Method + " " + r.URL.Path}
		}
		w.Header().Set("X-Request-Id", "req_raw")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(d.Close)
	return d
}

// asked returns the endpoints and keys of the requests so far.
func (d *desk) asked() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.seen {
		all = append(all, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Idempotency-Key")))
	}
	return all
}
