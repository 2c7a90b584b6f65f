package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tollgate/tollgate/shared/webhook"
)

// deliveries wires the part of the webhook service that operators need: it makes
// tasks and attempts nothing itself.
func (s *session) deliveries(ctx context.Context) (*webhook.Service, error) {
	db, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	return &webhook.Service{Pool: db, Now: s.now, NewID: s.newID, Log: slog.New(slog.DiscardHandler)}, nil
}

// deliveryRow is a delivery as it is shown.
type deliveryRow struct {
	ID            external[ofDelivery] `json:"id" col:"delivery"`
	Event         external[ofEvent]    `json:"event_id" col:"event"`
	EventType     string               `json:"event_type" col:"type"`
	Status        webhook.Status       `json:"status" col:"status"`
	Attempts      int                  `json:"attempts" col:"attempts"`
	LastAttemptAt *time.Time           `json:"last_attempt_at" col:"last attempt"`
	NextAttemptAt *time.Time           `json:"next_attempt_at" col:"next attempt"`
	ResponseCode  *int                 `json:"response_code" col:"response"`
	Endpoint      external[ofEndpoint] `json:"webhook_endpoint_id" col:"endpoint"`
	Merchant      external[ofMerchant] `json:"merchant_id" col:"merchant"`
	Payment       external[ofPayment]  `json:"payment_id" col:"payment"`
	RequestID     string               `json:"request_id"`
}

func deliveryRowOf(d webhook.Delivery) deliveryRow {
	return deliveryRow{
		ID: external[ofDelivery]{d.ID}, Event: external[ofEvent]{d.EventID}, EventType: d.EventType, Status: d.Status,
		Attempts: d.Attempts, LastAttemptAt: d.LastAttemptAt, NextAttemptAt: d.NextAttemptAt, ResponseCode: d.ResponseCode,
		Endpoint: external[ofEndpoint]{d.EndpointID}, Merchant: external[ofMerchant]{d.MerchantID},
		Payment: external[ofPayment]{d.PaymentID}, RequestID: d.RequestID,
	}
}

const (
	defaultLimit = 50
	maxLimit     = 10_000
)

// limitFlag is how many rows a list shows at most.
func limitFlag(f *flag.FlagSet) (read func() (int, error)) {
	n := f.Int("limit", defaultLimit, "")
	return func() (int, error) {
		if *n < 1 || *n > maxLimit {
			return 0, usageError(fmt.Sprintf("--limit must be between 1 and %d", maxLimit))
		}
		return *n, nil
	}
}

func deliveriesList(f *flag.FlagSet) action {
	exhausted, limit := f.Bool("exhausted", false, ""), limitFlag(f)
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		n, err := limit()
		if err != nil {
			return nil, err
		}
		if !*exhausted {
			return nil, usageError("give --exhausted; what is still to be tried is in scripts/ops tasks list --queue webhooks")
		}
		service, err := s.deliveries(ctx)
		if err != nil {
			return nil, err
		}
		given, err := service.ListExhausted(ctx, n)
		shown := list[deliveryRow]{none: "No deliveries were given up."}
		for _, d := range given {
			shown.rows = append(shown.rows, deliveryRowOf(d))
		}
		return shown, err
	}
}

// attemptRow is an attempt at a delivery.
type attemptRow struct {
	Number       int       `db:"attempt" json:"attempt" col:"attempt"`
	At           time.Time `db:"requested_at" json:"at" col:"at"`
	DurationMS   int64     `db:"duration_ms" json:"duration_ms" col:"ms"`
	Outcome      string    `db:"outcome" json:"outcome" col:"outcome"`
	ResponseCode *int      `db:"response_code" json:"response_code" col:"response"`
	Error        *string   `db:"error" json:"error" col:"error"`
	ResponseBody *string   `db:"response_body" json:"response_body" col:"answer"`
}

const selectAttempts = `
	SELECT attempt, requested_at, duration_ms, outcome, response_code, error, response_body
	FROM webhook_delivery_logs WHERE delivery_id = $1 ORDER BY attempt`

// nextTask is the task that makes a delivery's next attempt, if one is to come.
type nextTask struct {
	Name string `json:"task,omitempty" col:"task"`
}

// deliveryDetail is a delivery with its attempts.
type deliveryDetail struct {
	deliveryRow
	nextTask
	Log list[attemptRow] `json:"attempt_log"`
}

func (d deliveryDetail) text(w io.Writer) error {
	if err := fields(w, d.deliveryRow, d.nextTask); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(w)
	return d.Log.text(w)
}

func deliveriesShow(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		delivery, err := parseID[ofDelivery](args[0])
		if err != nil {
			return nil, err
		}
		service, err := s.deliveries(ctx)
		if err != nil {
			return nil, err
		}
		d, err := service.Get(ctx, delivery.ID)
		if err != nil {
			return nil, err
		}
		log, err := query[attemptRow](ctx, s, selectAttempts, delivery.ID)
		shown := deliveryDetail{deliveryRow: deliveryRowOf(d), Log: list[attemptRow]{log, "No attempt was made yet."}}
		if d.Status == webhook.Pending {
			shown.Name = d.TaskName()
		}
		return shown, err
	}
}

func deliveriesRedeliver(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		delivery, err := parseID[ofDelivery](args[0])
		if err != nil {
			return nil, err
		}
		tasks, err := s.tasks(ctx)
		if err != nil {
			return nil, err
		}
		if tasks.Config().DeliverURL == "" {
			return nil, errors.New("DELIVER_URL is not set: it is the address of deliverwebhook")
		}
		service, err := s.deliveries(ctx)
		if err != nil {
			return nil, err
		}
		service.Tasks = tasks
		d, err := service.Redeliver(ctx, delivery.ID)
		if err != nil {
			return nil, err
		}
		return done{fmt.Sprintf("Attempt %d at %s is to be made now, by the task %s.", d.Attempts+1, delivery, d.TaskName())}, nil
	}
}
