// Package alert keeps what a person must look at.
//
// It owns the table operator_alerts. An alert is open until what raised it resolves it;
// raised again meanwhile, it is the same alert, and counts. Its detail has what a person
// needs to begin: what failed, and the queries to ask the database with.
//
// It tells nobody: whoever raises an alert also logs and measures it, which is what pages.
package alert

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Severity says how soon a person must look.
type Severity string

// The severities.
const (
	Warning  Severity = "warning"  // in business hours
	Critical Severity = "critical" // now
)

// Alert is what there is to say. Kind and Subject tell open alerts apart.
type Alert struct {
	Kind     string // what sort of trouble, such as settlement_failed
	Subject  string // what it is about, such as a run's date
	Severity Severity
	Detail   any // marshalled to JSON
}

// Row is a row of operator_alerts.
type Row struct {
	ID         id.ID           `db:"id"`
	Kind       string          `db:"kind"`
	Subject    string          `db:"subject"`
	Severity   Severity        `db:"severity"`
	Detail     json.RawMessage `db:"detail"`
	Times      int             `db:"times"` // that it was raised
	OpenedAt   time.Time       `db:"opened_at"`
	UpdatedAt  time.Time       `db:"updated_at"`
	ResolvedAt *time.Time      `db:"resolved_at"`
}

const (
	insertAlert = `
		INSERT INTO operator_alerts AS a (id, kind, subject, severity, detail, times, opened_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, 1, $6, $6)
		ON CONFLICT (kind, subject) WHERE resolved_at IS NULL
		DO UPDATE SET times = a.times + 1, severity = excluded.severity, detail = excluded.detail, updated_at = excluded.updated_at`

	resolveAlert = `
		UPDATE operator_alerts SET resolved_at = $3, updated_at = $3
		WHERE kind = $1 AND subject = $2 AND resolved_at IS NULL`

	selectAbout = `
		SELECT id, kind, subject, severity, detail, times, opened_at, updated_at, resolved_at
		FROM operator_alerts WHERE subject = $1 ORDER BY opened_at, id`

	countOpen = `SELECT severity, count(*) FROM operator_alerts WHERE resolved_at IS NULL GROUP BY severity`
)

// Queue raises the alert with the batch's transaction.
func Queue(b *pgx.Batch, alertID id.ID, a Alert, now time.Time) {
	detail, err := json.Marshal(a.Detail)
	if err != nil {
		panic("alert: marshal a detail: " + err.Error()) // made of what marshals
	}
	b.Queue(insertAlert, alertID, a.Kind, a.Subject, a.Severity, json.RawMessage(detail), now)
}

// QueueResolve resolves the alert with the batch's transaction, if it is open.
func QueueResolve(b *pgx.Batch, kind, subject string, now time.Time) {
	b.Queue(resolveAlert, kind, subject, now)
}

// About lists the alerts about a subject, the oldest first, resolved ones too.
func About(ctx context.Context, db postgres.DB, subject string) ([]Row, error) {
	rows, _ := db.Query(ctx, selectAbout, subject) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Row])
	return all, fault.Wrap(err, "read alerts")
}

// CountOpen counts the open alerts by severity.
func CountOpen(ctx context.Context, db postgres.DB) (map[Severity]int64, error) {
	open := map[Severity]int64{Warning: 0, Critical: 0}
	rows, _ := db.Query(ctx, countOpen) // ForEachRow returns the error
	var severity Severity
	var n int64
	_, err := pgx.ForEachRow(rows, []any{&severity, &n}, func() error { open[severity] = n; return nil })
	return open, fault.Wrap(err, "count alerts")
}
