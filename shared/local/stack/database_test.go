package stack

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// databaseOnly is a stack with a database and nothing else.
func databaseOnly(t *testing.T, url string) *Stack {
	t.Helper()
	s := &Stack{}
	if err := s.openDatabase(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.closeDatabase)
	return s
}

// Every function, and scripts/ops, logs in as itself: no superuser is behind the role, and no other role is to be had.
func TestFunctionsHaveTheirRoleAlone(t *testing.T) {
	t.Parallel()
	s := databaseOnly(t, pgtest.New(t))
	urls := map[string]string{operator: s.OperatorURL}
	for _, name := range Functions() {
		urls[name] = HostConfig{Databases: s.databases}.variablesOf(t, name)["DATABASE_URL"]
	}
	for name, url := range urls {
		db, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { _ = db.Close(context.Background()) })
		var roles string
		err = db.QueryRow(t.Context(), `SELECT string_agg(rolname, ' ') FROM pg_roles
			WHERE rolname <> session_user AND pg_has_role(session_user, oid, 'MEMBER')`).Scan(&roles)
		if err != nil || roles != "tollgate_"+name {
			t.Errorf("%s is a member of %s, %v", name, roles, err)
		}
		other := "settle"
		if name == other {
			other = "sweep"
		}
		for _, sql := range []string{`RESET ROLE; DELETE FROM events`, `SET ROLE postgres`, `SET SESSION AUTHORIZATION postgres`, `SET ROLE tollgate_` + other} {
			if _, err := db.Exec(t.Context(), sql); !postgres.HasCode(err, "42501") { // insufficient_privilege
				t.Errorf("%s: %s: %v", name, sql, err)
			}
		}
	}
}

func (c HostConfig) variablesOf(t *testing.T, name string) map[string]string {
	t.Helper()
	for _, f := range functions {
		if f.name == name {
			return f.variables(c)
		}
	}
	t.Fatalf("there is no function %s", name)
	return nil
}

// Two stacks of one server do not know each other, and what a stack made there goes with it.
func TestLoginsGoWithTheStack(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	server, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	there := func(s *Stack) (n int) {
		for _, l := range s.logins {
			var found int
			if err := server.QueryRow(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname = $1`, l.Name).Scan(&found); err != nil {
				t.Fatal(err)
			}
			n += found
		}
		return n
	}
	first, second := databaseOnly(t, url), databaseOnly(t, url)
	want := len(Functions()) + 1
	if a, b := there(first), there(second); a != want || b != want {
		t.Errorf("%d and %d logins, want %d", a, b, want)
	}
	first.closeDatabase()
	if a, b := there(first), there(second); a != 0 || b != want {
		t.Errorf("afterwards %d and %d logins, want 0 and %d", a, b, want)
	}
}
