package settlement

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

// A chunk reads what it takes, and not all that is left of its settlement, though the lines
// were made a moment ago and the planner knows nothing of them; and so does the search for
// the next merchant.
func TestChunksGoAlongAnIndex(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 300, Fee: 1, At: noon})
	r.plant(settlementtest.Seed{Name: "b", Payments: 300, Currency: "USD", At: noon})
	plan := func(sql string, args ...any) string {
		return strings.Join(r.texts(`EXPLAIN `+sql, args...), "\n")
	}
	if p := plan(selectGroup, r.shop, "JPY"); !strings.Contains(p, "using unsettled_entries_merchant") || strings.Contains(p, "Sort") {
		t.Errorf("the next merchant:\n%s", p)
	}
	r.nightly()
	settled, err := id.Parse(r.text(`SELECT id FROM settlements LIMIT 1`))
	r.must(err)
	if p := plan(selectChunk, settled, nil, 1000); !strings.Contains(p, "using settlement_lines_chunk") || !strings.Contains(p, "Unique") || strings.Contains(p, "Seq Scan on settlement_lines") {
		t.Errorf("the next chunk:\n%s", p)
	}
	if p := plan(selectManifest, settled, 0, manifestPage); !strings.Contains(p, "using settlement_lines_pkey") {
		t.Errorf("the manifest:\n%s", p)
	}
}
