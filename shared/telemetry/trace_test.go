package telemetry

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTraceSurvivesACarrier(t *testing.T) {
	t.Parallel()
	ctx := Extract(t.Context(), map[string]string{"traceparent": traceparent, "tracestate": "vendor=1"})
	ctx = WithRequestID(ctx, "req_1")
	ctx = WithCorrelationID(ctx, "pay_1")
	ctx = WithExecutionID(ctx, "exec")
	carrier := Inject(ctx)
	want := map[string]string{"request-id": "req_1", "correlation-id": "pay_1", "traceparent": traceparent, "tracestate": "vendor=1"}
	if diff := cmp.Diff(want, carrier); diff != "" {
		t.Fatalf("carrier (-want +got):\n%s", diff)
	}

	h := http.Header{}
	capitals := map[string]string{}
	for k, v := range carrier {
		h.Set(k, v)
		capitals[strings.ToUpper(k)] = v
	}
	for name, got := range map[string]context.Context{
		"map":         Extract(context.Background(), carrier),
		"header":      ExtractHeader(context.Background(), h),
		"in capitals": Extract(context.Background(), capitals),
	} {
		if RequestID(got) != "req_1" || CorrelationID(got) != "pay_1" || TraceFrom(got).ExecutionID != "" {
			t.Errorf("%s: %+v", name, TraceFrom(got))
		}
		if diff := cmp.Diff(carrier, Inject(got)); diff != "" {
			t.Errorf("%s: injected again (-want +got):\n%s", name, diff)
		}
	}
}

func TestInjectPrefersTheCurrentSpan(t *testing.T) {
	t.Parallel()
	ctx := Extract(t.Context(), map[string]string{"traceparent": traceparent})
	span := trace.SpanContextFromContext(ctx).WithSpanID(trace.SpanID{1})
	ctx = trace.ContextWithSpanContext(ctx, span)
	if got, want := Inject(ctx)["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-0100000000000000-01"; got != want {
		t.Errorf("traceparent %s, want %s", got, want)
	}
}

func TestEmptyContextCarriesNothing(t *testing.T) {
	t.Parallel()
	if got := Inject(t.Context()); got == nil || len(got) != 0 {
		t.Errorf("carrier %#v, want an empty map", got)
	}
	if CorrelationID(t.Context()) != "" || RequestID(t.Context()) != "" {
		t.Error("ids out of nothing")
	}
}

func TestCorrelationIDIsTheRequestIDUnlessSet(t *testing.T) {
	t.Parallel()
	ctx := WithRequestID(t.Context(), "req_1")
	if got := CorrelationID(ctx); got != "req_1" {
		t.Errorf("correlation id %q", got)
	}
	if got := CorrelationID(WithCorrelationID(ctx, "pay_1")); got != "pay_1" {
		t.Errorf("correlation id %q", got)
	}
}

func TestExtractRefusesWhatIsMalformed(t *testing.T) {
	t.Parallel()
	ctx := WithRequestID(t.Context(), "mine")
	for name, carrier := range map[string]map[string]string{
		"nothing":       nil,
		"empty":         {"request-id": "", "correlation-id": "", "traceparent": ""},
		"too long":      {"request-id": strings.Repeat("a", 129)},
		"line break":    {"request-id": "a\nb", "correlation-id": "a\nb"},
		"space":         {"request-id": "a b"},
		"quote":         {"request-id": `a"b`},
		"other scripts": {"request-id": "日本"},
		"traceparent":   {"traceparent": "00-zz-b7ad6b7169203331-01"},
		"zero trace":    {"traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01"},
	} {
		got := Extract(ctx, carrier)
		if diff := cmp.Diff(Trace{RequestID: "mine"}, TraceFrom(got)); diff != "" || trace.SpanContextFromContext(got).IsValid() {
			t.Errorf("%s: accepted %v\n%s", name, carrier, diff)
		}
	}
}
