package postgres

import (
	"context"
	"fmt"
)

// SchemaVersion is the version of the schema that this code needs: the number of the
// newest migration.
const SchemaVersion = 13

// schemaVersion reads the table that goose keeps beside the migrations.
const schemaVersion = `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`

// CheckSchema fails if the database's schema is older than the code. A newer one fits: a
// migration leaves the release before it working, and that is what runs during a roll-out
// and after a roll-back.
func CheckSchema(ctx context.Context, db DB) error {
	var version int64
	if err := db.QueryRow(ctx, schemaVersion).Scan(&version); err != nil {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	if version < SchemaVersion {
		return fmt.Errorf("the schema is of version %d, and this needs %d: run scripts/migrate first", version, SchemaVersion)
	}
	return nil
}
