package apigateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// violation tells what of an exchange does not fit the document: the answer, whatever its status, and the request if
// it was accepted. A request that was refused may be as wrong as it likes.
func (g *Gateway) violation(x *exchange, resp *http.Response, respBody []byte) error {
	request := x.request.Clone(context.Background())
	request.Body = io.NopCloser(bytes.NewReader(x.body))
	request.ContentLength = int64(len(x.body))
	options := &openapi3filter.Options{
		IncludeResponseStatus:             true, // a status that the document does not know does not fit it
		MultiError:                        true,
		RejectWhenRequestBodyNotSpecified: true,
		SkipSettingDefaults:               true,
		AuthenticationFunc:                openapi3filter.NoopAuthenticationFunc, // the function's work
	}
	in := &openapi3filter.RequestValidationInput{
		Request:    request,
		PathParams: x.params,
		Route: &routers.Route{
			Spec: g.doc, Path: x.route.template, PathItem: x.route.item, Method: x.route.method, Operation: x.route.operation,
		},
		Options: options,
	}
	var wrong []error
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			wrong = append(wrong, fmt.Errorf("accepted request: %w", err))
		}
	}
	respBody, err := decompressed(resp, respBody)
	if err != nil {
		return fmt.Errorf("%s %s: %w", x.request.Method, x.request.URL.Path, err)
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in,
		Status:                 resp.StatusCode,
		Header:                 resp.Header,
		Body:                   io.NopCloser(bytes.NewReader(respBody)),
		Options:                options,
	})
	if err != nil {
		wrong = append(wrong, fmt.Errorf("response %d: %w", resp.StatusCode, err))
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s: %w", x.request.Method, x.request.URL.Path, errors.Join(wrong...))
}

// decompressed is the body as the document describes it, which says nothing of compression.
func decompressed(resp *http.Response, body []byte) ([]byte, error) {
	if resp.Header.Get("Content-Encoding") != "gzip" {
		return body, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
