package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/webhook"
)

// replayRow is a replay and how far it is.
type replayRow struct {
	ID         external[ofReplay]   `json:"id" col:"replay"`
	Endpoint   external[ofEndpoint] `json:"webhook_id" col:"endpoint"`
	Merchant   external[ofMerchant] `json:"merchant_id" col:"merchant"`
	Reason     string               `json:"reason" col:"reason"`
	State      string               `json:"state" col:"state"`
	Total      int                  `json:"total" col:"events"`
	Delivered  int                  `json:"delivered" col:"delivered"`
	Waiting    int                  `json:"waiting" col:"waiting"`
	GivenUp    int                  `json:"given_up" col:"given up"`
	Since      time.Time            `json:"since" col:"since"`
	Until      time.Time            `json:"until" col:"until"`
	EventTypes []string             `json:"event_types"`
	All        bool                 `json:"include_delivered"`
	CreatedAt  time.Time            `json:"created_at" col:"begun"`
	FinishedAt *time.Time           `json:"finished_at" col:"finished"`
}

func replayRowOf(r webhook.Replay) replayRow {
	return replayRow{
		ID: external[ofReplay]{r.ID}, Endpoint: external[ofEndpoint]{r.EndpointID}, Merchant: external[ofMerchant]{r.MerchantID},
		Reason: r.Reason, State: r.State, Total: r.Total, Delivered: r.Delivered, Waiting: r.Waiting, GivenUp: r.GivenUp,
		Since: r.Since, Until: r.Until, EventTypes: r.EventTypes, All: r.All, CreatedAt: r.CreatedAt, FinishedAt: r.FinishedAt,
	}
}

func (r replayRow) text(w io.Writer) error { return fields(w, r) }

func replaysStart(f *flag.FlagSet) action {
	since, until, events, all := f.String("since", "", ""), f.String("until", "", ""), f.String("events", "", ""), f.Bool("all", false, "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		endpoint, err := parseID[ofEndpoint](args[0])
		if err != nil {
			return nil, err
		}
		request := webhook.ReplayRequest{EndpointID: endpoint.ID, EventTypes: words(*events), All: *all}
		if *since == "" {
			return nil, usageError("say since when events are to be sent again: --since TIME, such as 60h or 2026-11-24T18:00:00Z")
		}
		if request.Since, err = s.moment("--since", *since); err != nil {
			return nil, err
		}
		if request.Until, err = s.moment("--until", *until); err != nil {
			return nil, err
		}
		merchant, err := merchantOf(ctx, s, selectEndpointsMerchant, endpoint)
		if err != nil {
			return nil, err
		}
		service, err := s.deliveryTasks(ctx)
		if err != nil {
			return nil, err
		}
		r, err := service.StartReplay(ctx, merchant, request)
		return replayRowOf(r), err
	}
}

// words splits a flag's list.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// moment reads a time, or how long ago it was; empty: none.
func (s *session) moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return s.now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usageError(fmt.Sprintf("%s %q is neither a time, such as 2026-11-24T18:00:00Z, nor how long ago, such as 60h", flag, text))
	}
	return t, nil
}

func replaysList(f *flag.FlagSet) action {
	of, limit := f.String("endpoint", "", ""), limitFlag(f)
	return func(ctx context.Context, s *session, args []string) (result, error) {
		n, err := limit()
		if err != nil {
			return nil, err
		}
		merchant, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		var endpoint external[ofEndpoint]
		if *of != "" {
			if endpoint, err = parseID[ofEndpoint](*of); err != nil {
				return nil, err
			}
		}
		service, err := s.deliveries(ctx)
		if err != nil {
			return nil, err
		}
		found, err := service.ListReplays(ctx, merchant.ID, endpoint.ID, n, id.ID{})
		shown := list[replayRow]{none: "There were no replays."}
		for _, r := range found {
			shown.rows = append(shown.rows, replayRowOf(r))
		}
		return shown, err
	}
}

// The merchant that something belongs to.
const (
	selectEndpointsMerchant = `SELECT merchant_id FROM webhook_endpoints WHERE id = $1 AND deleted_at IS NULL`
	selectReplaysMerchant   = `SELECT merchant_id FROM webhook_replays WHERE id = $1`
)

// merchantOf finds whose a thing is, by one of the statements that do.
func merchantOf[K kind](ctx context.Context, s *session, sql string, of external[K]) (id.ID, error) {
	db, err := s.db(ctx)
	if err != nil {
		return id.ID{}, err
	}
	var merchant id.ID
	err = db.QueryRow(ctx, sql, of.ID).Scan(&merchant)
	if errors.Is(err, pgx.ErrNoRows) {
		return id.ID{}, fmt.Errorf("there is no %s", of)
	}
	return merchant, err
}

func replaysShow(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		return s.replay(ctx, args[0], (*webhook.Service).GetReplay)
	}
}

func replaysCancel(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		return s.replay(ctx, args[0], (*webhook.Service).CancelReplay)
	}
}

// replay does something with the replay that is named.
func (s *session) replay(ctx context.Context, text string,
	do func(*webhook.Service, context.Context, id.ID, id.ID) (webhook.Replay, error),
) (result, error) {
	replay, err := parseID[ofReplay](text)
	if err != nil {
		return nil, err
	}
	merchant, err := merchantOf(ctx, s, selectReplaysMerchant, replay)
	if err != nil {
		return nil, err
	}
	service, err := s.deliveries(ctx)
	if err != nil {
		return nil, err
	}
	r, err := do(service, ctx, merchant, replay.ID)
	return replayRowOf(r), err
}
