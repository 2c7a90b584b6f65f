package outbox

import (
	"testing"

	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for name, sql := range map[string]string{
		"insertEvent": insertEvent, "selectBacklog": selectBacklog, "claimKeys": claimKeys, "claimKey": claimKey,
		"markPublished": markPublished, "releaseFailed": releaseFailed,
	} {
		if _, err := tx.Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
