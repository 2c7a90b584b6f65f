package audit

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// kept is a seal as the database has it.
type kept struct {
	Number   int64      `db:"number"`
	Since    *time.Time `db:"since"`
	Until    time.Time  `db:"until"`
	Count    int        `db:"row_count"`
	Previous []byte     `db:"previous"`
	Head     []byte     `db:"head"`
}

const keptColumns = `number, since, until, row_count, previous, head`

const (
	selectSeals    = `SELECT ` + keptColumns + ` FROM audit_seals WHERE merchant_id = $1 AND number > $2 ORDER BY number LIMIT $3`
	selectLastSeal = `SELECT ` + keptColumns + ` FROM audit_seals WHERE merchant_id = $1 ORDER BY number DESC LIMIT 1`
	insertSeal     = `
		INSERT INTO audit_seals (merchant_id, number, since, until, row_count, previous, head, sealed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (merchant_id, number) DO NOTHING`

	// The merchants of the log, each found by one look into the index, also those that no
	// other table knows.
	selectLogMerchants = `
		WITH RECURSIVE found AS (
			(SELECT merchant_id, 1 AS n FROM transaction_audit_log WHERE merchant_id > $1 ORDER BY merchant_id LIMIT 1)
			UNION ALL
			SELECT (SELECT merchant_id FROM transaction_audit_log l WHERE l.merchant_id > f.merchant_id
			        ORDER BY l.merchant_id LIMIT 1), f.n + 1
			FROM found f WHERE f.merchant_id IS NOT NULL AND f.n < $2)
		SELECT merchant_id FROM found WHERE merchant_id IS NOT NULL ORDER BY 1`
	selectSealMerchants = `
		WITH RECURSIVE found AS (
			(SELECT merchant_id, 1 AS n FROM audit_seals WHERE merchant_id > $1 ORDER BY merchant_id LIMIT 1)
			UNION ALL
			SELECT (SELECT merchant_id FROM audit_seals s WHERE s.merchant_id > f.merchant_id
			        ORDER BY s.merchant_id LIMIT 1), f.n + 1
			FROM found f WHERE f.merchant_id IS NOT NULL AND f.n < $2)
		SELECT merchant_id FROM found WHERE merchant_id IS NOT NULL ORDER BY 1`

	selectLastClosed = `SELECT coalesce(max(until), 'epoch') FROM closed_periods WHERE closed_at IS NOT NULL`
	selectPeriod     = `SELECT EXISTS (SELECT 1 FROM closed_periods WHERE until = $1)`
)

func listSeals(ctx context.Context, db postgres.DB, merchant id.ID, after int64, limit int) ([]kept, error) {
	rows, _ := db.Query(ctx, selectSeals, merchant, after, limit) // CollectRows returns the error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[kept])
	return found, fault.Wrap(err, "read the seals of merchant %s", merchant)
}

// lastSeal is the merchant's latest seal in the database; the zero one if there is none.
func lastSeal(ctx context.Context, db postgres.DB, merchant id.ID) (kept, error) {
	rows, _ := db.Query(ctx, selectLastSeal, merchant) // CollectExactlyOneRow returns the error
	last, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[kept])
	if errors.Is(err, pgx.ErrNoRows) {
		return kept{Previous: make([]byte, len(Hash{})), Head: make([]byte, len(Hash{}))}, nil
	}
	return last, fault.Wrap(err, "read the last seal of merchant %s", merchant)
}

func queueSeal(b *pgx.Batch, s *Seal, now time.Time) {
	b.Queue(insertSeal, s.Merchant, s.Number, s.Since, s.Until, len(s.Rows), s.Previous[:], s.Head[:], now)
}

// listMerchants pages through merchants by one of the statements above.
func listMerchants(ctx context.Context, db postgres.DB, sql string, after id.ID, limit int) ([]id.ID, error) {
	rows, _ := db.Query(ctx, sql, after.String(), limit) // the zero ID would be NULL; CollectRows returns the error
	found, err := pgx.CollectRows(rows, pgx.RowTo[id.ID])
	return found, fault.Wrap(err, "list the merchants of the audit log")
}

// lastClosed is the end of the last closed period; long ago if there is none.
func lastClosed(ctx context.Context, db postgres.DB) (until time.Time, err error) {
	err = db.QueryRow(ctx, selectLastClosed).Scan(&until)
	return until, fault.Wrap(err, "find the last closed period")
}

// periodKnown reports whether there is a period that ends so.
func periodKnown(ctx context.Context, db postgres.DB, until time.Time) (known bool, err error) {
	err = db.QueryRow(ctx, selectPeriod, until).Scan(&known)
	return known, fault.Wrap(err, "look for the period until %s", until.UTC())
}
