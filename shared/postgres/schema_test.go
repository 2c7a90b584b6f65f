package postgres_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestTheSchemaVersionIsTheNewestMigrations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migrations/[0-9]*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("migrations: %v, %v", files, err)
	}
	number, _, _ := strings.Cut(filepath.Base(files[len(files)-1]), "_")
	if newest, err := strconv.Atoi(number); err != nil || newest != postgres.SchemaVersion {
		t.Errorf("SchemaVersion is %d, the newest migration is %s", postgres.SchemaVersion, number)
	}
}

func TestAnOlderSchemaDoesNotFit(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if err := postgres.CheckSchema(t.Context(), tx); err != nil {
		t.Errorf("a migrated database: %v", err)
	}
	change := func(sql string) {
		t.Helper()
		if _, err := tx.Exec(t.Context(), sql, postgres.SchemaVersion); err != nil {
			t.Fatal(err)
		}
	}
	change(`INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1::bigint + 1, true)`)
	if err := postgres.CheckSchema(t.Context(), tx); err != nil {
		t.Errorf("a newer one: %v", err)
	}
	change(`DELETE FROM goose_db_version WHERE version_id >= $1::bigint`)
	if err := postgres.CheckSchema(t.Context(), tx); err == nil || !strings.Contains(err.Error(), "scripts/migrate") {
		t.Errorf("an older one: %v", err)
	}
	change(`DELETE FROM goose_db_version WHERE version_id <= $1::bigint`)
	if err := postgres.CheckSchema(t.Context(), tx); err == nil {
		t.Error("an empty one fits")
	}
}
