package webhook

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// subscribes holds for an event e that the endpoint w is told of: it names the event's
// type, or all of its kind, or nothing; or the event is for it alone. Others than itself are
// told what became of it.
const subscribes = `
	(e.endpoint_id = w.id OR e.endpoint_id IS NULL AND e.subject_id <> w.id AND (
		cardinality(w.event_types) = 0 OR e.type = ANY (w.event_types) OR split_part(e.type, '.', 1) || '.*' = ANY (w.event_types)))`

// One row per subscriber; one with a null if there is none; no row if there is no event.
const selectSubscribers = `
	SELECT w.id, coalesce(w.enabled, false) AS enabled, coalesce(w.ordered, false) AS ordered, e.subject_id
	FROM events e
	LEFT JOIN webhook_endpoints w ON w.merchant_id = e.merchant_id AND w.deleted_at IS NULL AND ` + subscribes + `
	WHERE e.id = $1 ORDER BY w.id`

type subscriber struct {
	ID      *id.ID `db:"id"`
	Enabled bool   `db:"enabled"`
	Ordered bool   `db:"ordered"`
	Subject id.ID  `db:"subject_id"`
}

// holdDisabled makes whoever would enable a disabled endpoint wait until what happened
// before is in the table, where its replay finds it.
const holdDisabled = `SELECT FROM webhook_endpoints WHERE id = $1 AND NOT enabled FOR SHARE`

// A disabled endpoint's deliveries are kept for when it is enabled again. Whether it is says
// the row, and not what selectSubscribers read a moment ago.
const insertDelivery = `
	INSERT INTO webhook_deliveries (id, event_id, webhook_id, merchant_id, subject_id, transaction_id, event_type,
		sequence, event_created_at, status, attempt_count, next_retry_at, api_version, payload, task_generation, request_id,
		created_at, updated_at)
	SELECT $1, e.id, w.id, e.merchant_id, e.subject_id, e.transaction_id, e.type, e.sequence, e.created_at, first.status, 0,
		CASE first.status WHEN 'PENDING' THEN $4::timestamptz END, w.api_version, w.payload, 0, e.request_id, $5, $5
	FROM events e, webhook_endpoints w,
		LATERAL (SELECT CASE WHEN NOT w.enabled THEN 'ABANDONED' WHEN w.ordered THEN 'HELD' ELSE 'PENDING' END AS status) first
	WHERE e.id = $2 AND w.id = $3
	ON CONFLICT (event_id, webhook_id) DO NOTHING`

// What an ordered endpoint was not told of yet, though it came before: the message of
// an earlier event may be late, or among the dead letters. What came before the endpoint's
// settings is not looked at: it may not have asked for it then.
const selectSkipped = `
	SELECT e.id FROM events t
	JOIN events e ON e.subject_id = t.subject_id AND e.sequence < t.sequence
	JOIN webhook_endpoints w ON w.id = $2 AND e.created_at >= w.updated_at AND ` + subscribes + `
	WHERE t.id = $1 AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.event_id = e.id AND d.webhook_id = w.id)
	ORDER BY e.sequence`

const selectUntried = `
	SELECT ` + deliveryColumns + ` FROM webhook_deliveries d
	WHERE d.event_id = $1 AND d.status = 'PENDING' AND d.attempt_count = 0 ORDER BY d.id`

// Notify makes a delivery of the event to each endpoint that subscribes to it, and the
// tasks of the first attempts that may be made now. Called again, it makes what is still
// missing and nothing twice. An event that does not exist is not_found.
func (s *Service) Notify(ctx context.Context, event id.ID) error {
	rows, _ := s.Pool.Query(ctx, selectSubscribers, event) // CollectRows returns the error
	subscribers, err := pgx.CollectRows(rows, pgx.RowToStructByName[subscriber])
	if err != nil {
		return fault.Wrap(err, "find an event's subscribers")
	}
	if len(subscribers) == 0 {
		return fault.New(fault.NotFound, "There is no event %s.", id.Event.External(event))
	}
	if subscribers[0].ID == nil {
		return nil // nobody subscribes
	}
	var due []Delivery
	var batch pgx.Batch
	for _, to := range subscribers {
		if !to.Enabled {
			batch.Queue(holdDisabled, *to.ID)
		}
		if to.Ordered {
			skipped, err := s.skipped(ctx, event, *to.ID)
			if err != nil {
				return err
			}
			for _, earlier := range skipped {
				s.queueInsert(&batch, earlier, *to.ID)
			}
		}
		s.queueInsert(&batch, event, *to.ID)
		if to.Ordered && to.Enabled {
			batch.Queue(lockHead, *to.ID, to.Subject)
			queueAdvance(&batch, *to.ID, to.Subject, s.Now(), &due)
		}
	}
	// What was released above and is of this event comes a second time: a task is made once.
	batch.Queue(selectUntried, event).Query(collectDeliveries(&due))
	if err := postgres.Pipeline(ctx, s.Pool, &batch); err != nil {
		return fault.Wrap(err, "make the deliveries of an event")
	}
	return s.enqueueAll(ctx, due)
}

func (s *Service) skipped(ctx context.Context, event, endpoint id.ID) ([]id.ID, error) {
	rows, _ := s.Pool.Query(ctx, selectSkipped, event, endpoint) // CollectRows returns the error
	skipped, err := pgx.CollectRows(rows, pgx.RowTo[id.ID])
	return skipped, fault.Wrap(err, "find what an endpoint was not told of")
}

func (s *Service) queueInsert(b *pgx.Batch, event, endpoint id.ID) {
	delivery, now := s.NewID(), s.Now()
	b.Queue(insertDelivery, delivery, event, endpoint, now.Add(s.Schedule.wait(delivery, 1)), now)
}
