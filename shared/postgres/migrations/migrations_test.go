package migrations_test

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestApplyBringsTheWholeSchemaOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := pgtest.Empty(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	before, err := migrations.List(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range before {
		if !m.AppliedAt.IsZero() {
			t.Errorf("%s is applied in an empty database", m.File)
		}
	}
	for range 2 {
		if err := migrations.Apply(ctx, url); err != nil {
			t.Fatal(err)
		}
	}
	after, err := migrations.List(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) == 0 || len(after) != len(before) {
		t.Errorf("%d migrations before, %d after", len(before), len(after))
	}
	for _, m := range after {
		if m.AppliedAt.IsZero() {
			t.Errorf("%s is still pending", m.File)
		}
	}
}

func TestTwoRunnersTakeTurns(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := migrations.Apply(context.Background(), url); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAFileThatFailsIsUndoneAndTheOnesBeforeItStay(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := pgtest.Empty(t)
	files := fstest.MapFS{
		"0001_good.sql": {Data: []byte("-- +goose Up\nCREATE TABLE good ();\n")},
		"0002_bad.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE half ();\nSELECT nonsense;\n")},
	}
	err := migrations.ApplyFiles(ctx, url, files)
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Fatalf("got %v, want PostgreSQL's complaint", err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var good, half bool
	err = conn.QueryRow(ctx, "SELECT to_regclass('good') IS NOT NULL, to_regclass('half') IS NOT NULL").Scan(&good, &half)
	if err != nil {
		t.Fatal(err)
	}
	if !good || half {
		t.Errorf("good is there: %t, half is there: %t; want true, false", good, half)
	}
}

// Forward only, and in an order that a reader sees.
// A migration that can't have a table at once gives up before those who wait behind it do,
// and is done when it is given again.
func TestAMigrationHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := pgtest.Empty(t)
	files := fstest.MapFS{"0001_t.sql": {Data: []byte("-- +goose Up\nCREATE TABLE t ();\n")}}
	if err := migrations.ApplyFiles(ctx, url, files); err != nil {
		t.Fatal(err)
	}
	reader := connect(t, url)
	tx, err := reader.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM t`); err != nil {
		t.Fatal(err)
	}
	files["0002_t.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE t ADD COLUMN x int;\n")}
	patient, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	if err := migrations.ApplyFiles(patient, url, files); !postgres.HasCode(err, "55P03") { // lock_not_available
		t.Errorf("got %v, want the lock given up", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := migrations.ApplyFiles(ctx, url, files); err != nil {
		t.Errorf("given again: %v", err)
	}
}

func TestTheFilesAreNumberedWithoutGapsAndOnlyGoUp(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(migrations.Schema, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^(\d{4})_[a-z0-9_]+\.sql$`)
	for i, name := range names {
		text, err := fs.ReadFile(migrations.Schema, name)
		if err != nil {
			t.Fatal(err)
		}
		number := form.FindStringSubmatch(name)
		if want := fmt.Sprintf("%04d", i+1); number == nil || number[1] != want {
			t.Errorf("%s: want %s_what.sql", name, want)
		}
		if strings.Contains(string(text), "+goose Down") {
			t.Errorf("%s has a way down; write a new migration instead", name)
		}
	}
}

func TestHashFollowsTheContents(t *testing.T) {
	t.Parallel()
	base := fstest.MapFS{"0001_a.sql": {Data: []byte("x")}, "0002_b.sql": {Data: []byte("y")}}
	same := fstest.MapFS{"0002_b.sql": {Data: []byte("y")}, "0001_a.sql": {Data: []byte("x")}}
	if migrations.HashFiles(base) != migrations.HashFiles(same) {
		t.Error("the same files have two hashes")
	}
	for what, other := range map[string]fstest.MapFS{
		"text": {"0001_a.sql": {Data: []byte("x")}, "0002_b.sql": {Data: []byte("z")}},
		"name": {"0001_a.sql": {Data: []byte("x")}, "0002_c.sql": {Data: []byte("y")}},
		"more": {"0001_a.sql": {Data: []byte("x")}, "0002_b.sql": {Data: []byte("y")}, "0003_c.sql": {}},
	} {
		if migrations.HashFiles(base) == migrations.HashFiles(other) {
			t.Errorf("another %s, the same hash", what)
		}
	}
}
