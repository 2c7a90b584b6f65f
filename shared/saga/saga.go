// Package saga remembers, durably, what is being asked of a provider.
//
// It owns the tables transaction_saga and saga_attempts. A saga is one operation
// on one payment; an attempt is one request to a provider, committed before its
// first byte leaves. Whoever works on a saga holds its lease; what becomes of the
// saga is written under its row lock and only with the lease's token, so a worker
// that was thought dead can't write after another took over. Where no worker is
// needed for now, the saga says when the next one is (due_at), and the sweep sees to it.
//
//	leased             a worker has it
//	scheduled          provably not sent; a task will try
//	awaiting_payer     the payer must authenticate; polled
//	awaiting_provider  the provider will decide later; polled
//	unknown            it may have happened; to be proven
//	done               closed, with its outcome
//
// awaiting_provider is told apart from unknown since nothing about it is in doubt:
// the provider answered, and the answer was "later".
package saga

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
)

// State is where a saga stands.
type State string

// The states.
const (
	Leased           State = "leased"
	Scheduled        State = "scheduled"
	AwaitingPayer    State = "awaiting_payer"
	AwaitingProvider State = "awaiting_provider"
	Unknown          State = "unknown"
	Done             State = "done"
)

// Lease is how long a worker may hold a saga without a word. It is longer than
// any provider call with its record, so only a dead worker overstays it.
const Lease = 30 * time.Second

// Saga is one operation.
type Saga struct {
	ID            id.ID         `db:"id"`
	TransactionID id.ID         `db:"transaction_id"`
	MerchantID    id.ID         `db:"merchant_id"`
	RefundID      id.ID         `db:"refund_id"`
	Kind          provider.Step `db:"kind"`
	State         State         `db:"state"`
	Provider      string        `db:"provider"`
	AmountMinor   int64         `db:"amount_minor"`
	LeaseToken    id.ID         `db:"lease_token"`
	LeaseUntil    *time.Time    `db:"lease_until"`
	DueAt         *time.Time    `db:"due_at"`
	Tries         int           `db:"tries"`
	Outcome       *string       `db:"outcome"`
	RequestID     string        `db:"request_id"`
	CreatedAt     time.Time     `db:"created_at"`
}

// Open reports whether the operation has not ended.
func (s *Saga) Open() bool { return s.State != Done }

// Exclusive reports whether the operation tolerates no other beside it.
func (s *Saga) Exclusive() bool { return s.Kind != provider.Refund }

// Live reports whether a worker holds the saga at the time.
func (s *Saga) Live(now time.Time) bool {
	return s.State == Leased && s.LeaseUntil.After(now)
}

// Doubted reports whether the outcome is in doubt: it is unknown, or a worker overstayed.
func (s *Saga) Doubted(now time.Time) bool {
	return s.State == Unknown || s.State == Leased && !s.Live(now)
}

// Columns are the columns of Saga, for queries of other packages that join it.
const Columns = `id, transaction_id, merchant_id, refund_id, kind, state, provider, amount_minor,
	lease_token, lease_until, due_at, tries, outcome, request_id, created_at`

const insertSaga = `
	INSERT INTO transaction_saga (id, transaction_id, merchant_id, refund_id, kind, state, provider, amount_minor,
		lease_token, lease_until, due_at, tries, outcome, request_id, created_at, updated_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)`

// QueueStart inserts a saga. Where an exclusive one is open on the payment already,
// the partial unique index transaction_saga_one_open refuses it.
func QueueStart(b *pgx.Batch, s *Saga) {
	b.Queue(insertSaga, s.ID, s.TransactionID, s.MerchantID, s.RefundID, s.Kind, s.State, s.Provider, s.AmountMinor,
		s.LeaseToken, s.LeaseUntil, s.DueAt, s.Tries, s.Outcome, s.RequestID, s.CreatedAt)
}

const insertAttempt = `
	INSERT INTO saga_attempts (saga_id, number, transaction_id, step, provider, account, provider_key, request, unsent, sent_at, created_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false, $9, $9)`

// QueueAttempt inserts an attempt that is about to be sent: from here on it counts
// as one that may have been.
func QueueAttempt(b *pgx.Batch, providerName string, a provider.Attempt) {
	b.Queue(insertAttempt, a.OwnerID, a.Number, a.Request.PaymentID, a.Request.Step, providerName, a.Request.Account,
		a.Key, a.Request, a.SentAt)
}

const moveSaga = `
	UPDATE transaction_saga SET provider = $2, lease_until = $3, updated_at = $4 WHERE id = $1 AND state = 'leased'`

// QueueMove takes a leased saga on to the provider that s now names, under its renewed
// lease.
func QueueMove(b *pgx.Batch, s *Saga, now time.Time) {
	b.Queue(moveSaga, s.ID, s.Provider, s.LeaseUntil, now)
}

// QueueFence makes the transaction fail unless the lease is still held; LeaseLost
// reports that failure.
func QueueFence(b *pgx.Batch, saga, token id.ID) {
	b.Queue(`SELECT expect_lease($1, $2)`, saga, token)
}

// LeaseLost reports whether err says that a fence did not hold.
func LeaseLost(err error) bool { return postgres.HasCode(err, postgres.LeaseLost) }

const finishSaga = `
	UPDATE transaction_saga
	SET state = 'done', outcome = $2, rule = coalesce(nullif($3, ''), rule), evidence_id = coalesce($4, evidence_id),
	    lease_token = NULL, lease_until = NULL, due_at = NULL, updated_at = $5
	WHERE id = $1 AND state <> 'done'`

// What was not known of the last attempt while it was open is known by the end of its
// saga. What became of one before it may never be known.
const finishAttempts = `
	UPDATE saga_attempts a SET outcome = CASE WHEN number = last THEN $2 ELSE coalesce(outcome, 'unknown') END, closed_at = $3
	FROM (SELECT max(number) AS last FROM saga_attempts WHERE saga_id = $1) m
	WHERE saga_id = $1 AND (outcome IS NULL OR number = last AND outcome IN ('unknown', 'pending', 'requires_action'))`

// QueueFinish closes the saga. rule names how its outcome was proven, if it was not
// simply answered; evidence is the provider response or event that shows it.
func QueueFinish(b *pgx.Batch, saga id.ID, outcome, rule string, evidence id.ID, now time.Time) {
	b.Queue(finishSaga, saga, outcome, rule, evidence, now)
	b.Queue(finishAttempts, saga, outcome, now)
}

const releaseSaga = `
	UPDATE transaction_saga
	SET state = $2, due_at = $3, lease_token = NULL, lease_until = NULL, tries = $4, updated_at = $5
	WHERE id = $1 AND state <> 'done'`

// QueueRelease gives the lease back: the saga waits in the state until due.
func QueueRelease(b *pgx.Batch, saga id.ID, state State, due time.Time, tries int, now time.Time) {
	b.Queue(releaseSaga, saga, state, due, tries, now)
}

const closeAttempt = `
	UPDATE saga_attempts SET outcome = $3, unsent = $4, closed_at = $5 WHERE saga_id = $1 AND number = $2`

// QueueOutcome notes what an attempt yielded. Only a call that is proven to have
// been its first can make it unsent again.
func QueueOutcome(b *pgx.Batch, a provider.Attempt, o provider.Outcome, unsent bool, now time.Time) {
	b.Queue(closeAttempt, a.OwnerID, a.Number, o, unsent, now)
}

const resolveSaga = `UPDATE transaction_saga SET rule = $2, evidence_id = $3 WHERE id = $1 AND state <> 'done'`

// QueueResolved notes the rule by which what was unknown of an open saga became known: to
// be pending, or declined where another provider is asked next. The rule stays when the
// saga is closed by one who has none to name.
func QueueResolved(b *pgx.Batch, saga id.ID, rule string, evidence id.ID) {
	b.Queue(resolveSaga, saga, rule, evidence)
}

// Whoever takes over from a worker that overstayed counts its try, which nobody else does.
const takeLease = `
	UPDATE transaction_saga SET state = 'leased', lease_token = $2, lease_until = $3, due_at = NULL, updated_at = $4,
	    tries = tries + (old_state = 'leased')::int
	FROM (SELECT id AS old_id, state AS old_state FROM transaction_saga WHERE id = $1 FOR NO KEY UPDATE) old
	WHERE id = old_id AND state <> 'done' AND (state <> 'leased' OR lease_until <= $4)
	  AND (due_at IS NULL OR $5::timestamptz IS NULL OR due_at <= $5 OR tries = $6)
	RETURNING old_state, ` + Columns

// Held is a saga under the caller's lease.
type Held struct {
	Saga
	Was State `db:"old_state"` // before the lease was taken; Leased: from a worker that overstayed
}

// early is how much before its time a saga may be taken: tasks are not that exact.
const early = 2 * time.Second

// TakeDue leases the saga if its time has come or if it is still at the try, and
// returns nil if neither is so, if the saga is done, or if another worker has it. So
// tasks for one saga, however many, end in one worker, and outdated ones in none.
func TakeDue(ctx context.Context, db postgres.DB, saga, token id.ID, try int, now time.Time) (*Held, error) {
	due := now.Add(early)
	return take(ctx, db, saga, token, try, now, &due)
}

// Take leases the saga whether it is due or not.
func Take(ctx context.Context, db postgres.DB, saga, token id.ID, now time.Time) (*Held, error) {
	return take(ctx, db, saga, token, 0, now, nil)
}

func take(ctx context.Context, db postgres.DB, saga, token id.ID, try int, now time.Time, due *time.Time) (*Held, error) {
	rows, err := db.Query(ctx, takeLease, saga, token, now.Add(Lease), now, due, try)
	if err != nil {
		return nil, fault.Wrap(err, "lease the saga")
	}
	h, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Held])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return h, fault.Wrap(err, "lease the saga")
}

const selectSaga = `SELECT ` + Columns + ` FROM transaction_saga WHERE id = $1`

// Find reads a saga, nil if there is none.
func Find(ctx context.Context, db postgres.DB, saga id.ID) (*Saga, error) {
	rows, err := db.Query(ctx, selectSaga, saga)
	if err != nil {
		return nil, fault.Wrap(err, "read the saga")
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Saga])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return s, fault.Wrap(err, "read the saga")
}

const selectAttempts = `
	SELECT number, provider_key, request, unsent, sent_at FROM saga_attempts WHERE saga_id = $1 ORDER BY number`

// Attempts reads the saga's attempts, oldest first.
func Attempts(ctx context.Context, db postgres.DB, saga id.ID) ([]provider.Attempt, error) {
	rows, err := db.Query(ctx, selectAttempts, saga)
	if err != nil {
		return nil, fault.Wrap(err, "read the attempts")
	}
	as, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (provider.Attempt, error) {
		a := provider.Attempt{OwnerID: saga}
		err := row.Scan(&a.Number, &a.Key, &a.Request, &a.Unsent, &a.SentAt)
		return a, err
	})
	return as, fault.Wrap(err, "read the attempts")
}

const markSending = `UPDATE saga_attempts SET unsent = false, sent_at = $3 WHERE saga_id = $1 AND number = $2 AND unsent`

// Sending records, before a byte leaves, that an attempt proven unsent so far is
// about to be sent.
func Sending(ctx context.Context, db postgres.DB, saga, token id.ID, number int, now time.Time) error {
	b := &pgx.Batch{}
	QueueFence(b, saga, token)
	b.Queue(markSending, saga, number, now)
	return postgres.Pipeline(ctx, db, b)
}

const dueSagas = `
	SELECT id, provider, tries FROM transaction_saga
	WHERE state <> 'done' AND coalesce(lease_until, due_at) <= $1
	ORDER BY task_made_at NULLS FIRST, coalesce(lease_until, due_at) LIMIT $2`

const markTaskMade = `UPDATE transaction_saga SET task_made_at = $2 WHERE id = ANY ($1)`

// TasksMade notes that tasks were made for the sagas, so that the next sweep sees to
// others first.
func TasksMade(ctx context.Context, db postgres.DB, sagas []id.ID, now time.Time) error {
	_, err := db.Exec(ctx, markTaskMade, sagas, now)
	return fault.Wrap(err, "note that tasks were made")
}

// Due is a saga that waits for a worker.
type Due struct {
	ID       id.ID  `db:"id"`
	Provider string `db:"provider"`
	Tries    int    `db:"tries"`
}

// ListDue lists sagas whose lease ran out or whose time has come: first those for
// which no task was made yet, then by how long ago one was.
func ListDue(ctx context.Context, db postgres.DB, now time.Time, limit int) ([]Due, error) {
	rows, err := db.Query(ctx, dueSagas, now, limit)
	if err != nil {
		return nil, fault.Wrap(err, "list due sagas")
	}
	due, err := pgx.CollectRows(rows, pgx.RowToStructByName[Due])
	return due, fault.Wrap(err, "list due sagas")
}

const countOpen = `SELECT state, count(*) FROM transaction_saga WHERE state <> 'done' GROUP BY state`

// CountOpen counts the open sagas by state.
func CountOpen(ctx context.Context, db postgres.DB) (map[State]int64, error) {
	rows, err := db.Query(ctx, countOpen)
	if err != nil {
		return nil, fault.Wrap(err, "count open sagas")
	}
	n := map[State]int64{}
	var state State
	var count int64
	_, err = pgx.ForEachRow(rows, []any{&state, &count}, func() error { n[state] = count; return nil })
	return n, fault.Wrap(err, "count open sagas")
}

// Backoff is how long a saga waits after its n-th try, n from 0: it doubles from
// five seconds to an hour.
func Backoff(n int) time.Duration {
	const first, most = 5 * time.Second, time.Hour
	if n >= 10 {
		return most
	}
	return min(first<<n, most)
}
