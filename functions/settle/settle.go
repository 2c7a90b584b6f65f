// Package settle is the function that settles with merchants: the scheduler calls it each
// night, and tasks for each chunk.
package settle

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/settlement"
	"github.com/tollgate/tollgate/shared/task"
)

func init() { api.Function("Settle", Build) }

// Build wires the function. It calls no provider and has none of their secrets.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Tasks    outbox.TasksConfig
		Settle   core.SettleURL
		core.Called
		Control   control.Config
		Providers core.Enabled
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	verifier, err := c.Verifier(env.Now)
	if err != nil {
		return nil, err
	}
	circuits, err := core.Circuits(ctx, env, c.Control, c.Providers)
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
	return task.Handler(env, "settle", verifier, settle(env, &settlement.Service{
		Pool: pool, Now: env.Now, NewID: env.NewID, Payments: core.Reader(env, "settle", pool), Tasks: tasks,
		Log: env.Log, Metrics: env.Metrics, Circuits: circuits,
	})), nil
}

func settle(env api.Env, settlements *settlement.Service) func(context.Context, []byte) error {
	return func(ctx context.Context, body []byte) error {
		var t settlement.Task
		if err := json.Unmarshal(body, &t); err != nil && len(body) > 0 {
			// No repetition mends it. A run that it should have carried on is due in the
			// database: the sweep makes a right one.
			env.Log.ErrorContext(ctx, "a task says nothing that can be done", "error", err)
			return nil
		}
		err := settlements.Do(ctx, t)
		if fault.Is(err, fault.InvalidRequest) { // a date that is none, or not due
			env.Log.ErrorContext(ctx, "a task asks for what can't be done", "error", err)
			return nil
		}
		return err
	}
}
