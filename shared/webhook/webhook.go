// Package webhook tells merchants what happened to their payments.
//
// It owns the tables webhook_deliveries, webhook_delivery_logs and webhook_replays, and
// of webhook_endpoints what is known of an endpoint's health; its package endpoint owns
// the rest. A delivery is one event on its way
// to one endpoint; a log row is one attempt at it.
//
//	PENDING    an attempt is to come, at next_retry_at
//	HELD       an earlier event of the same payment goes first
//	DELIVERED  an attempt was answered with 2xx
//	EXHAUSTED  the last attempt of the schedule failed
//	ABANDONED  the endpoint is disabled
//
// Whatever an endpoint did not get can be replayed: one delivery (Redeliver), what it
// missed since a time (StartReplay), and all that it missed while it was down, by itself,
// as soon as it answers again. A replay is new attempts of the same events.
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

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// Config is what a deployment decides.
type Config struct {
	ScheduleConfig
	Seal       seal.Config
	AllowLocal bool `env:"WEBHOOK_ALLOW_LOCAL" envDefault:"false" desc:"deliver to loopback and by http; for local runs only" who:"scripts/dev"`
}

// ScheduleConfig is the part of Config for functions that make tasks and send nothing:
// they need no key.
type ScheduleConfig struct {
	Schedule []time.Duration `env:"WEBHOOK_SCHEDULE" envDefault:"0s,1m,5m,15m,1h,6h,24h" desc:"wait before each attempt" who:"terraform"`
}

// CheckConfig says what is wrong with the schedule.
func (c *ScheduleConfig) CheckConfig() []config.Mistake {
	_, err := NewSchedule(c.Schedule)
	return config.About(err)
}

// Task is the body of a task: to make one attempt at a delivery, or to take a turn of a replay.
type Task struct {
	DeliveryID id.ID `json:"delivery_id,omitzero"`
	Attempt    int   `json:"attempt,omitzero"` // from 1
	ReplayID   id.ID `json:"replay_id,omitzero"`
	Turn       int   `json:"turn,omitzero"` // from 0
}

// Valid reports whether the task asks for something.
func (t Task) Valid() bool {
	return !t.DeliveryID.IsZero() && t.Attempt >= 1 || !t.ReplayID.IsZero() && t.Turn >= 0
}

// Do does what a task asks for. It returns nil when there is nothing left to do; an error
// means that something of ours failed, and that the task should be run again.
func (s *Service) Do(ctx context.Context, t Task) error {
	if !t.ReplayID.IsZero() {
		return s.Turn(ctx, t.ReplayID, t.Turn)
	}
	return s.Deliver(ctx, t.DeliveryID, t.Attempt)
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
