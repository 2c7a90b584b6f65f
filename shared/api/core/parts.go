package core

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// How long health checks may take. Making a connection has 3 s of its own.
const (
	schemaWithin     = 5 * time.Second
	connectionWithin = time.Second
	controlWithin    = time.Second
)

// Database opens the pool. The function may start when the database's schema fits, which
// also makes the pool's first connection; it is ready while a connection is to be had; and
// the pool is closed at its end.
func Database(ctx context.Context, env api.Env, c postgres.Config) (*pgxpool.Pool, error) {
	pool, err := postgres.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	env.Lifecycle.Closes("database", func(context.Context) error {
		pool.Close() // once every connection is given back
		return nil
	})
	env.Lifecycle.Check(api.Check{
		Name: "schema", Probe: api.Startup, Within: schemaWithin,
		Do: func(ctx context.Context) error { return postgres.CheckSchema(ctx, pool) },
	})
	env.Lifecycle.Check(api.Check{
		Name: "database", Probe: api.Readiness, Within: connectionWithin,
		Do: func(ctx context.Context) error { return connectionToBeHad(ctx, pool) },
	})
	return pool, nil
}

// connectionToBeHad fails if nobody gets a connection until ctx ends. Who asks waits behind
// all requests, and so may get none where there are many; but while those get theirs the
// database is there. To take a busy instance away would only give the others more to do.
func connectionToBeHad(ctx context.Context, pool *pgxpool.Pool) error {
	before := pool.Stat().EmptyAcquireCount() // only who waited counts: idle connections may be dead ones
	conn, err := pool.Acquire(ctx)
	if err != nil {
		if pool.Stat().EmptyAcquireCount() > before {
			return nil
		}
		return err
	}
	conn.Release()
	return nil
}

// Topics opens the topics, until the function's end.
func Topics(ctx context.Context, env api.Env, c outbox.TopicConfig) (*outbox.Topics, error) {
	topics, err := outbox.OpenTopics(ctx, c, env.Google...)
	if err != nil {
		return nil, err
	}
	env.Lifecycle.Closes("topics", func(context.Context) error { return topics.Close() })
	return topics, nil
}

// Tasks opens the queues, until the function's end.
func Tasks(ctx context.Context, env api.Env, c outbox.TasksConfig) (*outbox.Tasks, error) {
	tasks, err := outbox.OpenTasks(ctx, c, env.Tasks...)
	if err != nil {
		return nil, err
	}
	env.Lifecycle.Closes("tasks", func(context.Context) error { return tasks.Close() })
	return tasks, nil
}

// controlPlane is what instances share. Without one, each judges by itself. A function is
// ready without it too, degraded: it goes on with what it last heard.
func controlPlane(ctx context.Context, env api.Env, c control.Config) (control.Store, error) {
	store := env.Control
	if store == nil {
		if c.Project == "" {
			return nil, nil
		}
		opened, err := control.Open(ctx, c, env.Firestore...)
		if err != nil {
			return nil, err
		}
		env.Lifecycle.Closes("control_plane", func(context.Context) error { return opened.Close() })
		store = opened
	}
	env.Lifecycle.Check(api.Check{
		Name: "control_plane", Probe: api.Readiness, Optional: true, Within: controlWithin,
		Do: func(ctx context.Context) error {
			_, err := store.Get(ctx, "health/readiness") // there is none, which is an answer too
			return err
		},
	})
	return store, nil
}

// watchCircuit has readiness look at a provider's circuit as this instance knows it. The
// provider itself is not called: that it is away is no reason to send requests to other
// instances, which can't reach it either.
func watchCircuit(env api.Env, provider string, circuit *breaker.Breaker) {
	env.Lifecycle.Check(api.Check{
		Name: provider, Probe: api.Readiness, Optional: true, Within: controlWithin,
		Do: func(ctx context.Context) error {
			if shut := circuit.Shut(ctx); shut != nil {
				return fmt.Errorf("the circuit is open: %s", shut.Why)
			}
			return nil
		},
	})
}
