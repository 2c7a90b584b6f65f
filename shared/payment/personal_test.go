package payment

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// where lists the columns of the whole database in which a word stands, as "table.column".
func (r *rig) where(word string) []string {
	r.t.Helper()
	columns := r.strings(`
		SELECT c.relname || '.' || a.attname || '.' || a.atttypid::regtype FROM pg_attribute a
		JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY 1`)
	var found []string
	for _, c := range columns {
		parts := strings.SplitN(c, ".", 3)
		table, column := pgx.Identifier{parts[0]}.Sanitize(), pgx.Identifier{parts[1]}.Sanitize()
		condition := column + `::text ILIKE '%' || $1 || '%'`
		if parts[2] == "bytea" {
			condition = `position(convert_to($1, 'UTF8') IN ` + column + `) > 0`
		}
		if r.count(fmt.Sprintf(`SELECT count(*) FROM %s WHERE %s`, table, condition), word) > 0 {
			found = append(found, parts[0]+"."+parts[1])
		}
	}
	return found
}

// A name that the merchant gives in every place that takes words is in the one table that
// is for it, and in copies that an erasure reaches; never in the log.
func TestPersonalDataCanBeErasedAndTheLogStillFolds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const name = "AdaLovelace"
	in := r.params(Automatic)
	in.Description, in.Metadata, in.ReturnURL = "Tea for "+name, map[string]string{"who": name}, "https://shop.example/"+name
	req := r.key("/v1/payments")
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, req, in)))
	refund := r.must(r.Refund(t.Context(), r.caller, r.key("/refund"), paymentID(t, p), RefundParams{Amount: minor(100), Reason: name + " moved"}))
	if got := decode[RefundView](t, refund); got.Reason == nil || *got.Reason != name+" moved" {
		t.Fatalf("refund: %s", refund.Body)
	}
	if p = r.get(p); *p.Description != "Tea for "+name || p.Metadata["who"] != name || *p.ReturnURL != "https://shop.example/"+name || *(*p.Refunds)[0].Reason != name+" moved" {
		t.Fatalf("read: %+v", p)
	}
	for _, place := range r.where(name) {
		if strings.HasPrefix(place, "transaction") || strings.HasPrefix(place, "refunds") {
			t.Errorf("the name is in %s", place)
		}
	}
	r.fold()

	erased, err := r.ErasePersonal(t.Context(), paymentID(t, p), Actor{Name: "operator:test"}, "request 17", true)
	if err != nil || erased.Records != 2 || erased.Requests == 0 || erased.Answers != 2 || erased.Events == 0 || erased.Remaining != 0 {
		t.Errorf("erased %+v: %v", erased, err)
	}
	if places := r.where(name); len(places) > 0 {
		t.Errorf("after it the name is still in %v", places)
	}
	if p = r.get(p); p.Description != nil || len(p.Metadata) != 0 || p.ReturnURL != nil || (*p.Refunds)[0].Reason != nil || p.RefundedAmount != 100 {
		t.Errorf("read after it: %+v", p)
	}
	r.fold()
	again := r.must(r.Create(t.Context(), r.caller, req, in))
	if view := decode[View](t, again); again.Status != http.StatusCreated || !again.Replayed || view.ID != p.ID || view.Description != nil {
		t.Errorf("the create again: %d %s", again.Status, again.Body)
	}
	if got := r.strings(`SELECT actor || ' ' || (delta ->> 'why') FROM transaction_audit_log WHERE action = 'personal_data.erase'`); len(got) != 1 || got[0] != "operator:test request 17" {
		t.Errorf("the log says of the erasure: %v", got)
	}
	// What goes on with the payment afterwards does not bring it back.
	r.must(r.refundOf(p, nil))
	if places := r.where(name); len(places) > 0 {
		t.Errorf("after a refund the name is in %v", places)
	}
	r.fold()
	if again, err := r.ErasePersonal(t.Context(), paymentID(t, p), Actor{Name: "operator:test"}, "request 17", true); err != nil || again.Records != 0 {
		t.Errorf("erased again %+v: %v", again, err)
	}
}

func TestWithoutWordsNothingPersonalIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	r.must(r.refundOf(p, nil))
	if n := r.count(`SELECT count(*) FROM personal_data`); n != 0 {
		t.Errorf("%d records of nothing", n)
	}
	if p = r.get(p); p.Metadata == nil || p.Description != nil {
		t.Errorf("read: %+v", p)
	}
}

func TestErasureWaitsForOpenOperations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.PaymentMethod, in.ReturnURL, in.Description = "pm_card_authenticationRequired", "https://shop.example/back", "Tea for Ada"
	p := r.pay(in)
	_, err := r.ErasePersonal(t.Context(), paymentID(t, p), Actor{Name: "operator:test"}, "request 17", false)
	if !fault.Is(err, fault.OperationInProgress) || r.count(`SELECT count(*) FROM personal_data`) != 1 {
		t.Errorf("erased under an open operation: %v", err)
	}
	r.must(r.cancel(p))
	r.carryOn()
	if _, err := r.ErasePersonal(t.Context(), paymentID(t, p), Actor{Name: "operator:test"}, "request 17", false); err != nil {
		t.Error(err)
	}
	if _, err := r.ErasePersonal(t.Context(), r.NewID(), Actor{Name: "operator:test"}, "x", false); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such payment: %v", err)
	}
}

// The functions may write personal data down, and read it; not change or erase it.
func TestFunctionsCantErase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, sql := range []string{`DELETE FROM personal_data`, `UPDATE personal_data SET data = '{}'`} {
		err := pgx.BeginFunc(t.Context(), r.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE tollgate_createpayment`); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// A version that is gone from the middle of the log is missed, even if later ones say all
// that it said.
func TestFoldMissesALostVersion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.must(r.capture(p, nil))
	_, err := r.Pool.Exec(t.Context(), `
		SET session_replication_role = replica;
		UPDATE transaction_audit_log SET delta = delta || (SELECT jsonb_object_agg(key, value) FROM transaction_audit_log l, jsonb_each(l.delta)
			WHERE l.version = 2 AND key NOT IN ('version', 'updated_at', 'status', 'previous_status', 'event_sequence')) WHERE version = 3;
		DELETE FROM transaction_audit_log WHERE version = 2;
		SET session_replication_role = origin`)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := AuditMismatches(t.Context(), r.Pool)
	if err != nil || len(wrong) != 1 {
		t.Errorf("mismatches: %v %v, want the one payment", wrong, err)
	}
}

// Pages end where they end: all payments are folded once, those that only the log knows too.
func TestFoldPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 7 {
		r.must(r.refundOf(r.pay(r.params(Automatic)), nil))
	}
	err := pgx.BeginFunc(t.Context(), r.Pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `
			SET LOCAL session_replication_role = replica;
			DELETE FROM transactions WHERE id IN (SELECT id FROM transactions ORDER BY id DESC LIMIT 2);
			DELETE FROM refunds WHERE id IN (SELECT id FROM refunds ORDER BY transaction_id LIMIT 1)`)
		if err != nil {
			return err
		}
		for _, limit := range []int{1, 2, 3, 100} {
			var payments int64
			found := map[string]int{}
			for page := (FoldPage{}); !page.Done; {
				if page, err = FoldAudit(t.Context(), tx, page.Last, limit); err != nil {
					return err
				}
				payments += page.Payments
				for _, m := range page.Mismatches {
					found[m.Table]++
				}
			}
			if payments != 5 || found["transactions"] != 2 || found["refunds"] != 1 {
				t.Errorf("by %d: %d payments, mismatches %v", limit, payments, found)
			}
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
}

// What is erased of one payment is found by indexes, however many payments there are: it is
// locked meanwhile.
func TestErasureLooksThroughNoTable(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), `SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off`); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{openWork, erasePersonal, eraseRequests, eraseAnswers, selectPayloads, eraseResponses, eraseMessages, countEvidence} {
		rows, _ := tx.Query(t.Context(), "EXPLAIN "+sql, id.ID{15: 1})
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") {
			t.Errorf("%s:\n%s", sql, text)
		}
	}
}
