// Package deliverwebhook is the function that tasks call to make one attempt at
// delivering one event to one endpoint of a merchant.
package deliverwebhook

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/task"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

func init() { api.Function("DeliverWebhook", Build) }

// Build wires the function.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Tasks    outbox.TasksConfig
		Deliver  core.DeliverURL
		core.Called
		Webhook webhook.Config
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	schedule, err := webhook.NewSchedule(c.Webhook.Schedule)
	if err != nil {
		return nil, err
	}
	sealer, err := seal.Open(ctx, c.Webhook.Seal, env.Now, env.KMS...)
	if err != nil {
		return nil, err
	}
	env.Lifecycle.Closes("kms", func(context.Context) error { return sealer.Close() })
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
	return task.Handler(env, "deliverwebhook", verifier, deliver(env, &webhook.Service{
		Pool: pool, Now: env.Now, NewID: env.NewID, Tasks: tasks, Schedule: schedule, Log: env.Log, Metrics: env.Metrics,
		Sealer: sealer, Sender: sender.New(c.Webhook.AllowLocal, env.Now),
	})), nil
}

func deliver(env api.Env, webhooks *webhook.Service) func(context.Context, []byte) error {
	return func(ctx context.Context, body []byte) error {
		var t webhook.Task
		if err := json.Unmarshal(body, &t); err != nil || !t.Valid() {
			// No repetition mends it, and what it should have been about is due in the
			// database: the sweep makes a right one.
			env.Log.ErrorContext(ctx, "a task names neither an attempt at a delivery nor a turn of a replay", "error", err)
			return nil
		}
		return webhooks.Do(ctx, t)
	}
}
