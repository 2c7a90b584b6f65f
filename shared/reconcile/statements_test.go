package reconcile

import (
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE tollgate_function`); err != nil {
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
