package providersim

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Token is the getting of an access token, and Reauthorize the making anew of an
// authorization, which only PayPal has.
const (
	Token       Operation = "token"
	Reauthorize Operation = "reauthorize"
)

const (
	paypalOrdersPeriod   = 6 * time.Hour
	paypalPaymentsPeriod = 45 * 24 * time.Hour
)

// paypalCall is one API request, decoded.
type paypalCall struct {
	debugID, key, path, id string
	query                  url.Values
	body                   []byte
	route                  paypalRoute
	cause                  cause
}

// paypalRoute is one endpoint.
type paypalRoute struct {
	operation Operation
	period    time.Duration // for which its PayPal-Request-Id is kept; 0 for reads
	run       func(*PayPal, *paypalCall) (paypalResult, *paypalError)
}

// paypalResult is what a request made or read, rendered anew when it is asked for again.
type paypalResult struct {
	status int
	render func() any
}

var paypalRoutes = map[string]paypalRoute{
	"POST /v2/checkout/orders":                          {Authorize, paypalOrdersPeriod, (*PayPal).createOrder},
	"POST /v2/checkout/orders/{id}/authorize":           {Confirm, paypalOrdersPeriod, (*PayPal).completeOrder},
	"POST /v2/checkout/orders/{id}/capture":             {Confirm, paypalOrdersPeriod, (*PayPal).completeOrder},
	"POST /v2/payments/authorizations/{id}/capture":     {Capture, paypalPaymentsPeriod, (*PayPal).captureAuthorization},
	"POST /v2/payments/authorizations/{id}/void":        {Void, paypalPaymentsPeriod, (*PayPal).voidAuthorization},
	"POST /v2/payments/authorizations/{id}/reauthorize": {Reauthorize, paypalPaymentsPeriod, (*PayPal).reauthorize},
	"POST /v2/payments/captures/{id}/refund":            {Refund, paypalPaymentsPeriod, (*PayPal).refundCapture},
	"GET /v2/checkout/orders/{id}":                      {Retrieve, 0, (*PayPal).retrieveOrder},
	"GET /v2/payments/authorizations/{id}":              {Retrieve, 0, retrievePayPal("authorization")},
	"GET /v2/payments/captures/{id}":                    {Retrieve, 0, retrievePayPal("capture")},
	"GET /v2/payments/refunds/{id}":                     {Retrieve, 0, retrievePayPal("refund")},
	"GET /v1/customer/disputes":                         {List, 0, (*PayPal).listDisputes},
	"GET /v1/customer/disputes/{id}":                    {Retrieve, 0, (*PayPal).retrieveDispute},
	"POST /v1/notifications/verify-webhook-signature":   {Retrieve, 0, (*PayPal).verifySignature},
	"GET /v1/reporting/transactions":                    {Report, 0, (*PayPal).searchTransactions},
}

func findPayPalRoute(verb, path string) (paypalRoute, string, bool) {
	if r, ok := paypalRoutes[verb+" "+path]; ok {
		return r, "", true
	}
	parts := strings.Split(path, "/") // "", v2, checkout, orders, id, action
	if len(parts) < 5 {
		return paypalRoute{}, "", false
	}
	id := parts[4]
	parts[4] = "{id}"
	r, ok := paypalRoutes[verb+" "+strings.Join(parts, "/")]
	return r, id, ok
}

// ServeHTTP answers the API, and the simulator's own pages under /_sim/.
func (p *PayPal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		p.admin.ServeHTTP(w, r)
		return
	}
	if r.URL.Path == paypalCertPath {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(p.signer.chain)
		return
	}
	p.RunDue(r.Context())
	p.busy.begin()
	defer p.busy.end()
	p.mu.Lock()
	if p.base == "" {
		p.base = origin(r)
	}
	p.book.settle(p.now())
	p.mu.Unlock()
	c := &paypalCall{debugID: p.ids.next("sim"), path: r.URL.Path, query: r.URL.Query(), key: r.Header.Get("PayPal-Request-Id")}
	c.cause = cause{requestID: c.debugID, key: c.key}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes+1))
	if err != nil || len(body) > maxRequestBytes {
		p.send(w, r, Fault{}, c.finish(malformed("the body is too large or broke off").reply()), nil)
		return
	}
	c.body = body
	var rep reply
	var fault Fault
	if r.Method == http.MethodPost && r.URL.Path == "/v1/oauth2/token" {
		rep, fault = p.giveToken(c, r)
	} else {
		rep, fault = p.answer(c, r)
	}
	p.send(w, r, fault, c.finish(rep), tamperPayPal)
}

// read decodes a body without unknown members: the simulator refuses what it does not
// model.
func (c *paypalCall) read(v any) *paypalError {
	d := json.NewDecoder(strings.NewReader(string(c.body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return malformed(err.Error())
	}
	return nil
}

func (c *paypalCall) finish(rep reply) reply {
	header := http.Header{}
	maps.Copy(header, rep.header)
	header.Set("Paypal-Debug-Id", c.debugID)
	rep.header = header
	return rep
}

// planned finds the fault that awaits the request, and answers for those that keep the
// provider from acting at all.
func (p *PayPal) planned(c *paypalCall, r *http.Request, op Operation) (Fault, *reply) {
	p.count(string(op) + ".requests")
	fault := p.planner.pick(subject{operation: op, metadata: func() map[string]string { return p.metadataOf(c) }})
	if text := r.Header.Get("Sim-Fault"); text != "" {
		asked, err := ParseFault(text)
		if err == nil && asked.Kind.AboutWebhooks() {
			err = errWebhookHeader
		}
		if err != nil {
			rep := malformed("Sim-Fault: " + err.Error()).reply()
			return Fault{}, &rep
		}
		fault = asked
	}
	var rep reply
	switch fault.Kind {
	case DropBefore, HangBefore, HTMLBefore:
		p.strikes(fault)
		return fault, &rep
	case Error500Before:
		rep = paypalInternal().reply()
	case RateLimited:
		rep = (&paypalError{status: 429, Name: "RATE_LIMIT_REACHED", Message: "Too many requests. Blocked due to rate limiting."}).reply()
		rep.header.Set("Retry-After", retryAfter)
	case Conflict:
		rep = unprocessable("PREVIOUS_REQUEST_IN_PROGRESS", "A previous request on this resource is currently in progress.").reply()
	default:
		return fault, nil
	}
	p.strikes(fault)
	return Fault{}, &rep
}

func (p *PayPal) answer(c *paypalCall, r *http.Request) (reply, Fault) {
	if problem := p.authenticate(r); problem != nil {
		return problem.reply(), Fault{}
	}
	var found bool
	if c.route, c.id, found = findPayPalRoute(r.Method, r.URL.Path); !found {
		return (&paypalError{status: 404, Name: "NOT_FOUND", Message: "The requested resource was not found."}).reply(), Fault{}
	}
	fault, stopped := p.planned(c, r, c.route.operation)
	if stopped != nil {
		return *stopped, fault
	}
	rec, stored := p.keys.begin(c, p.now())
	if stored != nil {
		if stored.status == http.StatusOK {
			p.count(string(c.route.operation) + ".replays")
		}
		rep := p.replay(stored)
		if !fault.Kind.onTheWire() {
			return rep, Fault{}
		}
		p.strikes(fault)
		return rep, fault
	}
	if fault.Kind != "" {
		p.strikes(fault)
	}
	switch fault.Kind {
	case DelayBefore:
		p.wait(fault.For)
	case LateError, LateDrop, LateHang: // the id is in use until then
		p.schedule(p.now().Add(fault.For), func() { p.settle(rec, c) })
		if fault.Kind == LateError {
			return paypalInternal().reply(), Fault{}
		}
		return reply{}, fault
	}
	rep := p.settle(rec, c)
	if fault.Kind == Error500After {
		return paypalInternal().reply(), Fault{}
	}
	return rep, fault
}

// settle executes a request, and keeps under its id what it made.
func (p *PayPal) settle(rec *paypalKey, c *paypalCall) reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	result, problem := c.route.run(p, c)
	if problem != nil {
		p.keys.forget(rec, c.key)
		return problem.reply()
	}
	p.keys.finish(rec, result)
	if result.status == http.StatusNoContent {
		return reply{status: result.status}
	}
	return jsonReply(result.status, result.render())
}

// replay renders what the first request made, as it is now.
func (p *PayPal) replay(stored *paypalStored) reply {
	if stored.problem != nil {
		return stored.problem.reply()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return jsonReply(stored.status, stored.render())
}

// giveToken is POST /v1/oauth2/token.
func (p *PayPal) giveToken(c *paypalCall, r *http.Request) (reply, Fault) {
	id, secret, _ := r.BasicAuth()
	if id == "" || id != p.cfg.ClientID || !p.accepts.hold(secret) {
		return jsonReply(401, object{"error": "invalid_client", "error_description": "Client Authentication failed"}), Fault{}
	}
	if string(c.body) != "grant_type=client_credentials" {
		return jsonReply(400, object{"error": "unsupported_grant_type", "error_description": "Grant Type is NULL"}), Fault{}
	}
	fault, stopped := p.planned(c, r, Token)
	if stopped != nil {
		return *stopped, fault
	}
	if fault.Kind != "" {
		p.strikes(fault)
	}
	token := p.ids.next("A21AA")
	p.mu.Lock()
	p.tokens[token] = p.now().Add(p.cfg.TokenValid)
	p.mu.Unlock()
	return jsonReply(200, object{
		"scope": "https://uri.paypal.com/services/payments/payment", "access_token": token, "token_type": "Bearer",
		"app_id": "APP-SIM", "expires_in": int64(p.cfg.TokenValid / time.Second), "nonce": p.ids.next(""),
	}), fault
}

func (p *PayPal) authenticate(r *http.Request) *paypalError {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	defer p.mu.Unlock()
	if until, ok := p.tokens[token]; ok && p.now().Before(until) {
		return nil
	}
	return &paypalError{status: 401, oauth: "invalid_token", Message: "Token signature verification failed"}
}

// tamperPayPal makes the amounts of an answer one unit too large.
func tamperPayPal(body []byte) []byte {
	var o any
	if json.Unmarshal(body, &o) != nil {
		return body
	}
	tamperAmounts(o)
	tampered, err := json.Marshal(o)
	if err != nil {
		return body
	}
	return tampered
}

func tamperAmounts(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			tamperAmounts(e)
		}
	case object:
		if code, ok := v["currency_code"].(string); ok {
			if units, ok := paypalUnits(str(v["value"]), code); ok {
				v["value"] = paypalValue(units+1, code)
			}
		}
		for _, e := range v {
			tamperAmounts(e)
		}
	}
}
