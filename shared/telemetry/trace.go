package telemetry

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
)

// Keys of the carriers that take a trace along: Pub/Sub attributes and the
// headers of tasks and requests. The W3C keys traceparent and tracestate travel
// beside them.
const (
	KeyRequestID     = "request-id"
	KeyCorrelationID = "correlation-id"
)

// w3c moves the span of a context, local or remote, through a carrier by
// https://www.w3.org/TR/trace-context/.
var w3c propagation.TraceContext

// Trace says what a piece of work belongs to.
type Trace struct {
	// RequestID names the request that began the work. Its caller gets it as
	// Request-Id; events and tasks carry it on unchanged.
	RequestID string
	// CorrelationID names what several requests are about, such as a payment. It
	// is the request id unless set.
	CorrelationID string
	// ExecutionID names this one invocation of a function. It is not carried on.
	ExecutionID string
}

type traceKey struct{}

// TraceFrom returns what ctx belongs to; fields that nobody set are empty.
func TraceFrom(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

// WithTrace replaces what ctx belongs to.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// WithRequestID sets the request id.
func WithRequestID(ctx context.Context, id string) context.Context {
	t := TraceFrom(ctx)
	t.RequestID = id
	return WithTrace(ctx, t)
}

// RequestID returns the request id, or "".
func RequestID(ctx context.Context) string { return TraceFrom(ctx).RequestID }

// WithCorrelationID sets the correlation id.
func WithCorrelationID(ctx context.Context, id string) context.Context {
	t := TraceFrom(ctx)
	t.CorrelationID = id
	return WithTrace(ctx, t)
}

// CorrelationID returns the correlation id, or the request id when none was set.
func CorrelationID(ctx context.Context) string {
	t := TraceFrom(ctx)
	if t.CorrelationID == "" {
		return t.RequestID
	}
	return t.CorrelationID
}

// WithExecutionID sets the id of this invocation, which Cloud Functions sends in
// the header Function-Execution-Id.
func WithExecutionID(ctx context.Context, id string) context.Context {
	t := TraceFrom(ctx)
	t.ExecutionID = id
	return WithTrace(ctx, t)
}

// Inject returns what an event or a task made by ctx must carry so that Extract
// finds it again, the W3C trace of its span included. It is never nil, and has no
// empty values.
func Inject(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	t := TraceFrom(ctx)
	if t.RequestID != "" {
		carrier[KeyRequestID] = t.RequestID
	}
	if t.CorrelationID != "" {
		carrier[KeyCorrelationID] = t.CorrelationID
	}
	return carrier
}

// Extract adds to ctx what a carrier made by Inject holds. Keys match in any
// case, as HTTP changes it. Values that are malformed or too long are left out:
// a carrier may come from outside.
func Extract(ctx context.Context, carrier map[string]string) context.Context {
	folded := make(propagation.MapCarrier, len(carrier))
	for key, value := range carrier {
		folded[strings.ToLower(key)] = value
	}
	return extract(ctx, folded)
}

// ExtractHeader is Extract for the headers of a request.
func ExtractHeader(ctx context.Context, h http.Header) context.Context {
	return extract(ctx, propagation.HeaderCarrier(h))
}

func extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	t := TraceFrom(ctx)
	if id := carrier.Get(KeyRequestID); isID(id) {
		t.RequestID = id
	}
	if id := carrier.Get(KeyCorrelationID); isID(id) {
		t.CorrelationID = id
	}
	return w3c.Extract(WithTrace(ctx, t), carrier)
}

// maxIDLength is far above our own ids and far below what would hurt a log line.
const maxIDLength = 128

func isID(s string) bool {
	if s == "" || len(s) > maxIDLength {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-_.:/", c) >= 0:
		default:
			return false
		}
	}
	return true
}
