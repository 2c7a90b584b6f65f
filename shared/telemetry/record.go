package telemetry

import (
	"context"
	"strconv"
	"time"
)

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
