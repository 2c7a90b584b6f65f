package webhook

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// The line of a subject at an endpoint is the subject's events that are not done with
// there, in the order of their sequence. Where order is kept (at an ordered endpoint, and
// in a replay) only the head of the line is tried, and the others are held. Whatever ends
// the head's turn lets the next one go, in the same transaction. An event that comes into
// the line and finds a head that is about to leave it waits for the head's row, so that
// one of the two sees the other.

const lockHead = `
	SELECT FROM webhook_deliveries
	WHERE webhook_id = $1 AND subject_id = $2 AND status IN ('PENDING', 'HELD')
	ORDER BY sequence LIMIT 1 FOR NO KEY UPDATE`

// free holds for a held delivery d that nothing stands before. While the endpoint is down,
// what was given up stands before what follows it: it is the endpoint's fault and not the
// event's, and it will be replayed. While a replay is collecting, everything stays.
const free = `
	d.status = 'HELD'
	AND NOT EXISTS (
		SELECT FROM webhook_deliveries e
		WHERE e.webhook_id = d.webhook_id AND e.subject_id = d.subject_id AND e.sequence < d.sequence
		  AND e.status IN ('PENDING', 'HELD'))
	AND NOT EXISTS (
		SELECT FROM webhook_deliveries e JOIN webhook_endpoints w ON w.id = e.webhook_id
		WHERE e.webhook_id = d.webhook_id AND e.subject_id = d.subject_id AND e.sequence < d.sequence
		  AND e.status IN ('EXHAUSTED', 'ABANDONED') AND e.delivered_at IS NULL
		  AND w.failing_since IS NOT NULL AND (e.tried_at IS NULL OR w.failing_since <= e.tried_at))
	AND NOT EXISTS (SELECT FROM webhook_replays r WHERE r.endpoint_id = d.webhook_id AND r.state = 'collecting')`

const releaseHead = `
	UPDATE webhook_deliveries d
	SET status = 'PENDING', next_retry_at = $3, task_generation = d.task_generation + 1, updated_at = $3
	WHERE d.webhook_id = $1 AND d.subject_id = $2 AND ` + free + `
	RETURNING ` + deliveryColumns

// queueAdvance lets the head of a line go if it may, and puts it into due. The batch must
// run in a transaction that holds the head's lock (lockHead), after what changed the line.
// Who ends a delivery takes that lock before any other row's: all who work on a line wait in
// one place then, and none of them has what another waits for.
func queueAdvance(b *pgx.Batch, endpoint, subject id.ID, now time.Time, due *[]Delivery) {
	b.Queue(releaseHead, endpoint, subject, now).Query(collectDeliveries(due))
}

const releaseStranded = `
	UPDATE webhook_deliveries d
	SET status = 'PENDING', next_retry_at = $1, task_generation = d.task_generation + 1, updated_at = $1
	WHERE d.id IN (
		SELECT d.id FROM webhook_deliveries d JOIN webhook_endpoints w ON w.id = d.webhook_id
		WHERE d.updated_at <= $2 AND w.enabled AND ` + free + `
		  AND (d.replay_id IS NULL OR d.replay_id NOT IN (SELECT r.id FROM webhook_replays r WHERE r.state = 'running'))
		ORDER BY d.updated_at LIMIT $3
		FOR NO KEY UPDATE OF d SKIP LOCKED)
	RETURNING ` + deliveryColumns

// ReleaseStranded lets held deliveries go, at most limit, that nothing stands before any
// more and that nobody let go: the endpoint's settings changed meanwhile, or an operator
// changed a row. It says how many.
func (s *Service) ReleaseStranded(ctx context.Context, limit int) (int, error) {
	now := s.Now()
	rows, _ := s.Pool.Query(ctx, releaseStranded, now, now.Add(-lostAfter), limit) // CollectRows returns the error
	stranded, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return 0, fault.Wrap(err, "find stranded deliveries")
	}
	return len(stranded), s.enqueueAll(ctx, stranded)
}
