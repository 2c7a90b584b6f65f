// Package core wires what several functions are made of, so that each function's
// Build reads as a list of its parts: the payment service with its database, its
// providers and its ways out, and the gate that merchants come in by.
//
// It owns no tables and decides nothing. It refuses a configuration that lacks what
// the parts need; a part connects on first use, not here. What it opens it registers with
// the function's Lifecycle, to be looked after by the platform's probes and closed at the
// end.
package core

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/task"
)

// Config is what a function needs that performs operations on payments.
type Config struct {
	Postgres  postgres.Config
	Providers Providers
	Control   control.Config
	Topics    outbox.TopicConfig
	Tasks     outbox.TasksConfig
	Resume    ResumeURL
}

// Payments makes the payment service of a function that calls providers.
func Payments(ctx context.Context, env api.Env, function string, c Config) (*payment.Service, error) {
	store, err := controlPlane(ctx, env, c.Control)
	if err != nil {
		return nil, err
	}
	providers, err := c.Providers.open(env, store)
	if err != nil {
		return nil, err
	}
	pool, err := Database(ctx, env, c.Postgres)
	if err != nil {
		return nil, err
	}
	topics, err := Topics(ctx, env, c.Topics)
	if err != nil {
		return nil, err
	}
	tasks, err := Tasks(ctx, env, c.Tasks)
	if err != nil {
		return nil, err
	}
	s := Reader(env, function, pool)
	s.Providers = providers
	s.Relay = outbox.NewRelay(pool, topics.PaymentEvents, env.Now, env.NewID)
	s.Tasks = tasks
	return s, nil
}

// Reader makes the payment service of a function that only reads: it knows no
// provider and needs none of their secrets.
func Reader(env api.Env, function string, pool *pgxpool.Pool) *payment.Service {
	return &payment.Service{
		Pool: pool, Now: env.Now, NewID: env.NewID, Name: function,
		Log: env.Log, Metrics: env.Metrics, Hook: env.Hook,
	}
}

// GateConfig is what a function needs that merchants call.
type GateConfig struct {
	OIDC    task.Config
	Gateway api.GatewayConfig
}

// Gate makes the gate of a function behind the API gateway whose service accounts
// are configured, or in the open if none is.
func Gate(env api.Env, c GateConfig, pool *pgxpool.Pool) (*api.Gate, error) {
	gate := &api.Gate{Merchants: &merchant.Store{DB: pool, Now: env.Now, NewID: env.NewID}}
	if len(c.Gateway.Callers) > 0 {
		c.OIDC.Callers = c.Gateway.Callers
		verifier, err := task.NewVerifier(c.OIDC, env.Now)
		if err != nil {
			return nil, err
		}
		gate.Gateway = verifier
	}
	return gate, nil
}
