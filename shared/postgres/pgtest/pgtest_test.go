package pgtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestTxSeesTheSchemaAndIsRolledBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const count = "SELECT count(*) FROM pg_tables WHERE tablename = 'pgtest_rolled_back'"
	var n int
	t.Run("inside", func(t *testing.T) {
		tx := Tx(t)
		var schema bool
		err := tx.QueryRow(ctx, "SELECT to_regclass('transactions') IS NOT NULL").Scan(&schema)
		if err != nil || !schema {
			t.Fatalf("the table transactions: found %t, %v", schema, err)
		}
		if _, err := tx.Exec(ctx, "CREATE TABLE pgtest_rolled_back ()"); err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(ctx, count).Scan(&n); err != nil || n != 1 {
			t.Fatalf("inside the transaction: %d tables, %v", n, err)
		}
	})
	if err := Tx(t).QueryRow(ctx, count).Scan(&n); err != nil || n != 0 {
		t.Errorf("after the test: %d tables, %v", n, err)
	}
}

func TestPoolsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	one, two := Pool(t), Pool(t)
	if _, err := one.Exec(ctx, "CREATE TABLE mine ()"); err != nil {
		t.Fatal(err)
	}
	var there bool
	if err := two.QueryRow(ctx, "SELECT to_regclass('mine') IS NOT NULL").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there {
		t.Error("a table made in one database is in the other")
	}
}

func TestTheDatabaseGoesWithTheTestEvenWhenInUse(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var name string
	t.Run("inside", func(t *testing.T) {
		conn, err := pgx.Connect(ctx, New(t)) // and never closed
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(ctx, "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
	})
	var there bool
	err := Tx(t).QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there)
	if err != nil || there {
		t.Errorf("database %s: there is %t, %v", name, there, err)
	}
}

func TestEmptyHasNoTables(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	var n int
	err = conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&n)
	if err != nil || n != 0 {
		t.Errorf("%d tables, %v", n, err)
	}
}

// Several clusters on one server are what several test binaries are to each other.
func TestTheTemplateIsMadeOnceByWhoeverComesFirst(t *testing.T) {
	t.Parallel()
	s := server(t)
	hash := databaseName()
	var made atomic.Int32
	migrate := func(ctx context.Context, url string) error {
		made.Add(1)
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE TABLE once ()")
		return errors.Join(err, conn.Close(ctx))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := &cluster{admin: s.admin, hash: hash, migrate: migrate}
			template, err := c.template(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			conn, err := pgx.Connect(context.Background(), c.forTest(t, template))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			if _, err := conn.Exec(context.Background(), "SELECT FROM once"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("migrated %d times, want once", n)
	}
}

func TestAFailedMigrationLeavesNoTemplate(t *testing.T) {
	t.Parallel()
	s := server(t)
	c := &cluster{admin: s.admin, hash: databaseName()}
	broken := errors.New("broken")
	c.migrate = func(context.Context, string) error { return broken }
	if _, err := c.template(t.Context()); !errors.Is(err, broken) {
		t.Fatalf("got %v, want the migration's error", err)
	}
	c.migrate = func(context.Context, string) error { return nil }
	if _, err := c.template(t.Context()); err != nil {
		t.Errorf("a second try after the failure: %v", err)
	}
}

// failures counts them, in place of failing.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Errorf(string, ...any) { f.n++ }

func TestUndeniedFindsDenials(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	f := &failures{TB: t}
	w := Undenied(f, &log)
	const fine, denied = `{"error":"ERROR: x (SQLSTATE 23505)"}`, `{"error":"ERROR: permission denied for table events (SQLSTATE 42501)"}`
	for i, line := range []string{fine, denied, fine} {
		if _, err := io.WriteString(w, line); err != nil || f.n != min(i, 1) {
			t.Errorf("%s: %d failures, %v", line, f.n, err)
		}
	}
	if log.String() != fine+denied+fine {
		t.Errorf("handed on: %s", log.String())
	}
}

func TestALoginHasItsRoleAndGoesWithTheTest(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	database := New(t)
	var login string
	t.Run("inside", func(t *testing.T) {
		conn, err := pgx.Connect(ctx, Login(t, database, "tollgate_getpayment"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		if err := conn.QueryRow(ctx, "SELECT session_user FROM transactions RIGHT JOIN (SELECT) x ON true").Scan(&login); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "DELETE FROM transactions"); err == nil {
			t.Error("it may delete")
		}
	})
	var there bool
	err := Tx(t).QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", login).Scan(&there)
	if err != nil || there || login == "" {
		t.Errorf("login %s: there is %t, %v", login, there, err)
	}
}
