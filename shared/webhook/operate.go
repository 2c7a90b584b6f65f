package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// updated_at is asked as well, so that a delivery whose task was just made again is
// left alone for as long as one whose time has just come.
const raiseGeneration = `
	UPDATE webhook_deliveries d SET task_generation = d.task_generation + 1, updated_at = $1
	WHERE d.id IN (
		SELECT o.id FROM webhook_deliveries o
		WHERE o.status = 'PENDING' AND o.next_retry_at <= $2 AND o.updated_at <= $2
		  AND (o.lease_until IS NULL OR o.lease_until <= $1)
		ORDER BY o.next_retry_at LIMIT $3
		FOR NO KEY UPDATE SKIP LOCKED)
	RETURNING ` + deliveryColumns

const selectExhausted = `
	SELECT ` + deliveryColumns + ` FROM webhook_deliveries d
	WHERE d.status = 'EXHAUSTED' ORDER BY d.updated_at DESC, d.id LIMIT $1`

const countWaiting = `SELECT count(*) FROM webhook_deliveries WHERE status IN ('PENDING', 'HELD')`

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

// Who asks for an attempt wants it made: where the circuit is open, it is the one that finds out.
const reviveDelivery = `
	WITH asked AS (
		UPDATE webhook_endpoints w SET open_until = $3 FROM webhook_deliveries d
		WHERE d.id = $1 AND ($2::uuid IS NULL OR d.merchant_id = $2) AND w.id = d.webhook_id AND w.enabled AND w.open_until > $3
		  AND d.status IN ('EXHAUSTED', 'ABANDONED', 'DELIVERED')
	)
	UPDATE webhook_deliveries d
	SET status = 'PENDING', next_retry_at = $3, series_start = d.attempt_count - $4::int, tried_at = NULL, slot = false,
	    task_generation = d.task_generation + 1, updated_at = $3
	FROM webhook_endpoints w
	WHERE d.id = $1 AND ($2::uuid IS NULL OR d.merchant_id = $2) AND w.id = d.webhook_id AND w.enabled
	  AND d.status IN ('EXHAUSTED', 'ABANDONED', 'DELIVERED')
	RETURNING ` + deliveryColumns

// Redeliver gives a delivery that is over, well or not, another attempt, now. If that
// fails it is given up again. A delivery of another merchant, unless that is zero, is
// not_found; one that is not over, or whose endpoint is disabled, is invalid_state.
func (s *Service) Redeliver(ctx context.Context, merchant, delivery id.ID) (Delivery, error) {
	rows, _ := s.Pool.Query(ctx, reviveDelivery, delivery, optional(merchant), s.Now(), onceMore) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Delivery])
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, s.whyNotRevived(ctx, merchant, delivery)
	}
	if err != nil {
		return Delivery{}, fault.Wrap(err, "revive a delivery")
	}
	return d, s.enqueue(ctx, &d) // if that fails, the sweep finds it without a task
}

func (s *Service) whyNotRevived(ctx context.Context, merchant, delivery id.ID) error {
	name := id.Delivery.External(delivery)
	d, err := s.Get(ctx, delivery)
	switch {
	case err != nil:
		return err
	case !merchant.IsZero() && merchant != d.MerchantID:
		return fault.New(fault.NotFound, "There is no delivery %s.", name)
	case d.Status == Pending:
		return fault.New(fault.InvalidState, "Delivery %s is still being tried: its next attempt is at %s.", name, d.NextAttemptAt.UTC().Format(time.RFC3339))
	case d.Status == Held:
		return fault.New(fault.InvalidState, "Delivery %s waits for an earlier event of the same payment.", name)
	default:
		return fault.New(fault.InvalidState, "Delivery %s can't be tried: its endpoint is disabled.", name)
	}
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

const countTroubled = `
	SELECT count(*) FILTER (WHERE enabled AND failures >= $1) AS failing,
	       count(*) FILTER (WHERE disabled_by IN ('gone', 'failing')) AS disabled
	FROM webhook_endpoints WHERE deleted_at IS NULL AND (failing_since IS NOT NULL OR NOT enabled)`

// Troubled counts the endpoints that get no events: those whose circuit is open, and those
// that were disabled because of their answers.
type Troubled struct {
	Failing  int64 `db:"failing"`
	Disabled int64 `db:"disabled"`
}

// CountTroubled counts them, for the gauges.
func (s *Service) CountTroubled(ctx context.Context) (Troubled, error) {
	rows, _ := s.Pool.Query(ctx, countTroubled, tripsAfter) // CollectExactlyOneRow returns the error
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Troubled])
	return t, fault.Wrap(err, "count the endpoints in trouble")
}
