package telemetry

import (
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Metrics are the instruments of the system. Its methods (record.go) take plain values,
// and do nothing on a nil *Metrics, so code and tests without metrics need no stand-in.
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
