package settlement

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/alert"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/postgres"
)

// What was frozen and what became of it, by currency. The ledger's word is that of the
// postings' entries: what was owed to the merchants and is not any more.
const selectOutcome = `
	SELECT s.currency, count(*) FILTER (WHERE s.status <> 'COMPLETED'),
		sum(s.frozen_payments)::bigint, sum(s.settled_payments)::bigint, sum(s.skipped_payments)::bigint,
		sum(s.frozen_lines)::bigint, sum(s.line_count)::bigint, sum(s.skipped_lines)::bigint,
		sum(s.frozen_net_minor)::bigint, sum(s.net_minor)::bigint, sum(s.skipped_net_minor)::bigint,
		coalesce(sum(posted.amount), 0)::bigint
	FROM settlements s
	LEFT JOIN LATERAL (
		SELECT sum(e.amount_minor) AS amount FROM ledger_entries e
		WHERE e.posting_id = ANY (s.posting_ids) AND e.account = 'payable') posted ON true
	WHERE s.job_execution_id = $1 GROUP BY s.currency ORDER BY s.currency`

// outcome is what a run came to in one currency.
type outcome struct {
	Currency                  string
	Open                      int64 // settlements that are not completed
	Payments, Settled         int64
	SkippedPayments           int64
	Lines, SettledLines       int64
	SkippedLines              int64
	NetMinor, SettledMinor    int64
	SkippedMinor, LedgerMinor int64
}

// wrong says what does not add up, "" if nothing.
func (o outcome) wrong() string {
	switch {
	case o.Payments != o.Settled+o.SkippedPayments:
		return fmt.Sprintf("%s: %d payments were frozen, %d settled, %d skipped", o.Currency, o.Payments, o.Settled, o.SkippedPayments)
	case o.Lines != o.SettledLines+o.SkippedLines:
		return fmt.Sprintf("%s: %d lines were frozen, %d settled, %d skipped", o.Currency, o.Lines, o.SettledLines, o.SkippedLines)
	case o.NetMinor != o.SettledMinor+o.SkippedMinor:
		return fmt.Sprintf("%s: %d was frozen, %d settled, %d skipped", o.Currency, o.NetMinor, o.SettledMinor, o.SkippedMinor)
	case o.SettledMinor != o.LedgerMinor:
		return fmt.Sprintf("%s: %d was settled, and the ledger has %d", o.Currency, o.SettledMinor, o.LedgerMinor)
	}
	return ""
}

// check ends the run: with what it came to, and SUCCEEDED if that is what it should have.
func (s *Service) check(ctx context.Context, tx pgx.Tx, run *Run, now time.Time) error {
	rows, _ := tx.Query(ctx, selectOutcome, run.ID) // CollectRows returns the error
	outcomes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[outcome])
	if err != nil {
		return fault.Wrap(err, "check what was settled")
	}
	run.Expected, run.Settled, run.Skipped = 0, 0, 0
	run.ExpectedSums, run.SettledSums, run.SkippedSums = Sums{}, Sums{}, Sums{}
	var open int64
	var wrong []string
	for _, o := range outcomes {
		run.Expected, run.Settled, run.Skipped = run.Expected+o.Payments, run.Settled+o.Settled, run.Skipped+o.SkippedPayments
		run.ExpectedSums[o.Currency], run.SettledSums[o.Currency], run.SkippedSums[o.Currency] = o.NetMinor, o.SettledMinor, o.SkippedMinor
		open += o.Open
		if text := o.wrong(); text != "" && o.Open == 0 {
			wrong = append(wrong, text)
		}
	}
	b := &pgx.Batch{}
	subject := run.Date.Format(time.DateOnly)
	switch {
	case len(wrong) > 0:
		text := fmt.Sprint("what was settled does not add up: ", wrong)
		run.LastError = &text
		run.end(Failed, now)
		alert.Queue(b, s.NewID(), run.mismatch(wrong), now)
	case open > 0 || len(run.Checkpoint.Aside) > 0: // alerts were raised when they were given up
		run.end(Failed, now)
	default:
		run.end(Succeeded, now)
		run.LastError = nil
		alert.QueueResolve(b, alertFailed, subject, now)
		alert.QueueResolve(b, alertMismatch, subject, now)
		b.Queue(resolveSkipped, now)
	}
	if run.Skipped > 0 {
		alert.Queue(b, s.NewID(), run.leftOut(), now)
	}
	return postgres.Pipeline(ctx, tx, b)
}

// What a run left out is no matter any more when all of it was settled by later ones.
const resolveSkipped = `
	UPDATE operator_alerts a SET resolved_at = $1, updated_at = $1
	WHERE kind = '` + alertSkipped + `' AND resolved_at IS NULL AND NOT EXISTS (
		SELECT 1 FROM batch_job_executions r JOIN batch_execution_errors e ON e.job_execution_id = r.id
		WHERE r.kind = '` + Job + `' AND to_char(r.run_date, 'YYYY-MM-DD') = a.subject
		  AND NOT EXISTS (SELECT 1 FROM settlement_lines l WHERE l.transaction_id = e.transaction_id))`

// report logs and measures a run that has ended.
func (s *Service) report(ctx context.Context, run *Run) {
	took := run.FinishedAt.Sub(run.StartedAt)
	s.Metrics.BatchEnded(ctx, Job, string(run.Status), took)
	attrs := []any{
		"run", run.ID, "date", run.Date.Format(time.DateOnly), "status", run.Status, "attempt", run.Attempt, "took", took.String(),
		"expected", run.Expected, "settled", run.Settled, "skipped", run.Skipped, "sums", run.SettledSums,
	}
	if run.Status == Succeeded {
		s.Metrics.BatchSucceeded(ctx, Job, *run.FinishedAt)
		s.Log.InfoContext(ctx, "settlement ended", attrs...)
		return
	}
	s.Log.ErrorContext(ctx, "settlement ended and needs a person", attrs...)
}

// The kinds of alerts.
const (
	alertFailed   = "settlement_failed"   // something was given up, and the run ends FAILED
	alertMismatch = "settlement_mismatch" // what was settled does not add up
	alertSkipped  = "settlement_skipped"  // payments were left out, and wait for the next run
)

// detail is what a person begins with.
type detail struct {
	RunID   string   `json:"run_id"`
	Attempt int      `json:"attempt"`
	Phase   string   `json:"phase"`
	At      *target  `json:"at,omitempty"`
	Errors  []string `json:"errors,omitempty"`
	Skipped int64    `json:"skipped_payments,omitempty"`
	Queries []string `json:"queries"` // to ask the database
}

// queries find out what a run is at, what it left out, and what stands in its way.
func (r *Run) queries() []string {
	return []string{
		fmt.Sprintf("SELECT status, attempt, step, try, due_at, checkpoint, last_error FROM batch_job_executions WHERE id = '%s'", r.ID),
		fmt.Sprintf("SELECT id, merchant_id, currency, business_date, settled_payments, skipped_payments, frozen_payments, settled_to FROM settlements WHERE job_execution_id = '%s' AND status = 'PROCESSING'", r.ID),
		fmt.Sprintf("SELECT transaction_id, error_type, error_message, retry_count, created_at FROM batch_execution_errors WHERE job_execution_id = '%s' ORDER BY id", r.ID),
		"SELECT pid, state, wait_event_type, wait_event, xact_start, left(query, 80) FROM pg_stat_activity WHERE state <> 'idle' ORDER BY xact_start",
		"SELECT l.pid, l.relation::regclass, l.mode, l.granted FROM pg_locks l WHERE NOT l.granted",
	}
}

func (r *Run) about(kind string, severity alert.Severity, d detail) alert.Alert {
	d.RunID, d.Attempt, d.Phase, d.Queries = r.ID.String(), r.Attempt, r.Checkpoint.Phase, r.queries()
	return alert.Alert{Kind: kind, Subject: r.Date.Format(time.DateOnly), Severity: severity, Detail: d}
}

func (r *Run) failure(at target, text string) alert.Alert {
	d := detail{Errors: []string{bounded(text)}}
	if at != (target{}) {
		d.At = &at
	}
	return r.about(alertFailed, alert.Critical, d)
}

func (r *Run) mismatch(wrong []string) alert.Alert {
	return r.about(alertMismatch, alert.Critical, detail{Errors: wrong})
}

func (r *Run) leftOut() alert.Alert {
	return r.about(alertSkipped, alert.Warning, detail{Skipped: r.Skipped})
}
