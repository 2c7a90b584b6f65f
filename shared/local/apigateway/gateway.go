// Package apigateway is API Gateway in one process: it routes by an OpenAPI 3.0 document, calls the operation's backend
// with an ID token of its own, and moves the caller's credential to another header.
//
// It reproduces ESPv2, the proxy that API Gateway is made of, with what is awkward in it: see moveCredential. Like the
// product it validates and refuses no bodies. But whoever observes it is told of each answer, and each accepted request,
// that does not fit the document, so that a test can fail on it; nothing is altered.
//
// It is for tests and the local stack and never linked into a deployed function.
package apigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// maxBody is the product's limit of requests and of responses.
const maxBody = 32 << 20

// Options configure a Gateway. Document, Backends and Token are required.
type Options struct {
	Document []byte            // OpenAPI 3.0, YAML or JSON; its servers are ignored
	Backends map[string]string // URL of each operation's function, by operationId

	// Token signs the gateway's ID token for a backend, whose URL is the audience. Email is the gateway's account.
	Token func(email, audience string) string
	Email string

	// Deadline is how long an operation's backend may take, in real time, if the document does not say; default 15 s.
	Deadline time.Duration

	// Violation, if set, is told of each answer of a backend that does not fit the document, and of each request that
	// does not and was answered with a 2xx; before the caller gets the answer, so that a test that has its answer has
	// heard of them too. It is called concurrently.
	Violation func(error)

	// Observe, if set, sees each answer of a backend before the caller gets it, with both bodies and the violation, if
	// any. The request is the caller's; neither it nor the response may be changed. It is called concurrently.
	Observe func(req *http.Request, reqBody []byte, resp *http.Response, respBody []byte, violation error)

	// Transport calls the backends; the default is one of the gateway's own.
	Transport http.RoundTripper
}

// Gateway is the http.Handler that callers talk to.
type Gateway struct {
	doc     *openapi3.T
	routes  []*route
	options Options
	proxy   *httputil.ReverseProxy
}

// New reads the document and checks that it is valid and that every operation has a backend, and no more.
func New(o Options) (*Gateway, error) {
	if o.Token == nil {
		return nil, errors.New("apigateway: Token is required")
	}
	if o.Deadline == 0 {
		o.Deadline = 15 * time.Second
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true}
	}
	doc, err := openapi3.NewLoader().LoadFromData(o.Document)
	if err != nil {
		return nil, fmt.Errorf("apigateway: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("apigateway: %w", err)
	}
	g := &Gateway{doc: doc, options: o}
	if g.routes, err = newRoutes(doc, o.Backends); err != nil {
		return nil, fmt.Errorf("apigateway: %w", err)
	}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        g.rewrite,
		ModifyResponse: g.received,
		ErrorHandler:   refuse,
		Transport:      o.Transport,
		ErrorLog:       log.New(io.Discard, "", 0), // what goes wrong is answered
	}
	return g, nil
}

// exchange is one call on its way through the gateway, kept in the context of its request.
type exchange struct {
	route   *route
	params  map[string]string
	request *http.Request // the caller's
	body    []byte
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, params, status := match(g.routes, r.Method, r.URL.EscapedPath())
	switch status {
	case http.StatusNotFound:
		answer(w, status, "The current request is not defined by this API.")
		return
	case http.StatusMethodNotAllowed:
		answer(w, status, fmt.Sprintf("The current request is matched to the defined url template %q but its http method is not allowed", found.template))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, "Payload Too Large")
		return
	}
	x := &exchange{route: found, params: params, request: r, body: body}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), exchangeKey{}, x), found.deadline(g.options.Deadline))
	defer cancel()
	out := r.WithContext(ctx)
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	g.proxy.ServeHTTP(w, out)
}

// rewrite makes the backend's request of the caller's: the same path and query at the backend's address.
func (g *Gateway) rewrite(p *httputil.ProxyRequest) {
	backend := exchangeOf(p.In).route.backend
	p.SetURL(backend)
	p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came, where ReverseProxy drops what it cannot parse
	p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	p.SetXForwarded()
	moveCredential(p.Out.Header, "Bearer "+g.options.Token(g.options.Email, backend.String()))
}

// received reads the whole answer within the deadline, shows it to the observer, and lets it go on.
func (g *Gateway) received(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil {
		err = resp.Body.Close()
	}
	if err != nil {
		return err
	}
	if len(body) > maxBody {
		return errors.New("the answer is too large")
	}
	g.report(exchangeOf(resp.Request), resp, body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func (g *Gateway) report(x *exchange, resp *http.Response, body []byte) {
	if g.options.Violation == nil && g.options.Observe == nil {
		return
	}
	violation := g.violation(x, resp, body)
	if violation != nil && g.options.Violation != nil {
		g.options.Violation(violation)
	}
	if g.options.Observe != nil {
		g.options.Observe(x.request, x.body, resp, body, violation)
	}
}

// refuse answers for a backend that did not.
func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		answer(w, http.StatusGatewayTimeout, "upstream request timeout")
		return
	}
	if errors.Is(err, context.Canceled) {
		return // the caller is gone
	}
	answer(w, http.StatusServiceUnavailable, "upstream connect error or disconnect/reset before headers")
}

// answer is an answer of the gateway's own, in the shape of ESPv2.
func answer(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{code, message})
}

// moveCredential puts the gateway's token where the caller's credential was. ESPv2 (src/envoy/http/backend_auth) copies
// the caller's Authorization to X-Forwarded-Authorization only if there is one: otherwise an
// X-Forwarded-Authorization that the caller sent reaches the backend as it is.
func moveCredential(h http.Header, token string) {
	if caller := h.Get("Authorization"); caller != "" {
		h.Set("X-Forwarded-Authorization", caller)
	}
	h.Set("Authorization", token)
}

func parseBackend(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("backend %q is not an http or https URL", address)
	}
	return u, nil
}
