package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
)

// A replay is worked on in turns, each a task of its own: first its deliveries are
// collected, all of them before any is let go, since only then is it known which one
// comes first; then they are let go line by line, as fast as the endpoint's rate allows.
// Only the head of each line has to be let go here, for the others follow by themselves.
// What was given up begins its schedule anew; what waits for its next attempt goes on with
// it, or an event that an endpoint never takes would be tried for ever. A turn's number is
// part of its task's name and is counted up when the turn begins, so
// that a turn is made once.

// enqueueTurn makes the task of a replay's turn.
func (s *Service) enqueueTurn(ctx context.Context, replay id.ID, turn int, at time.Time) error {
	return fault.Wrap(s.Tasks.Enqueue(ctx, outbox.Task{
		Queue: outbox.DeliveryQueue, Name: outbox.TaskName(id.Replay.External(replay), turn), URL: s.Tasks.Config().DeliverURL,
		Body: encode(Task{ReplayID: replay, Turn: turn}), At: at,
	}), "make the task of a replay")
}

const beginTurn = `
	UPDATE webhook_replays r SET turn = r.turn + 1, turn_at = $3, updated_at = $4
	FROM webhook_endpoints w
	WHERE r.id = $1 AND r.turn = $2 AND r.state IN ('collecting', 'running') AND w.id = r.endpoint_id
	RETURNING r.id, r.reason, r.state, r.collected_to, w.enabled, w.rate_limit, coalesce(w.open_until > $4, false) AS down`

// turn is a replay that is being worked on.
type turn struct {
	ID          id.ID  `db:"id"`
	Reason      string `db:"reason"`
	State       string `db:"state"`
	CollectedTo *id.ID `db:"collected_to"`
	Enabled     bool   `db:"enabled"`
	Rate        int    `db:"rate_limit"`
	Down        bool   `db:"down"` // its circuit is open: when that closes, another replay takes all this over
}

// What a person asks for goes by the time of the event. What is being tried is left alone.
const requested = `
	d.event_created_at >= r.since AND d.event_created_at < r.until
	AND (cardinality(r.event_types) = 0 OR d.event_type = ANY (r.event_types)
		OR split_part(d.event_type, '.', 1) || '.*' = ANY (r.event_types))
	AND (d.status IN ('EXHAUSTED', 'ABANDONED') OR d.status = 'DELIVERED' AND r.delivered)`

// What an endpoint missed while it was down is what it never got and was last tried, or
// kept for it, since then; and what waits: for its next attempt, or for its turn.
const missed = `
	d.delivered_at IS NULL
	AND (d.status IN ('EXHAUSTED', 'ABANDONED') AND coalesce(d.last_attempt_at, d.created_at) >= r.since
		OR d.status = 'PENDING' AND d.attempt_count > d.series_start AND d.next_retry_at > $3
		OR d.status = 'HELD')`

const (
	collectRequested = collectBegin + requested + collectEnd
	collectMissed    = collectBegin + missed + collectEnd

	// It goes along an index, by the events' time, so that each statement reads what it takes.
	collectBegin = `
	WITH found AS (
		SELECT f.* FROM webhook_replays r, LATERAL (
			SELECT d.id, d.event_id, d.event_created_at FROM webhook_deliveries d
			WHERE d.webhook_id = r.endpoint_id
			  AND (d.event_created_at, d.event_id) > (
				coalesce((SELECT e.created_at FROM events e WHERE e.id = $2::uuid), '-infinity'),
				coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'))
			  AND (d.lease_until IS NULL OR d.lease_until <= $3) AND `
	collectEnd = `
			ORDER BY d.event_created_at, d.event_id LIMIT $4
			FOR NO KEY UPDATE OF d) f
		WHERE r.id = $1
	), taken AS (
		UPDATE webhook_deliveries d
		SET status = 'HELD', next_retry_at = NULL, replay_id = $1, slot = false,
		    series_start = CASE WHEN d.status IN ('PENDING', 'HELD') THEN d.series_start ELSE d.attempt_count END,
		    tried_at = CASE WHEN d.status IN ('PENDING', 'HELD') THEN d.tried_at END,
		    task_generation = d.task_generation + 1, updated_at = $3
		FROM found f WHERE d.id = f.id
	)
	SELECT count(*), (array_agg(event_id ORDER BY event_created_at DESC, event_id DESC))[1] FROM found`
)

const noteCollected = `
	UPDATE webhook_replays SET collected_to = coalesce($2, collected_to), total = total + $3, updated_at = $4,
		state = CASE WHEN $5 THEN 'running' ELSE state END
	WHERE id = $1 AND state = 'collecting'`

// The rows of one line follow one another by themselves, so one of each is let go.
const letGoOfHeads = `
	WITH heads AS (
		SELECT d.id, row_number() OVER (ORDER BY d.event_id) AS place FROM (
			SELECT d.id, d.event_id FROM webhook_deliveries d
			WHERE d.replay_id = $1 AND ` + free + `
			ORDER BY d.event_id LIMIT $2
			FOR NO KEY UPDATE OF d SKIP LOCKED) d
	)
	UPDATE webhook_deliveries d
	SET status = 'PENDING', next_retry_at = $3::timestamptz + (h.place - 1) * interval '1 second' / $4::int,
	    task_generation = d.task_generation + 1, updated_at = $3
	FROM heads h WHERE d.id = h.id
	RETURNING ` + deliveryColumns

const countLeft = `
	SELECT count(*) FILTER (WHERE status = 'HELD'), count(*) FILTER (WHERE status = 'PENDING'), min(next_retry_at)
	FROM webhook_deliveries WHERE replay_id = $1 AND status IN ('HELD', 'PENDING')`

const endTurn = `
	UPDATE webhook_replays SET turn_at = $3, updated_at = $4, state = CASE WHEN $5 THEN 'done' ELSE state END,
		finished_at = CASE WHEN $5 THEN $4::timestamptz END
	WHERE id = $1 AND turn = $2 AND state IN ('collecting', 'running')`

// Turn takes a replay's turn. It returns nil when there is nothing left to do, and also
// when the turn was taken before. An error means that something of ours failed.
func (s *Service) Turn(ctx context.Context, replay id.ID, number int) error {
	now := s.Now()
	rows, _ := s.Pool.Query(ctx, beginTurn, replay, number, now.Add(turnLease), now) // CollectExactlyOneRow returns the error
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[turn])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, "begin a turn of a replay")
	}
	if !t.Enabled {
		return s.cancel(ctx, nil, replay)
	}
	if t.State == "collecting" {
		if err := s.collect(ctx, t); err != nil {
			return err
		}
	}
	let := 0
	if !t.Down {
		if let, err = s.letGoOfHeads(ctx, t); err != nil {
			return err
		}
	}
	return s.endTurn(ctx, t, number+1, let)
}

// errCanceled rolls back what was collected for a replay that was cancelled meanwhile.
var errCanceled = errors.New("webhook: the replay was cancelled")

func (s *Service) collect(ctx context.Context, t turn) error {
	sql := collectMissed
	if t.Reason == "requested" {
		sql = collectRequested
	}
	for after := t.CollectedTo; ; {
		now := s.Now()
		done := false
		err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
			var n int
			var last *id.ID
			if err := tx.QueryRow(ctx, sql, t.ID, after, now, collectMost).Scan(&n, &last); err != nil {
				return err
			}
			if last != nil {
				after = last
			}
			done = n < collectMost
			tag, err := tx.Exec(ctx, noteCollected, t.ID, last, n, now, done)
			if err == nil && tag.RowsAffected() == 0 {
				return errCanceled
			}
			return err
		})
		if errors.Is(err, errCanceled) {
			return nil // what was taken here is put back
		}
		if err != nil || done {
			return fault.Wrap(err, "collect what a replay is to deliver")
		}
	}
}

func (s *Service) letGoOfHeads(ctx context.Context, t turn) (int, error) {
	most := min(t.Rate*turnSeconds, turnMost)
	rows, _ := s.Pool.Query(ctx, letGoOfHeads, t.ID, most, s.Now(), t.Rate) // CollectRows returns the error
	due, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return 0, fault.Wrap(err, "let go of a replay's deliveries")
	}
	return len(due), s.enqueueAll(ctx, due)
}

func (s *Service) endTurn(ctx context.Context, t turn, next, let int) error {
	now := s.Now()
	var waiting, trying int
	var retry *time.Time
	if err := s.Pool.QueryRow(ctx, countLeft, t.ID).Scan(&waiting, &trying, &retry); err != nil {
		return fault.Wrap(err, "count what a replay has left")
	}
	var wait time.Duration
	switch {
	case let > 0:
		wait = max(time.Second, time.Duration(let)*time.Second/time.Duration(t.Rate))
	case t.Down || retry == nil:
		wait = time.Minute
	default: // the heads of the lines are being tried, and let the next ones go themselves
		wait = min(max(retry.Sub(now), turnWait), maxTurnWait)
	}
	done := waiting == 0 && trying == 0
	at := now.Add(wait)
	tag, err := s.Pool.Exec(ctx, endTurn, t.ID, next, at, now, done)
	if err != nil {
		return fault.Wrap(err, "end a turn of a replay")
	}
	if done || tag.RowsAffected() == 0 {
		return nil
	}
	return s.enqueueTurn(ctx, t.ID, next, at)
}

const selectOverdueTurns = `
	UPDATE webhook_replays r SET turn = r.turn + 1, turn_at = $1, updated_at = $1
	WHERE r.id IN (
		SELECT o.id FROM webhook_replays o WHERE o.state IN ('collecting', 'running') AND o.turn_at <= $2
		ORDER BY o.turn_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)
	RETURNING r.id, r.turn`

// ReplaysWithoutTask makes tasks for replays, at most limit, whose turn is overdue, and says
// how many it made.
func (s *Service) ReplaysWithoutTask(ctx context.Context, limit int) (made int, err error) {
	now := s.Now()
	rows, _ := s.Pool.Query(ctx, selectOverdueTurns, now, now.Add(-lostAfter), limit) // ForEachRow returns the error
	turns := map[id.ID]int{}
	var replay id.ID
	var number int
	if _, err := pgx.ForEachRow(rows, []any{&replay, &number}, func() error { turns[replay] = number; return nil }); err != nil {
		return 0, fault.Wrap(err, "find replays without a task")
	}
	var failed []error
	for replay, number := range turns {
		if err := s.enqueueTurn(ctx, replay, number, now); err != nil {
			failed = append(failed, err)
			continue
		}
		made++
	}
	return made, errors.Join(failed...)
}
