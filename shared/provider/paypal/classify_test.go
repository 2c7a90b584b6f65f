package paypal

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
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

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var (
	ourPayment = id.ID{1, 2, 3}
	ourRefund  = id.ID{7, 8, 9}
	ourSaga    = id.ID{13, 14, 15}
)

const ourOrder = "5O190127TN364715T"

func yen(n int64) money.Money { return money.New(n, money.MustParseCurrency("JPY")) }

// request is a plausible one of its step; an authorize is of an order that exists.
func request(step provider.Step) provider.Request {
	r := provider.Request{Step: step, PaymentID: ourPayment, Reference: ourOrder, Amount: yen(5000)}
	if step == provider.Refund {
		r.RefundID = ourRefund
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

func replayCall(t testing.TB, r provider.Request) provider.Call {
	t.Helper()
	call, ok := provider.Replay(provider.NewAttempt(ourSaga, 1, r, noon), capabilities(), noon)
	if !ok {
		t.Fatal("the key window is closed")
	}
	return call
}

func newAdapter(t testing.TB, base string, opt Options) *Adapter {
	t.Helper()
	opt.Now = func() time.Time { return noon }
	if opt.Dial == nil { // real sockets, in real time: a busy machine is no timeout
		opt.ConnectTimeout, opt.ReadTimeout = time.Minute, time.Minute
	}
	a, err := New(Config{ClientID: "app", ClientSecret: "hush-secret", APIBase: base}, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// with returns a copy with other members.
func with(f, other fields) fields {
	all := fields{}
	for _, m := range []fields{f, other} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func text(f fields) string {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func worth(value string) fields { return fields{"currency_code": "JPY", "value": value} }

// paid is an authorization or capture of ours in a status.
func paid(objectID, status string) fields {
	return fields{
		"id": objectID, "status": status, "amount": worth("5000"), "create_time": "2026-11-23T11:00:00Z",
		"custom_id": id.Payment.External(ourPayment), "invoice_id": id.Payment.External(ourPayment),
	}
}

// refundIn is our refund in a status.
func refundIn(status string) fields {
	name := id.Refund.External(ourRefund)
	return with(paid("RE", status), fields{"custom_id": id.Payment.External(ourPayment) + "/" + name, "invoice_id": name})
}

// orderIn is our order in a status, with its payments.
func orderIn(status string, payments fields) fields {
	unit := fields{"amount": worth("5000"), "custom_id": id.Payment.External(ourPayment), "invoice_id": id.Payment.External(ourPayment)}
	if payments != nil {
		unit["payments"] = payments
	}
	return fields{
		"id": ourOrder, "intent": "AUTHORIZE", "status": status, "purchase_units": []fields{unit},
		"payer": fields{"email_address": "hush@example.com"},
		"links": []fields{{"rel": "payer-action", "href": "https://www.paypal.com/checkoutnow?token=" + ourOrder}},
	}
}

func authorizedIn(status string) fields {
	return orderIn("COMPLETED", fields{"authorizations": []fields{paid("AU", status)}})
}

func capturedIn(status string) fields {
	return orderIn("COMPLETED", fields{"authorizations": []fields{paid("AU", "CAPTURED")}, "captures": []fields{paid("CA", status)}})
}

func refusal(issue string) string {
	return text(fields{"name": "UNPROCESSABLE_ENTITY", "message": "No.", "details": []fields{{"issue": issue, "description": "No, because."}}})
}

func named(name string) string { return text(fields{"name": name, "message": "No."}) }

// script is a PayPal that answers as it is told.
type script struct {
	orders []string // what reading the order shows, the last one again and again
	status int      // of the answer to a mutation
	body   string

	mu       sync.Mutex
	reads    int
	mutation []*http.Request
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Paypal-Debug-Id", "debug")
	switch {
	case r.URL.Path == "/v1/oauth2/token":
		_, _ = io.WriteString(w, `{"access_token":"hush-token","expires_in":3600}`)
	case r.Method == http.MethodGet:
		body := s.orders[min(s.reads, len(s.orders)-1)]
		s.reads++
		if body == "" {
			w.WriteHeader(http.StatusNotFound)
			body = named("RESOURCE_NOT_FOUND")
		}
		_, _ = io.WriteString(w, body)
	default:
		s.mutation = append(s.mutation, r)
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.body)
	}
}

// verdictCase is one reply to one step, and what it proves to a first call and to a
// replay. The outcome of a replay is unknown unless it is given; sent says whether a
// mutation is sent at all.
type verdictCase struct {
	name    string
	step    provider.Step
	before  fields // the order, as it is read first
	after   fields // as it is read again; nil is before
	status  int    // of the mutation's answer; 0: none is to be sent
	body    string
	want    provider.Outcome
	replay  provider.Outcome
	facts   string
	refusal string
	doubt   string
}

const html = `<!DOCTYPE html><html><body>Please try again</body></html>`

func verdictCases() []verdictCase {
	const approved, declined, rejected, pending = provider.Approved, provider.Declined, provider.Rejected, provider.Pending
	const notSent, action, nothing = provider.NotSent, provider.RequiresAction, provider.Unknown
	const authorize, capture, void, refund = provider.Authorize, provider.Capture, provider.Void, provider.Refund
	const held = "authorization.authorized " + ourOrder
	const took = held + " capture.succeeded CA"
	const gone = "authorization.canceled " + ourOrder
	const back = "refund.succeeded RE"
	failed := map[provider.Step]string{
		authorize: "authorization.failed attempt/tollgate-" + ourSaga.String() + "-authorize-1",
		refund:    "refund.failed attempt/tollgate-" + ourSaga.String() + "-refund-1",
	}
	ready, open := orderIn("APPROVED", nil), authorizedIn("CREATED")
	foreign := orderIn("APPROVED", nil)
	foreign["purchase_units"] = []fields{{"amount": worth("5000"), "custom_id": id.Payment.External(ourSaga)}}
	all := []verdictCase{
		// What the order shows before anything is sent.
		{name: "payer has not approved", step: authorize, before: orderIn("PAYER_ACTION_REQUIRED", nil), want: action, replay: action, facts: "authorization.requires_action " + ourOrder},
		{name: "authorized before", step: authorize, before: open, want: approved, replay: approved, facts: held},
		{name: "order voided", step: authorize, before: orderIn("VOIDED", nil), want: declined, replay: declined, facts: gone, refusal: "canceled"},
		{name: "authorization denied", step: authorize, before: authorizedIn("DENIED"), want: declined, replay: declined, facts: "authorization.failed " + ourOrder, refusal: "card_declined"},
		{name: "authorization pending", step: authorize, before: authorizedIn("PENDING"), want: pending, replay: pending, facts: "authorization.pending " + ourOrder},
		{name: "captured before", step: capture, before: capturedIn("COMPLETED"), want: approved, replay: approved, facts: took},
		{name: "capture pending", step: capture, before: capturedIn("PENDING"), want: pending, replay: pending, facts: held + " capture.pending CA"},
		{name: "authorization voided", step: capture, before: authorizedIn("VOIDED"), want: declined, replay: declined, facts: gone, refusal: "authorization_expired"},
		{name: "never authorized", step: capture, before: ready, want: declined, replay: declined, facts: "authorization.approved " + ourOrder, refusal: "invalid_provider_state"},
		{name: "voided before", step: void, before: authorizedIn("VOIDED"), want: approved, replay: approved, facts: gone},
		{name: "void of a capture", step: void, before: capturedIn("COMPLETED"), want: declined, replay: declined, facts: took, refusal: "already_captured"},
		{name: "refunded before", step: refund, before: orderIn("COMPLETED", fields{"captures": []fields{paid("CA", "REFUNDED")}, "refunds": []fields{refundIn("COMPLETED")}}), want: approved, replay: approved, facts: back},
		{name: "refund failed before", step: refund, before: orderIn("COMPLETED", fields{"captures": []fields{paid("CA", "COMPLETED")}, "refunds": []fields{refundIn("FAILED")}}), want: declined, replay: declined, facts: "refund.failed RE", refusal: "refund_failed"},
		{name: "nothing to refund", step: refund, before: open, want: declined, replay: declined, facts: failed[refund], refusal: "not_refundable"},
		{name: "foreign order", step: authorize, before: foreign, want: notSent, doubt: "does not name"},
		{name: "another intent", step: authorize, before: with(ready, fields{"intent": "CAPTURE"}), want: notSent, doubt: "intent"},
		{name: "unknown status", step: authorize, before: authorizedIn("SHINY"), want: nothing, doubt: "SHINY"},
		{name: "two purchase units", step: authorize, before: with(ready, fields{"purchase_units": []fields{{}, {}}}), want: notSent},

		// What a mutation answers.
		{name: "authorized", step: authorize, before: ready, status: 201, body: text(open), want: approved, replay: approved, facts: held},
		{name: "authorized, but HTML", step: authorize, before: ready, status: 200, body: html, want: nothing},
		{name: "authorized, but nothing", step: authorize, before: ready, status: 201, body: text(ready), want: nothing, doubt: "without a payment"},
		{name: "authorized another amount", step: authorize, before: ready, status: 201, body: strings.ReplaceAll(text(open), `"5000"`, `"5001"`), want: nothing, doubt: "echo"},
		{name: "authorized another currency", step: authorize, before: ready, status: 201, body: strings.ReplaceAll(text(open), `"JPY"`, `"TWD"`), want: nothing, doubt: "echo"},
		{name: "instrument declined", step: authorize, before: ready, status: 422, body: refusal("INSTRUMENT_DECLINED"), want: declined, facts: failed[authorize], refusal: "card_declined"},
		{name: "captured", step: capture, before: open, status: 201, body: text(paid("CA", "COMPLETED")), want: approved, replay: approved, facts: took},
		{name: "captured, to come", step: capture, before: open, status: 201, body: text(paid("CA", "PENDING")), want: pending, replay: pending, facts: held + " capture.pending CA"},
		{name: "capture declined", step: capture, before: open, status: 201, body: text(paid("CA", "DECLINED")), want: declined, replay: declined, facts: held + " capture.failed CA", refusal: "card_declined"},
		{name: "captured another amount", step: capture, before: open, status: 201, body: text(with(paid("CA", "COMPLETED"), fields{"amount": worth("4999")})), want: nothing, doubt: "echo"},
		{name: "captured somebody else's", step: capture, before: open, status: 201, body: text(with(paid("CA", "COMPLETED"), fields{"custom_id": "x"})), want: nothing, doubt: "echo"},
		{name: "expired", step: capture, before: open, status: 422, body: refusal("AUTHORIZATION_EXPIRED"), want: declined, refusal: "authorization_expired"},
		{name: "voided", step: void, before: open, status: 200, body: text(paid("AU", "VOIDED")), want: approved, replay: approved, facts: gone},
		{name: "voided without a word", step: void, before: open, status: 204, want: approved, replay: approved, facts: gone},
		{name: "voided, it says not", step: void, before: open, status: 200, body: text(paid("AU", "CREATED")), want: nothing},
		{name: "refunded", step: refund, before: capturedIn("COMPLETED"), status: 201, body: text(refundIn("COMPLETED")), want: approved, replay: approved, facts: back},
		{name: "refund pending", step: refund, before: capturedIn("COMPLETED"), status: 201, body: text(refundIn("PENDING")), want: pending, replay: pending, facts: "refund.pending RE"},
		{name: "refund canceled", step: refund, before: capturedIn("COMPLETED"), status: 201, body: text(refundIn("CANCELLED")), want: declined, replay: declined, facts: "refund.canceled RE", refusal: "refund_canceled"},
		{name: "refund of somebody else", step: refund, before: capturedIn("COMPLETED"), status: 201, body: text(with(refundIn("COMPLETED"), fields{"custom_id": "x"})), want: nothing, doubt: "echo"},
		{name: "too old", step: refund, before: capturedIn("COMPLETED"), status: 422, body: refusal("REFUND_TIME_LIMIT_EXCEEDED"), want: declined, facts: failed[refund], refusal: "not_refundable"},

		// What happened before is for the order to tell.
		{name: "already authorized", step: authorize, before: ready, after: open, status: 422, body: refusal("ORDER_ALREADY_AUTHORIZED"), want: approved, replay: approved, facts: held},
		{name: "invoice paid", step: authorize, before: ready, status: 422, body: refusal("DUPLICATE_INVOICE_ID"), want: nothing, doubt: "DUPLICATE_INVOICE_ID"},
		{name: "in progress", step: capture, before: open, status: 422, body: refusal("PREVIOUS_REQUEST_IN_PROGRESS"), want: nothing, doubt: "PREVIOUS_REQUEST_IN_PROGRESS"},
		{name: "in progress, then done", step: capture, before: open, after: capturedIn("COMPLETED"), status: 422, body: refusal("PREVIOUS_REQUEST_IN_PROGRESS"), want: approved, replay: approved, facts: took},
		{name: "conflict", step: refund, before: capturedIn("COMPLETED"), status: 409, body: named("RESOURCE_CONFLICT"), want: nothing},
		{name: "previously voided", step: void, before: open, after: authorizedIn("VOIDED"), status: 422, body: refusal("PREVIOUSLY_VOIDED"), want: approved, replay: approved, facts: gone},
		{name: "captured meanwhile", step: void, before: open, after: capturedIn("COMPLETED"), status: 422, body: refusal("PREVIOUSLY_CAPTURED"), want: declined, replay: declined, facts: took, refusal: "already_captured"},
	}
	// What means the same to every step.
	for step, before := range map[provider.Step]fields{authorize: ready, capture: open, void: open, refund: capturedIn("COMPLETED")} {
		for _, c := range []verdictCase{
			{name: "rate limit", status: 429, body: named("RATE_LIMIT_REACHED"), want: notSent},
			{name: "rate limit in HTML", status: 429, body: html, want: nothing},
			{name: "our mistake", status: 400, body: named("INVALID_REQUEST"), want: rejected, refusal: "invalid_request", facts: failed[step]},
			{name: "unheard of", status: 422, body: refusal("BLUE_MOON"), want: rejected, refusal: "invalid_request", facts: failed[step]},
			{name: "forbidden", status: 403, body: named("NOT_AUTHORIZED"), want: rejected, refusal: "invalid_request", facts: failed[step]},
			{name: "token refused twice", status: 401, body: `{"error":"invalid_token"}`, want: rejected, refusal: "provider_credentials", facts: failed[step]},
			{name: "401 of a proxy", status: 401, body: html, want: nothing},
			{name: "404 of a proxy", status: 404, body: html, want: nothing},
			{name: "503", status: 503, body: html, want: nothing, doubt: "503"},
			{name: "500", status: 500, body: named("INTERNAL_SERVER_ERROR"), want: nothing},
			{name: "redirect", status: 302, body: "", want: nothing},
			{name: "accepted", status: 202, body: "{}", want: nothing},
			{name: "empty", status: 200, body: "{}", want: nothing},
			{name: "half", status: 200, body: `{"id":"`, want: nothing},
		} {
			c.step, c.before = step, before
			all = append(all, c)
		}
	}
	return all
}

func (c verdictCase) script() *script {
	s := &script{orders: []string{text(c.before)}, status: c.status, body: c.body}
	if c.after != nil {
		s.orders = append(s.orders, text(c.after))
	}
	return s
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range verdictCases() {
		t.Run(string(c.step)+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			s := c.script()
			server := httptest.NewServer(s)
			t.Cleanup(server.Close)
			a := newAdapter(t, server.URL, Options{})
			got := a.Execute(t.Context(), firstCall(t, request(c.step)))
			if got.Outcome != c.want || shown(got.Facts) != c.facts {
				t.Errorf("%s with %q, want %s with %q (%s)", got.Outcome, shown(got.Facts), c.want, c.facts, got.Evidence.Error)
			}
			if code := codeOf(got.Refusal); code != c.refusal {
				t.Errorf("refusal %q, want %q", code, c.refusal)
			}
			if !strings.Contains(got.Evidence.Error, c.doubt) {
				t.Errorf("evidence says %q, not %q", got.Evidence.Error, c.doubt)
			}
			if got.Evidence.RequestID != "debug" || strings.Contains(got.Evidence.Body, "hush") {
				t.Errorf("evidence %+v", got.Evidence)
			}
			if (len(s.mutation) > 0) != (c.status != 0) {
				t.Errorf("%d mutations were sent", len(s.mutation))
			}
			want := c.replay
			if want == "" {
				want = provider.Unknown
			}
			again := httptest.NewServer(c.script())
			t.Cleanup(again.Close)
			if got := newAdapter(t, again.URL, Options{}).Execute(t.Context(), replayCall(t, request(c.step))); got.Outcome != want {
				t.Errorf("replayed: %s, want %s (%s)", got.Outcome, want, got.Evidence.Error)
			}
		})
	}
}

func shown(facts []provider.Fact) string {
	var all []string
	for _, f := range facts {
		all = append(all, fmt.Sprintf("%s.%s %s", f.Kind, f.State, f.ObjectID))
	}
	return strings.Join(all, " ")
}

func codeOf(r *provider.Refusal) string {
	if r == nil {
		return ""
	}
	return r.Code
}

// Every mutation carries the attempt's key, and the second one of a step a key of its own.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	old := paid("AU", "CREATED")
	old["create_time"] = "1960-01-01T00:00:00Z" // before the honor period of a saga of the epoch
	s := &script{orders: []string{text(orderIn("COMPLETED", fields{"authorizations": []fields{old}}))}, status: 201, body: text(paid("CA", "COMPLETED"))}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	call := firstCall(t, request(provider.Capture))
	if got := newAdapter(t, server.URL, Options{}).Execute(t.Context(), call); got.Outcome != provider.Approved {
		t.Fatalf("%s: %s", got.Outcome, got.Evidence.Error)
	}
	want := []string{
		"/v2/payments/authorizations/AU/reauthorize " + call.Attempt().Key + "/reauthorize",
		"/v2/payments/authorizations/CA/capture " + call.Attempt().Key,
	}
	var got []string
	for _, r := range s.mutation {
		got = append(got, r.URL.Path+" "+r.Header.Get("PayPal-Request-Id"))
		if r.Header.Get("Prefer") != "return=representation" || r.Header.Get("Authorization") != "Bearer hush-token" {
			t.Errorf("headers %v", r.Header)
		}
		if n := len(r.Header.Get("PayPal-Request-Id")); n > 108 { // PayPal's limit
			t.Errorf("a PayPal-Request-Id of %d characters", n)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// What can't be put to PayPal is not sent, and a first call knows that nothing was.
func TestUnsendable(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, "http://127.0.0.1:1", Options{})
	for name, spoil := range map[string]func(*provider.Request){
		"currency":       func(r *provider.Request) { r.Amount = money.New(1, money.MustParseCurrency("KWD")) },
		"payment method": func(r *provider.Request) { r.PaymentMethod = "pm_card_visa" },
		"reference":      func(r *provider.Request) { r.Reference = "../../v1" },
		"payment":        func(r *provider.Request) { r.PaymentID = id.ID{} },
		"step":           func(r *provider.Request) { r.Step = "steal" },
	} {
		r := request(provider.Authorize)
		spoil(&r)
		if got := a.Execute(t.Context(), firstCall(t, r)); got.Outcome != provider.Rejected || got.Refusal == nil {
			t.Errorf("%s: %s", name, got.Outcome)
		}
	}
	r := request(provider.Refund)
	r.RefundID = id.ID{}
	if got := a.Execute(t.Context(), replayCall(t, r)); got.Outcome != provider.Unknown {
		t.Errorf("a replay: %s", got.Outcome)
	}
}

// What never had a connection was not sent; to a replay that proves nothing.
func TestNothingLeftWithoutAConnection(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	a := newAdapter(t, "http://"+closed.Addr().String(), Options{})
	for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund} {
		if got := a.Execute(t.Context(), firstCall(t, request(step))); got.Outcome != provider.NotSent || got.Evidence.Error == "" {
			t.Errorf("%s: %s, %q", step, got.Outcome, got.Evidence.Error)
		}
		if got := a.Execute(t.Context(), replayCall(t, request(step))); got.Outcome != provider.Unknown {
			t.Errorf("%s replayed: %s", step, got.Outcome)
		}
	}
}
