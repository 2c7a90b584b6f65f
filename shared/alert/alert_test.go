package alert

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

var epoch = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// An alert that is raised while it is open counts; one that was resolved is another.
func TestAnAlertIsOpenOnce(t *testing.T) {
	t.Parallel()
	db, now := pgtest.Tx(t), epoch
	newID := id.Source{Now: func() time.Time { return now }}.New
	do := func(queue func(b *pgx.Batch)) {
		t.Helper()
		now = now.Add(time.Minute)
		var b pgx.Batch
		queue(&b)
		if err := postgres.Pipeline(t.Context(), db, &b); err != nil {
			t.Fatal(err)
		}
	}
	raise := func(kind string, severity Severity, detail string) {
		t.Helper()
		do(func(b *pgx.Batch) {
			Queue(b, newID(), Alert{kind, "alert-test", severity, map[string]string{"what": detail}}, now)
		})
	}
	open := func(warnings, criticals int64) {
		t.Helper()
		got, err := CountOpen(t.Context(), db)
		if err != nil || got[Warning] != warnings || got[Critical] != criticals {
			t.Errorf("open: %v, %v; want %d and %d", got, err, warnings, criticals)
		}
	}
	open(0, 0)
	raise("late", Warning, "first")
	raise("late", Critical, "second")
	raise("lost", Warning, "another")
	open(1, 1)
	do(func(b *pgx.Batch) { QueueResolve(b, "late", "alert-test", now) })
	do(func(b *pgx.Batch) { QueueResolve(b, "late", "alert-test", now) })
	open(1, 0)
	raise("late", Warning, "third")
	open(2, 0)

	rows, err := About(t.Context(), db, "alert-test")
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d alerts, %v", len(rows), err)
	}
	first := rows[0]
	if first.Times != 2 || first.Severity != Critical || !strings.Contains(string(first.Detail), "second") || first.ResolvedAt == nil ||
		!first.ResolvedAt.Equal(epoch.Add(4*time.Minute)) || !first.OpenedAt.Equal(epoch.Add(time.Minute)) {
		t.Errorf("the first: %+v", first)
	}
	if again := rows[2]; again.Times != 1 || again.ResolvedAt != nil {
		t.Errorf("raised again: %+v", again)
	}
}
