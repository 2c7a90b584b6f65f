// Package postgres opens the database and runs transactions on it.
//
// It owns no tables: each package keeps the SQL of its own. What is here is how a
// function reaches the database (few connections, short bounds on everything), and
// pipelined transactions, which carry checks and writes in one round trip.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/telemetry"
)

// Config is how a function reaches the database.
type Config struct {
	URL     telemetry.Secret `env:"DATABASE_URL,required,notEmpty" who:"terraform"`
	PoolMax int32            `env:"DATABASE_POOL_MAX" envDefault:"3" who:"terraform"` // why 3: see provider/guard
}

// Bounds on what one statement may take, so that a stuck one frees its connection
// before the caller's own deadline.
const (
	connectTimeout   = 3 * time.Second
	statementTimeout = 8 * time.Second
	lockTimeout      = 5 * time.Second
	idleInTxTimeout  = 15 * time.Second
)

// Open makes the pool. It connects on first use, so that a function starts even
// while the database fails over.
func Open(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(c.URL.Reveal())
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a PostgreSQL connection URL") // err would quote the password
	}
	cfg.MaxConns = c.PoolMax
	cfg.MaxConnLifetime = 30 * time.Minute
	cfg.MaxConnLifetimeJitter = 5 * time.Minute
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	for name, d := range map[string]time.Duration{
		"statement_timeout":                   statementTimeout,
		"lock_timeout":                        lockTimeout,
		"idle_in_transaction_session_timeout": idleInTxTimeout,
	} {
		if cfg.ConnConfig.RuntimeParams[name] == "" {
			cfg.ConnConfig.RuntimeParams[name] = strconv.FormatInt(d.Milliseconds(), 10)
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}

// DB is what both a pool and a transaction can do.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// InTx runs fn in one transaction: committed when fn returns nil, else rolled back.
func InTx(ctx context.Context, pool *pgxpool.Pool, fn func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, fn)
}

// Pipeline sends the batch in one round trip and runs its callbacks. On a pool it is
// a transaction of its own: the first error undoes all of it.
func Pipeline(ctx context.Context, db DB, b *pgx.Batch) error {
	return db.SendBatch(ctx, b).Close()
}

// The SQLSTATEs of Tollgate's own, of the expect_… functions (migration 0003) and of
// periods that have ended (0008), and some of PostgreSQL's.
const (
	KeyTaken        = "TG001"
	VersionMoved    = "TG002"
	LeaseLost       = "TG003"
	PeriodClosed    = "TG004"
	UniqueViolation = "23505"
	CheckViolation  = "23514"
)

// HasCode reports whether err is PostgreSQL's with the SQLSTATE.
func HasCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

// Violates reports whether err says that the named constraint or unique index was violated.
func Violates(err error, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.ConstraintName == constraint
}
