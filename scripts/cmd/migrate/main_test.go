package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestMigrateTwiceThenStatus(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	migrate := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), args, config.Map(map[string]string{"DATABASE_URL": url}), &out); err != nil {
			t.Fatalf("migrate %v: %v\n%s", args, err, out.String())
		}
		return out.String()
	}
	if out := migrate("--status"); !strings.Contains(out, "pending") || strings.Contains(out, "applied") {
		t.Errorf("status of an empty database:\n%s", out)
	}
	if out := migrate(); !strings.Contains(out, "applied 0001_") {
		t.Errorf("the first run:\n%s", out)
	}
	if out := migrate(); !strings.Contains(out, "0 applied now") || strings.Contains(out, "roles") {
		t.Errorf("the second run:\n%s", out)
	}
	if out := migrate("--status"); strings.Contains(out, "pending") || !strings.Contains(out, "applied") {
		t.Errorf("status of a migrated database:\n%s", out)
	}
}

// What terraform says of accounts comes about by the run that makes the roles, and by each later one.
func TestLoginsGetTheirRoles(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	const settle, ops = "run-settle@migrate-test.iam", "run-ops@migrate-test.iam"
	for _, name := range []string{settle, ops} {
		if _, err := conn.Exec(t.Context(), `CREATE ROLE "`+name+`" LOGIN`); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := conn.Exec(context.Background(), `DROP ROLE "`+name+`"`); err != nil {
				t.Error(err)
			}
		})
	}
	for range 2 {
		var out bytes.Buffer
		err := run(t.Context(), []string{"--database-url", url}, config.Map(map[string]string{
			"DATABASE_LOGINS": "tollgate_settle=" + settle + "\ntollgate_operator=" + ops + "\n",
		}), &out)
		if err != nil || !strings.Contains(out.String(), "2 accounts have their roles") {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	for sql, want := range map[string]bool{
		`SELECT pg_has_role('` + settle + `', 'tollgate_settle', 'MEMBER')`:     true,
		`SELECT pg_has_role('` + ops + `', 'tollgate_operator', 'MEMBER')`:      true,
		`SELECT pg_has_role('` + settle + `', 'tollgate_operator', 'MEMBER')`:   false,
		`SELECT has_table_privilege('` + settle + `', 'settlements', 'INSERT')`: true,
		`SELECT has_table_privilege('` + settle + `', 'merchants', 'INSERT')`:   false,
	} {
		var got bool
		if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %t, %v", sql, got, err)
		}
	}
}

// An account that is only a member of one that may create roles says so in its URL.
func TestWhoMayNotCreateRolesIsTold(t *testing.T) {
	t.Parallel()
	url := pgtest.Login(t, pgtest.New(t), "tollgate_operator")
	err := run(t.Context(), []string{"--database-url", url}, config.Map(nil), &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "?role=NAME") {
		t.Errorf("%v", err)
	}
}

func TestErrorsNameTheFixAndKeepThePassword(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"no database", nil, nil, "DATABASE_URL"},
		{"not a URL", []string{"--database-url", "postgres://u:hunter2@[x"}, nil, "URL"},
		{"nobody there", []string{"--database-url", "postgres://u:hunter2@127.0.0.1:1/x"}, nil, "connect"},
		{"surplus argument", []string{"up"}, nil, `"up"`},
		{"no login", []string{"--database-url", "postgres://u:hunter2@127.0.0.1:1/x"}, map[string]string{"DATABASE_LOGINS": "tollgate_settle"}, "role=login"},
	} {
		err := run(t.Context(), c.args, config.Map(c.env), &bytes.Buffer{})
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q does not mention %s", c.name, err, c.want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", c.name, err)
		}
	}
}
