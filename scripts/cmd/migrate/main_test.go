package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestMigrateTwiceThenStatus(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	migrate := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), args, url, &out); err != nil {
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
	if out := migrate(); !strings.Contains(out, "0 applied now") {
		t.Errorf("the second run:\n%s", out)
	}
	if out := migrate("--status"); strings.Contains(out, "pending") || !strings.Contains(out, "applied") {
		t.Errorf("status of a migrated database:\n%s", out)
	}
}

func TestErrorsNameTheFixAndKeepThePassword(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no database", nil, "DATABASE_URL"},
		{"not a URL", []string{"--database-url", "postgres://u:hunter2@[x"}, "URL"},
		{"nobody there", []string{"--database-url", "postgres://u:hunter2@127.0.0.1:1/x"}, "connect"},
		{"surplus argument", []string{"up"}, `"up"`},
	} {
		err := run(t.Context(), c.args, "", &bytes.Buffer{})
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
