package endpoint

const columns = `id, merchant_id, url, description, enabled, disabled_at, disabled_by, disabled_reason, event_types,
	api_version, payload, ordered, signature, headers, rate_limit, max_in_flight, failing_since, failures, created_at, updated_at`

// lockMerchant makes the merchant's creations wait for one another, so that they are
// counted one by one. Functions may not write to merchants, so it is no row lock.
const lockMerchant = `SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || $1::uuid::text, 0))`

const insertEndpoint = `
	WITH endpoint AS (
		INSERT INTO webhook_endpoints (id, merchant_id, url, description, enabled, event_types, api_version, payload,
			ordered, signature, headers, rate_limit, max_in_flight, created_at, updated_at)
		SELECT $1, $2, $3, $4, true, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13
		WHERE (SELECT count(*) FROM webhook_endpoints WHERE merchant_id = $2 AND deleted_at IS NULL) < $16::int
		RETURNING ` + columns + `
	), secret AS (
		INSERT INTO webhook_endpoint_secrets (id, endpoint_id, sealed, created_at)
		SELECT $14, id, $15, $13 FROM endpoint
	)
	SELECT ` + columns + ` FROM endpoint`

const (
	ofMerchant = ` FROM webhook_endpoints WHERE id = $1 AND merchant_id = $2 AND deleted_at IS NULL`

	selectEndpoint  = `SELECT ` + columns + ofMerchant
	selectForUpdate = `SELECT ` + columns + ofMerchant + ` FOR NO KEY UPDATE`
	selectEndpoints = `SELECT ` + columns + ` FROM webhook_endpoints
		WHERE merchant_id = $1 AND deleted_at IS NULL ORDER BY created_at, id`
)

// What is known of the endpoint at its old URL says little of the new one: the circuit
// is shut, and the sweep tries it with what it missed.
const updateEndpoint = `
	UPDATE webhook_endpoints
	SET url = coalesce($3, url), description = coalesce($4, description), event_types = coalesce($5, event_types),
	    api_version = coalesce($6, api_version), payload = coalesce($7, payload), ordered = coalesce($8, ordered),
	    rate_limit = coalesce($9, rate_limit), max_in_flight = coalesce($10, max_in_flight),
	    headers = CASE WHEN $11 THEN $12 ELSE headers END,
	    next_slot_at = CASE WHEN $9 > rate_limit THEN NULL ELSE next_slot_at END, -- else what comes now queues up as before
	    open_until = CASE WHEN $3 <> url THEN NULL ELSE open_until END,
	    probe_at = CASE WHEN $3 <> url AND probe_at IS NOT NULL THEN $13 ELSE probe_at END,
	    updated_at = $13
	WHERE id = $1 AND merchant_id = $2 AND deleted_at IS NULL
	RETURNING ` + columns

const deleteEndpoint = `
	UPDATE webhook_endpoints
	SET enabled = false, disabled_at = coalesce(disabled_at, $3), disabled_by = coalesce(disabled_by, 'merchant'),
	    disabled_reason = coalesce(disabled_reason, 'the endpoint was deleted'), headers = NULL, failing_since = NULL,
	    failures = 0, open_until = NULL, probe_at = NULL, deleted_at = $3, updated_at = $3
	WHERE id = $1 AND merchant_id = $2 AND deleted_at IS NULL
	RETURNING true`

const destroySecrets = `DELETE FROM webhook_endpoint_secrets WHERE endpoint_id = $1`

// abandonHeld lets go of what waits for its turn, for which nobody would come. What has a
// task is abandoned by that.
const abandonHeld = `
	UPDATE webhook_deliveries SET status = 'ABANDONED', updated_at = $2 WHERE webhook_id = $1 AND status = 'HELD'`

const disableEndpoint = `
	UPDATE webhook_endpoints
	SET enabled = false, disabled_at = coalesce(disabled_at, $5), disabled_by = $3, disabled_reason = nullif($4, ''),
	    open_until = NULL, probe_at = NULL, updated_at = $5
	WHERE id = $1 AND merchant_id = $2 AND deleted_at IS NULL AND (enabled OR $3 = 'operator' AND disabled_by <> 'operator')
	RETURNING ` + columns

const enableEndpoint = `
	UPDATE webhook_endpoints
	SET enabled = true, disabled_at = NULL, disabled_by = NULL, disabled_reason = NULL, failing_since = NULL,
	    failures = 0, open_until = NULL, probe_at = NULL, next_slot_at = NULL, updated_at = $2
	WHERE id = $1
	RETURNING ` + columns

// The attempt whose answer had the endpoint disabled is written down before that, and so are
// others that were under way then: a minute is longer than an attempt takes.
const selectWaited = `
	SELECT min(coalesce(last_attempt_at, created_at)) FROM webhook_deliveries
	WHERE webhook_id = $1 AND delivered_at IS NULL AND status = 'ABANDONED'
	  AND updated_at >= $2::timestamptz - interval '1 minute'`

const (
	selectScheme = `SELECT signature` + ofMerchant
	lockEndpoint = `
		UPDATE webhook_endpoints SET updated_at = $3
		WHERE id = $1 AND merchant_id = $2 AND deleted_at IS NULL RETURNING true`
	endSecrets = `
		UPDATE webhook_endpoint_secrets SET expires_at = least(expires_at, $2::timestamptz) WHERE endpoint_id = $1`
	destroyExpired = `DELETE FROM webhook_endpoint_secrets WHERE endpoint_id = $1 AND expires_at <= $2`
	insertSecret   = `INSERT INTO webhook_endpoint_secrets (id, endpoint_id, sealed, created_at) VALUES ($1, $2, $3, $4)`
	selectSigning  = `
		SELECT created_at, expires_at FROM webhook_endpoint_secrets
		WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY created_at DESC, id DESC`
)
