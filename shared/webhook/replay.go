package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// ReplayRequest says what an endpoint is to get again.
type ReplayRequest struct {
	EndpointID id.ID
	Since      time.Time // of the events, inclusive
	Until      time.Time // exclusive; now when zero
	EventTypes []string  // empty: all
	All        bool      // also what was delivered
}

// Replay is a row of webhook_replays, with how far it got.
type Replay struct {
	ID         id.ID      `db:"id"`
	EndpointID id.ID      `db:"endpoint_id"`
	MerchantID id.ID      `db:"merchant_id"`
	Reason     string     `db:"reason"` // requested, recovered, enabled
	Since      time.Time  `db:"since"`
	Until      time.Time  `db:"until"`
	EventTypes []string   `db:"event_types"`
	All        bool       `db:"delivered"`
	State      string     `db:"state"` // collecting, running, done, canceled
	Total      int        `db:"total"` // deliveries that it took
	Delivered  int        `db:"now_delivered"`
	Waiting    int        `db:"now_waiting"`
	GivenUp    int        `db:"now_given_up"`
	CreatedAt  time.Time  `db:"created_at"`
	UpdatedAt  time.Time  `db:"updated_at"`
	FinishedAt *time.Time `db:"finished_at"`
}

const (
	// turnLease is how long a worker may take over a turn before another is made.
	turnLease   = time.Minute
	turnSeconds = 5 // of the endpoint's rate are let go in one turn
	turnMost    = 500
	collectMost = 5000 // deliveries in one statement

	turnWait    = 5 * time.Second
	maxTurnWait = 10 * time.Minute
)

const replayColumns = `r.id, r.endpoint_id, r.merchant_id, r.reason, r.since, r.until, r.event_types, r.delivered, r.state,
	r.total, r.created_at, r.updated_at, r.finished_at`

// What became of the deliveries that a replay took, and that no later one did.
const selectReplays = `
	SELECT ` + replayColumns + `, n.now_delivered, n.now_waiting, n.now_given_up
	FROM webhook_replays r, LATERAL (
		SELECT count(*) FILTER (WHERE d.status = 'DELIVERED') AS now_delivered,
		       count(*) FILTER (WHERE d.status IN ('PENDING', 'HELD')) AS now_waiting,
		       count(*) FILTER (WHERE d.status IN ('EXHAUSTED', 'ABANDONED')) AS now_given_up
		FROM webhook_deliveries d WHERE d.replay_id = r.id) n`

const (
	selectReplay  = selectReplays + ` WHERE r.id = $1 AND r.merchant_id = $2`
	selectReplayP = selectReplays + `
	WHERE r.merchant_id = $1 AND ($2::uuid IS NULL OR r.endpoint_id = $2) AND ($3::uuid IS NULL OR r.id < $3)
	ORDER BY r.id DESC LIMIT $4`
)

// What a person asks for is tried, though the circuit be open: the first attempt finds out.
const insertReplay = `
	WITH asked AS (
		UPDATE webhook_endpoints SET open_until = $8 WHERE id = $2 AND enabled AND open_until > $8
	)
	INSERT INTO webhook_replays (id, endpoint_id, merchant_id, reason, since, until, event_types, delivered, state, total,
		turn, turn_at, created_at, updated_at)
	SELECT $1, w.id, w.merchant_id, $3, $4, $5, $6, $7, 'collecting', 0, 0, $8, $8, $8
	FROM webhook_endpoints w WHERE w.id = $2 AND w.enabled`

// QueueReplay adds a replay of an endpoint to a transaction, for the reason "requested" or
// "enabled". After the commit StartTurn has it begin at once; else the sweep finds it.
func (s *Service) QueueReplay(b *pgx.Batch, reason string, r ReplayRequest) (replay id.ID) {
	replay = s.NewID()
	now := s.Now()
	if r.Until.IsZero() {
		r.Until = now
	}
	b.Queue(insertReplay, replay, r.EndpointID, reason, r.Since, r.Until, append([]string{}, r.EventTypes...), r.All, now)
	return replay
}

// StartTurn makes the task that begins a replay.
func (s *Service) StartTurn(ctx context.Context, replay id.ID) error {
	return s.enqueueTurn(ctx, replay, 0, s.Now())
}

// StartReplay has an endpoint of the merchant get events again, at its pace and in the
// order of each payment. An endpoint that does not exist is not_found, one that is
// disabled invalid_state.
func (s *Service) StartReplay(ctx context.Context, merchant id.ID, r ReplayRequest) (Replay, error) {
	if !r.Until.IsZero() && !r.Since.Before(r.Until) {
		return Replay{}, fault.Invalid("until", "must be after since")
	}
	if r.Since.After(s.Now()) {
		return Replay{}, fault.Invalid("since", "is in the future")
	}
	if err := s.whyNoEvents(ctx, merchant, r.EndpointID); err != nil {
		return Replay{}, err
	}
	var b pgx.Batch
	replay := s.QueueReplay(&b, "requested", r)
	if err := postgres.Pipeline(ctx, s.Pool, &b); err != nil {
		return Replay{}, fault.Wrap(err, "begin a replay")
	}
	made, err := s.GetReplay(ctx, merchant, replay)
	if err != nil {
		return Replay{}, err
	}
	return made, s.StartTurn(ctx, replay) // if that fails, the sweep finds it without a task
}

// GetReplay returns a replay of the merchant; another's is not_found.
func (s *Service) GetReplay(ctx context.Context, merchant, replay id.ID) (Replay, error) {
	rows, _ := s.Pool.Query(ctx, selectReplay, replay, merchant) // CollectExactlyOneRow returns the error
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Replay])
	if errors.Is(err, pgx.ErrNoRows) {
		return Replay{}, fault.New(fault.NotFound, "There is no replay %s.", id.Replay.External(replay))
	}
	return r, fault.Wrap(err, "read a replay")
}

// ListReplays lists the merchant's replays, the latest first: of one endpoint unless that
// is zero, and those before one unless that is zero.
func (s *Service) ListReplays(ctx context.Context, merchant, endpoint id.ID, limit int, before id.ID) ([]Replay, error) {
	rows, _ := s.Pool.Query(ctx, selectReplayP, merchant, optional(endpoint), optional(before), limit) // CollectRows returns the error
	replays, err := pgx.CollectRows(rows, pgx.RowToStructByName[Replay])
	return replays, fault.Wrap(err, "list replays")
}

func optional(i id.ID) *id.ID {
	if i.IsZero() {
		return nil
	}
	return &i
}

const (
	cancelReplay = `
	UPDATE webhook_replays SET state = 'canceled', finished_at = $3, updated_at = $3
	WHERE id = $1 AND ($2::uuid IS NULL OR merchant_id = $2) AND state IN ('collecting', 'running')`
	// What was not tried yet is given up, or delivered as before; what is being tried goes on.
	// At a disabled endpoint it is kept for when that is enabled.
	returnHeld = `
	UPDATE webhook_deliveries d
	SET status = CASE WHEN d.delivered_at IS NOT NULL THEN 'DELIVERED' WHEN w.enabled THEN 'EXHAUSTED' ELSE 'ABANDONED' END,
	    updated_at = $2
	FROM webhook_endpoints w
	WHERE d.replay_id = $1 AND d.status = 'HELD' AND w.id = d.webhook_id`
)

// CancelReplay stops a replay. What was let go goes on; what was not stays undelivered. One
// that is over is returned as it is.
func (s *Service) CancelReplay(ctx context.Context, merchant, replay id.ID) (Replay, error) {
	if err := s.cancel(ctx, &merchant, replay); err != nil {
		return Replay{}, err
	}
	return s.GetReplay(ctx, merchant, replay)
}

func (s *Service) cancel(ctx context.Context, merchant *id.ID, replay id.ID) error {
	now := s.Now()
	err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, cancelReplay, replay, merchant, now)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		_, err = tx.Exec(ctx, returnHeld, replay, now)
		return err
	})
	return fault.Wrap(err, "cancel a replay")
}
