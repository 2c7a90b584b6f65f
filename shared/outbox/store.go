package outbox

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
)

const insertEvent = `
	WITH event AS (
		INSERT INTO events (id, merchant_id, subject_id, transaction_id, endpoint_id, type, sequence, payload, request_id,
			created_at)
		VALUES ($1, $2, $3, nullif($9::uuid, '00000000-0000-0000-0000-000000000000'),
			nullif($10::uuid, '00000000-0000-0000-0000-000000000000'), $4, $5, $6, $7, $8)
	)
	INSERT INTO outbox (id, key, sequence, tries, due_at, created_at)
	VALUES ($1, $3, $5, 0, $8, $8)`

const insertEvents = `
	WITH given AS MATERIALIZED (
		SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[], $7::text[], $8::timestamptz[])
			AS e (id, merchant_id, payment_id, type, sequence, payload, request_id, created_at)
	), event AS (
		INSERT INTO events (id, merchant_id, subject_id, transaction_id, type, sequence, payload, request_id, created_at)
		SELECT id, merchant_id, payment_id, payment_id, type, sequence, payload, request_id, created_at FROM given
	)
	INSERT INTO outbox (id, key, sequence, tries, due_at, created_at)
	SELECT id, payment_id, sequence, 0, created_at, created_at FROM given`

const selectBacklog = `SELECT count(*), min(created_at) FROM outbox WHERE published_at IS NULL`

// isHead holds for the one row of a key that may be claimed. Written as a comparison
// with a scalar subquery because the planner can only run it as an index probe per
// row; NOT EXISTS it may turn into an anti-join over the whole backlog.
const isHead = `
	o.id = (SELECT e.id FROM outbox e WHERE e.key = o.key AND e.published_at IS NULL ORDER BY e.sequence LIMIT 1)
	AND o.published_at IS NULL AND (o.claimed_until IS NULL OR o.claimed_until <= $1)`

// The lock on the head is the lease on the key. When two relays want the same head,
// one skips it; when one commits its claim first, the other checks isHead again on
// the row as it is then.
const (
	heads = `
	WITH heads AS MATERIALIZED (
		SELECT o.key FROM outbox o
		WHERE o.due_at <= $1 AND ` + isHead + `
		ORDER BY o.due_at LIMIT $5
		FOR NO KEY UPDATE SKIP LOCKED
	)`
	headOfKey = `
	WITH heads AS MATERIALIZED (
		SELECT o.key FROM outbox o
		WHERE o.key = $5 AND ` + isHead + `
		FOR NO KEY UPDATE SKIP LOCKED
	)`
	claimRows = `, rows AS (
		SELECT r.id FROM heads, LATERAL (
			SELECT o.id FROM outbox o WHERE o.key = heads.key AND o.published_at IS NULL
			ORDER BY o.sequence LIMIT $4) r
	), claimed AS (
		UPDATE outbox o SET claim_token = $2, claimed_until = $3
		FROM rows WHERE o.id = rows.id AND o.published_at IS NULL
		RETURNING o.id
	)
	SELECT e.id, e.merchant_id, e.subject_id, coalesce(e.transaction_id, '00000000-0000-0000-0000-000000000000'),
		e.type, e.sequence, e.payload, e.request_id
	FROM claimed JOIN events e ON e.id = claimed.id
	ORDER BY e.subject_id, e.sequence`

	claimKeys = heads + claimRows
	claimKey  = headOfKey + claimRows
)

const markPublished = `
	UPDATE outbox SET published_at = $3, claim_token = NULL, claimed_until = NULL, last_error = NULL
	WHERE id = ANY($1) AND claim_token = $2 AND published_at IS NULL`

// Backoff: 1 s, 2 s, 4 s, … up to a minute. An outage is then noticed to have ended
// within a minute, whatever its length.
const releaseFailed = `
	UPDATE outbox o
	SET tries = o.tries + 1, last_error = f.error, claim_token = NULL, claimed_until = NULL,
	    due_at = $4::timestamptz + least(interval '1 second' * 2 ^ least(o.tries, 10), interval '1 minute')
	FROM unnest($1::uuid[], $2::text[]) AS f(id, error)
	WHERE o.id = f.id AND o.claim_token = $3 AND o.published_at IS NULL`

// train is the waiting rows of one key, in order.
type train []Event

func (t train) key() id.ID { return t[0].SubjectID }

// claim leases keys and returns their rows: of the key, or of up to limit keys that
// are due when key is zero.
func claim(ctx context.Context, db *pgxpool.Pool, key id.ID, limit int, token id.ID, now time.Time) ([]train, error) {
	sql, which := claimKeys, any(limit)
	if !key.IsZero() {
		sql, which = claimKey, any(key)
	}
	rows, err := db.Query(ctx, sql, now, token, now.Add(lease), rowsPerKey, which)
	if err != nil {
		return nil, fmt.Errorf("outbox: claim: %w", err)
	}
	var trains []train
	var e Event
	_, err = pgx.ForEachRow(rows, []any{&e.ID, &e.MerchantID, &e.SubjectID, &e.PaymentID, &e.Type, &e.Sequence, &e.Payload, &e.RequestID},
		func() error {
			if n := len(trains); n == 0 || trains[n-1].key() != e.SubjectID {
				trains = append(trains, nil)
			}
			last := len(trains) - 1
			trains[last] = append(trains[last], e)
			e.Payload = nil // scanned into anew, or the next row would overwrite this one's bytes
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("outbox: claim: %w", err)
	}
	return trains, nil
}

// message is the event as it goes to payment-events.
func (e Event) message() Message {
	attributes := map[string]string{
		"event_id":    e.ID.String(),
		"merchant_id": e.MerchantID.String(),
		"type":        e.Type,
		"sequence":    strconv.FormatInt(e.Sequence, 10),
		"request-id":  e.RequestID,
	}
	if !e.PaymentID.IsZero() {
		attributes["payment_id"] = e.PaymentID.String()
	}
	return Message{Data: e.Payload, Attributes: attributes}
}
