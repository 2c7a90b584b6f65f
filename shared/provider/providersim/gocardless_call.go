package providersim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// gcCall is one API request, decoded.
type gcCall struct {
	requestID, key string
	base           string // where the caller reaches the simulator
	id             string // the object named in the path
	body           []byte
	query          url.Values
	route          gcRoute
}

func (c *gcCall) cause() cause { return cause{requestID: c.requestID, key: c.key} }

// gcRoute is one endpoint.
type gcRoute struct {
	operation Operation
	path      string
	envelope  string // of the object in the answer
	status    int    // of the answer
	run       func(*GoCardless, *gcCall) (any, *gcError)
}

// creates says that an idempotency key of the request names what it made.
func (r gcRoute) creates() bool { return r.status == http.StatusCreated }

var gcRoutes = map[string]gcRoute{
	"POST billing_requests":                     {Authorize, "billing_requests", "billing_requests", 201, (*GoCardless).createRequest},
	"POST billing_requests/{id}/actions/cancel": {Void, "cancel", "billing_requests", 200, (*GoCardless).cancelRequest},
	"POST billing_request_flows":                {Confirm, "billing_request_flows", "billing_request_flows", 201, (*GoCardless).createFlow},
	"POST refunds":                              {Refund, "refunds", "refunds", 201, (*GoCardless).createRefund},

	"GET billing_requests/{id}": {Retrieve, "", "billing_requests", 200, gcRetrieve[*gcRequest]},
	"GET payments/{id}":         {Retrieve, "", "payments", 200, gcRetrieve[*gcPayment]},
	"GET refunds/{id}":          {Retrieve, "", "refunds", 200, gcRetrieve[*gcRefund]},
	"GET payouts/{id}":          {Retrieve, "", "payouts", 200, gcRetrieve[*gcPayout]},
	"GET events/{id}":           {Retrieve, "", "events", 200, gcRetrieve[*gcEvent]},

	"GET billing_requests": {List, "", "billing_requests", 200, (*GoCardless).listRequests},
	"GET payments":         {List, "", "payments", 200, (*GoCardless).listPayments},
	"GET refunds":          {List, "", "refunds", 200, (*GoCardless).listRefunds},
	"GET payouts":          {Report, "", "payouts", 200, (*GoCardless).listPayouts},
	"GET payout_items":     {Report, "", "payout_items", 200, (*GoCardless).listItems},
	"GET events":           {List, "", "events", 200, (*GoCardless).listEvents},
}

func findGCRoute(verb, path string) (gcRoute, string, bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	id := ""
	if len(parts) > 1 {
		id, parts[1] = parts[1], "{id}"
	}
	r, ok := gcRoutes[verb+" "+strings.Join(parts, "/")]
	return r, id, ok
}

// ServeHTTP answers the API, and the simulator's own pages under /_sim/.
func (s *GoCardless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.RunDue(r.Context())
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		s.admin.ServeHTTP(w, r)
		return
	}
	s.busy.begin()
	defer s.busy.end()
	s.mu.Lock()
	s.book.settle(s.now())
	s.mu.Unlock()

	c := &gcCall{requestID: s.ids.next(""), base: origin(r), query: r.URL.Query()}
	fault, problem := s.admit(c, r)
	if problem != nil {
		s.send(w, r, Fault{}, c.finish(c.errorReply(problem)), nil)
		return
	}
	rep, fault := s.answer(c, fault)
	s.send(w, r, fault, c.finish(rep), tamperGoCardless)
}

// admit checks a request's headers and finds the fault that awaits it.
func (s *GoCardless) admit(c *gcCall, r *http.Request) (Fault, *gcError) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes+1))
	if err != nil || len(body) > maxRequestBytes {
		return Fault{}, misuse(http.StatusBadRequest, "invalid_document_structure", "The body could not be read: it may have up to %d bytes", maxRequestBytes)
	}
	c.body = body
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer || !s.accepts.hold(token) {
		return Fault{}, misuse(http.StatusUnauthorized, "access_token_not_found", "The access token you've used is not a valid GoCardless API access token")
	}
	if v := r.Header.Get("GoCardless-Version"); v != GoCardlessVersion {
		return Fault{}, misuse(http.StatusBadRequest, "version_not_found", "Version not found: %q", v)
	}
	var found bool
	if c.route, c.id, found = findGCRoute(r.Method, r.URL.Path); !found {
		return Fault{}, misuse(http.StatusNotFound, "path_not_found", "Path not found: %s", r.URL.Path)
	}
	if r.Method == http.MethodPost {
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			return Fault{}, misuse(http.StatusUnsupportedMediaType, "unsupported_media_type", "Content-Type must be application/json")
		}
		c.key = r.Header.Get("Idempotency-Key")
	}
	s.count(string(c.route.operation) + ".requests")
	if text := r.Header.Get("Sim-Fault"); text != "" {
		fault, err := ParseFault(text)
		if err == nil && fault.Kind.AboutWebhooks() {
			err = errWebhookHeader
		}
		if err != nil {
			return Fault{}, misuse(http.StatusBadRequest, "sim_fault", "Sim-Fault: %v", err)
		}
		return fault, nil
	}
	return s.planner.pick(subject{operation: c.route.operation, metadata: func() map[string]string { return s.metadataOf(c) }}), nil
}

// answer does what the request asks, within what the fault lets it do. It returns
// the part of the fault that is still to strike, on the answer's way.
func (s *GoCardless) answer(c *gcCall, fault Fault) (reply, Fault) {
	switch fault.Kind {
	case DropBefore, HangBefore, HTMLBefore:
		s.strikes(fault)
		return reply{}, fault
	case RateLimited:
		s.strikes(fault)
		rep := c.errorReply(misuse(http.StatusTooManyRequests, "rate_limit_exceeded", "Rate limit exceeded"))
		rep.header.Set("RateLimit-Reset", s.now().Add(rateLimitReset).UTC().Format(http.TimeFormat))
		return rep, Fault{}
	case Conflict:
		s.strikes(fault)
		return c.errorReply(creationConflict("")), Fault{}
	}
	rec, problem := s.claimKey(c)
	if problem != nil {
		if fault = wireOnly(fault); fault.Kind != "" {
			s.strikes(fault)
		}
		return c.errorReply(problem), fault
	}
	if fault.Kind != "" {
		s.strikes(fault)
	}
	switch fault.Kind {
	case DelayBefore:
		s.wait(fault.For)
	case Error500Before:
		s.releaseKey(c, rec)
		return c.errorReply(gcInternal()), Fault{}
	case LateError:
		s.schedule(s.now().Add(fault.For), func() { s.execute(c, rec) })
		return c.errorReply(gcInternal()), Fault{}
	case LateDrop, LateHang:
		s.schedule(s.now().Add(fault.For), func() { s.execute(c, rec) })
		return reply{}, fault
	}
	rep := s.execute(c, rec)
	if fault.Kind == Error500After {
		rep = c.errorReply(gcInternal())
	}
	return rep, fault
}

func wireOnly(f Fault) Fault {
	if f.Kind.onTheWire() {
		return f
	}
	return Fault{}
}

// gcKey is what an idempotency key made; nothing while its request runs.
type gcKey struct{ made string }

// claimKey takes the key of a request that makes something, or says who has it.
func (s *GoCardless) claimKey(c *gcCall) (*gcKey, *gcError) {
	if !c.route.creates() || c.key == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.keys[c.route.path+" "+c.key]; ok {
		s.count(string(c.route.operation) + ".replays")
		return nil, creationConflict(old.made)
	}
	rec := &gcKey{}
	s.keys[c.route.path+" "+c.key] = rec
	return rec, nil
}

func (s *GoCardless) releaseKey(c *gcCall, rec *gcKey) {
	if rec == nil {
		return
	}
	s.mu.Lock()
	delete(s.keys, c.route.path+" "+c.key)
	s.mu.Unlock()
}

// execute runs a request against the account. Only what was made keeps the key.
func (s *GoCardless) execute(c *gcCall, rec *gcKey) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	result, problem := c.route.run(s, c)
	if problem != nil {
		if rec != nil {
			delete(s.keys, c.route.path+" "+c.key)
		}
		return c.errorReply(problem)
	}
	if made, ok := result.(object); ok && rec != nil {
		rec.made = str(made["id"])
	}
	if list, ok := result.(gcList); ok {
		return jsonReply(c.route.status, object{c.route.envelope: list.data, "meta": list.meta})
	}
	return jsonReply(c.route.status, object{c.route.envelope: result})
}

// read decodes the body, which has one member, strictly.
func (c *gcCall) read(envelope string, into any) *gcError {
	var outer map[string]json.RawMessage
	if json.Unmarshal(c.body, &outer) != nil || outer[envelope] == nil || len(outer) != 1 {
		return misuse(http.StatusBadRequest, "invalid_document_structure", "Invalid document structure: the root element must be %s", envelope)
	}
	d := json.NewDecoder(bytes.NewReader(outer[envelope]))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return gcInvalid(envelope, "%v", err)
	}
	return nil
}

// finish adds the headers that every answer carries.
func (c *gcCall) finish(rep reply) reply {
	header := http.Header{}
	maps.Copy(header, rep.header)
	header.Set("X-Request-Id", c.requestID)
	rep.header = header
	return rep
}

func gcRetrieve[T gcResource](s *GoCardless, c *gcCall) (any, *gcError) {
	found, ok := s.objects[c.id].(T)
	if !ok {
		return nil, misuse(http.StatusNotFound, "resource_not_found", "Resource not found")
	}
	return found.render(), nil
}

// gcList is one page, as it stands beside its cursors.
type gcList struct {
	data []any
	meta object
}

// gcPage answers a list request, newest first.
func gcPage[T gcResource](s *GoCardless, c *gcCall, all []T, known []string, keep func(T) bool) (any, *gcError) {
	limit := 50
	for name := range c.query {
		if !slices.Contains(append(known, "limit", "after"), name) {
			return nil, gcInvalid(name, "is not a parameter of this list")
		}
	}
	if text := c.query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 500 {
			return nil, gcInvalid("limit", "must be between 1 and 500")
		}
		limit = n
	}
	before := int64(0)
	if cursor := c.query.Get("after"); cursor != "" {
		o, ok := s.objects[cursor]
		if !ok {
			return nil, misuse(http.StatusBadRequest, "record_not_found", "Cursor not found: %s", cursor)
		}
		before = o.header().ordinal
	}
	list := gcList{data: []any{}}
	last, after := "", any(nil)
	for _, o := range slices.Backward(all) {
		if before != 0 && o.header().ordinal >= before || !keep(o) {
			continue
		}
		if len(list.data) == limit {
			after = last
			break
		}
		list.data, last = append(list.data, o.render()), o.header().id
	}
	list.meta = object{"cursors": object{"before": nil, "after": after}, "limit": limit}
	return list, nil
}

// gcError is an error in GoCardless's shape:
// https://developer.gocardless.com/api-reference/#api-usage-errors
type gcError struct {
	status                       int
	kind, reason, message, field string
	conflicting                  string
}

func misuse(status int, reason, format string, args ...any) *gcError {
	return &gcError{status: status, kind: "invalid_api_usage", reason: reason, message: fmt.Sprintf(format, args...)}
}

func gcInvalid(field, format string, args ...any) *gcError {
	return &gcError{status: http.StatusUnprocessableEntity, kind: "validation_failed", field: field, message: fmt.Sprintf(format, args...)}
}

func gcState(reason, format string, args ...any) *gcError {
	return &gcError{status: http.StatusConflict, kind: "invalid_state", reason: reason, message: fmt.Sprintf(format, args...)}
}

func gcInternal() *gcError {
	return &gcError{status: http.StatusInternalServerError, kind: "gocardless", reason: "internal_server_error", message: "Internal server error"}
}

// creationConflict is the answer to a key that was used; made is empty while its
// first request runs.
func creationConflict(made string) *gcError {
	e := gcState("idempotent_creation_conflict", "A resource has already been created with this idempotency key")
	e.conflicting = made
	return e
}

func (c *gcCall) errorReply(e *gcError) reply {
	each := object{"message": e.message}
	if e.reason != "" {
		each["reason"] = e.reason
	}
	if e.field != "" {
		each["field"], each["request_pointer"] = e.field, "/"+c.route.envelope+"/"+e.field
	}
	if e.conflicting != "" {
		each["links"] = object{"conflicting_resource_id": e.conflicting}
	}
	return jsonReply(e.status, object{"error": object{
		"type": e.kind, "code": e.status, "message": e.message, "request_id": c.requestID,
		"documentation_url": "https://developer.gocardless.com/api-reference#" + e.reason, "errors": []any{each},
	}})
}

// tamperGoCardless makes the amounts of an answer one minor unit too large: of the object
// in it, or of each of a list, and of the payment requests in them.
func tamperGoCardless(body []byte) []byte {
	return tampered(body, func(outer object) {
		for _, content := range outer {
			list, isList := content.([]any)
			if !isList {
				list = []any{content}
			}
			for _, each := range list {
				if o, ok := each.(object); ok {
					raiseAmounts(o)
					if inner, ok := o["payment_request"].(object); ok {
						raiseAmounts(inner)
					}
				}
			}
		}
	})
}
