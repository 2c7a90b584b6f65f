package period

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

var epoch = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)

// late is when what was recorded at epoch may be closed.
var late = epoch.Add(2 * time.Hour)

var newID = id.Source{Now: func() time.Time { return epoch }}.New

// post and audit each record something with a time.
const (
	post = `
		WITH posting AS (
			INSERT INTO ledger_postings (id, kind, provider, currency, lines, posted_at) VALUES ($1, 'payout', 'stripe', 'JPY', 2, $2))
		INSERT INTO ledger_entries (posting_id, line, account, amount_minor, provider, currency, kind, posted_at)
		SELECT $1, n, 'payouts', 3 - 2 * n, 'stripe', 'JPY', 'payout', $2 FROM generate_series(1, 2) n`
	audit = `
		INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, action, delta, actor, request_id, at)
		VALUES ($1, $1, $1, 'payment', $1, 'intent', 'capture', '{}', 'test', '', $2)`
)

func exec(t *testing.T, db postgres.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mark(t *testing.T, pool *pgxpool.Pool, until time.Time) {
	t.Helper()
	if err := Mark(t.Context(), pool, until, late); err != nil {
		t.Fatal(err)
	}
}

func ready(t *testing.T, pool *pgxpool.Pool, until time.Time) bool {
	t.Helper()
	is, err := Ready(t.Context(), pool, until)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func becomesReady(t *testing.T, pool *pgxpool.Pool, until time.Time) {
	t.Helper()
	for !ready(t, pool, until) { // other tests have transactions open, too
	}
}

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for i, sql := range []string{insertMark, numberMark, selectReady, closePeriod, selectOpen, selectLast} {
		if _, err := tx.Prepare(t.Context(), fmt.Sprint("s", i), sql); err != nil {
			t.Errorf("%v in:%s", err, sql)
		}
	}
}

func TestNothingIsRecordedInAPeriodThatHasEnded(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	for _, sql := range []string{post, audit} {
		exec(t, pool, sql, newID(), epoch.Add(-time.Hour))
	}
	mark(t, pool, epoch)
	for _, sql := range []string{post, audit} {
		for at, refused := range map[time.Time]bool{
			epoch.Add(-time.Hour): true, epoch.Add(-time.Microsecond): true, epoch: false, late: false,
		} {
			_, err := pool.Exec(t.Context(), sql, newID(), at)
			if postgres.HasCode(err, postgres.PeriodClosed) != refused || !refused && err != nil {
				t.Errorf("at %s: %v, want refused %t in:%s", at, err, refused, sql)
			}
		}
	}
}

// What looked before the mark and is not committed may belong to the period: it is waited
// for, whenever it began, and what comes later is not.
func TestAPeriodIsReadyWhenNobodyMayHaveMissedItsMark(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	idle := begin(t, pool)
	exec(t, idle, `SELECT 1`)

	// A mark that is written and not committed: the posting after it does not see it.
	marking := begin(t, pool)
	exec(t, marking, `INSERT INTO closed_periods (until, marked_at) VALUES ($1, $2)`, epoch, late)
	slow := begin(t, pool)
	exec(t, slow, post, newID(), epoch.Add(-time.Hour))
	commit(t, marking)
	if ready(t, pool, epoch) {
		t.Error("ready without a number")
	}
	mark(t, pool, epoch)
	if ready(t, pool, epoch) {
		t.Error("ready while a posting that missed the mark is not committed")
	}
	if _, err := idle.Exec(t.Context(), post, newID(), epoch.Add(-time.Hour)); !postgres.HasCode(err, postgres.PeriodClosed) {
		t.Errorf("a transaction that began before the mark and posts after it: %v", err)
	}
	if err := idle.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, slow)
	later := begin(t, pool)
	exec(t, later, post, newID(), late)
	becomesReady(t, pool, epoch)
	commit(t, later)
	if ready(t, pool, late) {
		t.Error("a period that was never marked is ready")
	}
}

// In the stricter isolation levels the mark could be missed.
func TestOtherIsolationLevelsAreRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		for _, sql := range []string{post, audit} {
			err := pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), sql, newID(), late)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "READ COMMITTED") {
				t.Errorf("%s: %v in:%s", level, err, sql)
			}
		}
	}
}

func TestAPeriodIsClosedOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	closing := func() error {
		return postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { return Close(t.Context(), tx, epoch, late) })
	}
	if err := closing(); err == nil {
		t.Error("closed without a mark")
	}
	slow := begin(t, pool)
	exec(t, slow, post, newID(), epoch.Add(-time.Hour))
	mark(t, pool, epoch)
	if err := closing(); err == nil {
		t.Error("closed before it was ready")
	}
	commit(t, slow)
	becomesReady(t, pool, epoch)
	if err := closing(); err != nil {
		t.Fatal(err)
	}
	if err := closing(); err == nil {
		t.Error("closed twice")
	}
	for _, sql := range []string{
		`UPDATE closed_periods SET closed_at = NULL`, `UPDATE closed_periods SET until = until - interval '1 day'`,
		`DELETE FROM closed_periods`, `TRUNCATE closed_periods CASCADE`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
}

func TestPeriodsFollowEachOther(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	if last, err := Last(t.Context(), pool); err != nil || last != nil {
		t.Errorf("at first: %+v %v", last, err)
	}
	if err := Mark(t.Context(), pool, epoch, epoch.Add(Horizon-time.Second)); err == nil {
		t.Error("what is younger than the horizon is marked")
	}
	first, second, third := epoch.Add(-2*time.Hour), epoch.Add(-time.Hour), epoch
	mark(t, pool, first)
	mark(t, pool, second)
	mark(t, pool, first) // again: nothing new
	if err := Mark(t.Context(), pool, first.Add(time.Minute), late); err == nil {
		t.Error("a period is marked within another")
	}
	becomesReady(t, pool, first)
	if err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { return Close(t.Context(), tx, first, late) }); err != nil {
		t.Fatal(err)
	}
	mark(t, pool, third)
	open, err := Open(t.Context(), pool)
	if err != nil || len(open) != 2 {
		t.Fatalf("open: %+v %v", open, err)
	}
	for i, want := range []Period{{Since: &first, Until: second}, {Since: &second, Until: third}} {
		if p := open[i]; p.Since == nil || !p.Since.Equal(*want.Since) || !p.Until.Equal(want.Until) || p.ClosedAt != nil || !p.MarkedAt.Equal(late) {
			t.Errorf("open: %+v, want %+v", p, want)
		}
	}
	if last, err := Last(t.Context(), pool); err != nil || last == nil || !last.Until.Equal(third) || !last.Since.Equal(second) {
		t.Errorf("last: %+v %v", last, err)
	}
}
