package settlement

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
)

const selectOpen = `
	SELECT id, merchant_id, currency, settled_to FROM settlements
	WHERE job_execution_id = $1 AND status = 'PROCESSING' AND NOT id = ANY ($2)
	ORDER BY id LIMIT 1`

const selectThis = `
	SELECT id, merchant_id, currency, settled_to FROM settlements WHERE id = $1 AND status = 'PROCESSING'`

// open is a settlement that is being made.
type open struct {
	ID        id.ID  `db:"id"`
	Merchant  id.ID  `db:"merchant_id"`
	Currency  string `db:"currency"`
	SettledTo *id.ID `db:"settled_to"`
}

// The payments that come next. A payment with captures in several settlements is settled by
// the last of their chunks: of another settlement those lines count that its chunks are
// past, whether or not it could be completed yet.
const selectChunk = `
	WITH chunk AS (
		SELECT DISTINCT transaction_id FROM settlement_lines
		WHERE settlement_id = $1 AND transaction_id > coalesce($2::uuid, ` + zero + `) ORDER BY transaction_id LIMIT $3)
	SELECT c.transaction_id, (
		SELECT coalesce(sum(l.amount_minor), 0)::bigint
		FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id
		WHERE l.transaction_id = c.transaction_id AND l.kind = 'capture' AND (s.id = $1 OR s.settled_to >= l.transaction_id))
	FROM chunk c ORDER BY c.transaction_id`

const updateSettledTo = `
	UPDATE settlements SET settled_to = $2, settled_payments = settled_payments + $3 WHERE id = $1`

// settleNext settles the next chunk of the next settlement, or completes it when it has no
// more. After the last, the run goes on to its check; while something waits for another
// try, it waits.
func (s *Service) settleNext(ctx context.Context, tx pgx.Tx, run *Run, now time.Time) (at target, did work, err error) {
	at, wait := run.Checkpoint.again(now)
	if !at.Merchant.IsZero() {
		did, err = s.freezeAgain(ctx, tx, run, at, now)
		return at, did, err
	}
	sql, args := selectOpen, []any{run.ID, run.Checkpoint.settlements()}
	if !at.Settlement.IsZero() {
		sql, args = selectThis, []any{at.Settlement}
	}
	rows, _ := tx.Query(ctx, sql, args...) // CollectExactlyOneRow returns the error
	of, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[open])
	switch {
	case errors.Is(err, pgx.ErrNoRows) && !wait.IsZero():
		run.due(wait)
		return target{}, work{}, nil
	case errors.Is(err, pgx.ErrNoRows):
		run.Checkpoint = Checkpoint{Phase: phaseCheck, Aside: run.Checkpoint.Aside}
		return target{}, work{}, nil
	case err != nil:
		return target{}, work{}, fault.Wrap(err, "look for the next settlement")
	}
	at = target{Settlement: of.ID}
	chunk, err := s.readChunk(ctx, tx, of)
	if err != nil {
		return at, work{}, err
	}
	if len(chunk) == 0 {
		did, err = s.complete(ctx, tx, of, now)
	} else {
		did, err = s.settleChunk(ctx, tx, run, of, chunk, now)
	}
	if err != nil {
		return at, did, err
	}
	run.Checkpoint.takeUp(at)
	return at, did, nil
}

func (s *Service) readChunk(ctx context.Context, tx pgx.Tx, of open) ([]payment.Settling, error) {
	var after id.ID
	if of.SettledTo != nil {
		after = *of.SettledTo
	}
	rows, _ := tx.Query(ctx, selectChunk, of.ID, after, s.chunk()) // CollectRows returns the error
	chunk, err := pgx.CollectRows(rows, pgx.RowToStructByPos[payment.Settling])
	return chunk, fault.Wrap(err, "read the payments of a chunk")
}

// settleChunk settles the payments, and leaves out those that can't be.
func (s *Service) settleChunk(ctx context.Context, tx pgx.Tx, run *Run, of open, chunk []payment.Settling, now time.Time) (did work, err error) {
	bad, err := s.settleApart(ctx, tx, of, chunk, now)
	if err != nil {
		return work{}, err
	}
	b := &pgx.Batch{}
	for _, skip := range bad {
		b.Queue(skipPayment, of.ID, skip.payment, s.NewID(), run.ID, skip.kind, skip.text, now)
	}
	last := chunk[len(chunk)-1].PaymentID
	b.Queue(updateSettledTo, of.ID, last, len(chunk)-len(bad))
	if err := postgres.Pipeline(ctx, tx, b); err != nil {
		return work{}, fault.Wrap(err, "keep how far a settlement is")
	}
	run.Checkpoint.Settlement, run.Checkpoint.Payment = of.ID, last
	return work{len(chunk) - len(bad), len(bad), least + len(chunk)}, nil
}

// skipped is a payment that can't be settled, and why.
type skipped struct {
	payment    id.ID
	kind, text string
}

// maxSkipped is how many payments of a chunk may be left out. When more fail it is not
// theirs, and leaving out a whole business is no way out.
const maxSkipped = 25

// errTooMany is what a chunk fails with in which too much does.
var errTooMany = errors.New("too many payments of the chunk fail")

// settleApart settles payments together and, where that fails by one of them, the halves
// apart, until those are found that can't be settled.
func (s *Service) settleApart(ctx context.Context, tx pgx.Tx, of open, chunk []payment.Settling, now time.Time) (bad []skipped, err error) {
	for parts := [][]payment.Settling{chunk}; len(parts) > 0; {
		part := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		err := s.settleTogether(ctx, tx, of, part, now)
		switch {
		case err == nil:
		case !ofPayment(ctx, tx, err):
			return nil, err
		case len(part) > 1:
			half := len(part) / 2
			parts = append(parts, part[half:], part[:half])
		case len(bad) == maxSkipped:
			return nil, errors.Join(errTooMany, err)
		default:
			bad = append(bad, skipped{part[0].PaymentID, kindOf(err), bounded(err.Error())})
		}
	}
	return bad, nil
}

// Constraints that are checked at the end of a transaction are checked here, while it can
// still be told which payment breaks them.
const checkConstraints = `SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED`

// settleTogether settles payments, or changes nothing.
func (s *Service) settleTogether(ctx context.Context, tx pgx.Tx, of open, part []payment.Settling, now time.Time) error {
	return pgx.BeginFunc(ctx, tx, func(save pgx.Tx) error {
		if _, err := s.Payments.Settle(ctx, save, of.ID, part, now); err != nil {
			return err
		}
		_, err := save.Exec(ctx, checkConstraints)
		return err
	})
}

// SQLSTATEs, and the first two characters of some: their class.
const (
	serialization = "40001"
	deadlock      = "40P01"

	classData       = "22"
	classConstraint = "23"
	classRaised     = "P0" // by a trigger
	classTollgate   = "TG"
)

// ofPayment reports whether the error is of what a payment is, and not of the database, its
// locks or the connection, which would have failed with any other.
func ofPayment(ctx context.Context, tx pgx.Tx, err error) bool {
	if ctx.Err() != nil || tx.Conn().IsClosed() {
		return false
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true // a row that can't be read, or is not there
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case classData, classConstraint, classRaised:
		return true
	case classTollgate:
		return pg.Code != postgres.PeriodClosed
	}
	return false
}

func kindOf(err error) string {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		return pg.Code
	case fault.Is(err, fault.NotFound):
		return string(fault.NotFound)
	}
	return "unreadable"
}

// maxErrorText bounds what is kept of an error, in bytes.
const maxErrorText = 1000

func bounded(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxErrorText)], "")
}

// skipPayment puts a payment's lines back, as they are in the ledger, and writes down why.
const skipPayment = `
	WITH gone AS (
		DELETE FROM settlement_lines WHERE settlement_id = $1 AND transaction_id = $2
		RETURNING posting_id, line, amount_minor
	), back AS (
		INSERT INTO unsettled_entries (posting_id, line, merchant_id, currency, provider, transaction_id, kind, amount_minor, posted_at)
		SELECT e.posting_id, e.line, e.merchant_id, e.currency, e.provider, e.transaction_id, e.kind, e.amount_minor, e.posted_at
		FROM gone JOIN ledger_entries e ON e.posting_id = gone.posting_id AND e.line = gone.line
	), error AS (
		INSERT INTO batch_execution_errors (id, job_execution_id, transaction_id, error_type, error_message, retry_count, created_at)
		SELECT $3, $4, $2, $5, $6, count(DISTINCT job_execution_id), $7
		FROM batch_execution_errors WHERE transaction_id = $2 AND job_execution_id <> $4
	)
	UPDATE settlements
	SET skipped_payments = skipped_payments + 1,
	    skipped_lines = skipped_lines + (SELECT count(*) FROM gone),
	    skipped_net_minor = skipped_net_minor + (SELECT sum(amount_minor) FROM gone)
	WHERE id = $1`
