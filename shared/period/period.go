// Package period ends periods of time, so that what was recorded in them is final and
// can be summed up and sealed.
//
// It owns the table closed_periods. A period ends in three steps: Mark, after which the
// database refuses every posting and audit row with a time before its end (SQLSTATE
// postgres.PeriodClosed; the transaction is tried again, with a new time); waiting until
// the period is Ready, which is when every transaction that may have missed the mark has
// ended; and Close, in the transaction that keeps what was made of the period. No lock is
// taken and no clock is trusted: a row whose clock was late is refused, and never left out.
//
// It refuses to end what is younger than Horizon, so that a transaction which took its
// time and commits a little later does not have to be tried again.
package period

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Horizon is how far the end of a period must lie back when it is marked.
const Horizon = time.Hour

// Period is all the time before Until that belongs to no earlier period.
type Period struct {
	Since    *time.Time `db:"since"` // the former period's end; nil: the first
	Until    time.Time  `db:"until"`
	MarkedAt time.Time  `db:"marked_at"`
	ClosedAt *time.Time `db:"closed_at"`
}

const (
	// A trigger refuses an end that is not after every other.
	insertMark = `
		INSERT INTO closed_periods (until, marked_at)
		SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM closed_periods WHERE until = $1)`

	// In a transaction of its own, so that its number is higher than that of any
	// transaction which looked before the mark was there to be seen.
	numberMark = `UPDATE closed_periods SET marked_by = pg_current_xact_id() WHERE until = $1 AND closed_at IS NULL`

	selectReady = `SELECT marked_by < pg_snapshot_xmin(pg_current_snapshot()) FROM closed_periods WHERE until = $1`

	closePeriod = `
		UPDATE closed_periods SET closed_at = $2
		WHERE until = $1 AND closed_at IS NULL AND marked_by < pg_snapshot_xmin(pg_current_snapshot())`

	columns = `SELECT lag(until) OVER (ORDER BY until) AS since, until, marked_at, closed_at FROM closed_periods`

	selectOpen = `SELECT since, until, marked_at, closed_at FROM (` + columns + `) p WHERE closed_at IS NULL ORDER BY until`
	selectLast = columns + ` ORDER BY until DESC LIMIT 1`
)

// Mark ends the period that goes until the given time: from now on nothing is recorded
// with a time before it. To mark a period again that is not closed changes nothing, but
// begins the waiting anew. It fails when until is younger than Horizon, or not after the
// end of the last period.
//
// It takes a pool, not a transaction: a mark counts from when it is committed.
func Mark(ctx context.Context, pool *pgxpool.Pool, until, now time.Time) error {
	if until.After(now.Add(-Horizon)) {
		return fault.New(fault.Internal, "the period until %s can't end before %s", until.UTC(), until.Add(Horizon).UTC())
	}
	for _, step := range []struct {
		sql  string
		args []any
	}{{insertMark, []any{until, now}}, {numberMark, []any{until}}} {
		if _, err := pool.Exec(ctx, step.sql, step.args...); err != nil {
			return fault.Wrap(err, "mark the period until %s", until.UTC())
		}
	}
	return nil
}

// Ready reports whether every transaction that may have missed the mark has ended: what
// is there now of the period is all there will ever be. It is false for a period that
// was not marked.
func Ready(ctx context.Context, db postgres.DB, until time.Time) (bool, error) {
	var ready *bool // NULL: marked, but the mark has no number yet
	err := db.QueryRow(ctx, selectReady, until).Scan(&ready)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return ready != nil && *ready, fault.Wrap(err, "see whether the period until %s is complete", until.UTC())
}

// Close keeps that all has been made of a period that is to be made of it. It fails when
// the period is not Ready, or was closed before.
func Close(ctx context.Context, tx pgx.Tx, until, now time.Time) error {
	tag, err := tx.Exec(ctx, closePeriod, until, now)
	if err == nil && tag.RowsAffected() != 1 {
		err = errors.New("it is not complete, or closed already")
	}
	return fault.Wrap(err, "close the period until %s", until.UTC())
}

// Open lists the periods that are marked and not closed, the oldest first.
func Open(ctx context.Context, db postgres.DB) ([]Period, error) {
	rows, _ := db.Query(ctx, selectOpen) // CollectRows returns the error
	open, err := pgx.CollectRows(rows, pgx.RowToStructByName[Period])
	return open, fault.Wrap(err, "list the open periods")
}

// Last is the period that was marked last, nil if none was.
func Last(ctx context.Context, db postgres.DB) (*Period, error) {
	rows, _ := db.Query(ctx, selectLast) // CollectExactlyOneRow returns the error
	last, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Period])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return last, fault.Wrap(err, "find the last period")
}
