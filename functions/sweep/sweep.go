// Package sweep is the function that the scheduler calls each minute. It finds what
// was left without an owner, by a crash, a lost message or a queue that was away, and
// gives it one again: a task, or another publishing. It does none of the work itself.
package sweep

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/settlement"
	"github.com/tollgate/tollgate/shared/task"
	"github.com/tollgate/tollgate/shared/webhook"
)

func init() { api.Function("Sweep", Build) }

// Build wires the function. It makes tasks for those who call providers and merchants,
// and has none of their secrets.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Topics   outbox.TopicConfig
		Tasks    outbox.TasksConfig
		Resume   core.ResumeURL
		Deliver  core.DeliverURL
		Settle   core.SettleURL
		core.Called
	}](env.Lookup)
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
	topics, err := core.Topics(ctx, env, c.Topics)
	if err != nil {
		return nil, err
	}
	tasks, err := core.Tasks(ctx, env, c.Tasks)
	if err != nil {
		return nil, err
	}
	s := &sweeper{
		env: env, pool: pool,
		payments: core.Reader(env, "sweep", pool),
		inbox: &inbox.Inbox{
			Pool: pool, Topic: topics.ProviderEvents, Now: env.Now, NewID: env.NewID, Log: env.Log,
		},
		webhooks: &webhook.Service{Pool: pool, Tasks: tasks, Now: env.Now, NewID: env.NewID, Log: env.Log, Metrics: env.Metrics},
		relay:    outbox.NewRelay(pool, topics.PaymentEvents, env.Now, env.NewID),

		settlements: &settlement.Service{Pool: pool, Tasks: tasks, Now: env.Now, NewID: env.NewID, Log: env.Log, Metrics: env.Metrics},
	}
	s.payments.Tasks = tasks
	return task.Handler(env, "sweep", verifier, s.sweep), nil
}
