package telemetry

import (
	"context"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// measure calls every method of m once.
func measure(ctx context.Context, m *Metrics) {
	m.PaymentOperation(ctx, "authorize", "stripe", "approved", 200*time.Millisecond)
	m.ProviderCall(ctx, "stripe", "authorize", "unknown", 5*time.Second)
	m.ProviderTimeout(ctx, "stripe", "authorize")
	m.UnknownResolved(ctx, "stripe", "replay")
	m.CircuitState(ctx, "stripe", 1)
	m.CircuitFailure(ctx, "stripe")
	m.BulkheadFull(ctx, "stripe")
	m.Routed(ctx, "stripe", "method")
	m.FailedOver(ctx, "stripe", "paypal", "not_sent")
	m.WebhookDelivered(ctx, "mer_1", "payment.captured", time.Minute)
	m.WebhookFirstAttempt(ctx, "mer_1", time.Second)
	m.WebhookEndpoints(ctx, "failing", 1)
	m.WebhookFailed(ctx, "mer_1", "payment.captured", "timeout")
	m.HTTPRequest(ctx, "createpayment", 201, 100*time.Millisecond)
	m.HealthCheck(ctx, "createpayment", "readiness", 3*time.Millisecond)
	m.HealthCheckFailed(ctx, "createpayment", "readiness", "database")
	m.ConnectionPoolUsage(ctx, 62.5)
	m.OutboxBacklog(ctx, 7, 90*time.Second)
	m.SagasOpen(ctx, "unknown", 3)
	m.Obligations(ctx, 1, time.Hour)
	m.ProviderEventsUnapplied(ctx, 2)
	m.DeliveriesWaiting(ctx, 4)
	m.BatchEnded(ctx, "settlement", "SUCCEEDED", time.Minute)
	m.BatchProcessed(ctx, "settlement", "settled", 1000)
	m.BatchSucceeded(ctx, "settlement", time.Unix(1, 0))
	m.AlertsOpen(ctx, "critical", 1)
	m.PaymentReconciled(ctx, "stripe", "agrees")
	m.ReconciliationCall(ctx, "stripe")
	m.DifferenceFound(ctx, "stripe", "orphan")
	m.DifferencesOpen(ctx, "orphan", 1, time.Hour)
	m.AuditFinding(ctx, "gap")
}

// Every declared metric must come out of some method, with its declared labels
// and no others.
func TestEveryMetricIsMeasured(t *testing.T) {
	t.Parallel()
	reader := sdk.NewManualReader()
	m, err := NewMetrics(sdk.NewMeterProvider(sdk.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	measure(t.Context(), m)
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for _, d := range Descriptions() {
		want[d.Name] = slices.Sorted(slices.Values(d.Labels))
	}
	measured := map[string][]string{}
	for _, scope := range got.ScopeMetrics {
		for _, found := range scope.Metrics {
			measured[found.Name] = labelsOf(t, found)
		}
	}
	if diff := cmp.Diff(want, measured); diff != "" {
		t.Errorf("metrics and labels (-declared +measured):\n%s", diff)
	}
}

func labelsOf(t *testing.T, m metricdata.Metrics) []string {
	t.Helper()
	points := reflect.ValueOf(m.Data).FieldByName("DataPoints")
	if points.Len() != 1 {
		t.Fatalf("%s has %d points", m.Name, points.Len())
	}
	var labels []string
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, kv := range data.DataPoints[0].Attributes.ToSlice() {
			labels = append(labels, string(kv.Key))
		}
	case metricdata.Gauge[float64]:
		for _, kv := range data.DataPoints[0].Attributes.ToSlice() {
			labels = append(labels, string(kv.Key))
		}
	case metricdata.Histogram[float64]:
		for _, kv := range data.DataPoints[0].Attributes.ToSlice() {
			labels = append(labels, string(kv.Key))
		}
	default:
		t.Fatalf("%s is a %T", m.Name, data)
	}
	return labels
}

// Alerts and dashboards are written against these names.
func TestNamesAreTheContract(t *testing.T) {
	t.Parallel()
	contract := map[string][]string{
		"webhook_delivery_success_total":   {"merchant_id", "event_type"},
		"webhook_delivery_failure_total":   {"merchant_id", "event_type", "error_type"},
		"webhook_delivery_latency_seconds": {"merchant_id"},
		"provider_api_timeout_total":       {"provider", "operation"},
		"connection_pool_usage_percent":    nil,
		"circuit_breaker_state":            {"provider"},
		"circuit_breaker_failures_total":   {"provider"},
	}
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*[a-z]$`)
	seen := map[string]bool{}
	for _, d := range Descriptions() {
		if seen[d.Name] || !name.MatchString(d.Name) || d.Help == "" {
			t.Errorf("bad or repeated declaration: %+v", d)
		}
		seen[d.Name] = true
		if labels, ok := contract[d.Name]; ok {
			if diff := cmp.Diff(labels, d.Labels); diff != "" {
				t.Errorf("%s: labels (-want +got):\n%s", d.Name, diff)
			}
			delete(contract, d.Name)
		}
	}
	if len(contract) > 0 {
		t.Errorf("not declared: %v", contract)
	}
}

func TestNilMetricsDoNothing(t *testing.T) {
	t.Parallel()
	measure(t.Context(), nil)
}

func TestLabelsAreMasked(t *testing.T) {
	t.Parallel()
	set := labels{"provider"}.with([]string{stripeKey})
	config := metric.NewAddConfig([]metric.AddOption{set})
	attributes := config.Attributes()
	if v, _ := attributes.Value("provider"); v.AsString() != masked {
		t.Errorf("label %q", v.AsString())
	}
}

type brokenProvider struct{ noop.MeterProvider }

func (brokenProvider) Meter(string, ...metric.MeterOption) metric.Meter { return brokenMeter{} }

type brokenMeter struct{ noop.Meter }

func (brokenMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errors.New("no histograms")
}

func TestNewMetricsReportsErrors(t *testing.T) {
	t.Parallel()
	if m, err := NewMetrics(brokenProvider{}); err == nil || m != nil {
		t.Errorf("NewMetrics = %v, %v", m, err)
	}
}
