// Package pgtest gives tests a real, migrated PostgreSQL database.
//
// Tx is for most tests: a transaction that is rolled back. Where commits, locks
// or several connections matter, Pool and New give the test a database of its
// own, which costs some tens of milliseconds more.
//
// The server is the one that TOLLGATE_TEST_POSTGRES names, the URL of a
// superuser: scripts/test starts one for all the packages it tests. Without the
// variable a test binary starts its own when it first needs one, and the server
// goes when the binary does. Either way every test may run in parallel.
package pgtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pglocal"
)

// ServerVariable names the environment variable with the URL of the server.
const ServerVariable = "TOLLGATE_TEST_POSTGRES"

// Tx returns a transaction that is rolled back when the test ends. Tests of one
// package share its database, so rows that are unique must differ between them,
// or the tests wait for each other.
func Tx(t testing.TB) pgx.Tx {
	t.Helper()
	ctx := context.Background() // the test's own is over before its cleanup
	conn, err := pgx.Connect(ctx, common(t))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() { _ = tx.Rollback(ctx) })
	return tx
}

// Pool returns a pool of at most 20 connections to a database of the test's
// own. Both go when the test ends.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(New(t))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	config.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// New returns the URL of a migrated database of the test's own, which is
// dropped, connections and all, when the test ends.
func New(t testing.TB) string {
	t.Helper()
	s := server(t)
	template, err := s.template(context.Background())
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s.forTest(t, template)
}

// Empty is New without the schema.
func Empty(t testing.TB) string {
	t.Helper()
	return server(t).forTest(t, "template0")
}

func (s *cluster) forTest(t testing.TB, template string) string {
	t.Helper()
	name := databaseName()
	if err := s.create(context.Background(), name, template); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.drop(context.Background(), name); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return s.url(name)
}

// common is the database that this test binary's transactions share.
func common(t testing.TB) string {
	t.Helper()
	url, err := commonURL()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return url
}

var commonURL = sync.OnceValues(func() (string, error) {
	ctx := context.Background()
	s, err := theCluster()
	if err != nil {
		return "", err
	}
	template, err := s.template(ctx)
	if err != nil {
		return "", err
	}
	name := databaseName()
	return s.url(name), s.create(ctx, name, template)
})

func server(t testing.TB) *cluster {
	t.Helper()
	s, err := theCluster()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s
}

var theCluster = sync.OnceValues(func() (*cluster, error) {
	admin := os.Getenv(ServerVariable)
	if admin == "" {
		s, err := pglocal.Start(context.Background(), pglocal.Options{})
		if err != nil {
			return nil, err
		}
		admin = s.URL("postgres") // never stopped: it ends with this process
	}
	u, err := url.Parse(admin)
	if err != nil {
		return nil, err
	}
	return &cluster{admin: *u, hash: migrations.Hash(), migrate: migrations.Apply}, nil
})

func databaseName() string { return "test_" + strings.ToLower(rand.Text()) }
