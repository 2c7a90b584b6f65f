package providersim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// payPal is a simulated account and a clock, spoken to in bare HTTP.
type payPal struct {
	t      *testing.T
	sim    *providersim.PayPal
	server *httptest.Server
	token  string

	mu     sync.Mutex
	at     time.Time
	events []string
}

func newPayPal(t *testing.T) *payPal {
	t.Helper()
	p := &payPal{t: t, at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	p.sim = providersim.NewPayPal(providersim.PayPalConfig{Now: p.now, ClientID: "app", ClientSecret: "secret", WebhookID: "WH"})
	p.server = httptest.NewServer(p.sim)
	t.Cleanup(func() {
		p.sim.Close()
		http.DefaultClient.CloseIdleConnections()
		p.server.Close()
	})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct {
			Type string `json:"event_type"`
		}
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		p.events = append(p.events, e.Type)
		p.mu.Unlock()
	}))
	t.Cleanup(receiver.Close)
	p.sim.SetWebhook(receiver.URL)
	p.refreshToken()
	return p
}

func (p *payPal) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

func (p *payPal) advance(d time.Duration) {
	p.mu.Lock()
	p.at = p.at.Add(d)
	p.mu.Unlock()
	p.sim.RunDue(p.t.Context())
	p.refreshToken()
}

func (p *payPal) refreshToken() {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodPost, p.server.URL+"/v1/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		p.t.Fatal(err)
	}
	req.SetBasicAuth("app", "secret")
	_, got := p.send(req)
	p.token, _ = got["access_token"].(string)
}

func (p *payPal) send(req *http.Request) (int, map[string]any) {
	p.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		p.t.Fatalf("%s: %v", body, err)
	}
	return resp.StatusCode, got
}

// call makes a request; a body makes it a POST. It returns the status and, of an error,
// the issue.
func (p *payPal) call(path, key, body string) (status int, issue string, got map[string]any) {
	p.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, p.server.URL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("PayPal-Request-Id", key)
	status, got = p.send(req)
	if details, ok := got["details"].([]any); ok {
		issue, _ = details[0].(map[string]any)["issue"].(string)
	}
	return status, issue, got
}

func orderBody(invoice, value string) string {
	return `{"intent":"AUTHORIZE","purchase_units":[{"amount":{"currency_code":"USD","value":"` + value + `"},"invoice_id":"` + invoice + `"}],` +
		`"payment_source":{"paypal":{"experience_context":{"return_url":"https://shop.example/"}}}}`
}

// authorized makes an authorization and returns its id.
func (p *payPal) authorized(invoice string) (order, authorization string) {
	p.t.Helper()
	_, _, made := p.call("/v2/checkout/orders", "create-"+invoice, orderBody(invoice, "50.00"))
	order, _ = made["id"].(string)
	if err := p.sim.Approve(order, providersim.PayPalApproves); err != nil {
		p.t.Fatal(err)
	}
	_, _, done := p.call("/v2/checkout/orders/"+order+"/authorize", "authorize-"+invoice, "{}")
	unit := done["purchase_units"].([]any)[0].(map[string]any)
	first := unit["payments"].(map[string]any)["authorizations"].([]any)[0].(map[string]any)
	authorization, _ = first["id"].(string)
	return order, authorization
}

func TestPayPalRequestIDs(t *testing.T) {
	t.Parallel()
	p := newPayPal(t)
	status, _, made := p.call("/v2/checkout/orders", "k", orderBody("i", "50.00"))
	if status != 201 || made["status"] != "PAYER_ACTION_REQUIRED" {
		t.Fatalf("%d %v", status, made)
	}
	order, _ := made["id"].(string)
	if err := p.sim.Approve(order, providersim.PayPalApproves); err != nil {
		t.Fatal(err)
	}
	if status, _, again := p.call("/v2/checkout/orders", "k", orderBody("i", "50.00")); status != 200 || again["id"] != order || again["status"] != "APPROVED" {
		t.Errorf("the same again: %d %v", status, again)
	}
	if status, issue, _ := p.call("/v2/checkout/orders", "k", orderBody("i", "60.00")); status != 422 || issue != "DUPLICATE_REQUEST_ID" {
		t.Errorf("another request under the id: %d %s", status, issue)
	}
	p.advance(6 * time.Hour)
	if status, _, anew := p.call("/v2/checkout/orders", "k", orderBody("i", "50.00")); status != 201 || anew["id"] == order {
		t.Errorf("after six hours: %d %v", status, anew)
	}
	if status, _, _ := p.call("/v2/checkout/orders/"+order, "", ""); status != 404 {
		t.Errorf("an order that was not completed in time: %d", status)
	}
	if n := p.sim.Counters()["authorize.replays"]; n != 1 {
		t.Errorf("%d replays", n)
	}
}

// A refused or failed request keeps nothing under its id; one still running holds it.
func TestPayPalKeepsOnlySuccesses(t *testing.T) {
	t.Parallel()
	p := newPayPal(t)
	_, a := p.authorized("i")
	capture := "/v2/payments/authorizations/" + a + "/capture"
	const body, tooMuch = `{"final_capture":true}`, `{"final_capture":true,"amount":{"currency_code":"USD","value":"60.00"}}`
	if _, issue, _ := p.call(capture, "k", tooMuch); issue != "MAX_CAPTURE_AMOUNT_EXCEEDED" {
		t.Errorf("too much: %s", issue)
	}
	for _, fault := range []string{"500_before", "late_500"} {
		f, err := providersim.ParseFault(fault)
		if err == nil {
			err = p.sim.Inject(providersim.Rule{Operation: providersim.Capture, Fault: f})
		}
		if err != nil {
			t.Fatal(err)
		}
		if status, _, _ := p.call(capture, "k", body); status != 500 {
			t.Errorf("%s: %d", fault, status)
		}
	}
	if _, issue, _ := p.call(capture, "k", body); issue != "PREVIOUS_REQUEST_IN_PROGRESS" {
		t.Errorf("while it runs: %s", issue)
	}
	p.advance(10 * time.Minute)
	if status, _, got := p.call(capture, "k", body); status != 200 || got["status"] != "COMPLETED" {
		t.Errorf("once it has run: %d %v", status, got)
	}
	if _, issue, _ := p.call(capture, "k2", body); issue != "AUTHORIZATION_ALREADY_CAPTURED" {
		t.Errorf("under another id: %s", issue)
	}
	if n := len(p.sim.EffectsFor("invoice_id", "i")); n != 2 {
		t.Errorf("%d effects of an authorization and a capture", n)
	}
}

func TestPayPalInvoicesArePaidOnce(t *testing.T) {
	t.Parallel()
	p := newPayPal(t)
	p.authorized("i")
	if _, issue, _ := p.call("/v2/checkout/orders", "other", orderBody("i", "50.00")); issue != "DUPLICATE_INVOICE_ID" {
		t.Errorf("a second payment of the invoice: %s", issue)
	}
}

func TestPayPalReauthorizes(t *testing.T) {
	t.Parallel()
	p := newPayPal(t)
	_, a := p.authorized("i")
	anew := "/v2/payments/authorizations/" + a + "/reauthorize"
	if _, issue, _ := p.call(anew, "r", "{}"); issue != "REAUTHORIZATION_TOO_SOON" {
		t.Errorf("at once: %s", issue)
	}
	p.advance(4 * 24 * time.Hour)
	status, _, fresh := p.call(anew, "r", "{}")
	if status != 201 || fresh["id"] == a || fresh["expiration_time"] != "2026-12-22T12:00:00Z" {
		t.Errorf("on day 4: %d %v", status, fresh)
	}
	second, _ := fresh["id"].(string)
	if _, issue, _ := p.call("/v2/payments/authorizations/"+second+"/reauthorize", "r2", "{}"); issue != "MAX_AUTHORIZATION_COUNT_EXCEEDED" {
		t.Errorf("once more: %s", issue)
	}
	p.advance(25 * 24 * time.Hour)
	if _, _, got := p.call("/v2/payments/authorizations/"+second, "", ""); got["status"] != "VOIDED" {
		t.Errorf("on day 29: %v", got["status"])
	}
	effects := p.sim.Effects()
	if len(effects) != 2 || effects[1].Kind != providersim.EffectExpire {
		t.Errorf("effects %+v", effects)
	}
	if err := p.sim.Quiesce(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	want := "CHECKOUT.ORDER.APPROVED PAYMENT.AUTHORIZATION.CREATED PAYMENT.AUTHORIZATION.CREATED PAYMENT.AUTHORIZATION.VOIDED"
	if got := strings.Join(p.events, " "); got != want {
		t.Errorf("events %s", got)
	}
}

func TestPayPalRefuses(t *testing.T) {
	t.Parallel()
	p := newPayPal(t)
	order, a := p.authorized("i")
	for name, c := range map[string]struct {
		path, body string
		status     int
		issue      string
	}{
		"unknown member":             {"/v2/checkout/orders", `{"intent":"AUTHORIZE","shiny":1}`, 400, "INVALID_PARAMETER_VALUE"},
		"decimals":                   {"/v2/checkout/orders", strings.Replace(orderBody("j", "5.00"), "USD", "JPY", 1), 422, "DECIMAL_PRECISION"},
		"unknown order":              {"/v2/checkout/orders/NONE/authorize", "{}", 404, "INVALID_RESOURCE_ID"},
		"another intent":             {"/v2/checkout/orders/" + order + "/capture", "{}", 422, "ACTION_DOES_NOT_MATCH_INTENT"},
		"authorized twice":           {"/v2/checkout/orders/" + order + "/authorize", "{}", 422, "ORDER_ALREADY_AUTHORIZED"},
		"refund of an authorization": {"/v2/payments/captures/" + a + "/refund", "{}", 404, "INVALID_RESOURCE_ID"},
	} {
		if status, issue, _ := p.call(c.path, name, c.body); status != c.status || issue != c.issue {
			t.Errorf("%s: %d %s, want %d %s", name, status, issue, c.status, c.issue)
		}
	}
	p.sim.ExpireTokens()
	if status, _, got := p.call("/v2/checkout/orders/"+order, "", ""); status != 401 || got["error"] != "invalid_token" {
		t.Errorf("an expired token: %d %v", status, got)
	}
	for _, outcome := range []string{"", "steal", providersim.PayPalApproves} {
		if err := p.sim.Approve(order, outcome); err == nil {
			t.Errorf("a completed order takes the answer %q", outcome)
		}
	}
}
