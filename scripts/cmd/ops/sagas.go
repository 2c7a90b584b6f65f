package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// sagaRow is an operation that is not done.
type sagaRow struct {
	ID         id.ID                `db:"id" json:"id" col:"saga"`
	Payment    external[ofPayment]  `db:"transaction_id" json:"payment_id" col:"payment"`
	Merchant   external[ofMerchant] `db:"merchant_id" json:"merchant_id"`
	Kind       provider.Step        `db:"kind" json:"kind" col:"kind"`
	State      saga.State           `db:"state" json:"state" col:"state"`
	Provider   string               `db:"provider" json:"provider" col:"provider"`
	DueAt      *time.Time           `db:"due_at" json:"due_at" col:"due"`
	LeaseUntil *time.Time           `db:"lease_until" json:"lease_until" col:"leased until"`
	Tries      int                  `db:"tries" json:"tries" col:"tries"`
	CreatedAt  time.Time            `db:"created_at" json:"created_at" col:"since"`
}

const selectOpenSagas = `
	SELECT id, transaction_id, merchant_id, kind, state, provider, due_at, lease_until, tries, created_at
	FROM transaction_saga WHERE state <> 'done' ORDER BY created_at, id LIMIT $1`

func sagasList(f *flag.FlagSet) action {
	limit := limitFlag(f)
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		n, err := limit()
		if err != nil {
			return nil, err
		}
		rows, err := query[sagaRow](ctx, s, selectOpenSagas, n)
		return list[sagaRow]{rows, "Every operation is done."}, err
	}
}

func sagasResume(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		sagaID, err := id.Parse(args[0])
		if err != nil {
			return nil, usageError(fmt.Sprintf("%q is not a saga's id, which is a UUID; see scripts/ops sagas list", args[0]))
		}
		tasks, err := s.tasks(ctx)
		if err != nil {
			return nil, err
		}
		found, err := s.openSaga(ctx, sagaID)
		if err != nil {
			return nil, err
		}
		task, err := resumeTask(found, tasks.Config().ResumeURL, s.now())
		if err != nil {
			return nil, err
		}
		return done{fmt.Sprintf("The %s of %s is to be carried on now, by the task %s of queue %s.", found.Kind,
			id.Payment.External(found.TransactionID), task.Name, task.Queue)}, tasks.Enqueue(ctx, task)
	}
}

// openSaga reads a saga that can be carried on.
func (s *session) openSaga(ctx context.Context, sagaID id.ID) (*saga.Saga, error) {
	db, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	found, err := saga.Find(ctx, db, sagaID)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, fmt.Errorf("there is no saga %s; see scripts/ops sagas list", sagaID)
	case !found.Open():
		return nil, fmt.Errorf("saga %s is done, and its outcome is %q: there is nothing to carry on", sagaID, *found.Outcome)
	case found.Live(s.now()):
		return nil, fmt.Errorf("a worker is at saga %s, and holds it until %s at most: look again then", sagaID, spellTime(*found.LeaseUntil))
	}
	return found, nil
}

// resumeTask is the task that payment.Service makes for a saga, under a name that it
// never gives: one that it gave may not be used again for hours.
func resumeTask(s *saga.Saga, url string, now time.Time) (outbox.Task, error) {
	if url == "" {
		return outbox.Task{}, errors.New("RESUME_URL is not set: it is the address of resumepayment")
	}
	body, err := json.Marshal(payment.Wake{SagaID: s.ID, Try: s.Tries})
	if err != nil {
		return outbox.Task{}, err
	}
	return outbox.Task{
		Queue: outbox.ResumeQueue(s.Provider), URL: url, Body: body, At: now, RequestID: s.RequestID,
		Name: outbox.TaskName("saga-"+s.ID.String()+"-by-hand", s.Tries, int(now.Unix())),
	}, nil
}
