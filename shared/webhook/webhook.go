// Package webhook tells merchants what happened to their payments.
//
// It owns the tables webhook_endpoints, webhook_endpoint_secrets,
// webhook_deliveries and webhook_delivery_logs. A delivery is one event on its way
// to one endpoint; a log row is one attempt at it.
//
//	PENDING    an attempt is to come, at next_retry_at
//	DELIVERED  an attempt was answered with 2xx
//	EXHAUSTED  the last attempt of the schedule failed
//	ABANDONED  the endpoint is disabled
//
// The database is the truth and the queue a hint. Each attempt waits in Cloud Tasks
// as a task named after its delivery, so that an operator sees it and can run it at
// once, but what the task may do is decided by the row: it leases the delivery, and
// does nothing if the attempt it stands for was made, or another holds the lease. The
// attempt's log row and the delivery's next state are one statement, fenced by the
// lease. A task that was lost is made again from the row (DueWithoutTask).
//
// A merchant's failure is an outcome, not an error: only our own trouble (database,
// queue, keys) is returned, because what Cloud Tasks is told has failed slows the
// whole queue down, and with it every other merchant.
//
// Requests follow Standard Webhooks 1.0.0 (https://www.standardwebhooks.com): they
// may come twice and out of order, webhook-id tells repeats, and the sequence in the
// payload tells the order. They are sent to public addresses by https only, checked
// on the address that is really dialled; redirects are not followed.
//
// Faults it returns: invalid_request for endpoints that can't be, not_found, and
// invalid_state for a delivery that is not given up.
package webhook

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// Config is what a deployment decides.
type Config struct {
	ScheduleConfig
	SealingKey telemetry.Secret `env:"WEBHOOK_SEALING_KEY,required,notEmpty" desc:"key that seals signing secrets: 32 bytes in base64; older keys may follow, after commas" who:"terraform"`
	AllowLocal bool             `env:"WEBHOOK_ALLOW_LOCAL" envDefault:"false" desc:"deliver to loopback and by http; for local runs only" who:"scripts/dev"`
}

// ScheduleConfig is the part of Config for functions that make tasks and send nothing:
// they need no key.
type ScheduleConfig struct {
	Schedule []time.Duration `env:"WEBHOOK_SCHEDULE" envDefault:"0s,1m,5m,15m,1h,6h,24h" desc:"wait before each attempt" who:"terraform"`
}

// Status is where a delivery stands.
type Status string

// The statuses of a delivery.
const (
	Pending   Status = "PENDING"
	Delivered Status = "DELIVERED"
	Exhausted Status = "EXHAUSTED"
	Abandoned Status = "ABANDONED"
)

// Delivery is a row of webhook_deliveries.
type Delivery struct {
	ID             id.ID      `db:"id"`
	EventID        id.ID      `db:"event_id"`
	EndpointID     id.ID      `db:"webhook_id"`
	MerchantID     id.ID      `db:"merchant_id"`
	PaymentID      id.ID      `db:"transaction_id"`
	EventType      string     `db:"event_type"`
	Status         Status     `db:"status"`
	Attempts       int        `db:"attempt_count"` // made so far
	LastAttemptAt  *time.Time `db:"last_attempt_at"`
	NextAttemptAt  *time.Time `db:"next_retry_at"` // only while pending
	ResponseCode   *int       `db:"response_code"` // of the last attempt
	ResponseBody   *string    `db:"response_body"`
	TaskGeneration int        `db:"task_generation"`
	RequestID      string     `db:"request_id"`
	CreatedAt      time.Time  `db:"created_at"`
	UpdatedAt      time.Time  `db:"updated_at"`
}

// TaskName is the name of the task that makes the delivery's next attempt.
func (d *Delivery) TaskName() string {
	return outbox.TaskName(id.Delivery.External(d.ID), d.Attempts+1, d.TaskGeneration)
}

// Task is the body of a task that makes one attempt.
type Task struct {
	DeliveryID id.ID `json:"delivery_id"`
	Attempt    int   `json:"attempt"` // from 1
}

// Service carries events to endpoints. Fields are set where it is wired and not
// changed after.
type Service struct {
	Pool     *pgxpool.Pool
	Now      func() time.Time
	NewID    func() id.ID
	Tasks    *outbox.Tasks
	Schedule Schedule
	Log      *slog.Logger
	Metrics  *telemetry.Metrics

	// For Deliver alone.
	Sealer *seal.Sealer
	Sender *sender.Sender
}

// enqueue makes the task of the delivery's next attempt.
func (s *Service) enqueue(ctx context.Context, d *Delivery) error {
	task := outbox.Task{
		Queue: outbox.DeliveryQueue, Name: d.TaskName(), URL: s.Tasks.Config().DeliverURL,
		Body: encode(Task{DeliveryID: d.ID, Attempt: d.Attempts + 1}), RequestID: d.RequestID,
	}
	if d.NextAttemptAt != nil {
		task.At = *d.NextAttemptAt
	}
	return fault.Wrap(s.Tasks.Enqueue(ctx, task), "make the task of a delivery")
}
