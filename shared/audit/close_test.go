package audit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for i, sql := range audit.Statements() {
		if _, err := tx.Prepare(t.Context(), fmt.Sprint("s", i), sql); err != nil {
			t.Errorf("%v in:%s", err, sql)
		}
	}
}

// failing is a vault that is away from its nth call on, until it is mended.
type failing struct {
	audit.Vault
	left atomic.Int64
	then func() error
}

func (v *failing) Create(ctx context.Context, name string, content []byte) error {
	if v.left.Add(-1) < 0 {
		if err := v.then(); err != nil {
			return err
		}
	}
	return v.Vault.Create(ctx, name, content)
}

func (v *failing) Read(ctx context.Context, name string) ([]byte, error) {
	if v.left.Add(-1) < 0 {
		if err := v.then(); err != nil {
			return nil, err
		}
	}
	return v.Vault.Read(ctx, name)
}

// However far sealing came, the next run ends it, with the seals that one run would have made.
func TestSealingGoesOnWhereItWasCutShort(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other, _ := r.Merchant("Another shop")
	r.trade(r.Shop, 2)
	r.trade(other, 2)
	away := errors.New("the vault is away")
	v := &failing{Vault: r.Vault, then: func() error { return away }}
	r.Vault = v
	r.Advance(2 * time.Hour)
	for cut := range int64(8) {
		v.left.Store(cut % 4)
		if _, err := r.ClosePeriods(t.Context()); err == nil {
			t.Fatalf("run %d: closed without its seals", cut)
		}
		if n := r.text(`SELECT count(*)::text FROM closed_periods WHERE closed_at IS NOT NULL`); n != "0" {
			t.Fatalf("run %d: %s periods are closed", cut, n)
		}
	}
	v.left.Store(1 << 40)
	r.close()
	totals, found := r.verify()
	if len(found) > 0 || totals.Merchants != 2 {
		t.Errorf("%+v found %v", totals, found)
	}
	if n := r.text(`SELECT count(*)::text FROM operator_alerts`); n != "0" {
		t.Errorf("%s alerts", n)
	}
}

// A row whose transaction began before the period ended, and commits after, is in the seal.
func TestSealingWaitsForTransactionsThatAreOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 1)
	late, err := r.World.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = late.Exec(t.Context(), `
		INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, action, delta, actor, request_id, at)
		SELECT transaction_id, $1, merchant_id, object, object_id, 'intent', 'capture', '{}', 'merchant:late', '', at
		FROM transaction_audit_log WHERE id = $2`, r.Env.NewID(), r.row(0))
	if err != nil {
		t.Fatal(err)
	}
	r.Advance(2 * time.Hour)
	closed := make(chan error, 1)
	go func() {
		_, err := r.ClosePeriods(t.Context())
		closed <- err
	}()
	for r.text(`SELECT count(marked_by)::text FROM closed_periods`) == "0" {
		select {
		case err := <-closed:
			t.Fatalf("closed under an open transaction: %v", err)
		default:
		}
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Logf("left to the next run: %v", err)
		r.close()
	}
	totals, found := r.verify()
	if rows := r.text(`SELECT count(*)::text FROM transaction_audit_log`); len(found) > 0 || fmt.Sprint(totals.Rows) != rows {
		t.Errorf("%+v of %s rows, found %v", totals, rows, found)
	}
	// And what comes later than that does not get in.
	_, err = r.World.Pool.Exec(t.Context(), `
		INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, action, delta, actor, request_id, at)
		SELECT transaction_id, $1, merchant_id, object, object_id, 'intent', 'capture', '{}', 'merchant:late', '', at
		FROM transaction_audit_log WHERE id = $2`, r.Env.NewID(), r.row(0))
	if err == nil {
		t.Error("a closed period took another row")
	}
}

// Seals that were taken out of the database are not made again over those of the vault: that
// is raised, and the chain goes on.
func TestSealingOverAnotherSealIsRaised(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 1)
	r.close()
	r.tamper(`DELETE FROM audit_seals`)
	before := r.files()
	r.trade(r.Shop, 1)
	r.close()
	if after := r.files(); !slices.Equal(after[:len(before)], before) || len(after) != 2*len(before) {
		t.Errorf("the vault had %d seals, and now %d", len(before), len(after))
	}
	if n := r.text(`SELECT string_agg(subject, ', ' ORDER BY subject) FROM operator_alerts`); n != fmt.Sprintf(
		"seal_forked merchant %[1]s seal 1, seal_forked merchant %[1]s seal 2", r.Shop) {
		t.Errorf("raised %s", n)
	}
	r.want("seal_missing merchant "+r.Shop.String()+" seal 1", "seal_missing merchant "+r.Shop.String()+" seal 2")
}

func (r *rig) files() []string {
	r.t.Helper()
	var all []string
	err := filepath.WalkDir(r.folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			text, err := os.ReadFile(path)
			all = append(all, path+string(text))
			return err
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func TestTheDatabaseRefusesToChangeSeals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 1)
	r.close()
	for _, sql := range []string{`UPDATE audit_seals SET row_count = 1`, `DELETE FROM audit_seals`, `TRUNCATE audit_seals`} {
		if _, err := r.World.Pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("the database allows %s", sql)
		}
		err := pgx.BeginFunc(t.Context(), r.World.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE tollgate_verifyaudit`); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		if err == nil {
			t.Errorf("a function may %s", sql)
		}
	}
}

// closeAll closes what has ended, however long transactions of other tests are open.
func closeAll(t *testing.T, s *audit.Service) {
	t.Helper()
	for {
		_, err := s.ClosePeriods(t.Context())
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "still open") {
			t.Fatal(err)
		}
	}
}

// Two runs at once, of which one is ahead, seal what one would have sealed.
func TestARunThatIsOvertakenSealsNothingAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	last := r.Shop
	for i := range 9 { // more than are sealed at a time
		last, _ = r.Merchant(fmt.Sprint("Shop ", i))
		r.trade(last, 1)
	}
	r.Advance(2 * time.Hour)
	ahead := *r.Service
	blocked, goOn := make(chan struct{}, 100), make(chan struct{})
	slow := *r.Service
	slow.Vault = &failing{Vault: r.Vault, then: func() error {
		blocked <- struct{}{}
		<-goOn
		return nil
	}}
	closed := make(chan error, 1)
	run := func() {
		_, err := slow.ClosePeriods(t.Context())
		closed <- err
	}
	go run()
	for waiting := true; waiting; {
		select {
		case <-blocked:
			waiting = false
		case err := <-closed:
			if !strings.Contains(err.Error(), "still open") { // a transaction of another test
				t.Fatalf("the slow run ended: %v", err)
			}
			go run()
		}
	}
	r.Service = &ahead
	r.close()
	r.trade(last, 1)
	r.close()
	close(goOn)
	if err := <-closed; err == nil {
		t.Error("two runs have closed the same period")
	}
	totals, found := r.verify()
	if len(found) > 0 || totals.Merchants != 9 {
		t.Errorf("%+v found %v", totals, found)
	}
}

// A run that ends a period while another is about to, of a later end, keeps what it sealed
// out of the other's.
func TestTwoRunsThatEndPeriodsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 2)
	r.Advance(2 * time.Hour)
	first := *r.Service
	first.Now = func() time.Time { return r.World.Clock.Now().Add(-time.Minute) }
	second := *r.Service
	calls := 0
	second.Now = func() time.Time {
		if calls++; calls == 2 { // between the look for the last period and the mark of the next
			closeAll(t, &first)
		}
		return r.World.Clock.Now()
	}
	closeAll(t, &second)
	totals, found := r.verify()
	if len(found) > 0 || totals.Rows == 0 {
		t.Errorf("%+v found %v", totals, found)
	}
}

// A period that is closed while its merchant is verified is left to the next verification:
// what was read before is a part of it.
func TestAPeriodIsClosedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 1)
	r.close()
	r.trade(r.Shop, 1)
	r.Advance(2 * time.Hour)
	other := *r.Service
	v := &failing{Vault: r.Vault}
	v.then = func() error {
		v.left.Store(1 << 40)
		closeAll(t, &other)
		return nil
	}
	r.Vault = v
	if _, found := r.verify(); len(found) > 0 {
		t.Errorf("found %v", found)
	}
	if totals, found := r.verify(); len(found) > 0 || totals.Seals < 4 {
		t.Errorf("%+v found %v", totals, found)
	}
}
