package settlement

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/alert"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

const (
	selectRun = `SELECT ` + runColumns + ` FROM batch_job_executions WHERE id = $1 FOR NO KEY UPDATE`

	// The freezing of a merchant's millions of entries takes longer than other statements may.
	allowLongStatements = `SET LOCAL statement_timeout = '240s'`

	updateRun = `
		UPDATE batch_job_executions
		SET status = $2, lease_token = $3, lease_until = $4, due_at = $5, step = $6, try = $7, checkpoint = $8,
		    expected_payments = $9, settled_payments = $10, skipped_payments = $11, expected_sums = $12, settled_sums = $13,
		    skipped_sums = $14, finished_at = $15, last_error = $16
		WHERE id = $1`
)

// maxAside is how much may fail side by side. What fails more often has one cause.
const maxAside = 100

// errOvertaken says that a step was done before, or that its run is with somebody else.
var errOvertaken = errors.New("settlement: the step was overtaken")

// Step does the steps of a run that are next, beginning with the one that the task names,
// until it has moved a chunk's worth of payments, and makes the task that goes on. It
// returns nil when there is nothing to do, and also when what failed will be tried again.
func (s *Service) Step(ctx context.Context, t Task) error {
	for left := s.chunk(); ; {
		run, did, err := s.step(ctx, t)
		switch {
		case errors.Is(err, errOvertaken) && run == nil:
			return nil
		case errors.Is(err, errOvertaken) && run.Status == Running:
			return s.enqueue(ctx, run) // whoever did the step may have died before it made the next task
		case errors.Is(err, errOvertaken):
			return s.Begin(ctx, run.Date) // or before it began the next date's run
		case err != nil:
			return err
		case run.Status != Running:
			s.report(ctx, run)
			return s.Begin(ctx, run.Date)
		}
		if left -= did.cost; left <= 0 || run.DueAt.After(s.Now()) {
			return s.enqueue(ctx, run)
		}
		t.Step, t.Try = run.Step, run.Try
	}
}

// step does one step, or writes down that it failed.
func (s *Service) step(ctx context.Context, t Task) (run *Run, did work, err error) {
	var at target
	for range 3 { // transactions that got in each other's way are made again at once
		run, at, did, err = s.transact(ctx, t)
		if !postgres.HasCode(err, serialization) && !postgres.HasCode(err, deadlock) && !postgres.HasCode(err, postgres.PeriodClosed) {
			break
		}
	}
	if err == nil {
		s.Metrics.BatchProcessed(ctx, Job, "settled", did.settled)
		s.Metrics.BatchProcessed(ctx, Job, "skipped", did.skipped)
		return run, did, nil
	}
	if errors.Is(err, errOvertaken) {
		return run, work{}, err
	}
	run, noted := s.failed(ctx, t, at, err)
	switch {
	case noted == nil:
		return run, work{}, nil
	case errors.Is(noted, errOvertaken):
		return run, work{}, noted
	}
	return nil, work{}, errors.Join(err, noted)
}

// work is what a step did.
type work struct {
	settled, skipped int // payments
	cost             int // as much time as it takes to settle so many payments
}

// transact does one step in a transaction, and says what it was about.
func (s *Service) transact(ctx context.Context, t Task) (run *Run, at target, did work, err error) {
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		if run, err = hold(ctx, tx, t); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, allowLongStatements); err != nil {
			return err
		}
		now := s.Now()
		run.goOn(now)
		switch run.Checkpoint.Phase {
		case phaseFreeze:
			at, did, err = s.freezeNext(ctx, tx, run, now)
		case phaseSettle:
			at, did, err = s.settleNext(ctx, tx, run, now)
		default:
			err = s.check(ctx, tx, run, now)
		}
		if err != nil {
			return err
		}
		return run.save(ctx, tx)
	})
	return run, at, did, err
}

// hold locks the run, if it is at the step that the task is for. With errOvertaken comes
// the run if it is past that, and none if it is with another holder.
func hold(ctx context.Context, tx pgx.Tx, t Task) (*Run, error) {
	rows, _ := tx.Query(ctx, selectRun, t.RunID) // CollectExactlyOneRow returns the error
	run, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Run])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, errOvertaken
	case err != nil:
		return nil, fault.Wrap(err, "read the run")
	case run.Status == Running && *run.Lease != t.Lease:
		return nil, errOvertaken
	case run.Status != Running || run.Step != t.Step || run.Try != t.Try:
		return run, errOvertaken
	}
	return run, nil
}

// goOn sets the run to its next step, which is due at once.
func (r *Run) goOn(now time.Time) {
	r.Step++
	r.Try = 0
	r.due(now)
}

// due says when the run's next task is.
func (r *Run) due(at time.Time) {
	until := at.Add(patience)
	r.DueAt, r.LeaseUntil = &at, &until
}

// end ends the run.
func (r *Run) end(status Status, now time.Time) {
	r.Status, r.FinishedAt = status, &now
	r.Lease, r.LeaseUntil, r.DueAt = nil, nil, nil
}

func (r *Run) save(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, updateRun, r.ID, r.Status, r.Lease, r.LeaseUntil, r.DueAt, r.Step, r.Try, r.Checkpoint, r.Expected,
		r.Settled, r.Skipped, r.ExpectedSums, r.SettledSums, r.SkippedSums, r.FinishedAt, r.LastError)
	return fault.Wrap(err, "keep the run's checkpoint")
}

// noteTimeout bounds writing down that a step failed, though its own time be over.
const noteTimeout = 10 * time.Second

// failed writes down that a step failed, and when it is tried again.
func (s *Service) failed(ctx context.Context, t Task, at target, cause error) (run *Run, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	over := false
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		if run, err = hold(ctx, tx, t); err != nil {
			return err
		}
		now, text := s.Now(), cause.Error()
		run.LastError = &text
		if at == (target{}) {
			run.Try++
			run.due(now.Add(retryAfter))
			over = run.Try > retries
		} else {
			run.goOn(now)
			over = run.Checkpoint.putAside(at, text, now)
			if at.Settlement.IsZero() && run.Checkpoint.Phase == phaseFreeze {
				run.Checkpoint.Merchant, run.Checkpoint.Currency = at.Merchant, at.Currency
			}
		}
		b := &pgx.Batch{}
		if over && at == (target{}) || len(run.Checkpoint.Aside) > maxAside {
			over = true
			run.end(Failed, now)
		}
		if over {
			alert.Queue(b, s.NewID(), run.failure(at, text), now)
		}
		if err := postgres.Pipeline(ctx, tx, b); err != nil {
			return err
		}
		return run.save(ctx, tx)
	})
	if err == nil {
		s.tell(ctx, run, at, over, cause)
	}
	return run, err
}

func (s *Service) tell(ctx context.Context, run *Run, at target, over bool, cause error) {
	attrs := []any{"run", run.ID, "date", run.Date.Format(time.DateOnly), "phase", run.Checkpoint.Phase, "error", cause}
	if at != (target{}) {
		attrs = append(attrs, "at", at.String())
	}
	if over {
		s.Log.ErrorContext(ctx, "settlement gives up, and needs a person", attrs...)
		return
	}
	s.Log.WarnContext(ctx, "settlement failed and is tried again", attrs...)
}

// putAside keeps what failed for another try, and reports whether it had its last.
func (c *Checkpoint) putAside(at target, why string, now time.Time) (over bool) {
	i := slices.IndexFunc(c.Aside, func(a Aside) bool { return a.target == at })
	if i < 0 {
		i = len(c.Aside)
		c.Aside = append(c.Aside, Aside{target: at})
	}
	a := &c.Aside[i]
	a.Tries++
	a.Over, a.Error, a.DueAt = a.Tries > retries, why, now.Add(retryAfter)
	return a.Over
}

// takeUp is done with what was put aside, if it was.
func (c *Checkpoint) takeUp(at target) {
	c.Aside = slices.DeleteFunc(c.Aside, func(a Aside) bool { return a.target == at })
}

// again is what was put aside and is due; wait is when the next is, zero if there is none.
func (c *Checkpoint) again(now time.Time) (at target, wait time.Time) {
	for _, a := range c.Aside {
		switch {
		case a.Over:
		case !a.DueAt.After(now):
			return a.target, time.Time{}
		case wait.IsZero() || a.DueAt.Before(wait):
			wait = a.DueAt
		}
	}
	return target{}, wait
}

// settlements lists the settlements that were put aside.
func (c *Checkpoint) settlements() []id.ID {
	ids := []id.ID{} // not NULL
	for _, a := range c.Aside {
		if !a.Settlement.IsZero() {
			ids = append(ids, a.Settlement)
		}
	}
	return ids
}
