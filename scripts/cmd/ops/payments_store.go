package main

import (
	"encoding/json"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// The rows of payments show, each beside the statement that reads it. Amounts are
// minor units of the payment's currency.

type paymentRow struct {
	ID                  external[ofPayment]  `db:"id" json:"id" col:"payment"`
	Merchant            external[ofMerchant] `db:"merchant_id" json:"merchant_id" col:"merchant"`
	MerchantName        string               `db:"merchant_name" json:"merchant_name" col:"merchant name"`
	Reference           *string              `db:"merchant_reference" json:"merchant_reference" col:"merchant reference"`
	Status              string               `db:"status" json:"status" col:"status"`
	PreviousStatus      *string              `db:"previous_status" json:"previous_status" col:"previous status"`
	Reconciliation      string               `db:"reconciliation_status" json:"reconciliation_status" col:"reconciliation"`
	Currency            string               `db:"currency" json:"currency" col:"currency"`
	Amount              int64                `db:"amount_minor" json:"amount_minor" col:"amount (minor units)"`
	Authorized          int64                `db:"authorized_minor" json:"authorized_minor" col:"authorized"`
	Captured            int64                `db:"captured_minor" json:"captured_minor" col:"captured"`
	RefundReserved      int64                `db:"refund_reserved_minor" json:"refund_reserved_minor" col:"reserved for refunds"`
	Refunded            int64                `db:"refunded_minor" json:"refunded_minor" col:"refunded"`
	Disputed            int64                `db:"disputed_minor" json:"disputed_minor" col:"disputed"`
	CaptureExcess       int64                `db:"capture_excess_minor" json:"capture_excess_minor" col:"captured in excess"`
	RefundExcess        int64                `db:"refund_excess_minor" json:"refund_excess_minor" col:"refunded in excess"`
	CaptureMethod       string               `db:"capture_method" json:"capture_method" col:"capture method"`
	PaymentMethod       string               `db:"payment_method" json:"payment_method" col:"payment method"`
	Provider            string               `db:"provider" json:"provider" col:"provider"`
	ProviderAccount     string               `db:"provider_account" json:"provider_account" col:"provider account"`
	Route               *string              `db:"route" json:"route" col:"route"`
	ProviderTransaction *string              `db:"provider_transaction_id" json:"provider_transaction_id" col:"provider transaction"`
	FailureCode         *string              `db:"failure_code" json:"failure_code" col:"failure"`
	FailureMessage      *string              `db:"failure_message" json:"failure_message" col:"failure message"`
	FailureProviderCode *string              `db:"failure_provider_code" json:"failure_provider_code" col:"failure at provider"`
	CaptureBefore       *time.Time           `db:"capture_before" json:"capture_before" col:"capture before"`
	ExpiresAt           time.Time            `db:"expires_at" json:"expires_at" col:"expires if unsent"`
	Version             int64                `db:"version" json:"version" col:"version"`
	EventSequence       int64                `db:"event_sequence" json:"event_sequence" col:"events"`
	CreatedAt           time.Time            `db:"created_at" json:"created_at" col:"created"`
	UpdatedAt           time.Time            `db:"updated_at" json:"updated_at" col:"updated"`
}

const selectPayment = `
	SELECT t.id, t.merchant_id, m.name AS merchant_name, t.merchant_reference, t.status, t.previous_status,
		t.reconciliation_status, t.currency, t.amount_minor, t.authorized_minor, t.captured_minor,
		t.refund_reserved_minor, t.refunded_minor, t.disputed_minor, t.capture_excess_minor, t.refund_excess_minor,
		t.capture_method, t.payment_method, t.provider, t.provider_account, t.provider_transaction_id,
		t.failure_code, t.failure_message, t.failure_provider_code, t.capture_before, t.expires_at, t.version,
		t.event_sequence, t.created_at, t.updated_at,
		(t.route ->> 'reason') || ': ' || (
			SELECT string_agg((c ->> 'provider') || ' ' || (c ->> 'state') || coalesce(' (' || (c ->> 'reason') || ')', ''), ', ' ORDER BY n)
			FROM jsonb_array_elements(t.route -> 'candidates') WITH ORDINALITY AS candidates (c, n)) AS route
	FROM transactions t JOIN merchants m ON m.id = t.merchant_id WHERE t.id = $1`

type refundRow struct {
	ID             external[ofRefund] `db:"id" json:"id" col:"refund"`
	Status         string             `db:"status" json:"status" col:"status"`
	Amount         int64              `db:"amount_minor" json:"amount_minor" col:"amount"`
	Origin         string             `db:"origin" json:"origin" col:"origin"`
	ProviderRefund *string            `db:"provider_refund_id" json:"provider_refund_id" col:"provider refund"`
	Reason         *string            `db:"reason" json:"reason" col:"reason"`
	FailureCode    *string            `db:"failure_code" json:"failure_code" col:"failure"`
	CreatedAt      time.Time          `db:"created_at" json:"created_at" col:"created"`
	UpdatedAt      time.Time          `db:"updated_at" json:"updated_at" col:"updated"`
}

const selectRefunds = `
	SELECT id, status, amount_minor, origin, provider_refund_id,
		(SELECT data ->> 'reason' FROM personal_data p WHERE p.id = personal_data_id) AS reason, failure_code, created_at, updated_at
	FROM refunds WHERE transaction_id = $1 ORDER BY created_at, id`

type operationRow struct {
	ID         id.ID              `db:"id" json:"id" col:"saga"`
	Kind       string             `db:"kind" json:"kind" col:"kind"`
	Refund     external[ofRefund] `db:"refund_id" json:"refund_id,omitzero" col:"refund"`
	State      string             `db:"state" json:"state" col:"state"`
	Outcome    *string            `db:"outcome" json:"outcome" col:"outcome"`
	Rule       *string            `db:"rule" json:"rule" col:"proven by"`
	Evidence   id.ID              `db:"evidence_id" json:"evidence_id,omitzero"`
	Tries      int                `db:"tries" json:"tries" col:"tries"`
	DueAt      *time.Time         `db:"due_at" json:"due_at" col:"due"`
	LeaseUntil *time.Time         `db:"lease_until" json:"lease_until" col:"leased until"`
	RequestID  string             `db:"request_id" json:"request_id" col:"request"`
	CreatedAt  time.Time          `db:"created_at" json:"created_at" col:"created"`
}

const selectSagas = `
	SELECT id, kind, refund_id, state, outcome, rule, evidence_id, tries, due_at, lease_until, request_id, created_at
	FROM transaction_saga WHERE transaction_id = $1 ORDER BY created_at, id`

type providerAttemptRow struct {
	Saga      id.ID      `db:"saga_id" json:"saga_id" col:"saga"`
	Number    int        `db:"number" json:"number" col:"number"`
	Provider  string     `db:"provider" json:"provider" col:"provider"`
	Step      string     `db:"step" json:"step" col:"step"`
	Key       string     `db:"provider_key" json:"provider_key"`
	Unsent    bool       `db:"unsent" json:"unsent" col:"proven unsent"`
	Outcome   *string    `db:"outcome" json:"outcome" col:"outcome"`
	CreatedAt time.Time  `db:"created_at" json:"created_at" col:"created"`
	ClosedAt  *time.Time `db:"closed_at" json:"closed_at" col:"closed"`
}

const selectProviderAttempts = `
	SELECT saga_id, number, provider, step, provider_key, unsent, outcome, created_at, closed_at
	FROM saga_attempts WHERE transaction_id = $1 ORDER BY created_at, number`

type responseRow struct {
	ID              id.ID     `db:"id" json:"id"`
	At              time.Time `db:"created_at" json:"at" col:"at"`
	Provider        string    `db:"provider" json:"provider" col:"provider"`
	Operation       string    `db:"operation" json:"operation" col:"operation"`
	Outcome         string    `db:"outcome" json:"outcome" col:"outcome"`
	HTTPStatus      *int      `db:"http_status" json:"http_status" col:"http"`
	ProviderRequest *string   `db:"provider_request_id" json:"provider_request_id" col:"provider request"`
	DurationMS      int64     `db:"duration_ms" json:"duration_ms" col:"ms"`
	Error           *string   `db:"error" json:"error" col:"error"`
	Body            *string   `db:"body" json:"body"`
}

const selectResponses = `
	SELECT id, created_at, provider, operation, outcome, http_status, provider_request_id, duration_ms, error, body
	FROM provider_responses WHERE transaction_id = $1 ORDER BY created_at, id`

type factRow struct {
	RecordedAt time.Time `db:"recorded_at" json:"recorded_at" col:"at"`
	Provider   string    `db:"provider" json:"provider" col:"provider"`
	Kind       string    `db:"kind" json:"kind" col:"kind"`
	Object     string    `db:"object_id" json:"object_id" col:"object"`
	State      string    `db:"state" json:"state" col:"state"`
	Amount     int64     `db:"amount_minor" json:"amount_minor" col:"amount"`
	Source     string    `db:"source" json:"source" col:"source"`
	Effect     string    `db:"effect" json:"effect" col:"effect"`
	Evidence   id.ID     `db:"evidence_id" json:"evidence_id"`
	OccurredAt time.Time `db:"occurred_at" json:"occurred_at"`
}

const selectFacts = `
	SELECT recorded_at, provider, kind, object_id, state, amount_minor, source, effect, evidence_id, occurred_at
	FROM provider_facts WHERE transaction_id = $1 ORDER BY recorded_at, object_id, rank`

type providerEventRow struct {
	ReceivedAt time.Time  `db:"received_at" json:"received_at" col:"received"`
	EventID    string     `db:"event_id" json:"event_id" col:"event"`
	Type       string     `db:"type" json:"type" col:"type"`
	State      string     `db:"state" json:"state" col:"state"`
	Reason     *string    `db:"reason" json:"reason" col:"reason"`
	DueAt      *time.Time `db:"due_at" json:"due_at" col:"due"`
}

const selectProviderEvents = `
	SELECT received_at, event_id, type, state, reason, due_at
	FROM webhook_events WHERE transaction_id = $1 ORDER BY received_at, id`

type obligationRow struct {
	ID        id.ID      `db:"id" json:"id"`
	Kind      string     `db:"kind" json:"kind" col:"kind"`
	Reference string     `db:"reference" json:"reference" col:"reference"`
	Amount    int64      `db:"amount_minor" json:"amount_minor" col:"amount"`
	Reason    string     `db:"reason" json:"reason" col:"reason"`
	State     string     `db:"state" json:"state" col:"state"`
	Tries     int        `db:"tries" json:"tries" col:"tries"`
	DueAt     *time.Time `db:"due_at" json:"due_at" col:"due"`
	OpenedAt  time.Time  `db:"opened_at" json:"opened_at" col:"opened"`
	ClosedAt  *time.Time `db:"closed_at" json:"closed_at" col:"closed"`
}

const selectObligations = `
	SELECT id, kind, reference, amount_minor, reason, state, tries, due_at, opened_at, closed_at
	FROM obligations WHERE transaction_id = $1 ORDER BY opened_at, id`

type eventRow struct {
	Sequence    int64             `db:"sequence" json:"sequence" col:"sequence"`
	ID          external[ofEvent] `db:"id" json:"id" col:"event"`
	Type        string            `db:"type" json:"type" col:"type"`
	CreatedAt   time.Time         `db:"created_at" json:"created_at" col:"created"`
	PublishedAt *time.Time        `db:"published_at" json:"published_at" col:"published"`
}

// An event whose outbox row was removed, as old ones are, was published.
const selectEvents = `
	SELECT e.sequence, e.id, e.type, e.created_at, o.published_at
	FROM events e LEFT JOIN outbox o ON o.id = e.id WHERE e.transaction_id = $1 ORDER BY e.sequence`

type paymentsDeliveryRow struct {
	Sequence      int64                `db:"sequence" json:"sequence" col:"sequence"`
	ID            external[ofDelivery] `db:"id" json:"id" col:"delivery"`
	Endpoint      external[ofEndpoint] `db:"webhook_id" json:"webhook_endpoint_id" col:"endpoint"`
	Status        string               `db:"status" json:"status" col:"status"`
	Attempts      int                  `db:"attempt_count" json:"attempts" col:"attempts"`
	ResponseCode  *int                 `db:"response_code" json:"response_code" col:"response"`
	LastAttemptAt *time.Time           `db:"last_attempt_at" json:"last_attempt_at" col:"last attempt"`
	NextAttemptAt *time.Time           `db:"next_retry_at" json:"next_attempt_at" col:"next attempt"`
}

const selectDeliveries = `
	SELECT e.sequence, d.id, d.webhook_id, d.status, d.attempt_count, d.response_code, d.last_attempt_at, d.next_retry_at
	FROM events e JOIN webhook_deliveries d ON d.event_id = e.id
	WHERE e.transaction_id = $1 ORDER BY e.sequence, d.id`

type auditRow struct {
	At        time.Time       `db:"at" json:"at" col:"at"`
	Kind      string          `db:"kind" json:"kind" col:"kind"`
	Object    string          `db:"object" json:"object" col:"object"`
	ObjectID  id.ID           `db:"object_id" json:"object_id"`
	Version   *int64          `db:"version" json:"version" col:"version"`
	Action    string          `db:"action" json:"action" col:"action"`
	Actor     string          `db:"actor" json:"actor" col:"actor"`
	RequestID string          `db:"request_id" json:"request_id" col:"request"`
	Delta     json.RawMessage `db:"delta" json:"delta"`
}

// In one transaction an intent comes before the change it led to.
const selectAudit = `
	SELECT at, kind, object, object_id, version, action, actor, request_id, delta
	FROM transaction_audit_log WHERE transaction_id = $1 ORDER BY at, version NULLS FIRST, id`
