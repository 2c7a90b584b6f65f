package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Actor is who caused a change, as the audit log names him: "merchant:<key id>",
// "provider:<event id>", "function:<name>".
type Actor struct {
	Name      string
	RequestID string
}

const insertAudit = `
	INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version, action,
		delta, actor, request_id, at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

// auditRow is one row of the log; Version is nil for intents and refused moves,
// which do not fold.
type auditRow struct {
	payment  *Payment
	object   string // payment, refund or dispute
	objectID id.ID
	kind     string // change, intent or refused
	version  *int64
	action   string
	delta    map[string]any
}

func queueAudit(b *pgx.Batch, rowID id.ID, r auditRow, by Actor, now time.Time) {
	delta, err := json.Marshal(r.delta)
	if err != nil {
		panic("payment: marshal an audit delta: " + err.Error()) // made of columns, which marshal
	}
	b.Queue(insertAudit, r.payment.ID, rowID, r.payment.MerchantID, r.object, r.objectID, r.kind, r.version, r.action,
		json.RawMessage(delta), by.Name, by.RequestID, now)
}

// delta lists, by column, the new values of what differs between two rows; with a
// nil old row, all of them. Folded in version order, the deltas give the row back:
//
//	jsonb_populate_record(NULL::transactions, delta 1 || delta 2 || …)
func delta[T any](old, new *T) map[string]any {
	d := map[string]any{}
	nv := reflect.ValueOf(new).Elem()
	for i := range nv.NumField() {
		column := nv.Type().Field(i).Tag.Get("db")
		if column == "personal" {
			continue // not of the row: the log has its key alone
		}
		value := nv.Field(i).Interface()
		if old == nil || !reflect.DeepEqual(reflect.ValueOf(old).Elem().Field(i).Interface(), value) {
			d[column] = value
		}
	}
	return d
}

// Folded is a table whose rows the audit log gives back, and what the log calls them.
type Folded struct {
	Table  string
	Object string
	Key    string // the column with the payment's id
}

// FoldedTables lists them, each after those that it refers to.
func FoldedTables() []Folded {
	return []Folded{
		{"transactions", "payment", "id"},
		{"refunds", "refund", "transaction_id"},
		{"disputes", "dispute", "transaction_id"},
	}
}

// Mismatch is a row that the audit log does not give back.
type Mismatch struct {
	Table   string
	ID      id.ID
	Payment id.ID
}

// FoldPage is what was found of some payments.
type FoldPage struct {
	Payments   int64
	Last       id.ID // to go on after
	Done       bool  // there are no more
	Mismatches []Mismatch
}

// FoldAudit folds the audit log of the payments whose ids come after the given one, about
// limit of them, and of what belongs to them, and lists the rows that it does not give back:
// what is in a table and not in the log, in the log and not in a table, different, or
// without one of its versions. Each table is seen as it is at one instant.
func FoldAudit(ctx context.Context, db postgres.DB, after id.ID, limit int) (FoldPage, error) {
	var page FoldPage
	const rowsPerPayment = 20 // beyond which the log bounds the page, not the payments
	if err := db.QueryRow(ctx, foldBound, after.String(), limit-1, limit*rowsPerPayment).Scan(&page.Last, &page.Done, &page.Payments); err != nil {
		return FoldPage{}, fault.Wrap(err, "page through the payments")
	}
	for _, t := range FoldedTables() {
		rows, err := db.Query(ctx, foldMismatches(t), t.Object, after.String(), page.Last)
		if err != nil {
			return FoldPage{}, fault.Wrap(err, "fold the audit log of %s", t.Table)
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Mismatch, error) {
			m := Mismatch{Table: t.Table}
			return m, row.Scan(&m.ID, &m.Payment)
		})
		if err != nil {
			return FoldPage{}, fault.Wrap(err, "fold the audit log of %s", t.Table)
		}
		page.Mismatches = append(page.Mismatches, found...)
	}
	return page, nil
}

// AuditMismatches is FoldAudit of everything there is, as "table id".
func AuditMismatches(ctx context.Context, db postgres.DB) ([]string, error) {
	var wrong []string
	for page := (FoldPage{}); !page.Done; {
		var err error
		if page, err = FoldAudit(ctx, db, page.Last, 1000); err != nil {
			return nil, err
		}
		for _, m := range page.Mismatches {
			wrong = append(wrong, m.Table+" "+m.ID.String())
		}
	}
	return wrong, nil
}

// foldBound finds the last payment of a page. Payments that only the log knows count, too.
const foldBound = `
	WITH bound AS (SELECT least(
		(SELECT id FROM transactions WHERE id > $1 ORDER BY id OFFSET $2 LIMIT 1),
		(SELECT transaction_id FROM transaction_audit_log WHERE transaction_id > $1
		 ORDER BY transaction_id OFFSET $3 LIMIT 1)) AS id)
	SELECT coalesce(bound.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), bound.id IS NULL,
		(SELECT count(*) FROM transactions t WHERE t.id > $1 AND (bound.id IS NULL OR t.id <= bound.id))
	FROM bound`

// foldMismatches lists the rows of a table that the log does not give back. Aggregating the
// deltas as objects keeps the last value of each column. That each version is there is
// looked at by itself: what a lost one said may have been overwritten since.
func foldMismatches(t Folded) string {
	return fmt.Sprintf(`
	WITH changes AS MATERIALIZED (
		SELECT transaction_id, object_id, version, delta FROM transaction_audit_log
		WHERE kind = 'change' AND object = $1 AND transaction_id > $2 AND transaction_id <= $3),
	counted AS (
		SELECT object_id, min(transaction_id::text)::uuid AS payment, count(*) AS versions FROM changes GROUP BY object_id),
	folded AS (
		SELECT object_id, jsonb_object_agg(column_name, value ORDER BY version) AS state
		FROM (SELECT c.object_id, c.version, d.key AS column_name, d.value FROM changes c, jsonb_each(c.delta) d) columns
		GROUP BY object_id),
	stored AS (
		SELECT t.id, t.%[2]s AS payment, t.version, t AS row FROM %[1]s t WHERE t.%[2]s > $2 AND t.%[2]s <= $3)
	SELECT coalesce(s.id, c.object_id), coalesce(s.payment, c.payment)
	FROM stored s FULL JOIN (counted c LEFT JOIN folded f USING (object_id)) ON c.object_id = s.id
	WHERE s.row IS DISTINCT FROM jsonb_populate_record(NULL::%[1]s, f.state) OR s.version IS DISTINCT FROM c.versions
	ORDER BY 1`, t.Table, t.Key)
}
