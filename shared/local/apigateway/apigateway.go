// Package apigateway stands in for API Gateway on one machine: it routes by the
// OpenAPI document that the real one is given, and treats the Authorization header
// as the real one does. It does not check bodies, since the real one does not
// either; but it can watch the traffic, and report what does not fit the document.
//
// What it reproduces, and where that is from:
//   - only operations of the document pass (ESPv2, x-google-allow: configured);
//   - its own ID token takes the place of Authorization, and the caller's goes to
//     X-Forwarded-Authorization. A caller's own X-Forwarded-Authorization is removed
//     only if the caller also sent Authorization (ESPv2,
//     src/envoy/http/backend_auth/filter.cc), so backends must not trust it by itself;
//   - a backend that takes longer than its deadline is answered for with a 504; 15 s
//     unless the document says otherwise (ESPv2, src/go/util/util.go).
//
// It is never linked into a deployed function.
package apigateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// DefaultDeadline is how long a backend may take where the document does not say.
const DefaultDeadline = 15 * time.Second

// maxBody is the most that API Gateway passes on, either way.
const maxBody = 32 << 20

// Options are what a gateway is made of.
type Options struct {
	Document []byte            // OpenAPI 3.0
	Backends map[string]string // base URL by operationId; every operation needs one

	// Token signs the ID token with which the gateway calls a backend.
	Token func(email, audience string) string
	Email string // the gateway's service account

	// Violation, if set, is told of every response, and of every request that was
	// answered with a 2xx, that does not fit the document.
	Violation func(error)
}

// Gateway is the handler.
type Gateway struct {
	options Options
	router  routers.Router
	proxy   *httputil.ReverseProxy
}

// New reads the document.
func New(o Options) (*Gateway, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(o.Document)
	if err != nil {
		return nil, fmt.Errorf("apigateway: read the document: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("apigateway: the document: %w", err)
	}
	doc.Servers = nil // it is served here, whatever the real host is
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if _, err := url.Parse(o.Backends[op.OperationID]); err != nil || o.Backends[op.OperationID] == "" {
				return nil, fmt.Errorf("apigateway: %s %s (%s) has no backend", method, path, op.OperationID)
			}
		}
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("apigateway: route by the document: %w", err)
	}
	g := &Gateway{options: o, router: router}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:      g.rewrite,
		ErrorHandler: unreachable,
		Transport:    &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	return g, nil
}

type routeKey struct{}

func (g *Gateway) rewrite(p *httputil.ProxyRequest) {
	route := p.In.Context().Value(routeKey{}).(*routers.Route)
	backend, err := url.Parse(g.options.Backends[route.Operation.OperationID])
	if err != nil {
		panic("apigateway: " + err.Error()) // New has parsed it
	}
	p.SetURL(backend)
	p.SetXForwarded()
	h := p.Out.Header
	if auth := p.In.Header.Values("Authorization"); len(auth) > 0 {
		h["X-Forwarded-Authorization"] = auth
	}
	h.Set("Authorization", "Bearer "+g.options.Token(g.options.Email, backend.String()))
}

func unreachable(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		refuse(w, http.StatusGatewayTimeout, "upstream request timeout")
		return
	}
	if r.Context().Err() != nil {
		return // the caller has gone
	}
	refuse(w, http.StatusServiceUnavailable, "upstream connect error or disconnect/reset before headers")
}

// refuse answers in the form of ESPv2's own errors.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%d,"message":%q}`, status, message)
}

// ServeHTTP passes a request on to its operation's backend.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, params, err := g.router.FindRoute(r)
	switch {
	case errors.Is(err, routers.ErrMethodNotAllowed):
		refuse(w, http.StatusMethodNotAllowed, "The current request is matched to the defined url template but its http method is not allowed")
		return
	case err != nil:
		refuse(w, http.StatusNotFound, "The current request is not defined by this API.")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), routeKey{}, route), deadline(route))
	defer cancel()
	r = r.WithContext(ctx)
	if g.options.Violation == nil {
		g.proxy.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "request body too large")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	watched := &recorder{ResponseWriter: w}
	g.proxy.ServeHTTP(watched, r)
	g.check(r, body, route, params, watched)
}

// deadline is what the document says of the operation's backend:
// x-google-api-management.backends.NAME.deadline, NAME being its x-google-backend.
func deadline(route *routers.Route) time.Duration {
	name, _ := route.Operation.Extensions["x-google-backend"].(string)
	if name == "" {
		name, _ = route.Spec.Extensions["x-google-backend"].(string)
	}
	management, _ := route.Spec.Extensions["x-google-api-management"].(map[string]any)
	backends, _ := management["backends"].(map[string]any)
	backend, _ := backends[name].(map[string]any)
	switch seconds := backend["deadline"].(type) {
	case float64:
		return time.Duration(seconds * float64(time.Second))
	case int:
		return time.Duration(seconds) * time.Second
	}
	return DefaultDeadline
}
