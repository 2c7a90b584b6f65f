package telemetry

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Metrics are the instruments of the system. Its methods take plain values, and
// do nothing on a nil *Metrics, so code and tests without metrics need no stand-in.
//
// The names are a contract with alerts and dashboards, and are exported exactly
// as they stand here.
type Metrics struct {
	paymentOperations counter
	paymentDuration   histogram

	providerCallDuration histogram
	providerTimeouts     counter
	unknownResolved      counter

	circuitState    gauge
	circuitFailures counter
	bulkheadFull    counter
	routed          counter
	failovers       counter

	webhookSuccess counter
	webhookFailure counter
	webhookLatency histogram
	webhookFirst   histogram

	httpRequests counter
	httpDuration histogram

	healthDuration histogram
	healthFailures counter

	connectionPoolUsage gauge

	outboxUnpublished       gauge
	outboxOldest            gauge
	sagasOpen               gauge
	obligationsOpen         gauge
	obligationOldest        gauge
	providerEventsUnapplied gauge
	deliveriesWaiting       gauge
	webhookEndpoints        gauge

	auditFindings counter

	batchDuration    histogram
	batchProcessed   counter
	batchLastSuccess gauge
	alertsOpen       gauge

	reconciledPayments  counter
	reconciliationCalls counter
	differencesFound    counter
	differencesOpen     gauge
	differenceOldest    gauge
}

// Upper bounds of histogram buckets, in seconds. Those of calls resolve the
// 500 ms objective and reach past the longest provider timeout (15 s); those of
// deliveries follow the retry schedule to its end at 31 h.
var (
	callSeconds     = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 8, 10, 15, 20, 30}
	batchSeconds    = []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400}
	deliverySeconds = []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 360, 900, 1800, 3600, 10800, 28800, 115200}
)

// NewMetrics makes the instruments. Two calls with the same provider share them.
func NewMetrics(provider metric.MeterProvider) (*Metrics, error) {
	b := builder{meter: provider.Meter("github.com/tollgate/tollgate")}
	m := b.metrics()
	if b.err != nil {
		return nil, b.err
	}
	return m, nil
}

// Descriptions lists every metric, in the order of declaration.
func Descriptions() []Description {
	b := builder{meter: noop.NewMeterProvider().Meter("")}
	b.metrics()
	return b.declared
}

// metrics is the one place where metrics are declared.
func (b *builder) metrics() *Metrics {
	return &Metrics{
		paymentOperations: b.counter("payment_operations_total",
			"Finished operations on payments.", "operation", "provider", "outcome"),
		paymentDuration: b.histogram("payment_operation_duration_seconds", callSeconds,
			"Time from accepting an operation to its answer.", "operation", "provider"),

		providerCallDuration: b.histogram("provider_call_duration_seconds", callSeconds,
			"Time of one call to a provider.", "provider", "operation", "outcome"),
		providerTimeouts: b.counter("provider_api_timeout_total",
			"Calls to a provider that timed out.", "provider", "operation"),
		unknownResolved: b.counter("unknown_outcomes_resolved_total",
			"Unknown outcomes that were proven, by the rule that proved them.", "provider", "rule"),

		circuitState: b.gauge("circuit_breaker_state",
			"Whether calls to a provider are let through, as this instance sees it: 0 closed, they are; 1 open, they are not; 2 half-open, a few are, to see.",
			"", "provider"),
		circuitFailures: b.counter("circuit_breaker_failures_total",
			"Calls that the circuit breaker counted as failed.", "provider"),
		bulkheadFull: b.counter("provider_bulkhead_full_total",
			"Calls not made because as many as allowed were under way to the provider in this instance.", "provider"),
		routed: b.counter("provider_routed_total",
			"Payments sent to a provider, by why it was chosen.", "provider", "reason"),
		failovers: b.counter("payment_failovers_total",
			"Payments that went on at another provider, by what became of them at the first.", "from", "to", "reason"),

		webhookSuccess: b.counter("webhook_delivery_success_total",
			"Delivery attempts that the merchant answered with 2xx.", "merchant_id", "event_type"),
		webhookFailure: b.counter("webhook_delivery_failure_total",
			"Delivery attempts that failed.", "merchant_id", "event_type", "error_type"),
		webhookLatency: b.histogram("webhook_delivery_latency_seconds", deliverySeconds,
			"Time from an event to its successful delivery.", "merchant_id"),
		webhookFirst: b.histogram("webhook_first_attempt_seconds", deliverySeconds,
			"Time from an event to the first attempt at delivering it.", "merchant_id"),

		httpRequests: b.counter("http_requests_total",
			"Answered HTTP requests.", "function", "code"),
		httpDuration: b.histogram("http_request_duration_seconds", callSeconds,
			"Time to answer an HTTP request.", "function"),

		healthDuration: b.histogram("health_check_duration_seconds", callSeconds,
			"Time to answer one of the platform's probes of an instance: startup, readiness or liveness.", "function", "probe"),
		healthFailures: b.counter("health_check_failures_total",
			"What was found not to be well by a probe of an instance, also what it goes on without.", "function", "probe", "check"),

		connectionPoolUsage: b.gauge("connection_pool_usage_percent",
			"Database connections in use, of the most this instance may open.", "%"),

		outboxUnpublished: b.gauge("outbox_unpublished",
			"Events written but not yet published.", ""),
		outboxOldest: b.gauge("outbox_oldest_unpublished_seconds",
			"Age of the oldest event not yet published.", "s"),
		sagasOpen: b.gauge("sagas_open",
			"Operations not yet done.", "", "state"),
		obligationsOpen: b.gauge("obligations_open",
			"Voids and refunds owed to a payer after a late success.", ""),
		obligationOldest: b.gauge("obligation_oldest_seconds",
			"Age of the oldest open obligation.", "s"),
		providerEventsUnapplied: b.gauge("provider_events_unapplied",
			"Provider events stored but neither applied nor ignored.", ""),
		deliveriesWaiting: b.gauge("webhook_deliveries_waiting",
			"Deliveries with an attempt to come.", ""),
		webhookEndpoints: b.gauge("webhook_endpoints",
			"Merchants' endpoints that get no events: failing, or disabled for failing or by answering 410.", "", "state"),

		auditFindings: b.counter("audit_findings_total",
			"What was found not to agree about the audit log, each time that it was.", "kind"),

		batchDuration: b.histogram("batch_job_duration_seconds", batchSeconds,
			"Time from the beginning of a batch job's run to its end.", "job", "status"),
		batchProcessed: b.counter("batch_processed_transactions_total",
			"Payments that a batch job has dealt with.", "job", "outcome"),
		batchLastSuccess: b.gauge("batch_last_success_timestamp_seconds",
			"When the latest run of a batch job succeeded, as Unix time.", "s", "job"),
		alertsOpen: b.gauge("operator_alerts_open",
			"Alerts for operators that are not resolved.", "", "severity"),

		reconciledPayments: b.counter("reconciled_payments_total",
			"Payments held against their provider, by what came of it.", "provider", "outcome"),
		reconciliationCalls: b.counter("reconciliation_calls_total",
			"Calls that reconciliation made to a provider, for payments and for its report.", "provider"),
		differencesFound: b.counter("reconciliation_differences_total",
			"Differences found between our facts, a provider's report and the ledger.", "provider", "kind"),
		differencesOpen: b.gauge("reconciliation_differences_open",
			"Differences that nobody has resolved.", "", "kind"),
		differenceOldest: b.gauge("reconciliation_difference_oldest_seconds",
			"Age of the oldest open difference.", "s", "kind"),
	}
}

// PaymentOperation records the end of an operation (authorize, capture, void,
// refund) and the time it took.
func (m *Metrics) PaymentOperation(ctx context.Context, operation, provider, outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.paymentOperations.add(ctx, operation, provider, outcome)
	m.paymentDuration.record(ctx, took, operation, provider)
}

// ProviderCall records one call to a provider.
func (m *Metrics) ProviderCall(ctx context.Context, provider, operation, outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.providerCallDuration.record(ctx, took, provider, operation, outcome)
}

// ProviderTimeout counts a call that timed out; ProviderCall records it as well.
func (m *Metrics) ProviderTimeout(ctx context.Context, provider, operation string) {
	if m == nil {
		return
	}
	m.providerTimeouts.add(ctx, provider, operation)
}

// UnknownResolved counts an unknown outcome that the rule proved.
func (m *Metrics) UnknownResolved(ctx context.Context, provider, rule string) {
	if m == nil {
		return
	}
	m.unknownResolved.add(ctx, provider, rule)
}

// CircuitState sets a circuit's state: 0 closed, 1 open, 2 half-open.
func (m *Metrics) CircuitState(ctx context.Context, provider string, state int) {
	if m == nil {
		return
	}
	m.circuitState.set(ctx, float64(state), provider)
}

// CircuitFailure counts a call that speaks for opening the circuit.
func (m *Metrics) CircuitFailure(ctx context.Context, provider string) {
	if m == nil {
		return
	}
	m.circuitFailures.add(ctx, provider)
}

// BulkheadFull counts a call that was not made because the provider's places were taken.
func (m *Metrics) BulkheadFull(ctx context.Context, provider string) {
	if m == nil {
		return
	}
	m.bulkheadFull.add(ctx, provider)
}

// Routed counts a payment that was sent to a provider, and why to this one.
func (m *Metrics) Routed(ctx context.Context, provider, reason string) {
	if m == nil {
		return
	}
	m.routed.add(ctx, provider, reason)
}

// FailedOver counts a payment that left one provider for another.
func (m *Metrics) FailedOver(ctx context.Context, from, to, reason string) {
	if m == nil {
		return
	}
	m.failovers.add(ctx, from, to, reason)
}

// WebhookDelivered records a successful attempt; sinceEvent is the time since the
// event happened, waiting and failed attempts included.
func (m *Metrics) WebhookDelivered(ctx context.Context, merchantID, eventType string, sinceEvent time.Duration) {
	if m == nil {
		return
	}
	m.webhookSuccess.add(ctx, merchantID, eventType)
	m.webhookLatency.record(ctx, sinceEvent, merchantID)
}

// WebhookFirstAttempt records that a delivery was tried for the first time, and the time
// since the event happened.
func (m *Metrics) WebhookFirstAttempt(ctx context.Context, merchantID string, sinceEvent time.Duration) {
	if m == nil {
		return
	}
	m.webhookFirst.record(ctx, sinceEvent, merchantID)
}

// WebhookFailed counts a failed attempt. errorType is one of a small set, such as
// timeout, connection or http_5xx, never a message.
func (m *Metrics) WebhookFailed(ctx context.Context, merchantID, eventType, errorType string) {
	if m == nil {
		return
	}
	m.webhookFailure.add(ctx, merchantID, eventType, errorType)
}

// HTTPRequest records an answered request by the function's name and the status
// code.
func (m *Metrics) HTTPRequest(ctx context.Context, function string, code int, took time.Duration) {
	if m == nil {
		return
	}
	m.httpRequests.add(ctx, function, strconv.Itoa(code))
	m.httpDuration.record(ctx, took, function)
}

// HealthCheck records an answered probe of a function's instance.
func (m *Metrics) HealthCheck(ctx context.Context, function, probe string, took time.Duration) {
	if m == nil {
		return
	}
	m.healthDuration.record(ctx, took, function, probe)
}

// HealthCheckFailed counts something that a probe found not to be well.
func (m *Metrics) HealthCheckFailed(ctx context.Context, function, probe, check string) {
	if m == nil {
		return
	}
	m.healthFailures.add(ctx, function, probe, check)
}

// ConnectionPoolUsage sets the share of database connections in use, 0 to 100.
func (m *Metrics) ConnectionPoolUsage(ctx context.Context, percent float64) {
	if m == nil {
		return
	}
	m.connectionPoolUsage.set(ctx, percent)
}

// OutboxBacklog sets how many events wait to be published and how old the oldest
// is; 0 when there is none.
func (m *Metrics) OutboxBacklog(ctx context.Context, unpublished int64, oldest time.Duration) {
	if m == nil {
		return
	}
	m.outboxUnpublished.set(ctx, float64(unpublished))
	m.outboxOldest.set(ctx, oldest.Seconds())
}

// SagasOpen sets how many sagas are in a state. A state without any must be set
// to 0, or its last value stays.
func (m *Metrics) SagasOpen(ctx context.Context, state string, open int64) {
	if m == nil {
		return
	}
	m.sagasOpen.set(ctx, float64(open), state)
}

// Obligations sets how many obligations are open and how old the oldest is; 0
// when there is none.
func (m *Metrics) Obligations(ctx context.Context, open int64, oldest time.Duration) {
	if m == nil {
		return
	}
	m.obligationsOpen.set(ctx, float64(open))
	m.obligationOldest.set(ctx, oldest.Seconds())
}

// ProviderEventsUnapplied sets how many provider events are neither applied nor
// ignored.
func (m *Metrics) ProviderEventsUnapplied(ctx context.Context, n int64) {
	if m == nil {
		return
	}
	m.providerEventsUnapplied.set(ctx, float64(n))
}

// DeliveriesWaiting sets how many webhook deliveries have an attempt to come.
func (m *Metrics) DeliveriesWaiting(ctx context.Context, n int64) {
	if m == nil {
		return
	}
	m.deliveriesWaiting.set(ctx, float64(n))
}

// WebhookEndpoints sets how many endpoints are in a state: failing, or disabled.
func (m *Metrics) WebhookEndpoints(ctx context.Context, state string, n int64) {
	if m == nil {
		return
	}
	m.webhookEndpoints.set(ctx, float64(n), state)
}

// AuditFinding counts something about the audit log that does not agree.
func (m *Metrics) AuditFinding(ctx context.Context, kind string) {
	if m == nil {
		return
	}
	m.auditFindings.add(ctx, kind)
}

// BatchEnded records the end of a batch job's run, with its status and the time since it
// began first.
func (m *Metrics) BatchEnded(ctx context.Context, job, status string, took time.Duration) {
	if m == nil {
		return
	}
	m.batchDuration.record(ctx, took, job, status)
}

// BatchProcessed counts payments that a batch job has dealt with.
func (m *Metrics) BatchProcessed(ctx context.Context, job, outcome string, payments int) {
	if m == nil || payments == 0 {
		return
	}
	m.batchProcessed.addMany(ctx, int64(payments), job, outcome)
}

// BatchSucceeded sets when the latest run of a batch job succeeded.
func (m *Metrics) BatchSucceeded(ctx context.Context, job string, at time.Time) {
	if m == nil {
		return
	}
	m.batchLastSuccess.set(ctx, float64(at.Unix()), job)
}

// AlertsOpen sets how many alerts of a severity are open.
func (m *Metrics) AlertsOpen(ctx context.Context, severity string, open int64) {
	if m == nil {
		return
	}
	m.alertsOpen.set(ctx, float64(open), severity)
}

// PaymentReconciled counts a payment that was held against its provider.
func (m *Metrics) PaymentReconciled(ctx context.Context, provider, outcome string) {
	if m == nil {
		return
	}
	m.reconciledPayments.add(ctx, provider, outcome)
}

// ReconciliationCall counts a call that reconciliation made to a provider; ProviderCall
// records it as well.
func (m *Metrics) ReconciliationCall(ctx context.Context, provider string) {
	if m == nil {
		return
	}
	m.reconciliationCalls.add(ctx, provider)
}

// DifferenceFound counts a difference that was opened.
func (m *Metrics) DifferenceFound(ctx context.Context, provider, kind string) {
	if m == nil {
		return
	}
	m.differencesFound.add(ctx, provider, kind)
}

// DifferencesOpen sets how many differences of a kind are open and how old the oldest is;
// 0 when there is none.
func (m *Metrics) DifferencesOpen(ctx context.Context, kind string, open int64, oldest time.Duration) {
	if m == nil {
		return
	}
	m.differencesOpen.set(ctx, float64(open), kind)
	m.differenceOldest.set(ctx, oldest.Seconds(), kind)
}
