package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/tollgate/tollgate/shared/fault"
)

// Answer is what a function answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Member reads a member of the body by its path, such as "failure.code"; nil if it is
// null or missing.
func (a Answer) Member(path string) any {
	var v any
	if err := json.Unmarshal(a.Body, &v); err != nil {
		return nil
	}
	for name := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// Text is Member for a string.
func (a Answer) Text(path string) string {
	s, _ := a.Member(path).(string)
	return s
}

// Problem reads the body as a problem document: its code, and the fields it names.
func (a Answer) Problem() (code fault.Code, fields []fault.Field) {
	var p struct {
		Code   fault.Code
		Errors []fault.Field
	}
	if a.Header.Get("Content-Type") != fault.ProblemType || json.Unmarshal(a.Body, &p) != nil {
		return "", nil
	}
	return p.Code, p.Errors
}

// Request makes a request of the world's merchant. Header names and values follow
// the body; a value of "" takes the header away.
func (w *World) Request(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+w.ShopKey.Reveal())
	if method == http.MethodPost || method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/json")
	} else {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Del(header[i])
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	return r
}

// Do sends the request and holds the exchange to the contract.
func (w *World) Do(h http.Handler, r *http.Request) Answer {
	w.t.Helper()
	body, err := io.ReadAll(r.Body)
	check(w.t, err)
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	a := Answer{Status: rec.Code, Header: rec.Result().Header, Body: rec.Body.Bytes()}
	w.hold(r, body, a)
	return a
}

var router = sync.OnceValues(func() (routers.Router, error) {
	spec, err := readSpec()
	if err != nil {
		return nil, err
	}
	here := *spec
	here.Servers = nil // the functions know paths only
	return legacy.NewRouter(&here, openapi3.DisableExamplesValidation())
})

func (w *World) hold(r *http.Request, body []byte, a Answer) {
	w.t.Helper()
	find, err := router()
	check(w.t, err)
	route, params, err := find.FindRoute(r)
	if err != nil {
		return // not in the contract: the gateway lets nothing of it through
	}
	options := &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true, IncludeResponseStatus: true,
	}
	again := r.Clone(context.Background())
	again.Body = io.NopCloser(bytes.NewReader(body))
	in := &openapi3filter.RequestValidationInput{Request: again, PathParams: params, Route: route, Options: options}
	if a.Status < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			w.t.Errorf("%s %s was accepted, and does not fit the contract: %v", r.Method, r.URL, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.Status, Header: a.Header, Options: options}
	out.SetBodyBytes(a.Body)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		w.t.Errorf("%s %s: the answer %d does not fit the contract: %v\n%s", r.Method, r.URL, a.Status, err, a.Body)
	}
}
