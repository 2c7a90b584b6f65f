package providersim

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"time"
)

const goCardlessTime = "2006-01-02T15:04:05.000Z"

// flowValid is how long a payer may use a flow.
const flowValid = 7 * 24 * time.Hour

// gcRequest is a billing request with a payment request in it.
type gcRequest struct {
	head
	amount              int64
	currency, status    string // pending, fulfilled, cancelled
	description, scheme string
	metadata            map[string]string // of the billing request
	paymentMetadata     map[string]string // for the payment
	payment             *gcPayment
	cause               cause
}

func (h *gcRequest) header() *head { return &h.head }

// gcFlow is a page for the payer.
type gcFlow struct {
	head
	request              *gcRequest
	redirectURI, exitURI string
	base                 string
}

func (f *gcFlow) header() *head { return &f.head }

func (f *gcFlow) expired(now time.Time) bool {
	return f.request.status != "pending" || !now.Before(f.created.Add(flowValid))
}

func (s *GoCardless) createRequest(c *gcCall) (any, *gcError) {
	var in struct {
		Metadata       map[string]string `json:"metadata"`
		PaymentRequest *struct {
			Amount      int64             `json:"amount"`
			Currency    string            `json:"currency"`
			Description string            `json:"description"`
			Scheme      string            `json:"scheme"`
			Metadata    map[string]string `json:"metadata"`
		} `json:"payment_request"`
	}
	if problem := c.read("billing_requests", &in); problem != nil {
		return nil, problem
	}
	pr := in.PaymentRequest
	switch {
	case pr == nil:
		return nil, gcInvalid("payment_request", "must be given: the simulated account has no mandates")
	case pr.Amount < 1:
		return nil, gcInvalid("amount", "must be greater than 0")
	case pr.Currency != "GBP" && pr.Currency != "EUR":
		return nil, gcInvalid("currency", "must be GBP or EUR for Instant Bank Pay")
	case pr.Scheme != "" && pr.Scheme != gcScheme(pr.Currency):
		return nil, gcInvalid("scheme", "does not fit the currency")
	}
	for _, m := range []map[string]string{in.Metadata, pr.Metadata} {
		if problem := checkGCMetadata(m); problem != nil {
			return nil, problem
		}
	}
	br := &gcRequest{
		amount: pr.Amount, currency: pr.Currency, status: "pending", description: pr.Description, scheme: gcScheme(pr.Currency),
		metadata: merged(in.Metadata, nil), paymentMetadata: merged(pr.Metadata, nil), cause: c.cause(),
	}
	s.keep("BRQ", br)
	s.requests = append(s.requests, br)
	s.tell(br, br.news("created"))
	return br.render(), nil
}

func gcScheme(currency string) string {
	if currency == "GBP" {
		return "faster_payments"
	}
	return "sepa_instant_credit_transfer"
}

// checkGCMetadata: https://developer.gocardless.com/api-reference/#billing-requests-create-a-billing-request
func checkGCMetadata(m map[string]string) *gcError {
	if len(m) > 3 {
		return gcInvalid("metadata", "may have up to 3 keys")
	}
	for k, v := range m {
		if len(k) > 50 || len(v) > 500 {
			return gcInvalid("metadata", "keys may have up to 50 characters, values up to 500")
		}
	}
	return nil
}

func (s *GoCardless) createFlow(c *gcCall) (any, *gcError) {
	var in struct {
		RedirectURI string            `json:"redirect_uri"`
		ExitURI     string            `json:"exit_uri"`
		Links       map[string]string `json:"links"`
	}
	if problem := c.read("billing_request_flows", &in); problem != nil {
		return nil, problem
	}
	br, ok := s.objects[in.Links["billing_request"]].(*gcRequest)
	if !ok {
		return nil, gcInvalid("links", "billing_request does not exist")
	}
	if br.status != "pending" {
		return nil, gcState("billing_request_not_pending", "The billing request is %s", br.status)
	}
	f := &gcFlow{request: br, redirectURI: in.RedirectURI, exitURI: in.ExitURI, base: c.base}
	s.keep("BRF", f)
	s.tell(br, gcNews{"billing_requests", "flow_created", "billing_request_flow_created", object{"billing_request": br.id, "billing_request_flow": f.id}, br.metadata})
	return f.render(), nil
}

func (s *GoCardless) cancelRequest(c *gcCall) (any, *gcError) {
	var in struct {
		Metadata map[string]string `json:"metadata"`
	}
	if problem := c.read("data", &in); problem != nil {
		return nil, problem
	}
	br, ok := s.objects[c.id].(*gcRequest)
	if !ok {
		return nil, misuse(http.StatusNotFound, "resource_not_found", "Resource not found")
	}
	if br.status != "pending" {
		return nil, gcState("cannot_be_cancelled", "A billing request that is %s can't be cancelled", br.status)
	}
	br.status = "cancelled"
	s.tell(br, br.news("cancelled"))
	return br.render(), nil
}

func (s *GoCardless) listRequests(c *gcCall) (any, *gcError) {
	status := c.query.Get("status")
	return gcPage(s, c, s.requests, []string{"status"}, func(br *gcRequest) bool { return status == "" || br.status == status })
}

// metadataOf finds the metadata that a request is about, for fault rules.
func (s *GoCardless) metadataOf(c *gcCall) map[string]string {
	var in map[string]struct {
		Metadata map[string]string `json:"metadata"`
		Links    map[string]string `json:"links"`
	}
	_ = json.Unmarshal(c.body, &in) // what is malformed has no metadata
	body := in[c.route.envelope]
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for _, id := range []string{c.id, body.Links["billing_request"], body.Links["payment"], c.query.Get("payment")} {
		switch o := s.objects[id].(type) {
		case *gcRequest:
			maps.Copy(all, o.metadata)
		case *gcPayment:
			maps.Copy(all, o.request.metadata)
		case *gcRefund:
			maps.Copy(all, o.payment.request.metadata)
			maps.Copy(all, o.metadata)
		}
	}
	maps.Copy(all, body.Metadata)
	return all
}

func merged(a, b map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

func lowerCurrency(code string) string { return strings.ToLower(code) }

func (br *gcRequest) render() any {
	links := object{"payment_request": "PRQ" + br.id[3:], "creditor": "CR123", "customer": "CU123"}
	if br.payment != nil {
		links["payment_request_payment"] = br.payment.id
	}
	return object{
		"id": br.id, "created_at": br.created.UTC().Format(goCardlessTime), "status": br.status, "metadata": br.metadata,
		"fallback_enabled": false, "fallback_occurred": false, "mandate_request": nil,
		"payment_request": object{
			"amount": br.amount, "currency": br.currency, "description": orNil(br.description), "scheme": br.scheme,
			"app_fee": nil, "metadata": br.paymentMetadata, "links": object{},
		},
		"links":     links,
		"resources": object{"customer": object{"id": "CU123", "email": "payer@example.com", "given_name": "Sim", "family_name": "Payer"}},
		"actions":   []any{},
	}
}

func (f *gcFlow) render() any {
	return object{
		"id": f.id, "created_at": f.created.UTC().Format(goCardlessTime), "expires_at": f.created.Add(flowValid).UTC().Format(goCardlessTime),
		"authorisation_url": f.base + "/_sim/bank/" + f.id, "auto_fulfil": true, "redirect_uri": orNil(f.redirectURI), "exit_uri": orNil(f.exitURI),
		"lock_customer_details": false, "lock_bank_account": false, "session_token": nil, "links": object{"billing_request": f.request.id},
	}
}
