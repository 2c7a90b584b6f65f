// Package migrations owns the database schema: the files NNNN_what.sql beside
// it, applied in order and each exactly once, and never changed or taken back
// after they have landed.
//
// A migration has to leave the release before it working, since functions of
// both run while a deployment rolls. The package is never linked into a
// function: scripts/migrate applies it, and so do the test and local servers.
//
// It owns the roles too: tollgate_ and the name of a function, or operator, with
// the rights that its statements need. Grant gives them to who logs in. The
// database's owner needs no more than to own it and to make roles.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var schema embed.FS

// A Migration is one file, and whether the database has it.
type Migration struct {
	Version   int64
	File      string
	AppliedAt time.Time // zero while it is pending
}

// Apply brings the database at url, a postgres:// address, to the newest
// version. Two that run at once take turns, and the second finds nothing to do.
// A file that fails leaves the ones before it applied and itself undone.
//
// Whom the connection is of, or the role that it begins with, owns what is made,
// and needs CREATEROLE and to own the database; not to be a superuser.
func Apply(ctx context.Context, url string) error {
	return apply(ctx, url, schema)
}

// ApplyTo is Apply for a database that no URL leads to by itself, such as one
// whose password is a token.
func ApplyTo(ctx context.Context, c *pgx.ConnConfig) error {
	return up(ctx, c, schema)
}

// List returns every migration in order, with the time at which the database
// got it. It changes nothing but for the empty version table.
func List(ctx context.Context, c *pgx.ConnConfig) ([]Migration, error) {
	return list(ctx, c, schema)
}

// Hash names the schema's contents: two builds with the same files have the
// same hash.
func Hash() string {
	return hash(schema)
}

func apply(ctx context.Context, url string, files fs.FS) error {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return up(ctx, c, files)
}

func up(ctx context.Context, c *pgx.ConnConfig, files fs.FS) error {
	return with(c, files, func(p *goose.Provider) error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrations: %w", err)
		}
		return nil
	})
}

func list(ctx context.Context, c *pgx.ConnConfig, files fs.FS) ([]Migration, error) {
	var all []Migration
	err := with(c, files, func(p *goose.Provider) error {
		states, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("migrations: %w", err)
		}
		for _, s := range states {
			all = append(all, Migration{
				Version:   s.Source.Version,
				File:      path.Base(s.Source.Path),
				AppliedAt: s.AppliedAt,
			})
		}
		return nil
	})
	return all, err
}

// lockTimeout bounds how long a statement waits for a table. Whoever comes after it waits
// behind it, so it is less than what a function's own statements wait
// (lockTimeout of package postgres): a migration that gets no lock costs no payment. A file
// that needs more says SET LOCAL lock_timeout.
const lockTimeout = 3 * time.Second

func with(c *pgx.ConnConfig, files fs.FS, do func(*goose.Provider) error) error {
	c = c.Copy()
	if c.RuntimeParams["lock_timeout"] == "" {
		c.RuntimeParams["lock_timeout"] = strconv.FormatInt(lockTimeout.Milliseconds(), 10)
	}
	db := stdlib.OpenDB(*c)
	defer func() { _ = db.Close() }()
	provider, err := newProvider(db, files)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return do(provider)
}

func newProvider(db *sql.DB, files fs.FS) (*goose.Provider, error) {
	// Asked for every second and for five minutes: a deployment's second
	// runner waits for the first rather than failing.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true))
}

func hash(files fs.FS) string {
	sum := sha256.New()
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			panic(err) // the files are in the binary
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
