package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// lostAfter is how long past its time an attempt may be before its task is taken to
// be lost. Cloud Tasks may be late by minutes, and a second task for the same attempt
// costs one look at the row.
const lostAfter = 2 * time.Minute

// DueWithoutTask makes tasks for deliveries, at most limit, whose attempt is overdue
// while nobody works on it, and says how many it made. The tasks get new names, since
// a queue does not take one that it had before.
func (s *Service) DueWithoutTask(ctx context.Context, limit int) (made int, err error) {
	now := s.Now()
	rows, _ := s.Pool.Query(ctx, raiseGeneration, now, now.Add(-lostAfter), limit) // CollectRows returns the error
	overdue, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return 0, fault.Wrap(err, "find deliveries without a task")
	}
	var failed []error
	for i := range overdue {
		if err := s.enqueue(ctx, &overdue[i]); err != nil {
			failed = append(failed, err)
			continue
		}
		made++
	}
	return made, errors.Join(failed...)
}

// Redeliver gives a delivery that was given up another attempt, now, as a task made
// from its row. If that fails too it is given up again. A delivery that is not given
// up, or whose endpoint is disabled, is invalid_state.
func (s *Service) Redeliver(ctx context.Context, delivery id.ID) (Delivery, error) {
	rows, _ := s.Pool.Query(ctx, reviveDelivery, delivery, s.Now()) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Delivery])
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, s.whyNotRevived(ctx, delivery)
	}
	if err != nil {
		return Delivery{}, fault.Wrap(err, "revive a delivery")
	}
	return d, s.enqueue(ctx, &d) // if that fails, the sweep finds it without a task
}

func (s *Service) whyNotRevived(ctx context.Context, delivery id.ID) error {
	name := id.Delivery.External(delivery)
	d, err := s.Get(ctx, delivery)
	switch {
	case err != nil:
		return err
	case d.Status == Pending:
		return fault.New(fault.InvalidState, "Delivery %s is still being tried: its task %s waits in the queue and can be run now.", name, d.TaskName())
	case d.Status == Delivered:
		return fault.New(fault.InvalidState, "Delivery %s was delivered.", name)
	default:
		return fault.New(fault.InvalidState, "Delivery %s can't be tried: its endpoint is disabled.", name)
	}
}

// Get returns a delivery.
func (s *Service) Get(ctx context.Context, delivery id.ID) (Delivery, error) {
	rows, _ := s.Pool.Query(ctx, selectDelivery, delivery) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Delivery])
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, fault.New(fault.NotFound, "There is no delivery %s.", id.Delivery.External(delivery))
	}
	return d, fault.Wrap(err, "read a delivery")
}

// ListExhausted lists the deliveries that were given up, the latest first.
func (s *Service) ListExhausted(ctx context.Context, limit int) ([]Delivery, error) {
	rows, _ := s.Pool.Query(ctx, selectExhausted, limit) // CollectRows returns the error
	given, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	return given, fault.Wrap(err, "list deliveries that were given up")
}

// CountWaiting counts the deliveries with an attempt to come, for the gauge.
func (s *Service) CountWaiting(ctx context.Context) (int64, error) {
	var n int64
	err := s.Pool.QueryRow(ctx, countWaiting).Scan(&n)
	return n, fault.Wrap(err, "count the waiting deliveries")
}
