package providersim_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// till is a simulated GoCardless account behind HTTP, and a receiver of its webhooks.
type till struct {
	*providersim.GoCardless
	t      *testing.T
	clock  *clock
	server *httptest.Server

	mu    sync.Mutex
	hooks [][]string // the event names of each webhook
}

type doc = map[string]any

func newTill(t *testing.T) *till {
	b := &till{t: t, clock: &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}}
	receiver := httptest.NewServer(http.HandlerFunc(b.receive))
	b.GoCardless = providersim.NewGoCardless(providersim.GoCardlessConfig{
		Now: b.clock.Now, AccessTokens: []string{"sandbox_sim"}, WebhookSecret: "hush", WebhookURL: receiver.URL, Seed: 1,
	})
	b.server = httptest.NewServer(b)
	t.Cleanup(func() {
		b.Close()
		b.server.Close()
		receiver.Close()
	})
	return b
}

func (b *till) receive(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, []byte("hush"))
	mac.Write(body)
	if want := hex.EncodeToString(mac.Sum(nil)); r.Header.Get("Webhook-Signature") != want {
		b.t.Errorf("signature %q, want %q", r.Header.Get("Webhook-Signature"), want)
	}
	var hook struct {
		Events []struct {
			ResourceType string `json:"resource_type"`
			Action       string
		}
		Meta struct {
			WebhookID string `json:"webhook_id"`
		}
	}
	if err := json.Unmarshal(body, &hook); err != nil || hook.Meta.WebhookID == "" {
		b.t.Errorf("webhook %s: %v", body, err)
	}
	var names []string
	for _, e := range hook.Events {
		names = append(names, e.ResourceType+"."+e.Action)
	}
	b.mu.Lock()
	b.hooks = append(b.hooks, names)
	b.mu.Unlock()
}

// heard returns the webhooks so far, events of one joined by "+".
func (b *till) heard() (all []string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.Quiesce(ctx); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, names := range b.hooks {
		all = append(all, strings.Join(names, "+"))
	}
	return all
}

func (b *till) advance(d time.Duration) {
	b.t.Helper()
	end := b.clock.Now().Add(d)
	for {
		due, ok := b.NextDue()
		if !ok || due.After(end) {
			break
		}
		b.clock.Set(due)
		b.RunDue(context.Background())
		b.heard()
	}
	b.clock.Set(end)
}

// try makes a request; status 0 means that no answer came.
func (b *till) try(method, path, body string, headers ...string) (status int, answer doc) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sandbox_sim")
	req.Header.Set("GoCardless-Version", providersim.GoCardlessVersion)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.server.Client().Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&answer); err != nil {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, answer
}

// at follows members of an answer: "error.errors.0.reason".
func at(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case doc:
			v = in[name]
		case []any:
			if len(in) == 0 {
				return nil
			}
			v = in[0]
		default:
			return nil
		}
	}
	return v
}

func (b *till) expect(status int, path string, want any, method, url, body string, headers ...string) doc {
	b.t.Helper()
	got, answer := b.try(method, url, body, headers...)
	if got != status || at(answer, path) != want {
		b.t.Fatalf("%s %s: %d %v, want %d with %s %v", method, url, got, answer, status, path, want)
	}
	return answer
}

func billing(amount int) string {
	return fmt.Sprintf(`{"billing_requests":{"metadata":{"order":"17"},"payment_request":{"amount":%d,"currency":"GBP","metadata":{"order":"17"}}}}`, amount)
}

// paid makes a billing request that a payer authorizes, and returns the ids.
func (b *till) paid(amount int) (request, payment string) {
	b.t.Helper()
	request = at(b.expect(201, "billing_requests.status", "pending", "POST", "/billing_requests", billing(amount)), "billing_requests.id").(string)
	flow := b.flow(request)
	if err := b.CompleteFlow(flow, "authorise"); err != nil {
		b.t.Fatal(err)
	}
	answer := b.expect(200, "billing_requests.status", "fulfilled", "GET", "/billing_requests/"+request, "")
	return request, at(answer, "billing_requests.links.payment_request_payment").(string)
}

func (b *till) flow(request string) string {
	b.t.Helper()
	answer := b.expect(201, "billing_request_flows.links.billing_request", request, "POST", "/billing_request_flows",
		`{"billing_request_flows":{"redirect_uri":"https://shop.example/back?n=1","exit_uri":"https://shop.example/left","links":{"billing_request":"`+request+`"}}}`)
	return at(answer, "billing_request_flows.id").(string)
}

func (b *till) status(payment, want string) {
	b.t.Helper()
	b.expect(200, "payments.status", want, "GET", "/payments/"+payment, "")
}

func (b *till) refund(status int, payment string, amount, total int, path string, want any, headers ...string) doc {
	b.t.Helper()
	return b.expect(status, path, want, "POST", "/refunds",
		fmt.Sprintf(`{"refunds":{"amount":%d,"total_amount_confirmation":%d,"links":{"payment":%q}}}`, amount, total, payment), headers...)
}

func (b *till) effects() (kinds string) {
	for _, e := range b.EffectsFor("order", "17") {
		kinds += fmt.Sprintf("%s %d;", e.Kind, e.AmountMinor)
	}
	return kinds
}

func TestGoCardlessLife(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	request, payment := b.paid(5000)
	b.status(payment, "pending_submission")
	b.refund(409, payment, 1, 1, "error.errors.0.reason", "refund_payment_invalid_state")
	b.expect(409, "error.errors.0.reason", "cannot_be_cancelled", "POST", "/billing_requests/"+request+"/actions/cancel", `{"data":{}}`)
	b.advance(time.Minute)
	b.status(payment, "submitted")
	b.advance(10 * time.Minute)
	b.status(payment, "confirmed")
	b.refund(422, payment, 2000, 1000, "error.errors.0.reason", "total_amount_confirmation_invalid")
	b.refund(201, payment, 2000, 2000, "refunds.status", "created")
	b.refund(422, payment, 3001, 5001, "error.errors.0.field", "amount")
	b.refund(201, payment, 3000, 5000, "refunds.links.payment", payment)
	b.advance(24 * time.Hour)
	b.status(payment, "paid_out")
	b.expect(200, "refunds.0.status", "paid", "GET", "/refunds?payment="+payment, "")
	b.expect(200, "events.0.details.cause", "payment_confirmed", "GET", "/events?resource_type=payments&action=confirmed&payment="+payment, "")
	wantEqual(t, "effects", b.effects(), "authorize 5000;capture 5000;refund 2000;refund 3000;")
	want := "billing_requests.created billing_requests.flow_created " +
		"billing_requests.fulfilled+billing_requests.bank_authorisation_authorised+payments.created " +
		"payments.submitted payments.confirmed refunds.created refunds.created refunds.paid refunds.paid payments.paid_out"
	wantEqual(t, "webhooks", strings.Join(b.heard(), " "), want)
}

func TestGoCardlessAmountsThatFail(t *testing.T) {
	t.Parallel()
	for amount, want := range map[int]string{
		providersim.GoCardlessFails:       "failed authorize",
		providersim.GoCardlessFailsLate:   "failed authorize capture capture_reversed",
		providersim.GoCardlessChargedBack: "charged_back authorize capture dispute",
		5001:                              "paid_out authorize capture",
	} {
		b := newTill(t)
		_, payment := b.paid(amount)
		b.advance(48 * time.Hour)
		_, answer := b.try("GET", "/payments/"+payment, "")
		got := fmt.Sprint(at(answer, "payments.status"))
		for _, e := range b.Effects() {
			got += " " + string(e.Kind)
		}
		wantEqual(t, fmt.Sprint(amount), got, want)
	}
	b := newTill(t)
	_, payment := b.paid(providersim.GoCardlessSlow)
	b.advance(72 * time.Hour)
	b.status(payment, "submitted")
	b.advance(time.Hour)
	b.status(payment, "confirmed")

	b = newTill(t)
	_, payment = b.paid(providersim.GoCardlessRefundBounces)
	b.advance(time.Hour)
	refund := at(b.refund(201, payment, 1, 1, "refunds.status", "created"), "refunds.id").(string)
	b.advance(10 * time.Minute)
	b.expect(200, "refunds.status", "paid", "GET", "/refunds/"+refund, "")
	b.advance(10 * time.Minute)
	b.expect(200, "refunds.status", "bounced", "GET", "/refunds/"+refund, "")
	b.expect(200, "payments.amount_refunded", 0.0, "GET", "/payments/"+payment, "")
}

func TestGoCardlessFaults(t *testing.T) {
	t.Parallel()
	// What a create answers, whether it acted, and what the same key says then.
	for fault, want := range map[string]string{
		"delay_before; for=1ns": "201 1 409", "delay_after; for=1ns": "201 1 409",
		"drop_before": "0 0 201", "drop_after": "0 1 409", "drop_after; silent": "0 1 409",
		"500_before": "500 0 201", "500_after": "500 1 409", "429": "429 0 201", "409": "409 0 201",
		"html_before": "503 0 201", "html_after": "200 1 409", "bad_json": "201 1 409", "wrong_amount": "201 1 409",
		"late_500": "500 0 409", "late_drop": "0 0 409",
	} {
		b := newTill(t)
		status, answer := b.try("POST", "/billing_requests", billing(70), "Idempotency-Key", "k", "Sim-Fault", fault)
		_, listed := b.try("GET", "/billing_requests", "")
		again, conflict := b.try("POST", "/billing_requests", billing(70), "Idempotency-Key", "k")
		wantEqual(t, fault, fmt.Sprint(status, len(listed["billing_requests"].([]any)), again), want)
		if late := strings.HasPrefix(fault, "late"); again == 409 {
			id := at(conflict, "error.errors.0.links.conflicting_resource_id")
			wantEqual(t, fault+": names it", id != nil, !late)
		}
		if fault == "wrong_amount" {
			wantEqual(t, "amount", at(answer, "billing_requests.payment_request.amount"), any(71.0))
		}
		b.advance(10 * time.Minute)
		_, listed = b.try("GET", "/billing_requests", "")
		wantEqual(t, fault+": made in the end", len(listed["billing_requests"].([]any)), 1)
	}
	b := newTill(t)
	for _, kind := range []string{"hang_before", "hang_after", "late_hang"} {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "POST", b.server.URL+"/billing_requests", strings.NewReader(billing(70)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Authorization": {"Bearer sandbox_sim"}, "Gocardless-Version": {"2015-07-06"}, "Content-Type": {"application/json"}, "Sim-Fault": {kind}}
		done := make(chan error, 1)
		go func() {
			_, err := b.server.Client().Do(req)
			done <- err
		}()
		until(t, kind, func() bool { return b.Counters()["fault."+kind] == 1 })
		cancel()
		if err := <-done; err == nil {
			t.Errorf("%s: answered", kind)
		}
	}
}

func TestGoCardlessWebhookFaults(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	for event, kind := range map[string]providersim.FaultKind{
		"billing_requests.created": providersim.WebhookLose, "payments.submitted": providersim.WebhookDuplicate, "payments.confirmed": providersim.WebhookReorder,
	} {
		if err := b.Inject(providersim.Rule{Event: event, Metadata: map[string]string{"order": "17"}, Fault: providersim.Fault{Kind: kind, For: 48 * time.Hour}}); err != nil {
			t.Fatal(err)
		}
	}
	b.paid(5000)
	b.advance(25 * time.Hour)
	want := "billing_requests.flow_created billing_requests.fulfilled+billing_requests.bank_authorisation_authorised+payments.created " +
		"payments.submitted payments.submitted payments.paid_out payments.confirmed"
	wantEqual(t, "webhooks", strings.Join(b.heard(), " "), want)
}

func TestGoCardlessPayerPage(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	request := at(b.expect(201, "billing_requests.status", "pending", "POST", "/billing_requests", billing(5000)), "billing_requests.id").(string)
	page := "/_sim/bank/" + b.flow(request)
	client := b.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, step := range []struct {
		path     string
		status   int
		location string
	}{
		{page, 200, ""},
		{page + "?outcome=perhaps", 409, ""},
		{page + "?outcome=exit", 303, "https://shop.example/left?id="},
		{page + "?outcome=fail", 303, "outcome=failure"},
		{page + "?outcome=authorise", 303, "&n=1&outcome=success"},
		{page + "?outcome=authorise", 409, ""},
		{page, 410, ""},
		{"/_sim/bank/BRFnone", 404, ""},
	} {
		resp, err := client.Get(b.server.URL + step.path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != step.status || !strings.Contains(resp.Header.Get("Location"), step.location) {
			t.Errorf("%s: %d %q, want %d %q", step.path, resp.StatusCode, resp.Header.Get("Location"), step.status, step.location)
		}
	}
	wantEqual(t, "paid once", b.effects(), "authorize 5000;")
	other := at(b.expect(201, "billing_requests.status", "pending", "POST", "/billing_requests", billing(6000)), "billing_requests.id").(string)
	flow := b.flow(other)
	b.expect(200, "billing_requests.status", "cancelled", "POST", "/billing_requests/"+other+"/actions/cancel", `{"data":{}}`)
	wantEqual(t, "cancelled meanwhile", b.CompleteFlow(flow, "authorise") != nil, true)
	status, _ := b.try("POST", "/_sim/bank/"+flow+"?outcome=authorise", "")
	wantEqual(t, "posted", status, 409)
}

func TestGoCardlessRefusals(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	b.expect(401, "error.errors.0.reason", "access_token_not_found", "GET", "/payments", "", "Authorization", "Bearer other")
	b.expect(400, "error.type", "invalid_api_usage", "GET", "/payments", "", "GoCardless-Version", "2014-01-01")
	b.expect(404, "error.errors.0.reason", "path_not_found", "GET", "/mandates", "")
	b.expect(404, "error.errors.0.reason", "resource_not_found", "GET", "/payments/PM1", "")
	b.expect(415, "error.type", "invalid_api_usage", "POST", "/refunds", "{}", "Content-Type", "text/plain")
	b.expect(422, "error.errors.0.field", "surprise", "GET", "/payments?surprise=1", "")
	b.expect(400, "error.errors.0.reason", "record_not_found", "GET", "/payments?after=PM1", "")
	b.expect(400, "error.errors.0.reason", "sim_fault", "GET", "/payments", "", "Sim-Fault", "webhook_lose")
	for _, body := range []string{
		`{"billing_requests":{}}`, `{"billing_requests":{"surprise":1}}`,
		strings.Replace(billing(1), "GBP", "USD", 1), billing(0), billing(-1),
		strings.Replace(billing(1), `{"order":"17"}`, `{"a":"1","b":"2","c":"3","d":"4"}`, 1),
	} {
		b.expect(422, "error.type", "validation_failed", "POST", "/billing_requests", body)
	}
	b.expect(400, "error.errors.0.reason", "invalid_document_structure", "POST", "/billing_requests", `{"payments":{}}`)
	for range 3 {
		b.try("POST", "/billing_requests", billing(5))
	}
	first := b.expect(200, "meta.limit", 2.0, "GET", "/billing_requests?limit=2", "")
	after := at(first, "meta.cursors.after").(string)
	last := b.expect(200, "meta.cursors.after", nil, "GET", "/billing_requests?limit=2&after="+after, "")
	wantEqual(t, "last page", len(last["billing_requests"].([]any)), 1)
}
