package apigateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// problem+json is JSON, which the validator does not know by itself.
func init() {
	openapi3filter.RegisterBodyDecoder("application/problem+json", openapi3filter.JSONBodyDecoder)
}

// recorder keeps a copy of what passes.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.body.Write(b)
	return r.ResponseWriter.Write(b)
}

// Unwrap lets the proxy flush what it passes on.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// check reports what does not fit the document. The gateway's own refusals are not
// the functions' answers, and are let be.
func (g *Gateway) check(r *http.Request, body []byte, route *routers.Route, params map[string]string, got *recorder) {
	if got.status == 0 || got.status == http.StatusGatewayTimeout && got.Header().Get("Request-Id") == "" {
		return
	}
	if got.status == http.StatusServiceUnavailable && got.Header().Get("Request-Id") == "" {
		return
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
			IncludeResponseStatus: true,
			MultiError:            true,
		},
	}
	ctx := context.WithoutCancel(r.Context())
	if got.status >= 200 && got.status < 300 {
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err := openapi3filter.ValidateRequest(ctx, input); err != nil {
			g.options.Violation(fmt.Errorf("%s %s was accepted, but does not fit the document: %w", r.Method, r.URL.Path, err))
		}
	}
	err := openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: got.status, Header: got.Header(),
		Body: io.NopCloser(bytes.NewReader(got.body.Bytes())), Options: input.Options,
	})
	if err != nil {
		g.options.Violation(fmt.Errorf("%s %s was answered %d with what does not fit the document: %w", r.Method, r.URL.Path, got.status, err))
	}
}
