package prom

import (
	"bufio"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/telemetry"
)

func TestTextHasTheDeclaredNames(t *testing.T) {
	t.Parallel()
	provider, handler := New()
	// Two functions in one process share the instruments.
	for range 2 {
		m, err := telemetry.NewMetrics(provider)
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		m.PaymentOperation(ctx, "authorize", "stripe", "approved", 200*time.Millisecond)
		m.ProviderCall(ctx, "stripe", "authorize", "approved", 150*time.Millisecond)
		m.ProviderTimeout(ctx, "stripe", "authorize")
		m.UnknownResolved(ctx, "stripe", "replay")
		m.CircuitState(ctx, "stripe", 2)
		m.CircuitFailure(ctx, "stripe")
		m.BulkheadFull(ctx, "stripe")
		m.Routed(ctx, "stripe", "preference")
		m.FailedOver(ctx, "stripe", "paypal", "declined")
		m.WebhookDelivered(ctx, "mer_1", "payment.captured", time.Minute)
		m.WebhookFirstAttempt(ctx, "mer_1", time.Second)
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
		m.WebhookEndpoints(ctx, "failing", 1)
	}
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, httptest.NewRequest("GET", "/metrics", nil))
	text := response.Body.String()
	if response.Code != 200 {
		t.Fatalf("status %d: %s", response.Code, text)
	}

	want := map[string]string{}
	for _, d := range telemetry.Descriptions() {
		want[d.Name] = d.Type
	}
	got := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if declared, ok := strings.CutPrefix(lines.Text(), "# TYPE "); ok {
			name, kind, _ := strings.Cut(declared, " ")
			got[name] = kind
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names and types (-declared +shown):\n%s", diff)
	}

	for _, line := range []string{
		`payment_operations_total{operation="authorize",outcome="approved",provider="stripe"} 2`,
		`payment_operation_duration_seconds_bucket{operation="authorize",provider="stripe",le="0.2"} 2`,
		`payment_operation_duration_seconds_count{operation="authorize",provider="stripe"} 2`,
		`webhook_delivery_failure_total{error_type="timeout",event_type="payment.captured",merchant_id="mer_1"} 2`,
		`http_requests_total{code="201",function="createpayment"} 2`,
		`circuit_breaker_state{provider="stripe"} 2`,
		`payment_failovers_total{from="stripe",reason="declined",to="paypal"} 2`,
		`connection_pool_usage_percent 62.5`,
		`outbox_unpublished 7`,
		`outbox_oldest_unpublished_seconds 90`,
		`sagas_open{state="unknown"} 3`,
		`obligation_oldest_seconds 3600`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if extra := regexp.MustCompile(`otel_scope|target_info|_ratio|_total_total|_seconds_seconds`).FindString(text); extra != "" {
		t.Errorf("%s in the text", extra)
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestRegistriesAreSeparate(t *testing.T) {
	t.Parallel()
	first, _ := New()
	_, second := New()
	m, err := telemetry.NewMetrics(first)
	if err != nil {
		t.Fatal(err)
	}
	m.DeliveriesWaiting(t.Context(), 4)
	response := httptest.NewRecorder()
	second.ServeHTTP(response, httptest.NewRequest("GET", "/metrics", nil))
	if strings.Contains(response.Body.String(), "webhook_deliveries_waiting") {
		t.Error("a measurement appears in another registry")
	}
}
