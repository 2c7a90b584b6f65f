// Package verifyaudit is the function that the scheduler calls each day. It ends the
// period up to an hour ago (the audit log is sealed, the ledger summed up), and goes on
// with verifying all there is.
package verifyaudit

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/audit/vault"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/task"
)

func init() { api.Function("VerifyAudit", Build) }

// How long the parts may take. Together they end before the function's timeout, and what is
// left then is for the next run.
const (
	closing   = 5 * time.Minute
	verifying = 7 * time.Minute
)

// Build wires the function. It knows no provider, and nobody's secrets.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Vault    vault.Config
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
	seals, err := vault.Open(ctx, c.Vault, env.Storage...)
	if err != nil {
		return nil, err
	}
	s := &audit.Service{Pool: pool, Vault: seals, Now: env.Now, NewID: env.NewID, Log: env.Log, Metrics: env.Metrics}
	return task.Handler(env, "verifyaudit", verifier, func(ctx context.Context, _ []byte) error { return run(ctx, env, s) }), nil
}

// run does both parts, whatever became of the first: a period that can't be closed must not
// keep what was sealed from being verified. What does not agree is raised by the service;
// it is no error, since no repetition of the run would mend it.
func run(ctx context.Context, env api.Env, s *audit.Service) error {
	_, notClosed := within(ctx, closing, s.ClosePeriods)
	budget, cancel := context.WithTimeout(ctx, verifying)
	defer cancel()
	pass, done, err := s.Verify(ctx, budget)
	env.Log.InfoContext(ctx, "audit verified", "complete", done, "since", pass.StartedAt, "merchants", pass.Merchants,
		"seals", pass.Seals, "rows", pass.Rows, "payments", pass.Payments, "findings", pass.Findings)
	return errors.Join(notClosed, err)
}

func within[T any](ctx context.Context, most time.Duration, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return do(ctx)
}
