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
		value := nv.Field(i).Interface()
		if old == nil || !reflect.DeepEqual(reflect.ValueOf(old).Elem().Field(i).Interface(), value) {
			d[column] = value
		}
	}
	return d
}

// AuditMismatches folds the audit log of all payments and refunds and lists the rows
// that it does not give back, as "table id". It reads everything there is.
func AuditMismatches(ctx context.Context, db postgres.DB) ([]string, error) {
	var wrong []string
	for _, t := range []struct{ table, object string }{{"transactions", "payment"}, {"refunds", "refund"}, {"disputes", "dispute"}} {
		rows, err := db.Query(ctx, fmt.Sprintf(foldMismatches, t.table), t.object)
		if err != nil {
			return nil, fault.Wrap(err, "fold the audit log of %s", t.table)
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fault.Wrap(err, "fold the audit log of %s", t.table)
		}
		for _, row := range found {
			wrong = append(wrong, t.table+" "+row)
		}
	}
	return wrong, nil
}

// foldMismatches lists the rows of a table (%s) that the log does not give back.
// Aggregating the deltas as objects keeps the last value of each column.
const foldMismatches = `
	WITH folded AS (
		SELECT object_id, jsonb_object_agg(column_name, value ORDER BY version) AS state
		FROM (SELECT l.object_id, l.version, d.key AS column_name, d.value
		      FROM transaction_audit_log l, jsonb_each(l.delta) d
		      WHERE l.kind = 'change' AND l.object = $1) changes
		GROUP BY object_id)
	SELECT coalesce(t.id, f.object_id)::text FROM %[1]s t FULL JOIN folded f ON f.object_id = t.id
	WHERE t IS DISTINCT FROM jsonb_populate_record(NULL::%[1]s, f.state)`
