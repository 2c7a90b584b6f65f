package chaos

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// texts reads rows of one text.
func (w *world) texts(sql string, args ...any) []string {
	rows, err := w.pool.Query(w.ctx, sql, args...)
	if err == nil {
		var all []string
		if all, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			return all
		}
	}
	panic(fmt.Sprintf("chaos: %s: %v", sql, err))
}

// query reads rows, by the names of their columns.
func query[T any](w *world, sql string, args ...any) []T {
	rows, err := w.pool.Query(w.ctx, sql, args...)
	if err == nil {
		var all []T
		if all, err = pgx.CollectRows(rows, pgx.RowToStructByName[T]); err == nil {
			return all
		}
	}
	panic(fmt.Sprintf("chaos: %s: %v", sql, err)) // the database is not among the troubles
}
