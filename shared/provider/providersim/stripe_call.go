package providersim

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// call is one API request, decoded.
type call struct {
	requestID string
	key       string // Idempotency-Key, of POST only
	base      string // where the caller reaches the simulator
	path      string
	id        string // the object named in the path
	form      form
	route     route
}

// ServeHTTP answers the API under /v1/ and the simulator's own pages under /_sim/.
func (s *Stripe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		s.admin.ServeHTTP(w, r)
		return
	}
	s.RunDue(r.Context())
	s.mu.Lock()
	s.book.settle(s.now())
	s.mu.Unlock()
	s.busy.begin()
	defer s.busy.end()

	c := &call{requestID: s.ids.next("req_"), base: origin(r), path: r.URL.Path}
	fault, err := s.admit(c, r)
	if err != nil {
		s.send(w, r, Fault{}, c.finish(s.errorReply(err)), nil)
		return
	}
	rep, fault := s.answer(c, fault)
	s.send(w, r, fault, c.finish(rep), tamperStripe)
}

// origin is where the caller reached the simulator.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// admit decodes a request, checks its key, and finds the fault that awaits it.
func (s *Stripe) admit(c *call, r *http.Request) (Fault, *stripeError) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes+1))
	if err != nil || len(body) > maxRequestBytes {
		return Fault{}, invalid("", "", "The request's body could not be read: it may have up to %d bytes.", maxRequestBytes)
	}
	if problem := s.authenticate(r); problem != nil {
		return Fault{}, problem
	}
	var found bool
	if c.route, c.id, found = findRoute(r.Method, r.URL.Path); !found {
		return Fault{}, unrecognizedURL(r)
	}
	s.count(string(c.route.operation) + ".requests")
	query := r.URL.RawQuery
	if r.Method == http.MethodPost {
		query, c.key = string(body), r.Header.Get("Idempotency-Key")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Fault{}, invalid("", "", "Invalid request: the parameters are not form-encoded.")
	}
	c.form = form{values}
	if text := r.Header.Get("Sim-Fault"); text != "" {
		fault, err := ParseFault(text)
		if err == nil && fault.Kind.AboutWebhooks() {
			err = errWebhookHeader
		}
		if err != nil {
			return Fault{}, invalid("", "", "Sim-Fault: %v", err)
		}
		return fault, nil
	}
	return s.planner.pick(subject{
		operation: c.route.operation,
		metadata:  func() map[string]string { return s.metadataOf(c) },
	}), nil
}

func (s *Stripe) authenticate(r *http.Request) *stripeError {
	key, _, _ := r.BasicAuth()
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		key = strings.TrimSpace(bearer)
	}
	if key == "" {
		return &stripeError{
			status: http.StatusUnauthorized, Type: "invalid_request_error",
			Message: "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth.",
		}
	}
	if !s.accepts.hold(key) {
		return &stripeError{
			status: http.StatusUnauthorized, Type: "invalid_request_error",
			Message: "Invalid API Key provided: " + maskKey(key),
		}
	}
	if r.Header.Get("Stripe-Account") != "" {
		return &stripeError{
			status: http.StatusForbidden, Type: "invalid_request_error", Code: "account_invalid",
			Message: "The simulated account has no connected accounts.",
		}
	}
	return nil
}

func maskKey(key string) string {
	if len(key) <= 12 {
		return strings.Repeat("*", len(key))
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}

// answer does what the request asks, within what the fault lets it do. It
// returns the part of the fault that is still to strike, on the answer's way.
func (s *Stripe) answer(c *call, fault Fault) (reply, Fault) {
	switch fault.Kind {
	case DropBefore, HangBefore, HTMLBefore:
		s.strikes(fault)
		return reply{}, fault
	case RateLimited:
		s.strikes(fault)
		rep := s.errorReply(&stripeError{
			status: http.StatusTooManyRequests, Type: "invalid_request_error", Code: "rate_limit",
			Message: "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
		})
		rep.header.Set("Retry-After", retryAfter)
		return rep, Fault{}
	case Conflict:
		s.strikes(fault)
		return s.errorReply(keyInUse(c.key)), Fault{}
	}
	rec, stored := s.claim(c)
	if stored != nil {
		if !fault.Kind.onTheWire() {
			return *stored, Fault{}
		}
		s.strikes(fault)
		return *stored, fault
	}
	if fault.Kind != "" {
		s.strikes(fault)
	}
	switch fault.Kind {
	case DelayBefore:
		s.wait(fault.For)
	case Error500Before:
		return s.keys.finish(rec, s.errorReply(internalError())), Fault{}
	case LateError:
		s.schedule(s.now().Add(fault.For), func() { s.execute(c) })
		return s.keys.finish(rec, s.errorReply(internalError())), Fault{}
	case LateDrop, LateHang:
		s.schedule(s.now().Add(fault.For), func() { s.settle(rec, c, Fault{}) })
		return reply{}, fault
	}
	return s.settle(rec, c, fault), fault
}

// claim takes the request's key, or returns the answer of the request that has it.
func (s *Stripe) claim(c *call) (*keyRecord, *reply) {
	rec, stored, problem := s.keys.begin(c, s.now())
	switch {
	case problem != nil:
		rep := s.errorReply(problem)
		return nil, &rep
	case stored != nil:
		s.count(string(c.route.operation) + ".replays")
	}
	return rec, stored
}

// settle executes a request and keeps its result under the key, unless the
// request was refused before its execution began.
func (s *Stripe) settle(rec *keyRecord, c *call, fault Fault) reply {
	rep, begun := s.execute(c)
	if !begun {
		s.keys.forget(rec, c)
		return rep
	}
	if fault.Kind == Error500After {
		rep = s.errorReply(internalError())
	}
	return s.keys.finish(rec, rep)
}

// execute runs a request against the account. It reports whether execution
// began, that is, whether the result is one that an idempotency key keeps.
func (s *Stripe) execute(c *call) (rep reply, begun bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if problem := c.form.check(c.route); problem != nil {
		return s.errorReply(problem), false
	}
	result, problem := c.route.run(s, c)
	if problem != nil {
		return s.errorReply(problem), problem.begun
	}
	for _, path := range c.form.list("expand") {
		s.expand(result, strings.Split(path, "."))
	}
	return jsonReply(http.StatusOK, result), true
}

// finish adds the headers that every answer carries.
func (c *call) finish(rep reply) reply {
	header := http.Header{}
	maps.Copy(header, rep.header)
	header.Set("Request-Id", c.requestID)
	header.Set("Stripe-Version", StripeVersion)
	if c.key != "" {
		header.Set("Idempotency-Key", c.key)
		if header.Get("Original-Request") == "" {
			header.Set("Original-Request", c.requestID)
		}
	}
	rep.header = header
	return rep
}

func jsonReply(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		panic("providersim: " + err.Error()) // only our own types come here
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

// metadataOf finds the metadata that a request is about, for fault rules.
func (s *Stripe) metadataOf(c *call) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for _, id := range []string{c.id, c.form.str("payment_intent"), c.form.str("charge")} {
		switch o := s.objects[id].(type) {
		case *intent:
			maps.Copy(all, o.metadata)
		case *charge:
			maps.Copy(all, o.intent.metadata)
		case *refund:
			maps.Copy(all, o.charge.intent.metadata)
			maps.Copy(all, o.metadata)
		}
	}
	maps.Copy(all, c.form.hash("metadata"))
	return all
}
