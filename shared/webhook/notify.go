package webhook

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Notify makes a delivery of the event to each enabled endpoint that subscribes to
// it, and the task of its first attempt. Called again, it makes what is still
// missing and nothing twice. An event that does not exist is not_found.
func (s *Service) Notify(ctx context.Context, event id.ID) error {
	rows, _ := s.Pool.Query(ctx, selectSubscribers, event) // CollectRows returns the error
	subscribers, err := pgx.CollectRows(rows, pgx.RowTo[*id.ID])
	if err != nil {
		return fault.Wrap(err, "find an event's subscribers")
	}
	if len(subscribers) == 0 {
		return fault.New(fault.NotFound, "There is no event %s.", id.Event.External(event))
	}
	if subscribers[0] == nil {
		return nil // nobody subscribes
	}
	now := s.Now()
	var batch pgx.Batch
	for _, endpoint := range subscribers {
		delivery := s.NewID()
		batch.Queue(insertDelivery, delivery, event, *endpoint, now.Add(s.Schedule.wait(delivery, 1)), now)
	}
	var first []Delivery
	batch.Queue(selectUntried, event).Query(func(rows pgx.Rows) (err error) {
		first, err = pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
		return err
	})
	if err := postgres.Pipeline(ctx, s.Pool, &batch); err != nil {
		return fault.Wrap(err, "make the deliveries of an event")
	}
	var failed []error
	for i := range first {
		failed = append(failed, s.enqueue(ctx, &first[i]))
	}
	return errors.Join(failed...)
}
