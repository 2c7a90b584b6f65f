// Package reconcile is the function that the scheduler calls each hour. It holds open
// payments against their providers, and the providers' reports against ours.
package reconcile

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/reconcile"
	"github.com/tollgate/tollgate/shared/task"
)

func init() { api.Function("Reconcile", Build) }

// Build wires the function.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		core.Config
		core.Called
		Settings reconcile.Settings
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	verifier, err := c.Verifier(env.Now)
	if err != nil {
		return nil, err
	}
	payments, err := core.Payments(ctx, env, "reconcile", c.Config)
	if err != nil {
		return nil, err
	}
	s := &reconcile.Service{
		Pool: payments.Pool, Payments: payments, Now: env.Now, NewID: env.NewID, Settings: c.Settings, Log: env.Log,
		Metrics: env.Metrics, Wait: wait,
	}
	return task.Handler(env, "reconcile", verifier, func(ctx context.Context, _ []byte) error {
		_, err := s.Run(ctx)
		return err
	}), nil
}

// wait lets the machine's time pass, whatever the system's clock shows: it is for the
// providers' sake.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
