package audit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func (r *rig) pools(into string) (*pgxpool.Pool, *pgxpool.Pool) {
	r.t.Helper()
	var pools []*pgxpool.Pool
	for _, url := range []string{r.World.Pool.Config().ConnString(), into} {
		pool, err := audit.OpenRebuild(r.t.Context(), url)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(pool.Close)
		pools = append(pools, pool)
	}
	return pools[0], pools[1]
}

func TestRebuildGivesAnEqualDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other, _ := r.Merchant("Another shop")
	r.trade(r.Shop, 3)
	r.trade(other, 2)
	r.Declined()
	p := r.paymentOf(r.row(0))
	r.close()
	from, into := r.pools(pgtest.New(t))
	var payments int64
	got, err := audit.Rebuild(t.Context(), from, into, func(n int64) { payments = n })
	if err != nil || !got.Equal() {
		t.Fatalf("%+v %v", got, err)
	}
	if got.Merchants != 2 || got.Rows["transactions"] != 6 || got.Rows["refunds"] != 5 || payments != 6 {
		t.Errorf("rebuilt %+v of %d payments", got, payments)
	}
	const amounts = `SELECT string_agg(concat_ws(' ', id, version, status, captured_minor, refunded_minor, personal_data_id), ',' ORDER BY id) FROM transactions`
	var a, b string
	if err := from.QueryRow(t.Context(), amounts).Scan(&a); err != nil {
		t.Fatal(err)
	}
	if err := into.QueryRow(t.Context(), amounts).Scan(&b); err != nil {
		t.Fatal(err)
	}
	if a != b || !strings.Contains(a, p) {
		t.Errorf("%s\n%s", a, b)
	}
	wrong, err := payment.AuditMismatches(t.Context(), into)
	if err != nil || len(wrong) > 0 {
		t.Errorf("the rebuilt database does not fold: %v %v", wrong, err)
	}
}

// The log alone decides: without one of its rows, the rebuilt database is not equal, and it
// is said where.
func TestRebuildSaysWhatTheLogLacks(t *testing.T) {
	t.Parallel()
	for name, which := range map[string]string{
		"the first version":    "1",
		"the last version":     "(SELECT max(version) FROM transaction_audit_log m WHERE m.object_id = l.object_id)",
		"one from the middle":  "2",
		"another than it says": "0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.trade(r.Shop, 2)
			p := r.paymentOf(r.row(0))
			if which == "0" {
				r.tamper(`UPDATE transaction_audit_log SET delta = delta || '{"payment_method": "pm_other"}' WHERE object_id = '` + p + `' AND version = 1`)
			} else {
				r.tamper(`DELETE FROM transaction_audit_log l WHERE object_id = '` + p + `' AND version = ` + which)
			}
			from, into := r.pools(pgtest.New(t))
			got, err := audit.Rebuild(t.Context(), from, into, func(int64) {})
			if err != nil || got.Equal() || !slices.Contains(got.Unequal, "transactions "+p) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

func TestRebuildRefusesADatabaseInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 1)
	from, same := r.pools(r.World.Pool.Config().ConnString())
	if _, err := audit.Rebuild(t.Context(), from, same, func(int64) {}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into itself: %v", err)
	}
	_, bare := r.pools(pgtest.Empty(t))
	if _, err := audit.Rebuild(t.Context(), from, bare, func(int64) {}); err == nil || !strings.Contains(err.Error(), "has to be migrated") {
		t.Errorf("into a database without tables: %v", err)
	}
	if _, err := audit.OpenRebuild(t.Context(), "postgres://%zz:secret@"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a wrong address: %v", err)
	}
}
