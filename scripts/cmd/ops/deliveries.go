package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/webhook"
)

// deliveries wires the part of the webhook service that operators need to look: it makes
// no tasks, and attempts nothing itself.
func (s *session) deliveries(ctx context.Context) (*webhook.Service, error) {
	db, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	return &webhook.Service{Pool: db, Now: s.now, NewID: s.newID, Log: slog.New(slog.DiscardHandler)}, nil
}

// deliveryTasks is the same with the way to make tasks.
func (s *session) deliveryTasks(ctx context.Context) (*webhook.Service, error) {
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
	return service, nil
}

// deliveryRow is a delivery as it is shown.
type deliveryRow struct {
	ID            external[ofDelivery] `db:"id" json:"id" col:"delivery"`
	Event         external[ofEvent]    `db:"event_id" json:"event_id" col:"event"`
	EventType     string               `db:"event_type" json:"event_type" col:"type"`
	Sequence      int64                `db:"sequence" json:"sequence" col:"sequence"`
	Status        webhook.Status       `db:"status" json:"status" col:"status"`
	Attempts      int                  `db:"attempt_count" json:"attempts" col:"attempts"`
	LastAttemptAt *time.Time           `db:"last_attempt_at" json:"last_attempt_at" col:"last attempt"`
	NextAttemptAt *time.Time           `db:"next_retry_at" json:"next_attempt_at" col:"next attempt"`
	ResponseCode  *int                 `db:"response_code" json:"response_code" col:"response"`
	Endpoint      external[ofEndpoint] `db:"webhook_id" json:"webhook_endpoint_id" col:"endpoint"`
	Merchant      external[ofMerchant] `db:"merchant_id" json:"merchant_id" col:"merchant"`
	Payment       *external[ofPayment] `db:"transaction_id" json:"payment_id" col:"payment"` // nil if it is not about one
	RequestID     string               `db:"request_id" json:"request_id"`
}

func deliveryRowOf(d webhook.Delivery) deliveryRow {
	row := deliveryRow{
		ID: external[ofDelivery]{d.ID}, Event: external[ofEvent]{d.EventID}, EventType: d.EventType, Sequence: d.Sequence, Status: d.Status,
		Attempts: d.Attempts, LastAttemptAt: d.LastAttemptAt, NextAttemptAt: d.NextAttemptAt, ResponseCode: d.ResponseCode,
		Endpoint: external[ofEndpoint]{d.EndpointID}, Merchant: external[ofMerchant]{d.MerchantID},
		RequestID: d.RequestID,
	}
	if d.PaymentID != nil {
		row.Payment = &external[ofPayment]{*d.PaymentID}
	}
	return row
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

// What never reached its endpoint, whether it is still tried, waits or was given up. Of an endpoint that was removed
// nobody misses anything.
const selectUndelivered = `
	SELECT d.id, d.event_id, d.event_type, d.sequence, d.status, d.attempt_count, d.last_attempt_at, d.next_retry_at,
		d.response_code, d.webhook_id, d.merchant_id, d.transaction_id, d.request_id
	FROM webhook_deliveries d JOIN webhook_endpoints w ON w.id = d.webhook_id
	WHERE d.delivered_at IS NULL AND w.deleted_at IS NULL
	  AND ($1::uuid IS NULL OR d.merchant_id = $1) AND ($2::uuid IS NULL OR d.webhook_id = $2)
	ORDER BY d.event_created_at, d.event_id LIMIT $3`

func deliveriesList(f *flag.FlagSet) action {
	exhausted, undelivered, limit := f.Bool("exhausted", false, ""), f.Bool("undelivered", false, ""), limitFlag(f)
	merchant, endpoint := f.String("merchant", "", ""), f.String("endpoint", "", "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		n, err := limit()
		if err != nil {
			return nil, err
		}
		switch {
		case *undelivered && !*exhausted:
			return s.undelivered(ctx, *merchant, *endpoint, n)
		case !*exhausted || *undelivered:
			return nil, usageError("give --undelivered or --exhausted; what is still to be tried is in scripts/ops tasks list --queue webhooks, too")
		case *merchant != "" || *endpoint != "":
			return nil, usageError("--merchant and --endpoint go with --undelivered")
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

func (s *session) undelivered(ctx context.Context, merchant, endpoint string, limit int) (result, error) {
	ofWhom, err := optionalID[ofMerchant](merchant)
	if err != nil {
		return nil, err
	}
	where, err := optionalID[ofEndpoint](endpoint)
	if err != nil {
		return nil, err
	}
	rows, err := query[deliveryRow](ctx, s, selectUndelivered, ofWhom, where, limit)
	return list[deliveryRow]{rows, "Everything was delivered."}, err
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
		service, err := s.deliveryTasks(ctx)
		if err != nil {
			return nil, err
		}
		d, err := service.Redeliver(ctx, id.ID{}, delivery.ID)
		if err != nil {
			return nil, err
		}
		return done{fmt.Sprintf("Attempt %d at %s is to be made now, by the task %s.", d.Attempts+1, delivery, d.TaskName())}, nil
	}
}
