package webhook

const endpointColumns = `id, merchant_id, url, description, enabled, disabled_reason, event_types, created_at, updated_at`

const insertEndpoint = `
	WITH endpoint AS (
		INSERT INTO webhook_endpoints (id, merchant_id, url, description, enabled, event_types, created_at, updated_at)
		VALUES ($1, $2, $3, $4, true, $5, $6, $6)
	)
	INSERT INTO webhook_endpoint_secrets (id, endpoint_id, sealed, created_at) VALUES ($7, $1, $8, $6)`

const selectEndpoints = `SELECT ` + endpointColumns + ` FROM webhook_endpoints WHERE merchant_id = $1 ORDER BY created_at, id`

const selectEndpoint = `SELECT ` + endpointColumns + ` FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2`

// The columns of Delivery; the table goes by d.
const deliveryColumns = `d.id, d.event_id, d.webhook_id, d.merchant_id, d.transaction_id, d.event_type, d.status,
	d.attempt_count, d.last_attempt_at, d.next_retry_at, d.response_code, d.response_body, d.task_generation,
	d.request_id, d.created_at, d.updated_at`

// One row per subscriber; one with a null if there is none; no row if there is no event.
const selectSubscribers = `
	SELECT w.id FROM events e
	LEFT JOIN webhook_endpoints w ON w.merchant_id = e.merchant_id AND w.enabled
		AND (cardinality(w.event_types) = 0 OR e.type = ANY (w.event_types))
	WHERE e.id = $1 ORDER BY w.id`

const insertDelivery = `
	INSERT INTO webhook_deliveries (id, event_id, webhook_id, merchant_id, subject_id, transaction_id, event_type, sequence,
		event_created_at, status, attempt_count, next_retry_at, task_generation, request_id, created_at, updated_at)
	SELECT $1, e.id, $3, e.merchant_id, e.subject_id, e.transaction_id, e.type, e.sequence, e.created_at, 'PENDING', 0, $4,
		0, e.request_id, $5, $5
	FROM events e WHERE e.id = $2
	ON CONFLICT (event_id, webhook_id) DO NOTHING`

const selectUntried = `
	SELECT ` + deliveryColumns + ` FROM webhook_deliveries d
	WHERE d.event_id = $1 AND d.status = 'PENDING' AND d.attempt_count = 0 ORDER BY d.id`

const selectDelivery = `SELECT ` + deliveryColumns + ` FROM webhook_deliveries d WHERE d.id = $1`

// Of two workers that want the same delivery one waits for the other's row lock, and
// then finds the lease taken. That the attempt is due is not asked: an operator may
// run its task early.
const leaseDelivery = `
	UPDATE webhook_deliveries d SET lease_token = $3, lease_until = $4, updated_at = $5
	FROM events e, webhook_endpoints w
	WHERE d.id = $1 AND e.id = d.event_id AND w.id = d.webhook_id
	  AND d.status = 'PENDING' AND d.attempt_count = $2::int - 1 AND (d.lease_until IS NULL OR d.lease_until <= $5)
	RETURNING ` + deliveryColumns + `, d.lease_token, e.payload, e.created_at AS event_at, w.url, w.enabled,
		ARRAY (SELECT s.sealed FROM webhook_endpoint_secrets s
		       WHERE s.endpoint_id = w.id AND (s.expires_at IS NULL OR s.expires_at > $5)
		       ORDER BY s.created_at DESC, s.id DESC) AS sealed`

// The attempt and the next state, and the endpoint that wants no more, are one
// statement, which does nothing where the lease is lost.
const recordAttempt = `
	WITH delivery AS (
		UPDATE webhook_deliveries
		SET status = $3, attempt_count = $4, last_attempt_at = $5,
		    delivered_at = coalesce(delivered_at, CASE WHEN $3 = 'DELIVERED' THEN $5::timestamptz END), next_retry_at = $6, response_code = $7,
		    response_body = nullif($8, ''), lease_token = NULL, lease_until = NULL, updated_at = $9
		WHERE id = $1 AND lease_token = $2
		RETURNING id, webhook_id
	), disabled AS (
		UPDATE webhook_endpoints w SET enabled = false, disabled_reason = $14::text, disabled_at = $9, disabled_by = 'gone', updated_at = $9
		FROM delivery d WHERE $14::text <> '' AND w.id = d.webhook_id AND w.enabled
	)
	INSERT INTO webhook_delivery_logs (id, delivery_id, webhook_id, attempt, requested_at, duration_ms, outcome,
		response_code, response_body, error)
	SELECT $10, id, webhook_id, $4, $5, $11, $12, $7, nullif($8, ''), nullif($13, '') FROM delivery`

const releaseDelivery = `
	UPDATE webhook_deliveries SET lease_token = NULL, lease_until = NULL, updated_at = $3
	WHERE id = $1 AND lease_token = $2`

const abandonDelivery = `
	UPDATE webhook_deliveries
	SET status = 'ABANDONED', next_retry_at = NULL, lease_token = NULL, lease_until = NULL, updated_at = $3
	WHERE id = $1 AND lease_token = $2`

// updated_at is asked as well, so that a delivery whose task was just made again is
// left alone for as long as one whose time has just come.
const raiseGeneration = `
	UPDATE webhook_deliveries d SET task_generation = d.task_generation + 1, updated_at = $1
	WHERE d.id IN (
		SELECT o.id FROM webhook_deliveries o
		WHERE o.status = 'PENDING' AND o.next_retry_at <= $2 AND o.updated_at <= $2
		  AND (o.lease_until IS NULL OR o.lease_until <= $1)
		ORDER BY o.next_retry_at LIMIT $3
		FOR NO KEY UPDATE SKIP LOCKED)
	RETURNING ` + deliveryColumns

const reviveDelivery = `
	UPDATE webhook_deliveries d
	SET status = 'PENDING', next_retry_at = $2, task_generation = d.task_generation + 1, updated_at = $2
	FROM webhook_endpoints w
	WHERE d.id = $1 AND w.id = d.webhook_id AND w.enabled AND d.status IN ('EXHAUSTED', 'ABANDONED')
	RETURNING ` + deliveryColumns

const selectExhausted = `
	SELECT ` + deliveryColumns + ` FROM webhook_deliveries d
	WHERE d.status = 'EXHAUSTED' ORDER BY d.updated_at DESC, d.id LIMIT $1`

const countWaiting = `SELECT count(*) FROM webhook_deliveries WHERE status = 'PENDING'`
