package reconcile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE tollgate_reconcile`); err != nil {
		t.Fatal(err)
	}
	for i, sql := range []string{
		selectSums, insertCheck, selectOpen, selectQuestioned, insertCursor, takeCursor, giveCursorBack, keepCursor, fenceCursor,
		listDifferences, selectByID, lockByID, selectLog, assign, bookIt, selectOrphan, insertDifference, updateDifference,
		closeDifference, agreeDifference, insertLog, insertEntry, selectMissing, touchPayouts, selectBacklog, selectBooks, selectCharged,
		selectDifferencesOf, selectEntries, selectEntriesOf, selectFactsOf, selectLoose, selectMerchantsOf, selectOrphanFacts,
		selectOwnersByID, selectOwnersByReference, selectOwnersByRefund, selectOwnersOfObjects, selectAged, selectOpenObjects,
		selectUnjudged, selectWaiting, updateEntry, noteDoubts, selectDoubts, selectMembers, selectPaid, selectPayouts, selectUnpaid,
		setPayout,
	} {
		if _, err := tx.Prepare(t.Context(), fmt.Sprint("s", i), sql); err != nil {
			t.Errorf("%v in:%s", err, sql)
		}
	}
}

// However many objects a batch has, their entries are found by an index, and so are those
// that no payout has.
func TestEntriesAreFoundByAnIndex(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), `
		INSERT INTO provider_entries (provider, account, id, kind, object_id, reference, currency, gross_minor, fee_minor, net_minor,
			payout_id, occurred_at, raw, imported_at, changed_at)
		SELECT 'stripe', 'test', 'txn_' || n, 'charge', 'ch_' || n, '', 'USD', 1, 0, 1, CASE WHEN n > 19900 THEN '' ELSE 'po_1' END, at, '{}', at, at
		FROM generate_series(1, 20000) n, LATERAL (SELECT timestamptz '2027-01-01' + n * interval '1 min' AS at) x;
		ANALYZE provider_entries; SET LOCAL enable_seqscan = off`); err != nil {
		t.Fatal(err)
	}
	var objects []string
	for n := range batch {
		objects = append(objects, fmt.Sprint("ch_", n))
	}
	for _, c := range []struct {
		sql, index string
		args       []any
	}{
		{selectEntries, "provider_entries_object", []any{"stripe", "test", objects}},
		{selectUnpaid, "provider_entries_unpaid", []any{"stripe", "test", epoch, "USD", mostUnpaid}},
	} {
		rows, _ := tx.Query(t.Context(), "EXPLAIN "+c.sql, c.args...)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); !strings.Contains(text, c.index+" on") && !strings.Contains(text, "on "+c.index) {
			t.Errorf("without %s:\n%.600s", c.index, text)
		}
	}
}
