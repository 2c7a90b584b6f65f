package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pglocal"
)

// Login makes an account that has one role of the migrations, such as tollgate_settle, and
// no other rights, and returns the URL by which it logs in to the database of the given
// one, a superuser's. The account goes when the test ends.
func Login(t testing.TB, superuser, role string) string {
	t.Helper()
	u, err := url.Parse(superuser)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text()) + "@" + role
	password, verifier := pglocal.NewPassword()
	execute(t, superuser, "CREATE ROLE "+quote(name)+" LOGIN PASSWORD '"+verifier+"'")
	t.Cleanup(func() { execute(t, superuser, "DROP ROLE "+quote(name)) })
	config, err := pgx.ParseConfig(superuser)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	if _, err := migrations.Grant(context.Background(), config, []migrations.Login{{Role: role, Name: name}}); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	u.User = url.UserPassword(name, password)
	return u.String()
}

// Undenied hands logs on to w, and fails the test when one tells that PostgreSQL refused
// somebody a right: what is tried again later would hide it. Nothing may write to it once
// the test is over.
func Undenied(t testing.TB, w io.Writer) io.Writer { return undenied{t, w} }

type undenied struct {
	t testing.TB
	w io.Writer
}

func (u undenied) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("SQLSTATE 42501")) { // insufficient_privilege
		u.t.Errorf("a right is missing: %s", p)
	}
	return u.w.Write(p)
}

func execute(t testing.TB, url, sql string) {
	t.Helper()
	ctx := context.Background() // the test's own is over before its cleanup
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Errorf("pgtest: %v", err)
	}
}
