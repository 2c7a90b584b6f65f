package audit_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/audit"
)

func TestWhatNobodyTouchedAgrees(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other, _ := r.Merchant("Another shop")
	r.trade(r.Shop, 3)
	r.trade(other, 1)
	r.close()
	r.close() // nothing happened: no seals
	r.trade(r.Shop, 1)
	r.close()
	totals, found := r.verify()
	rows := r.text(`SELECT count(*)::text FROM transaction_audit_log`)
	if len(found) > 0 || fmt.Sprint(totals.Rows) != rows || totals.Merchants != 2 || totals.Payments != 5 || totals.Seals < 6 {
		t.Errorf("%+v of %s rows, found %v", totals, rows, found)
	}
	if got := r.text(`SELECT string_agg(number::text, ',' ORDER BY number) FROM audit_seals WHERE merchant_id = $1`, r.Shop); !strings.HasPrefix(got, "1,2,3,4,") {
		t.Errorf("the shop's seals are numbered %s", got)
	}
	if got := r.text(`SELECT count(*)::text FROM closed_periods WHERE closed_at IS NOT NULL`); got != "3" {
		t.Errorf("%s periods are closed", got)
	}
	r.trade(r.Shop, 1) // not sealed yet
	r.want()
}

// Every column of a sealed row counts.
func TestARewrittenColumnIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 2)
	r.close()
	row := r.row(4)
	for column, value := range map[string]string{
		"object":     "CASE object WHEN 'payment' THEN 'refund' ELSE 'payment' END",
		"object_id":  "gen_random_uuid()",
		"kind":       "'refused', version = NULL",
		"version":    "coalesce(version, 1) + 100",
		"action":     "action || '!'",
		"delta":      `delta || '{"captured_minor": 1}'`,
		"actor":      "'operator:nobody'",
		"request_id": "'req_none'",
		"at":         "at - interval '1 second'",
	} {
		was := fmt.Sprintf(`CREATE TABLE was_%[1]s AS SELECT * FROM transaction_audit_log WHERE id = '%[2]s'`, column, row)
		r.tamper(was)
		r.tamper(fmt.Sprintf(`UPDATE transaction_audit_log SET %s = %s WHERE id = '%s'`, column, value, row))
		seen := false
		_, found := r.verify()
		for _, f := range found {
			switch {
			case f.Kind == audit.RowRewritten && f.Row.String() == row && f.Payment.String() == r.paymentOf(row) && f.Merchant == r.Shop:
				seen = true
			case f.Kind == audit.FoldMismatch:
			default:
				t.Errorf("%s: found %s", column, f)
			}
		}
		if !seen {
			t.Errorf("%s was rewritten: found %v", column, found)
		}
		r.tamper(fmt.Sprintf(`DELETE FROM transaction_audit_log WHERE id = '%[2]s'; INSERT INTO transaction_audit_log SELECT * FROM was_%[1]s`, column, row))
		r.want()
	}
}

func TestTampering(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]func(r *rig) (want []string){
		"a row is deleted": func(r *rig) []string {
			row := r.row(2)
			of := r.paymentOf(row)
			r.tamper(`DELETE FROM transaction_audit_log WHERE id = '` + row + `'`)
			return []string{"row_deleted row " + row + " payment " + of, "fold_mismatch"}
		},
		"the last row is deleted": func(r *rig) []string {
			row := r.text(`SELECT id::text FROM transaction_audit_log WHERE merchant_id = $1 ORDER BY at DESC, transaction_id DESC, id DESC LIMIT 1`, r.Shop)
			r.tamper(`DELETE FROM transaction_audit_log WHERE id = '` + row + `'`)
			return []string{"row_deleted row " + row, "fold_mismatch"}
		},
		"a row is inserted": func(r *rig) []string {
			r.tamper(`INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, action, delta, actor, request_id, at)
				SELECT transaction_id, '00000000-0000-7000-8000-00000000beef', merchant_id, object, object_id, 'intent', 'capture', '{}', 'merchant:x', '', at
				FROM transaction_audit_log WHERE id = '` + r.row(5) + `'`)
			return []string{"row_inserted row 00000000-0000-7000-8000-00000000beef"}
		},
		"a row is inserted before all others": func(r *rig) []string {
			r.tamper(`INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, action, delta, actor, request_id, at)
				SELECT transaction_id, '00000000-0000-7000-8000-00000000beef', merchant_id, object, object_id, 'intent', 'capture', '{}', 'merchant:x', '', '1999-01-01'
				FROM transaction_audit_log WHERE id = '` + r.row(0) + `'`)
			return []string{"row_inserted row 00000000-0000-7000-8000-00000000beef"}
		},
		"a row is given to another merchant": func(r *rig) []string {
			row := r.row(2)
			r.tamper(`UPDATE transaction_audit_log SET merchant_id = '00000000-0000-7000-8000-000000000001' WHERE id = '` + row + `'`)
			return []string{"row_rewritten row " + row, "row_inserted row " + row}
		},
		"a merchant's whole log is gone": func(r *rig) []string {
			r.tamper(`DELETE FROM transaction_audit_log; DELETE FROM audit_seals; DELETE FROM refunds; DELETE FROM transactions`)
			var want []string
			for range 12 {
				want = append(want, "row_deleted")
			}
			return append(want, "seal_missing", "seal_missing", "seal_missing", "seal_missing")
		},
		"a row and its seals are rewritten in the database": func(r *rig) []string {
			row := r.row(0)
			r.tamper(`UPDATE transaction_audit_log SET actor = 'operator:nobody' WHERE id = '` + row + `'`)
			r.tamper(`UPDATE audit_seals SET head = decode(repeat('ab', 32), 'hex') WHERE number = 1`)
			r.tamper(`UPDATE audit_seals SET previous = decode(repeat('ab', 32), 'hex') WHERE number = 2`)
			return []string{"row_rewritten row " + row, "seal_rewritten merchant " + r.Shop.String() + " seal 1", "seal_rewritten merchant " + r.Shop.String() + " seal 2"}
		},
		"a seal is taken out of the database": func(r *rig) []string {
			r.tamper(`DELETE FROM audit_seals WHERE number = 2`)
			return []string{"seal_missing merchant " + r.Shop.String() + " seal 2"}
		},
		"the last seals are taken out of the database": func(r *rig) []string {
			r.tamper(`DELETE FROM audit_seals WHERE number >= 3`)
			return []string{"seal_missing merchant " + r.Shop.String() + " seal 3", "seal_missing merchant " + r.Shop.String() + " seal 4"}
		},
		"a seal's file is deleted": func(r *rig) []string {
			r.remove(r.file("2"))
			return []string{"seal_missing merchant " + r.Shop.String() + " seal 2"}
		},
		"the last seal's file is deleted": func(r *rig) []string {
			r.remove(r.file("4"))
			return []string{"seal_missing merchant " + r.Shop.String() + " seal 4"}
		},
		"a seal is deleted here and there": func(r *rig) []string {
			r.remove(r.file("2"))
			r.tamper(`DELETE FROM audit_seals WHERE number = 2`)
			return []string{"seal_missing merchant " + r.Shop.String() + " seal 2", "row_inserted", "row_inserted", "row_inserted"}
		},
		"a row is rewritten and its seal's file deleted": func(r *rig) []string {
			r.tamper(`UPDATE transaction_audit_log SET actor = 'operator:nobody' WHERE id = '` + r.row(4) + `'`)
			r.remove(r.file("2"))
			return []string{"seal_missing merchant " + r.Shop.String() + " seal 2", "rows_changed merchant " + r.Shop.String() + " seal 2"}
		},
		"a row is deleted and the files of its seal and the next": func(r *rig) []string {
			r.tamper(`DELETE FROM transaction_audit_log WHERE id = '` + r.row(4) + `'`)
			r.remove(r.file("2"))
			r.remove(r.file("3"))
			return []string{
				"seal_missing merchant " + r.Shop.String() + " seal 2", "seal_missing merchant " + r.Shop.String() + " seal 3",
				"rows_changed merchant " + r.Shop.String() + " seal 2", "fold_mismatch",
			}
		},
		"a seal's file is rewritten": func(r *rig) []string {
			r.rewrite(r.file("2"), func(s string) string { return strings.Replace(s, `"at":"2027`, `"at":"2026`, 1) })
			return []string{"seal_broken merchant " + r.Shop.String() + " seal 2"}
		},
		"a seal's file is cut off": func(r *rig) []string {
			r.rewrite(r.file("2"), func(s string) string { return s[:len(s)/2] })
			return []string{"seal_broken merchant " + r.Shop.String() + " seal 2"}
		},
		"a seal's file stands for another": func(r *rig) []string {
			text, err := os.ReadFile(r.file("1"))
			if err != nil {
				r.t.Fatal(err)
			}
			r.rewrite(r.file("2"), func(string) string { return string(text) })
			return []string{"seal_broken merchant " + r.Shop.String() + " seal 2"}
		},
		"the closed periods are taken away": func(r *rig) []string {
			row := r.row(0)
			r.tamper(`UPDATE transaction_audit_log SET actor = 'operator:nobody' WHERE id = '` + row + `'`)
			r.tamper(`DELETE FROM closed_periods`)
			return []string{"period_missing merchant " + r.Shop.String() + " seal 1", "row_rewritten row " + row}
		},
		"a payment is changed without the log": func(r *rig) []string {
			r.tamper(`UPDATE transactions SET refunded_minor = 0 WHERE id = '` + r.paymentOf(r.row(0)) + `'`)
			return []string{"fold_mismatch table transactions row " + r.paymentOf(r.row(0))}
		},
		"a payment that the log does not know": func(r *rig) []string {
			r.tamper(`UPDATE transactions SET id = '00000000-0000-7000-8000-00000000beef' WHERE id = '` + r.paymentOf(r.row(0)) + `'`)
			return []string{"fold_mismatch table transactions row 00000000-0000-7000-8000-00000000beef", "fold_mismatch table transactions row " + r.paymentOf(r.row(0))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.trade(r.Shop, 2)
			r.close()
			if n := r.text(`SELECT count(*) || ' rows in ' || (SELECT count(*) FROM audit_seals) FROM transaction_audit_log`); n != "12 rows in 4" {
				t.Fatalf("%s seals; the cases reckon with 12 in 4", n)
			}
			r.want()
			r.want(c(r)...)
		})
	}
}

// Who can write to the vault too, and makes a seal that agrees with itself, breaks the chain.
func TestAForgedSealDoesNotFit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 2)
	r.close()
	text, err := os.ReadFile(r.file("2"))
	if err != nil {
		t.Fatal(err)
	}
	var seal audit.Seal
	if err := json.Unmarshal(text, &seal); err != nil {
		t.Fatal(err)
	}
	seal.Rows = seal.Rows[:2]
	forged, err := json.Marshal(audit.Resealed(seal))
	if err != nil {
		t.Fatal(err)
	}
	r.rewrite(r.file("2"), func(string) string { return string(forged) })
	r.want("seal_rewritten merchant "+r.Shop.String()+" seal 2", "seal_forked merchant "+r.Shop.String()+" seal 3", "row_inserted")
}

// Somebody who rewrites without end is told of, and not at full length.
func TestFindingsOfAMerchantAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.trade(r.Shop, 25)
	r.close()
	r.tamper(`UPDATE transaction_audit_log SET actor = 'operator:nobody'`)
	_, found := r.verify()
	if len(found) != 101 || found[100].Kind != audit.More {
		t.Errorf("%d findings", len(found))
	}
}
