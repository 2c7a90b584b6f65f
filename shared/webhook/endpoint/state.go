package endpoint

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/webhook"
)

// Disable stops sending to an endpoint until it is enabled. What happens meanwhile is
// kept for it. An endpoint that is disabled already stays as it is, but that an operator
// overrules what others did.
func (s *Service) Disable(ctx context.Context, merchant, endpoint id.ID, by By, reason string) (Endpoint, error) {
	if !text(reason) {
		return Endpoint{}, fault.Invalid("reason", "has characters that are not text")
	}
	rows, err := s.DB.Query(ctx, disableEndpoint, endpoint, merchant, by, reason, s.Now())
	if err != nil {
		return Endpoint{}, fault.Wrap(err, "disable a webhook endpoint")
	}
	e, err := s.one(ctx, endpoint, rows, "disable a webhook endpoint")
	if fault.Is(err, fault.NotFound) {
		return s.Get(ctx, merchant, endpoint) // disabled already
	}
	return e, err
}

// Enable has a disabled endpoint sent events again, and forgets how it answered before.
// What it missed is replayed if replayMissed says so; nil does where its answers had it
// disabled, and not where a person did. One that an operator disabled only an operator
// enables: for a merchant that is invalid_state. An endpoint that is enabled already
// stays as it is. The replay is zero if there is none.
func (s *Service) Enable(ctx context.Context, merchant, endpoint id.ID, by By, replayMissed *bool) (e Endpoint, replay id.ID, err error) {
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, selectForUpdate, endpoint, merchant) // collect returns the error
		if err := collect(&e)(rows); err != nil || e.Enabled {
			return err
		}
		before := e
		if *before.DisabledBy == Operator && by != Operator {
			return fault.New(fault.InvalidState, "Endpoint %s was disabled by the gateway's operators. Ask them what is wrong; they can enable it again.", id.Endpoint.External(endpoint))
		}
		var b pgx.Batch
		b.Queue(enableEndpoint, endpoint, s.Now()).Query(collect(&e))
		if wanted(*before.DisabledBy, replayMissed) {
			since, err := missedSince(ctx, tx, before)
			if err != nil {
				return err
			}
			replay = s.Webhooks.QueueReplay(&b, "enabled", webhook.ReplayRequest{EndpointID: endpoint, Since: since})
		}
		return postgres.Pipeline(ctx, tx, &b)
	})
	var f *fault.Error
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Endpoint{}, id.ID{}, none(endpoint)
	case errors.As(err, &f):
		return Endpoint{}, id.ID{}, err
	case err != nil:
		return Endpoint{}, id.ID{}, fault.Wrap(err, "enable a webhook endpoint")
	}
	s.nameHeaders(ctx, &e)
	if !replay.IsZero() {
		if err := s.Webhooks.StartTurn(ctx, replay); err != nil {
			s.Log.WarnContext(ctx, "a replay waits for the sweep", "replay", id.Replay.External(replay), "error", err)
		}
	}
	return e, replay, nil
}

func wanted(disabledBy By, replayMissed *bool) bool {
	if replayMissed != nil {
		return *replayMissed
	}
	return disabledBy == Gone || disabledBy == Failing
}

// missedSince is when an endpoint began to miss what it missed by the state it was in:
// when it began to fail, or was disabled, or when that was last tried or made which
// waited for it then.
func missedSince(ctx context.Context, tx pgx.Tx, e Endpoint) (time.Time, error) {
	var waited *time.Time
	if err := tx.QueryRow(ctx, selectWaited, e.ID, e.DisabledAt).Scan(&waited); err != nil {
		return time.Time{}, err
	}
	since := *e.DisabledAt
	for _, t := range []*time.Time{e.FailingSince, waited} {
		if t != nil && t.Before(since) {
			since = *t
		}
	}
	return since, nil
}
