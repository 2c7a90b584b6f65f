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
