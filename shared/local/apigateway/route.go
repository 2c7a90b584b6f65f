package apigateway

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// route is one operation of the document.
type route struct {
	template  string   // /v1/payments/{id}
	segments  []string // of the template
	item      *openapi3.PathItem
	method    string
	operation *openapi3.Operation
	backend   *url.URL
	allowed   time.Duration // 0 when the document sets no deadline
}

func (r *route) deadline(otherwise time.Duration) time.Duration {
	if r.allowed > 0 {
		return r.allowed
	}
	return otherwise
}

func newRoutes(doc *openapi3.T, backends map[string]string) ([]*route, error) {
	var routes []*route
	unused := maps.Clone(backends)
	for template, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			id := operation.OperationID
			address, ok := backends[id]
			if !ok {
				return nil, fmt.Errorf("operation %q (%s %s) has no backend", id, method, template)
			}
			delete(unused, id)
			backend, err := parseBackend(address)
			if err != nil {
				return nil, fmt.Errorf("operation %s: %w", id, err)
			}
			routes = append(routes, &route{
				template: template, segments: strings.Split(template, "/"),
				item: item, method: method, operation: operation,
				backend: backend, allowed: deadlineOf(doc, operation),
			})
		}
	}
	if len(unused) > 0 {
		return nil, fmt.Errorf("the document has no operation %s", strings.Join(slices.Sorted(maps.Keys(unused)), ", "))
	}
	// Concrete paths are matched before templated ones: '{' sorts after what paths are written in.
	slices.SortFunc(routes, func(a, b *route) int { return strings.Compare(a.template, b.template) })
	return routes, nil
}

// deadlineOf reads the deadline, in seconds, of the operation's x-google-backend, or else of the document's: the name
// of an entry of x-google-api-management.backends, or an object of its own.
func deadlineOf(doc *openapi3.T, operation *openapi3.Operation) time.Duration {
	backend, ok := operation.Extensions["x-google-backend"]
	if !ok {
		backend = doc.Extensions["x-google-backend"]
	}
	if name, ok := backend.(string); ok {
		management, _ := doc.Extensions["x-google-api-management"].(map[string]any)
		named, _ := management["backends"].(map[string]any)
		backend = named[name]
	}
	settings, _ := backend.(map[string]any)
	seconds, _ := settings["deadline"].(float64)
	return time.Duration(seconds * float64(time.Second))
}

// match finds the operation of a request by its method and its path as it was escaped. The status is 200, 404, or 405
// with a route of that path.
func match(routes []*route, method, escapedPath string) (*route, map[string]string, int) {
	segments := strings.Split(escapedPath, "/")
	var otherMethod *route
	for _, r := range routes {
		params, ok := r.params(segments)
		switch {
		case !ok:
		case r.method == method:
			return r, params, http.StatusOK
		default:
			otherMethod = r
		}
	}
	if otherMethod != nil {
		return otherMethod, nil, http.StatusMethodNotAllowed
	}
	return nil, nil, http.StatusNotFound
}

// params are the values of the template's variables in a path, if it fits.
func (r *route) params(segments []string) (map[string]string, bool) {
	if len(segments) != len(r.segments) {
		return nil, false
	}
	params := map[string]string{}
	for i, want := range r.segments {
		got, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, false
		}
		if strings.HasPrefix(want, "{") && strings.HasSuffix(want, "}") {
			if got == "" {
				return nil, false
			}
			params[strings.Trim(want, "{}")] = got
		} else if got != want {
			return nil, false
		}
	}
	return params, true
}
