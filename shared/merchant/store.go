package merchant

const foreignKeyViolation = "23503"

const (
	insertMerchant = `
		INSERT INTO merchants (id, name, status, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $4)`

	updatePreference = `UPDATE merchants SET provider_preference = $2, updated_at = $3 WHERE id = $1`

	updateDay = `UPDATE merchants SET timezone = $2, settlement_cutoff = $3::text::time, updated_at = $4 WHERE id = $1`

	updateStatus = `UPDATE merchants SET status = $2, updated_at = $3 WHERE id = $1`

	insertKey = `
		INSERT INTO api_keys (id, merchant_id, secret_hash, label, created_at)
		VALUES ($1, $2, $3, $4, $5)`

	revokeKey = `UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL`

	selectKey = `
		SELECT k.merchant_id, k.secret_hash, k.revoked_at IS NOT NULL, m.status, m.provider_preference
		FROM api_keys k JOIN merchants m ON m.id = k.merchant_id
		WHERE k.id = $1`
)
