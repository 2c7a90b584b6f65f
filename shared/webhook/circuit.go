package webhook

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// How an endpoint is judged by its answers. While it answers well its row says nothing.
// From its first failure on it is failing, until the next success. tripsAfter failures in
// a row open its circuit, for half of the time that it has been failing, within bounds;
// then one attempt at a time finds out. An attempt that falls due meanwhile is lost
// without a request and takes its place in the schedule, so that what waits for a dead
// endpoint comes up less and less often. An endpoint that was asked nothing for an hour is
// asked with what was given up first (ProbeFailing). On its first success after its circuit
// opened, or after as many failures in a row as it takes to give one delivery up,
// everything that it missed is replayed.
const (
	tripsAfter = 10
	minOpen    = 10 * time.Second
	maxOpen    = 5 * time.Minute
	probeEvery = time.Hour

	// givenUpAfter is how long an endpoint has answered with nothing but failures when it
	// is disabled.
	givenUpAfter = 5 * 24 * time.Hour
)

// health is what an attempt says of its endpoint: "good", "bad", or "" for nothing.
func (a attempt) health() string {
	switch a.Outcome {
	case sender.OutcomeDelivered:
		return "good"
	case sender.OutcomeGone, OutcomeCircuitOpen:
		return ""
	default:
		return "bad"
	}
}

func interval(d time.Duration) string {
	return "interval '" + strconv.FormatInt(d.Milliseconds(), 10) + " milliseconds'"
}

// Parts of recordAttempt: $5 is when the attempt was made, $9 is now, $14 its health, $16 how
// many attempts a delivery has.
// The row is locked before it is read: what a success ends may have been written just now.
var judgeEndpoint = `
	UPDATE webhook_endpoints w
	SET failing_since = CASE $14 WHEN 'bad' THEN least(w.failing_since, $5) END,
	    failures = CASE $14 WHEN 'bad' THEN w.failures + 1 ELSE 0 END,
	    open_until = CASE WHEN $14 = 'bad' AND w.failures + 1 >= ` + strconv.Itoa(tripsAfter) + `
	        THEN $9::timestamptz + least(greatest(($9::timestamptz - w.failing_since) / 2, ` + interval(minOpen) + `), ` + interval(maxOpen) + `) END,
	    probe_at = CASE $14 WHEN 'bad' THEN $9::timestamptz + ` + interval(probeEvery) + ` END
	FROM was old
	WHERE w.id = old.id
	RETURNING w.id, w.merchant_id, w.failures, w.failing_since, old.failures AS failed, old.failing_since AS failed_since`

var insertRecovery = `
	INSERT INTO webhook_replays (id, endpoint_id, merchant_id, reason, since, until, event_types, delivered, state, total,
		turn, turn_at, created_at, updated_at)
	SELECT $15, n.id, n.merchant_id, 'recovered', n.failed_since, $9, '{}', false, 'collecting', 0, 0, $9, $9, $9
	FROM endpoint n
	WHERE $14 = 'good' AND n.failed >= least($16::int, ` + strconv.Itoa(tripsAfter) + `)`

// judge draws the conclusions that take more than the attempt's own statement.
func (s *Service) judge(ctx context.Context, d *held, a attempt, r recorded, now time.Time) error {
	if r.ReplayID != nil {
		s.Log.InfoContext(ctx, "webhook endpoint answers again: what it missed is replayed",
			d.attrs("replay", id.Replay.External(*r.ReplayID))...)
	}
	if r.Failures != nil && *r.Failures == tripsAfter {
		s.Log.WarnContext(ctx, "webhook circuit opened: the endpoint fails", d.attrs("failing_since", r.FailingSince)...)
	}
	switch {
	case a.Outcome == sender.OutcomeGone:
		return s.disable(ctx, d.EndpointID, byGone, "the endpoint answered 410 Gone", nil)
	case r.Failures != nil && *r.Failures >= tripsAfter && !r.FailingSince.Add(givenUpAfter).After(now):
		since := now.Add(-givenUpAfter)
		return s.disable(ctx, d.EndpointID, byFailing, "the endpoint answered with nothing but failures for five days", &since)
	}
	return nil
}

// Who disables an endpoint. Merchants and operators do it elsewhere.
const (
	byGone    = "gone"
	byFailing = "failing"
)

const disableEndpoint = `
	UPDATE webhook_endpoints
	SET enabled = false, disabled_by = $2, disabled_reason = $3, disabled_at = $4, updated_at = $4, open_until = NULL,
	    probe_at = NULL, event_sequence = event_sequence + 1
	WHERE id = $1 AND enabled AND ($5::timestamptz IS NULL OR failing_since <= $5)
	RETURNING ` + aboutColumns

// disable turns an endpoint off, if it has been failing since the given time or that does
// not matter, and tells the merchant's other endpoints and the operators.
func (s *Service) disable(ctx context.Context, endpoint id.ID, by, reason string, failingSince *time.Time) error {
	now := s.Now()
	var told id.ID
	err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, disableEndpoint, endpoint, by, reason, now, failingSince) // CollectExactlyOneRow returns the error
		e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[about])
		if err != nil {
			return err
		}
		told = s.NewID()
		var b pgx.Batch
		outbox.Queue(&b, e.event(told, event.EndpointDisabled, now))
		return postgres.Pipeline(ctx, tx, &b)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // it is disabled already, or answered meanwhile
	}
	if err != nil {
		return fault.Wrap(err, "disable a webhook endpoint")
	}
	s.Log.ErrorContext(ctx, "webhook endpoint disabled", "endpoint", id.Endpoint.External(endpoint), "by", by, "reason", reason)
	return s.Notify(ctx, told) // the outbox would bring it, later
}

const takeProbes = `
	WITH failing AS (
		SELECT w.id FROM webhook_endpoints w
		WHERE w.probe_at <= $1 AND w.enabled
		ORDER BY w.probe_at LIMIT $2
		FOR NO KEY UPDATE SKIP LOCKED
	), ready AS (
		UPDATE webhook_endpoints w
		SET probe_at = $1::timestamptz + $3::interval, open_until = CASE WHEN w.open_until IS NOT NULL THEN $1::timestamptz END
		FROM failing f WHERE w.id = f.id
		RETURNING w.id
	)
	UPDATE webhook_deliveries d
	SET status = 'PENDING', next_retry_at = $1, task_generation = d.task_generation + 1, updated_at = $1,
	    series_start = d.attempt_count - $4::int
	FROM ready r, LATERAL (
		SELECT o.id FROM webhook_deliveries o
		WHERE o.webhook_id = r.id AND o.delivered_at IS NULL AND o.status = 'EXHAUSTED'
		ORDER BY o.event_created_at, o.event_id LIMIT 1) oldest
	WHERE d.id = oldest.id AND d.status = 'EXHAUSTED'
	RETURNING ` + deliveryColumns

// ProbeFailing has endpoints that were asked nothing for an hour asked again, at most
// limit, each with the oldest event that was given up there, which gets this one attempt
// more. It says how many. Where none was given up yet, the schedule goes on.
func (s *Service) ProbeFailing(ctx context.Context, limit int) (int, error) {
	rows, _ := s.Pool.Query(ctx, takeProbes, s.Now(), limit, probeEvery, onceMore) // CollectRows returns the error
	probes, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return 0, fault.Wrap(err, "find endpoints to probe")
	}
	return len(probes), s.enqueueAll(ctx, probes)
}
