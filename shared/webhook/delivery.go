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

// Status is where a delivery stands.
type Status string

// The statuses of a delivery.
const (
	Pending   Status = "PENDING"
	Held      Status = "HELD"
	Delivered Status = "DELIVERED"
	Exhausted Status = "EXHAUSTED"
	Abandoned Status = "ABANDONED"
)

// Statuses lists them.
func Statuses() []Status { return []Status{Pending, Held, Delivered, Exhausted, Abandoned} }

// Delivery is a row of webhook_deliveries.
type Delivery struct {
	ID             id.ID      `db:"id"`
	EventID        id.ID      `db:"event_id"`
	EndpointID     id.ID      `db:"webhook_id"`
	MerchantID     id.ID      `db:"merchant_id"`
	SubjectID      id.ID      `db:"subject_id"`     // what the event is about: its sequence counts there
	PaymentID      *id.ID     `db:"transaction_id"` // nil if it is not about a payment
	EventType      string     `db:"event_type"`
	Sequence       int64      `db:"sequence"`
	EventAt        time.Time  `db:"event_created_at"`
	Status         Status     `db:"status"`
	Attempts       int        `db:"attempt_count"` // made so far
	SeriesStart    int        `db:"series_start"`  // of them, before the schedule began anew
	LastAttemptAt  *time.Time `db:"last_attempt_at"`
	NextAttemptAt  *time.Time `db:"next_retry_at"` // only while pending
	ResponseCode   *int       `db:"response_code"` // of the last attempt
	ResponseBody   *string    `db:"response_body"`
	DeliveredAt    *time.Time `db:"delivered_at"` // first
	ReplayID       *id.ID     `db:"replay_id"`    // the last that took it
	APIVersion     string     `db:"api_version"`
	Form           string     `db:"payload"` // full or thin
	TaskGeneration int        `db:"task_generation"`
	RequestID      string     `db:"request_id"`
	CreatedAt      time.Time  `db:"created_at"`
	UpdatedAt      time.Time  `db:"updated_at"`
}

// TaskName is the name of the task that makes the delivery's next attempt.
func (d *Delivery) TaskName() string {
	return outbox.TaskName(id.Delivery.External(d.ID), d.Attempts+1, d.TaskGeneration)
}

// The columns of Delivery; the table goes by d.
const deliveryColumns = `d.id, d.event_id, d.webhook_id, d.merchant_id, d.subject_id, d.transaction_id, d.event_type,
	d.sequence, d.event_created_at, d.status, d.attempt_count, d.series_start, d.last_attempt_at, d.next_retry_at,
	d.response_code, d.response_body, d.delivered_at, d.replay_id, d.api_version, d.payload, d.task_generation,
	d.request_id, d.created_at, d.updated_at`

const selectDelivery = `SELECT ` + deliveryColumns + ` FROM webhook_deliveries d WHERE d.id = $1`

// Get returns a delivery.
func (s *Service) Get(ctx context.Context, delivery id.ID) (Delivery, error) {
	rows, _ := s.Pool.Query(ctx, selectDelivery, delivery) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Delivery])
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, fault.New(fault.NotFound, "There is no delivery %s.", id.Delivery.External(delivery))
	}
	return d, fault.Wrap(err, "read a delivery")
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

func (s *Service) enqueueAll(ctx context.Context, due []Delivery) error {
	var failed []error
	for i := range due {
		failed = append(failed, s.enqueue(ctx, &due[i]))
	}
	return errors.Join(failed...)
}

func collectDeliveries(into *[]Delivery) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
		*into = append(*into, found...)
		return err
	}
}
