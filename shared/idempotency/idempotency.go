// Package idempotency makes one merchant's request happen once.
//
// It owns the table idempotency_keys. A key is claimed in the transaction that
// starts the operation, and answered in the transaction that ends it, so there is
// no moment at which a crash leaves a key without its operation or an operation
// without its answer. Key, fingerprint and payment never expire; the stored bytes
// of an answer may, and are then rebuilt from the payment.
//
// It returns the fault idempotency_key_reused; Taken tells the caller that another
// request holds the key.
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Request is one merchant request under its key.
type Request struct {
	MerchantID id.ID
	Key        string // 16 to 255 characters, unquoted
	Method     string
	Path       string
	Body       []byte // raw: 1.0 and 1 are different bodies
}

// Fingerprint is SHA-256 over method, path and raw body, each with its length, so
// that no two requests run together into the same bytes.
func (r Request) Fingerprint() [32]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(r.Method), []byte(r.Path), r.Body} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

// Answer is what the merchant gets: final, or 202 while the operation runs.
type Answer struct {
	Status     int
	Body       []byte        // JSON; problem+json when Status is 400 or above
	Replayed   bool          // the stored bytes of an earlier request
	RetryAfter time.Duration // with a 202

	// After is what can wait until the merchant has the answer: publishing what was
	// committed. It is bounded, may fail, and may be nil; the sweep does what it missed.
	After func(context.Context)
}

// Record is what the table holds of a key.
type Record struct {
	Fingerprint    []byte
	SagaID         id.ID
	TransactionID  id.ID
	RefundID       id.ID
	ResponseStatus *int // nil while the operation runs
	ResponseBody   []byte
}

const insertKey = `
	INSERT INTO idempotency_keys (merchant_id, key, fingerprint, path, saga_id, transaction_id, refund_id, created_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
	ON CONFLICT (merchant_id, key) DO NOTHING`

// QueueClaim claims the key for the saga. If another request has it, the whole
// transaction fails, and Taken reports so.
func QueueClaim(b *pgx.Batch, r Request, saga, payment, refund id.ID, now time.Time) {
	fp := r.Fingerprint()
	b.Queue(insertKey, r.MerchantID, r.Key, fp[:], r.Path, saga, payment, refund, now)
	b.Queue(`SELECT expect_key($1, $2, $3)`, r.MerchantID, r.Key, saga)
}

// Taken reports whether err says that another request has the key.
func Taken(err error) bool { return postgres.HasCode(err, postgres.KeyTaken) }

const answerKey = `
	UPDATE idempotency_keys SET response_status = $2, response_body = $3, completed_at = $4
	WHERE saga_id = $1 AND completed_at IS NULL`

// QueueAnswer stores the operation's final answer. The first one stays.
func QueueAnswer(b *pgx.Batch, saga id.ID, status int, body []byte, now time.Time) {
	b.Queue(answerKey, saga, status, body, now)
}

const selectKey = `
	SELECT ` + recordColumns + ` FROM idempotency_keys WHERE merchant_id = $1 AND key = $2`

const selectBySaga = `SELECT ` + recordColumns + ` FROM idempotency_keys WHERE saga_id = $1`

const recordColumns = `fingerprint, saga_id, transaction_id, refund_id, response_status, response_body`

// Answer is the stored answer, if its bytes are there.
func (r *Record) Answer() (Answer, bool) {
	if r.ResponseStatus == nil || r.ResponseBody == nil {
		return Answer{}, false
	}
	return Answer{Status: *r.ResponseStatus, Body: r.ResponseBody, Replayed: true}, true
}

// FindSaga reads the key of the request that started the saga: nil if none did.
func FindSaga(ctx context.Context, db postgres.DB, saga id.ID) (*Record, error) {
	return find(ctx, db, selectBySaga, saga)
}

func find(ctx context.Context, db postgres.DB, sql string, args ...any) (*Record, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fault.Wrap(err, "read the idempotency key")
	}
	rec, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Record])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return rec, fault.Wrap(err, "read the idempotency key")
}

// Find reads what is known of the request's key: nil if it was never used, a fault
// if it belongs to another request.
func Find(ctx context.Context, db postgres.DB, r Request) (*Record, error) {
	rec, err := find(ctx, db, selectKey, r.MerchantID, r.Key)
	if err != nil || rec == nil {
		return nil, err
	}
	if fp := r.Fingerprint(); string(fp[:]) != string(rec.Fingerprint) {
		return nil, fault.New(fault.IdempotencyKeyReused,
			"This Idempotency-Key was used for another request. Send a new key for a new request, or the same method, path and body, to the byte, to repeat the old one.")
	}
	return rec, nil
}

const expireBodies = `
	UPDATE idempotency_keys SET response_body = NULL
	WHERE saga_id IN (SELECT saga_id FROM idempotency_keys
	                  WHERE response_body IS NOT NULL AND completed_at < $1
	                  ORDER BY completed_at LIMIT $2 FOR UPDATE SKIP LOCKED)`

// Retention is how long the bytes of an answer are kept.
const Retention = 24 * time.Hour

// ExpireBodies drops the bytes of answers older than Retention, at most limit.
func ExpireBodies(ctx context.Context, db postgres.DB, now time.Time, limit int) (int64, error) {
	tag, err := db.Exec(ctx, expireBodies, now.Add(-Retention), limit)
	return tag.RowsAffected(), fault.Wrap(err, "expire stored answers")
}
