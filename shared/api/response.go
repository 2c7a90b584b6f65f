package api

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/idempotency"
)

// Response is an answer. Its body is JSON: a problem document when Status is 400 or
// above.
type Response struct {
	Status int
	Body   []byte
	Header http.Header

	// Stream writes the body in Body's place, piece by piece, for an answer that is too
	// large to hold; Header has its Content-Type. The status has left by then, so if it
	// fails the connection is broken off: half an answer is never taken for the whole.
	// What can be refused is refused before.
	Stream func(context.Context, io.Writer) error

	// After runs when the answer has left, still inside the handler, for at most
	// 600 ms. It is for what the caller need not wait for, publishing above all: the
	// answer is durable already, and whatever After misses the sweep does. It does
	// not run in a goroutine of its own, since the platform may take the CPU away
	// from an instance whose handlers have all returned, and would then stop the
	// publishing half-way for minutes.
	After func(context.Context)
}

// JSON answers with v.
func JSON(status int, v any) (Response, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Response{}, fault.Wrap(err, "write the answer")
	}
	return Response{Status: status, Body: body}, nil
}

// Result answers 200 with what an operation returns, or fails as it does.
func Result(v any, err error) (Response, error) {
	if err != nil {
		return Response{}, err
	}
	return JSON(http.StatusOK, v)
}

// Answered passes on what an operation under an Idempotency-Key answers.
func Answered(a idempotency.Answer) Response {
	resp := Response{Status: a.Status, Body: a.Body, Header: http.Header{}, After: a.After}
	if a.Replayed {
		resp.Header.Set("Idempotent-Replayed", "true")
	}
	if a.RetryAfter > 0 {
		resp.retryAfter(a.RetryAfter)
	}
	return resp
}

// retryAfter sets the header in whole seconds, rounded up: never too early.
func (r *Response) retryAfter(d time.Duration) {
	seconds := (d + time.Second - 1) / time.Second
	r.Header.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
}

// write sends the answer whole. With Content-Length set and everything flushed, the
// caller has all of it while After still runs.
func (r *Response) write(w http.ResponseWriter, req *http.Request) error {
	h := w.Header()
	maps.Copy(h, r.Header)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Stream != nil {
		return r.stream(w, req)
	}
	if len(r.Body) > 0 {
		h.Set("Content-Type", "application/json")
		if r.Status >= http.StatusBadRequest {
			h.Set("Content-Type", fault.ProblemType)
		}
	}
	if r.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(r.Body)))
	}
	w.WriteHeader(r.Status)
	if _, err := w.Write(r.Body); err != nil {
		return err
	}
	if r.After == nil {
		return nil
	}
	return http.NewResponseController(w).Flush()
}
