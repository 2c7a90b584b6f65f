package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Rebuilt says how many rows were made from the log, by table, and which of them are not
// equal to the ones they were made to equal: "table id".
type Rebuilt struct {
	Merchants int64            `json:"merchants"`
	LogRows   int64            `json:"log_rows"`
	Rows      map[string]int64 `json:"rows"` // by table
	Unequal   []string         `json:"unequal"`
}

// Equal reports whether the log gave everything back.
func (r Rebuilt) Equal() bool { return len(r.Unequal) == 0 }

// Rebuild makes payments and what belongs to them from the audit log alone, in another
// database, and proves that they equal those of this one, row by row. The other database
// is migrated and empty; it gets the merchants and the log as they are, and then every row
// that the log gives back. What the log does not hold (personal data, ledger, what was sent
// and received) is not made.
//
// from and into must be given as connections whose time zone is the same. All of from is
// read as of one instant, so traffic there goes on. Findings beyond mostUnequal are not
// listed. The error says that it could not be done; a log that lacks something is no error,
// but makes rows Unequal.
func Rebuild(ctx context.Context, from, into *pgxpool.Pool, progress func(payments int64)) (Rebuilt, error) {
	r := Rebuilt{Rows: map[string]int64{}}
	if err := mustBeEmpty(ctx, into); err != nil {
		return r, err
	}
	asOf := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, from, asOf, func(source pgx.Tx) error {
		if err := r.copyMerchants(ctx, source, into); err != nil {
			return err
		}
		var payments int64
		for after := (id.ID{}); ; {
			last, done, n, err := rebuildPage(ctx, source, after)
			if err != nil {
				return err
			}
			if err := r.page(ctx, source, into, after, last); err != nil {
				return err
			}
			payments += n
			progress(payments)
			if done || len(r.Unequal) >= mostUnequal {
				return nil
			}
			after = last
		}
	})
	return r, fault.Wrap(err, "rebuild the payments from the audit log")
}

const (
	rebuildPayments = 500
	mostUnequal     = 1000
)

// mustBeEmpty keeps a rebuild from a database that is in use, most of all the one that it
// is made from.
func mustBeEmpty(ctx context.Context, into postgres.DB) error {
	for _, table := range []string{"merchants", "transactions", "transaction_audit_log"} {
		var used bool
		if err := into.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+`)`).Scan(&used); err != nil {
			return fmt.Errorf("look into the database to rebuild in, which has to be migrated: %w", err)
		}
		if used {
			return errors.New("the database to rebuild in is not empty: it has rows in " + table)
		}
	}
	return nil
}

// copyMerchants copies what the log refers to and does not hold.
func (r *Rebuilt) copyMerchants(ctx context.Context, source pgx.Tx, into *pgxpool.Pool) error {
	const page = 1000
	for after := (id.ID{}); ; {
		rows, _ := source.Query(ctx, `SELECT m.id, to_jsonb(m)::text FROM merchants m WHERE m.id > $1 ORDER BY m.id LIMIT $2`, after.String(), page)
		var merchant id.ID
		var text string
		b := &pgx.Batch{}
		_, err := pgx.ForEachRow(rows, []any{&merchant, &text}, func() error {
			b.Queue(`INSERT INTO merchants SELECT (jsonb_populate_record(NULL::merchants, $1::jsonb)).*`, text)
			return nil
		})
		if err != nil || b.Len() == 0 {
			return fault.Wrap(err, "read the merchants")
		}
		if err := postgres.Pipeline(ctx, into, b); err != nil {
			return fault.Wrap(err, "copy the merchants")
		}
		r.Merchants, after = r.Merchants+int64(b.Len()), merchant
	}
}

// A page ends with a payment, whether the table or only the log knows it.
const selectRebuildPage = `
	WITH ids AS (
		(SELECT id FROM transactions WHERE id > $1 ORDER BY id LIMIT $2)
		UNION
		(SELECT DISTINCT transaction_id FROM transaction_audit_log
		 WHERE transaction_id > $1 ORDER BY transaction_id LIMIT $2)),
	page AS (SELECT id FROM ids ORDER BY id LIMIT $2)
	SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1), count(*) < $2, count(*) FROM page`

func rebuildPage(ctx context.Context, source pgx.Tx, after id.ID) (last id.ID, done bool, n int64, err error) {
	err = source.QueryRow(ctx, selectRebuildPage, after.String(), rebuildPayments).Scan(&last, &done, &n)
	return last, done, n, fault.Wrap(err, "page through the payments")
}

// page rebuilds the payments after one up to another, and compares them.
func (r *Rebuilt) page(ctx context.Context, source pgx.Tx, into *pgxpool.Pool, after, last id.ID) error {
	if last.IsZero() {
		return nil
	}
	err := postgres.InTx(ctx, into, func(tx pgx.Tx) error {
		n, err := copyLog(ctx, source, tx, after, last)
		if err != nil {
			return err
		}
		r.LogRows += n
		for _, t := range payment.FoldedTables() {
			tag, err := tx.Exec(ctx, foldInto(t), t.Object, after.String(), last)
			if err != nil {
				return fault.Wrap(err, "fold the audit log into %s", t.Table)
			}
			r.Rows[t.Table] += tag.RowsAffected()
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range payment.FoldedTables() {
		unequal, err := compareTables(ctx, source, into, t, after, last)
		if err != nil {
			return err
		}
		r.Unequal = append(r.Unequal, unequal...)
	}
	return nil
}

var logColumns = []string{
	"transaction_id", "id", "merchant_id", "object", "object_id", "kind", "version", "action", "delta", "actor", "request_id", "at",
}

const selectLog = `
	SELECT transaction_id, id, merchant_id, object, object_id, kind, version, action, delta::text, actor, request_id, at
	FROM transaction_audit_log WHERE transaction_id > $1 AND transaction_id <= $2 ORDER BY transaction_id, id`

func copyLog(ctx context.Context, source, tx pgx.Tx, after, last id.ID) (int64, error) {
	rows, err := source.Query(ctx, selectLog, after.String(), last)
	if err != nil {
		return 0, fault.Wrap(err, "read the audit log")
	}
	defer rows.Close()
	n, err := tx.CopyFrom(ctx, pgx.Identifier{"transaction_audit_log"}, logColumns, &copied{rows: rows})
	return n, fault.Wrap(err, "copy the audit log")
}

// copied hands rows of one database on to another.
type copied struct{ rows pgx.Rows }

func (c *copied) Next() bool             { return c.rows.Next() }
func (c *copied) Values() ([]any, error) { return c.rows.Values() }
func (c *copied) Err() error             { return c.rows.Err() }

// foldInto makes a table's rows from the log. What lacks a version is left out, and is
// found when the tables are compared: half a story gives no row, or a wrong one.
func foldInto(t payment.Folded) string {
	return fmt.Sprintf(`
	WITH changes AS MATERIALIZED (
		SELECT object_id, version, delta FROM transaction_audit_log
		WHERE kind = 'change' AND object = $1 AND transaction_id > $2 AND transaction_id <= $3),
	whole AS (SELECT object_id FROM changes GROUP BY object_id HAVING count(*) = max(version)),
	folded AS (
		SELECT object_id, jsonb_object_agg(column_name, value ORDER BY version) AS state
		FROM (SELECT c.object_id, c.version, d.key AS column_name, d.value
		      FROM changes c JOIN whole USING (object_id), jsonb_each(c.delta) d) columns
		GROUP BY object_id)
	INSERT INTO %[1]s SELECT (jsonb_populate_record(NULL::%[1]s, state)).* FROM folded%[2]s`, t.Table, withParent(t))
}

// withParent leaves out what belongs to a payment that is left out.
func withParent(t payment.Folded) string {
	if t.Table == "transactions" {
		return ""
	}
	return fmt.Sprintf(` WHERE EXISTS (SELECT 1 FROM transactions WHERE id = (state ->> '%s')::uuid)`, t.Key)
}

// compareTables lists the rows of some payments that are not the same in both databases.
func compareTables(ctx context.Context, source, into postgres.DB, t payment.Folded, after, last id.ID) ([]string, error) {
	was, err := rowTexts(ctx, source, selectFolded(t), after, last)
	if err != nil {
		return nil, fault.Wrap(err, "read %s", t.Table)
	}
	is, err := rowTexts(ctx, into, selectFolded(t), after, last)
	if err != nil {
		return nil, fault.Wrap(err, "read the rebuilt %s", t.Table)
	}
	var unequal []string
	for row, text := range was {
		if is[row] != text {
			unequal = append(unequal, t.Table+" "+row.String())
		}
	}
	for row := range is {
		if _, ok := was[row]; !ok {
			unequal = append(unequal, t.Table+" "+row.String())
		}
	}
	return unequal, nil
}

func selectFolded(t payment.Folded) string {
	return fmt.Sprintf(`SELECT id, to_jsonb(t)::text FROM %[1]s t WHERE %[2]s > $1 AND %[2]s <= $2`, t.Table, t.Key)
}

func rowTexts(ctx context.Context, db postgres.DB, sql string, after, last id.ID) (map[id.ID]string, error) {
	rows, _ := db.Query(ctx, sql, after.String(), last) // ForEachRow returns the error
	texts := map[id.ID]string{}
	var row id.ID
	var text string
	_, err := pgx.ForEachRow(rows, []any{&row, &text}, func() error { texts[row] = text; return nil })
	return texts, err
}

// OpenRebuild opens a database to rebuild in, or from: with the time zone in which rows are
// compared, and with time for what takes longer than a request may.
func OpenRebuild(ctx context.Context, url string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database's address is not a PostgreSQL connection URL") // err would quote the password
	}
	c.MaxConns = 2
	c.ConnConfig.ConnectTimeout = 3 * time.Second
	c.ConnConfig.RuntimeParams["timezone"] = "UTC"
	return pgxpool.NewWithConfig(ctx, c)
}
