package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/alert"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/settlement"
)

// runRow is a night's run.
type runRow struct {
	Date        string     `db:"date" json:"date" col:"date"`
	Status      string     `db:"status" json:"status" col:"status"`
	Attempt     int        `db:"attempt" json:"attempt" col:"attempt"`
	Settlements int64      `db:"settlements" json:"settlements" col:"settlements"`
	Payments    int64      `db:"payments" json:"payments" col:"payments"`
	Settled     int64      `db:"settled" json:"settled" col:"settled"`
	Skipped     int64      `db:"skipped" json:"skipped" col:"skipped"`
	StartedAt   time.Time  `db:"started_at" json:"started_at" col:"started"`
	FinishedAt  *time.Time `db:"finished_at" json:"finished_at" col:"finished"`
	DueAt       *time.Time `db:"due_at" json:"next_step_at" col:"next step"`
	LastError   *string    `db:"last_error" json:"last_error" col:"last error"`
	Run         id.ID      `db:"id" json:"run_id"`
}

// While a run goes on, its settlements tell how far it is.
const (
	selectRunRows = `
	SELECT b.id, to_char(b.run_date, 'YYYY-MM-DD') AS date, b.status, b.attempt, b.started_at, b.finished_at, b.due_at, b.last_error,
		n.settlements, n.payments, n.settled, n.skipped
	FROM batch_job_executions b, LATERAL (
		SELECT count(*) AS settlements, coalesce(sum(frozen_payments), 0)::bigint AS payments,
			coalesce(sum(settled_payments), 0)::bigint AS settled, coalesce(sum(skipped_payments), 0)::bigint AS skipped
		FROM settlements s WHERE s.job_execution_id = b.id) n
	WHERE b.kind = '` + settlement.Job + `'`
	selectRuns = selectRunRows + ` ORDER BY b.run_date DESC LIMIT $1`
	selectRun  = selectRunRows + ` AND b.run_date = $1`
)

func settlementsList(f *flag.FlagSet) action {
	limit := limitFlag(f)
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		n, err := limit()
		if err != nil {
			return nil, err
		}
		rows, err := query[runRow](ctx, s, selectRuns, n)
		return list[runRow]{rows, "No settlement has run yet."}, err
	}
}

type settlementRow struct {
	ID       external[ofSettlement] `db:"id" json:"id" col:"settlement"`
	Merchant external[ofMerchant]   `db:"merchant_id" json:"merchant_id" col:"merchant"`
	Date     string                 `db:"date" json:"business_date" col:"business date"`
	Currency string                 `db:"currency" json:"currency" col:"currency"`
	Status   string                 `db:"status" json:"status" col:"status"`
	Captured int64                  `db:"captured_minor" json:"captured_minor" col:"captured"`
	Refunded int64                  `db:"refunded_minor" json:"refunded_minor" col:"refunded"`
	Fee      int64                  `db:"fee_minor" json:"fee_minor" col:"fees"`
	Disputed int64                  `db:"dispute_minor" json:"disputed_minor" col:"disputed"`
	Adjusted int64                  `db:"adjustment_minor" json:"adjustment_minor" col:"adjusted"`
	Net      int64                  `db:"net_minor" json:"net_minor" col:"net (minor units)"`
	Payments int64                  `db:"payment_count" json:"payments" col:"payments"`
	Settled  int64                  `db:"settled_payments" json:"settled" col:"settled"`
	Skipped  int64                  `db:"skipped_payments" json:"skipped" col:"skipped"`
	CutOffAt time.Time              `db:"cutoff_at" json:"cutoff_at" col:"cut-off"`
	Manifest *string                `db:"manifest" json:"manifest_sha256"`
}

type skippedRow struct {
	Payment   external[ofPayment] `db:"transaction_id" json:"payment_id" col:"payment"`
	Type      string              `db:"error_type" json:"error_type" col:"error"`
	Message   string              `db:"error_message" json:"error_message" col:"message"`
	Retries   int                 `db:"retry_count" json:"retry_count" col:"left out before"`
	CreatedAt time.Time           `db:"created_at" json:"created_at" col:"at"`
}

const (
	selectSettlementRows = `
	SELECT id, merchant_id, to_char(business_date, 'YYYY-MM-DD') AS date, currency, status, captured_minor, refunded_minor, fee_minor,
		dispute_minor, adjustment_minor, net_minor, payment_count, settled_payments, skipped_payments, cutoff_at,
		encode(manifest_sha256, 'hex') AS manifest
	FROM settlements WHERE job_execution_id = $1 ORDER BY merchant_id, currency`
	selectSkipped = `
	SELECT transaction_id, error_type, error_message, retry_count, created_at
	FROM batch_execution_errors WHERE job_execution_id = $1 ORDER BY id`
)

// runShown is a run with what belongs to it.
type runShown struct {
	runRow
	Made    list[settlementRow] `json:"settlement_list"`
	LeftOut list[skippedRow]    `json:"left_out"`
	Alerts  list[alertRow]      `json:"alerts"`
}

type alertRow struct {
	Kind       string         `json:"kind" col:"alert"`
	Severity   alert.Severity `json:"severity" col:"severity"`
	Times      int            `json:"times" col:"times"`
	OpenedAt   time.Time      `json:"opened_at" col:"opened"`
	ResolvedAt *time.Time     `json:"resolved_at" col:"resolved"`
	Detail     string         `json:"detail" col:"detail"`
}

func (r runShown) text(w io.Writer) error {
	if err := fields(w, r.runRow); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		list  result
	}{
		{"Settlements", r.Made},
		{"Left out, for the next run to settle", r.LeftOut},
		{"Alerts; --json has all of their details", r.Alerts},
	} {
		if _, err := fmt.Fprintf(w, "\n%s\n\n", part.title); err != nil {
			return err
		}
		if err := part.list.text(w); err != nil {
			return err
		}
	}
	return nil
}

func settlementsShow(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		run, err := s.settlementRun(ctx, args[0])
		if err != nil {
			return nil, err
		}
		shown := runShown{runRow: run}
		shown.Made.none, shown.LeftOut.none, shown.Alerts.none = "none", "none", "none"
		if shown.Made.rows, err = query[settlementRow](ctx, s, selectSettlementRows, run.Run); err != nil {
			return nil, err
		}
		if shown.LeftOut.rows, err = query[skippedRow](ctx, s, selectSkipped, run.Run); err != nil {
			return nil, err
		}
		alerts, err := alert.About(ctx, s.pool, run.Date)
		for _, a := range alerts {
			shown.Alerts.rows = append(shown.Alerts.rows, alertRow{a.Kind, a.Severity, a.Times, a.OpenedAt, a.ResolvedAt, string(a.Detail)})
		}
		return shown, err
	}
}

// settlementRun reads the run of a date.
func (s *session) settlementRun(ctx context.Context, text string) (runRow, error) {
	date, err := settlement.ParseDate(text)
	if err != nil {
		return runRow{}, usageError(fmt.Sprintf("%q is not a date, such as 2026-11-24", text))
	}
	runs, err := query[runRow](ctx, s, selectRun, date)
	if err == nil && len(runs) == 0 {
		err = fmt.Errorf("there was no settlement run for %s; see scripts/ops settlements list", text)
	}
	if err != nil {
		return runRow{}, err
	}
	return runs[0], nil
}

func settlementsRun(f *flag.FlagSet) action {
	text := f.String("date", "", "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		date, err := settlement.ParseDate(*text)
		if err != nil {
			return nil, usageError("say of which date: --date DATE, such as 2026-11-24")
		}
		if due := settlement.Scheduled(date); due.After(s.now()) {
			return nil, fmt.Errorf("the run of %s is not due before %s", *text, spellTime(due))
		}
		if run, err := s.settlementRun(ctx, *text); err == nil && run.Status == string(settlement.Succeeded) {
			return done{fmt.Sprintf("The run of %s has succeeded: there is nothing to do.", *text)}, nil
		}
		return s.askToSettle(ctx, date)
	}
}

func settlementsRetry(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		run, err := s.settlementRun(ctx, args[0])
		if err != nil {
			return nil, err
		}
		if run.Status != string(settlement.Failed) {
			return nil, fmt.Errorf("the run of %s is %s: only one that has failed can be tried again", run.Date, run.Status)
		}
		date, err := settlement.ParseDate(run.Date)
		if err != nil {
			return nil, err
		}
		return s.askToSettle(ctx, date)
	}
}

// askToSettle makes the task that has a date's run begun, or taken over.
func (s *session) askToSettle(ctx context.Context, date time.Time) (result, error) {
	tasks, err := s.tasks(ctx)
	if err != nil {
		return nil, err
	}
	url := tasks.Config().SettleURL
	if url == "" {
		return nil, errors.New("SETTLE_URL is not set: it is the address of settle")
	}
	task := settlement.Request(date, url, s.now())
	return done{fmt.Sprintf("The run of %s is to be carried on now, by the task %s of queue %s.", date.Format(time.DateOnly), task.Name, task.Queue)},
		tasks.Enqueue(ctx, task)
}

const selectSettlementStatus = `SELECT status FROM settlements WHERE id = $1`

func settlementsCSV(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		of, err := parseID[ofSettlement](args[0])
		if err != nil {
			return nil, err
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		var status string
		err = db.QueryRow(ctx, selectSettlementStatus, of.ID).Scan(&status)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil, fmt.Errorf("there is no %s", of)
		case err != nil:
			return nil, err
		case status != "COMPLETED":
			return nil, fmt.Errorf("%s is %s: it may still change", of, status)
		}
		return nil, settlement.WriteManifest(ctx, db, of.ID, s.out)
	}
}

func merchantsSettle(f *flag.FlagSet) action {
	zone, cutoff := f.String("timezone", "", ""), f.String("cutoff", "00:00", "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		m, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		if *zone == "" {
			return nil, usageError("say where the merchant's clock hangs: --timezone ZONE, such as Asia/Tokyo")
		}
		store, err := s.merchants(ctx)
		if err != nil {
			return nil, err
		}
		return done{fmt.Sprintf("Business days of %s end at %s in %s from now on.", m, *cutoff, *zone)},
			store.SetDay(ctx, m.ID, *zone, *cutoff)
	}
}
