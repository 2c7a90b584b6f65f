package audit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/audit"
)

// A pass that is cut short goes on where it was, and in the end everything was looked at.
func TestAPassGoesOnOverSeveralRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other, _ := r.Merchant("Another shop")
	for range 3 {
		r.trade(r.Shop, 1)
		r.trade(other, 1)
		r.close()
	}
	v := &failing{Vault: r.Vault}
	r.Vault = v
	runs := 0
	var first audit.Pass
	for done := false; !done; runs++ {
		budget, cancel := context.WithCancel(t.Context())
		v.then = func() error { cancel(); return nil } // a budget that is over after so many seals
		v.left.Store(int64(2 * runs % 7))
		var err error
		var p audit.Pass
		if p, done, err = r.Verify(t.Context(), budget); err != nil {
			t.Fatal(err)
		}
		cancel()
		switch {
		case runs == 0:
			first = p
		case p.ID != first.ID:
			t.Fatal("another pass was begun")
		case done && (p.Merchants != 2 || p.Payments != 6 || p.Findings != 0 || p.Seals != 12 || p.Rows != 36):
			t.Errorf("in the end: %+v", p)
		}
		r.Advance(time.Minute)
	}
	if runs < 3 {
		t.Errorf("it took %d runs", runs)
	}
	at, err := audit.LastPass(t.Context(), r.World.Pool)
	if err != nil || at == nil {
		t.Errorf("finished at %v %v", at, err)
	}
	next, done, err := r.Verify(t.Context(), t.Context())
	if err != nil || !done || next.ID == first.ID {
		t.Errorf("the next pass: %+v %t %v", next, done, err)
	}
}

// What is found is an alert, once, for as long as a person leaves it open.
func TestFindingsAreRaisedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 1)
	r.close()
	row := r.row(1)
	r.tamper(`UPDATE transaction_audit_log SET actor = 'operator:nobody' WHERE id = '` + row + `'`)
	for range 2 {
		p, done, err := r.Verify(t.Context(), t.Context())
		if err != nil || !done || p.Findings != 1 {
			t.Fatalf("%+v %t %v", p, done, err)
		}
	}
	got := r.text(`SELECT string_agg(kind || ' ' || severity || ' ' || times || ' ' || subject, ',') FROM operator_alerts`)
	if !strings.HasPrefix(got, "audit critical 2 row_rewritten row "+row) {
		t.Errorf("raised %s", got)
	}
	if detail := r.text(`SELECT detail::text FROM operator_alerts`); !strings.Contains(detail, row) || !strings.Contains(detail, "SELECT * FROM transaction_audit_log") {
		t.Errorf("detail %s", detail)
	}
	if !strings.Contains(r.World.Log.String(), "row_rewritten") {
		t.Error("nothing in the log")
	}
}

func TestAMerchantIsVerifiedByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other, _ := r.Merchant("Another shop")
	r.trade(r.Shop, 1)
	r.trade(other, 1)
	if totals, err := r.VerifyMerchant(t.Context(), r.Shop, func(f audit.Finding) { t.Error(f) }); err != nil || totals.Rows != 0 {
		t.Errorf("before any period is closed: %+v %v", totals, err)
	}
	r.close()
	r.tamper(`UPDATE transaction_audit_log SET actor = 'operator:nobody' WHERE id = '` + r.row(1) + `'`)
	n := 0
	if _, err := r.VerifyMerchant(t.Context(), other, func(f audit.Finding) { t.Error(f) }); err != nil {
		t.Error(err)
	}
	totals, err := r.VerifyMerchant(t.Context(), r.Shop, func(audit.Finding) { n++ })
	if err != nil || n != 1 || totals.Findings != 1 {
		t.Errorf("%+v, %d findings, %v", totals, n, err)
	}
}
