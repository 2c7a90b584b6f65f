package settlement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
)

// Status is where a run stands.
type Status string

// The statuses of a run.
const (
	Running   Status = "RUNNING"
	Succeeded Status = "SUCCEEDED"
	Failed    Status = "FAILED"
)

// Run is a row of batch_job_executions.
type Run struct {
	ID           id.ID      `db:"id"`
	Date         time.Time  `db:"run_date"` // at midnight UTC
	Status       Status     `db:"status"`
	ScheduledFor time.Time  `db:"scheduled_for"`
	Attempt      int        `db:"attempt"`     // times it was begun or taken over
	Lease        *id.ID     `db:"lease_token"` // of whoever carries it on; nil when it has ended, as are the next two
	LeaseUntil   *time.Time `db:"lease_until"`
	DueAt        *time.Time `db:"due_at"` // its next task
	Step         int        `db:"step"`   // transactions so far
	Try          int        `db:"try"`    // of the next one
	Checkpoint   Checkpoint `db:"checkpoint"`
	Warnings     []string   `db:"warnings"`
	Expected     int64      `db:"expected_payments"` // these and the sums are told when it ends
	Settled      int64      `db:"settled_payments"`
	Skipped      int64      `db:"skipped_payments"`
	ExpectedSums Sums       `db:"expected_sums"`
	SettledSums  Sums       `db:"settled_sums"`
	SkippedSums  Sums       `db:"skipped_sums"`
	StartedAt    time.Time  `db:"started_at"`
	FinishedAt   *time.Time `db:"finished_at"`
	LastError    *string    `db:"last_error"`
}

// Sums are net minor units by currency.
type Sums map[string]int64

// The phases of a run.
const (
	phaseFreeze = "freeze"
	phaseSettle = "settle"
	phaseCheck  = "check"
)

// Checkpoint is where a run goes on.
type Checkpoint struct {
	Phase    string  `json:"phase"`
	Merchant id.ID   `json:"merchant,omitzero"` // the last that was frozen, in its currency
	Currency string  `json:"currency,omitempty"`
	Aside    []Aside `json:"aside,omitempty"`
	// The last chunk, for people: what goes on is in the settlement's row.
	Settlement id.ID `json:"settlement,omitzero"`
	Payment    id.ID `json:"payment,omitzero"`
}

// Aside is what failed: a settlement, or what is not frozen yet of a merchant and currency.
// It is tried again while others go on.
type Aside struct {
	target
	Tries int       `json:"tries"`
	DueAt time.Time `json:"due_at"`
	Over  bool      `json:"over,omitempty"` // it is tried no more in this attempt
	Error string    `json:"error"`
}

// target is what a step is about.
type target struct {
	Settlement id.ID  `json:"settlement,omitzero"`
	Merchant   id.ID  `json:"merchant,omitzero"`
	Currency   string `json:"currency,omitempty"`
}

func (t target) String() string {
	if t.Settlement.IsZero() {
		return fmt.Sprintf("%s of merchant %s", t.Currency, t.Merchant)
	}
	return "settlement " + t.Settlement.String()
}

// Task is the body of what calls settle. A run's own task names the run, its holder and the
// step; Date asks for the run of a date to be begun or taken over; with neither that is the
// earliest unfinished one after After, as the scheduler asks.
type Task struct {
	RunID id.ID  `json:"run_id,omitzero"`
	Lease id.ID  `json:"lease,omitzero"`
	Step  int    `json:"step,omitempty"`
	Try   int    `json:"try,omitempty"`
	Date  string `json:"date,omitempty"`
	After string `json:"after,omitempty"`
}

// Do does what a task says. An error means that something of ours failed, and that the
// task is to come again; a task that was overtaken does nothing.
func (s *Service) Do(ctx context.Context, t Task) error {
	switch {
	case !t.RunID.IsZero():
		return s.Step(ctx, t)
	case t.Date != "":
		date, err := ParseDate(t.Date)
		if err != nil {
			return err
		}
		_, err = s.TakeOver(ctx, date)
		return err
	}
	var after time.Time
	if t.After != "" {
		var err error
		if after, err = ParseDate(t.After); err != nil {
			return err
		}
	}
	return s.Begin(ctx, after)
}

// ParseDate reads a date such as 2026-11-24.
func ParseDate(text string) (time.Time, error) {
	date, err := time.Parse(time.DateOnly, text)
	if err != nil || date.Year() < 2000 {
		return time.Time{}, fault.Invalid("date", "%.20q is not a date, such as 2026-11-24", text)
	}
	return date, nil
}

// The latest date's run is begun although it is not there; earlier ones were, if at all.
const selectNext = `
	SELECT run_date FROM (
		SELECT run_date FROM batch_job_executions
		WHERE kind = '` + Job + `' AND status <> 'SUCCEEDED' AND run_date > $1 AND run_date <= $2
		UNION ALL
		SELECT $2::date WHERE $2::date > $1 AND NOT EXISTS (
			SELECT 1 FROM batch_job_executions WHERE kind = '` + Job + `' AND run_date = $2)) due
	ORDER BY run_date LIMIT 1`

// Begin begins the run that is due, or takes it over: the earliest unfinished one after a
// date, so that one date follows the other. It does nothing when all have succeeded, or
// when somebody is at it.
func (s *Service) Begin(ctx context.Context, after time.Time) error {
	if after.IsZero() {
		after = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	var date time.Time
	err := s.Pool.QueryRow(ctx, selectNext, after, Latest(s.Now())).Scan(&date)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, "look for the run that is due")
	}
	_, err = s.TakeOver(ctx, date)
	return err
}

const runColumns = `id, run_date, status, scheduled_for, attempt, lease_token, lease_until, due_at, step, try, checkpoint, warnings,
	expected_payments, settled_payments, skipped_payments, expected_sums, settled_sums, skipped_sums, started_at,
	finished_at, last_error`

// Where it goes on is in the settlements' rows: what is frozen is not frozen again.
const takeOver = `
	INSERT INTO batch_job_executions AS b (id, kind, run_date, status, scheduled_for, attempt, lease_token, lease_until,
		due_at, step, try, checkpoint, warnings, expected_payments, settled_payments, skipped_payments, expected_sums,
		settled_sums, skipped_sums, started_at)
	VALUES ($1, '` + Job + `', $2, 'RUNNING', $3, 1, $4, $5, $6, 0, 0, $7, $8, 0, 0, 0, '{}', '{}', '{}', $6)
	ON CONFLICT (kind, run_date) DO UPDATE
	SET status = 'RUNNING', attempt = b.attempt + 1, lease_token = excluded.lease_token, lease_until = excluded.lease_until,
	    due_at = excluded.due_at, step = b.step + 1, try = 0, checkpoint = excluded.checkpoint, warnings = excluded.warnings,
	    finished_at = NULL
	WHERE b.status = 'FAILED' OR b.status = 'RUNNING' AND b.lease_until <= $6
	RETURNING ` + runColumns

// TakeOver begins the run of a date, or carries on one that has failed or was left by whom
// it was with. It reports whether it did: not when the run has succeeded, nor while
// somebody is at it. A date that is not due yet is invalid_request.
func (s *Service) TakeOver(ctx context.Context, date time.Time) (taken bool, err error) {
	now := s.Now()
	if date.After(Latest(now)) {
		return false, fault.Invalid("date", "%s is not due before %s", date.Format(time.DateOnly), Scheduled(date).Format(time.RFC3339))
	}
	warnings, err := s.preflight(ctx)
	if err != nil {
		return false, err
	}
	rows, _ := s.Pool.Query(ctx, takeOver, s.NewID(), date, Scheduled(date), s.NewID(), now.Add(patience), now,
		Checkpoint{Phase: phaseFreeze}, warnings) // CollectExactlyOneRow returns the error
	run, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Run])
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fault.Wrap(err, "begin the run of %s", date.Format(time.DateOnly))
	}
	s.Log.InfoContext(ctx, "settlement begins", "run", run.ID, "date", date.Format(time.DateOnly), "attempt", run.Attempt, "warnings", warnings)
	return true, s.enqueue(ctx, run)
}

const selectWritable = `SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'`

// preflight is what is checked before a run begins. The database must take what is written.
// Providers' troubles are no reason to wait, since none is called; but what they have not
// told yet goes into the next settlement, and whoever wonders finds it noted.
func (s *Service) preflight(ctx context.Context) (warnings []string, err error) {
	var writable bool
	if err := s.Pool.QueryRow(ctx, selectWritable).Scan(&writable); err != nil {
		return nil, fault.Wrap(err, "check the database before a settlement")
	}
	if !writable {
		return nil, fault.New(fault.Unavailable, "The database takes no writes now.")
	}
	warnings = []string{}
	if s.Circuits == nil {
		return warnings, nil
	}
	open, err := s.Circuits(ctx)
	if err != nil {
		s.Log.WarnContext(ctx, "the providers' state is not known", "error", err)
		return append(warnings, "the providers' state is not known"), nil
	}
	for _, name := range open {
		warnings = append(warnings, "the circuit of "+name+" is open")
	}
	return warnings, nil
}

// enqueue makes the task of the run's next step. Its name is the step's, so that it is made
// once, whoever makes it.
func (s *Service) enqueue(ctx context.Context, run *Run, again ...int) error {
	numbers := append([]int{run.Attempt, run.Step, run.Try}, again...)
	return s.Tasks.Enqueue(ctx, outbox.Task{
		Queue: outbox.SettlementQueue, URL: s.Tasks.Config().SettleURL,
		Name: outbox.TaskName("settlement-"+run.Date.Format(time.DateOnly), numbers...),
		Body: encode(Task{RunID: run.ID, Lease: *run.Lease, Step: run.Step, Try: run.Try}),
		At:   *run.DueAt, Deadline: taskDeadline,
	})
}

// Request is the task by which an operator has the run of a date begun or taken over.
func Request(date time.Time, url string, now time.Time) outbox.Task {
	text := date.Format(time.DateOnly)
	return outbox.Task{
		Queue: outbox.SettlementQueue, URL: url, Name: outbox.TaskName("settlement-"+text+"-by-hand", int(now.Unix())),
		Body: encode(Task{Date: text}), At: now, Deadline: taskDeadline,
	}
}

func encode(t Task) []byte {
	text, err := json.Marshal(t)
	if err != nil {
		panic("settlement: marshal a task: " + err.Error()) // of ids and numbers
	}
	return text
}

// A run whose step is going on is locked, and has its task, however long that takes: beside
// it a second one would only run into the lock.
const selectOverdue = `
	SELECT ` + runColumns + ` FROM batch_job_executions
	WHERE kind = '` + Job + `' AND status = 'RUNNING' AND due_at <= $1 ORDER BY run_date LIMIT $2
	FOR NO KEY UPDATE SKIP LOCKED`

// Overdue makes tasks for runs, at most limit, whose own was lost, and says how many.
func (s *Service) Overdue(ctx context.Context, limit int) (made int, err error) {
	now := s.Now()
	rows, _ := s.Pool.Query(ctx, selectOverdue, now.Add(-lostAfter), limit) // CollectRows returns the error
	runs, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Run])
	if err != nil {
		return 0, fault.Wrap(err, "look for runs without a task")
	}
	for _, run := range runs {
		// Under another name: one that was used can't be used again for hours.
		if err := s.enqueue(ctx, run, int(now.Truncate(lostAfter).Unix())); err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

const selectLastSuccess = `
	SELECT finished_at FROM batch_job_executions WHERE kind = '` + Job + `' AND status = 'SUCCEEDED'
	ORDER BY run_date DESC LIMIT 1`

// LastSuccess is when the latest date's run that succeeded did; zero before the first.
func (s *Service) LastSuccess(ctx context.Context) (at time.Time, err error) {
	err = s.Pool.QueryRow(ctx, selectLastSuccess).Scan(&at)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	return at, fault.Wrap(err, "look for the last settlement")
}
