package reconcile

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Backlog is the open differences of a kind.
type Backlog struct {
	Kind   Kind       `db:"kind"`
	Count  int64      `db:"count"`
	Oldest *time.Time `db:"oldest"` // nil when there is none
}

const selectBacklog = `
	SELECT k.kind, count(d.id) AS count, min(d.opened_at) AS oldest
	FROM unnest($1::text[]) k(kind) LEFT JOIN differences d ON d.kind = k.kind AND d.state = 'OPEN'
	GROUP BY k.kind`

// ReadBacklog counts the open differences of every kind, also of those that have none.
func ReadBacklog(ctx context.Context, db postgres.DB) ([]Backlog, error) {
	kinds := make([]string, 0, len(Kinds()))
	for _, k := range Kinds() {
		kinds = append(kinds, string(k))
	}
	rows, _ := db.Query(ctx, selectBacklog, kinds) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Backlog])
	return all, fault.Wrap(err, "count open differences")
}
