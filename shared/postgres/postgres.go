// Package postgres opens the database and runs transactions on it.
//
// It owns no tables: each package keeps the SQL of its own. What is here is how a
// function reaches the database (few connections, short bounds on everything, no
// password where the platform vouches for the function), which schema it needs, and
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

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Config is how a function reaches the database.
type Config struct {
	URL     telemetry.Secret `env:"DATABASE_URL,required,notEmpty" desc:"postgres://user@host:5432/database, as the function's own login" who:"terraform"`
	PoolMax int32            `env:"DATABASE_POOL_MAX" envDefault:"3" desc:"connections at most, of one instance" who:"terraform"` // why 3: see provider/guard
	IAM     bool             `env:"DATABASE_IAM" desc:"whether to log in as the service account, without a password" who:"terraform"`
	CA      string           `env:"DATABASE_CA" desc:"PEM of the authority that signed the server's certificate; the machine's own if not set" who:"terraform"`
}

// Bounds on what one statement may take, so that a stuck one frees its connection
// before the caller's own deadline.
const (
	connectTimeout   = 3 * time.Second
	statementTimeout = 8 * time.Second
	lockTimeout      = 5 * time.Second
	idleInTxTimeout  = 15 * time.Second

	// pingTimeout bounds the look at a connection that was idle. After a failover no answer
	// comes by the old ones: they are given up, and a new one is made, within a second.
	pingTimeout = 500 * time.Millisecond
)

// Open makes the pool. It connects on first use, so that a function starts even
// while the database fails over.
func Open(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	cfg, mistakes := c.parse()
	if len(mistakes) > 0 {
		return nil, &config.Error{Mistakes: mistakes}
	}
	if c.IAM {
		login, err := login()
		if err != nil {
			return nil, err
		}
		cfg.BeforeConnect = login
	}
	cfg.MaxConns = c.PoolMax
	cfg.PingTimeout = pingTimeout
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
