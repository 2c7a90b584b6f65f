// Package sweep is the function that the scheduler calls each minute. It finds what
// was left without an owner, by a crash, a lost message or a queue that was away, and
// gives it one again: a task, or another publishing. It does none of the work itself.
package sweep

import (
	"context"
	"errors"
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
		OIDC     task.Config
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	if c.Tasks.ResumeURL == "" {
		return nil, errors.New("RESUME_URL is not set: it is where tasks carry open operations on")
	}
	if c.Tasks.SettleURL == "" {
		return nil, errors.New("SETTLE_URL is not set: it is where tasks carry settlements on")
	}
	verifier, err := task.NewVerifier(c.OIDC, env.Now)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.Open(ctx, c.Postgres)
	if err != nil {
		return nil, err
	}
	topics, err := outbox.OpenTopics(ctx, c.Topics, env.Google...)
	if err != nil {
		return nil, err
	}
	tasks, err := outbox.OpenTasks(ctx, c.Tasks, env.Tasks...)
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
