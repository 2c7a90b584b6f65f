// Package notifymerchant is the function to which payment-events are pushed: it makes
// a delivery of the event to each of the merchant's endpoints that wants it.
package notifymerchant

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/task"
	"github.com/tollgate/tollgate/shared/webhook"
)

func init() { api.Function("NotifyMerchant", Build) }

// Build wires the function.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Tasks    outbox.TasksConfig
		Deliver  core.DeliverURL
		core.Called
		Webhook webhook.ScheduleConfig
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	schedule, err := webhook.NewSchedule(c.Webhook.Schedule)
	if err != nil {
		return nil, err
	}
	verifier, err := c.Verifier(env.Now)
	if err != nil {
		return nil, err
	}
	pool, err := core.Database(ctx, env, c.Postgres)
	if err != nil {
		return nil, err
	}
	tasks, err := core.Tasks(ctx, env, c.Tasks)
	if err != nil {
		return nil, err
	}
	return task.Push(env, "notifymerchant", verifier, notify(&webhook.Service{
		Pool: pool, Now: env.Now, NewID: env.NewID, Tasks: tasks, Schedule: schedule, Log: env.Log, Metrics: env.Metrics,
	})), nil
}

func notify(webhooks *webhook.Service) func(context.Context, task.Message) error {
	return func(ctx context.Context, m task.Message) error {
		event, err := id.Parse(m.Attributes["event_id"])
		if err != nil {
			return fault.Wrap(err, "message %s does not name an event", m.ID) // it ends in the dead letters
		}
		return webhooks.Notify(ctx, event)
	}
}
