package payment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
)

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for i, sql := range []string{
		insertPayment, updatePayment, insertRefund, updateRefund, selectPayment, lockPayment, selectRefunds, selectFacts,
		selectSagas, insertAudit, insertFact, insertResponse, insertObligation, dischargeObligation, dueObligations,
		takeObligation, attemptObligation, obligationGauge, byReference, getPayment, getEvents, getTries, listPayments,
		foldBound, foldMismatches(FoldedTables()[0]), foldMismatches(FoldedTables()[1]),
		foldMismatches(FoldedTables()[2]), insertDispute, updateDispute, selectDisputes, getDispute, listDisputes,
		insertPersonal, openWork, erasePersonal, eraseRequests, eraseAnswers, selectPayloads, updatePayload, eraseResponses,
		eraseMessages, countEvidence, selectKnown, insertProposal, openProposal, dropProposal, insertOrphan, lockObligation,
		selectOrphanFacts, finishOrphan,
	} {
		if _, err := tx.Prepare(t.Context(), fmt.Sprint("s", i), sql); err != nil {
			t.Errorf("%v in:%s", err, sql)
		}
	}
}

// The state machine stands twice, in Go and in a trigger: they must agree on every pair.
func TestTheDatabaseHoldsTheStateMachine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	payment := paymentID(t, r.pay(r.params(Manual)))
	for _, from := range Statuses() {
		for _, to := range Statuses() {
			if from == to {
				continue
			}
			err := pgx.BeginFunc(t.Context(), r.Pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), `SET LOCAL session_replication_role = replica`); err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), `UPDATE transactions SET status = $2 WHERE id = $1`, payment, from); err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), `SET LOCAL session_replication_role = origin`); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), `UPDATE transactions SET status = $2, version = version + 1 WHERE id = $1`, payment, to)
				if err == nil {
					return errUndo
				}
				return err
			})
			if allowed := errors.Is(err, errUndo); allowed != from.CanBecome(to) {
				t.Errorf("%s to %s: the database says %v, Go says %v (%v)", from, to, allowed, from.CanBecome(to), err)
			}
		}
	}
}

var errUndo = errors.New("undo")

func TestTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.pay(r.params(Automatic))
	for name, sql := range map[string]string{
		"a version without its audit row":  `UPDATE transactions SET version = version + 1`,
		"a change without a version":       `UPDATE transactions SET description = 'x'`,
		"refunding more than was captured": `UPDATE transactions SET version = version + 1, refund_reserved_minor = 5001`,
		"capturing more than authorized":   `UPDATE transactions SET version = version + 1, captured_minor = 5001`,
		"authorizing more than asked":      `UPDATE transactions SET version = version + 1, authorized_minor = 5001`,
		"changing the audit log":           `UPDATE transaction_audit_log SET actor = 'nobody'`,
		"deleting from the audit log":      `DELETE FROM transaction_audit_log`,
		"a dispute without its audit row":  `INSERT INTO disputes (id, transaction_id, merchant_id, version, status, provider, provider_dispute_id, currency, amount_minor, counted_minor, opened_at, created_at, updated_at) SELECT gen_random_uuid(), id, merchant_id, 1, 'OPEN', provider, 'du', currency, 1, 0, created_at, created_at, created_at FROM transactions`,
		"emptying the audit log":           `TRUNCATE transaction_audit_log`,
		"emptying a part of it":            `TRUNCATE transaction_audit_log_default`,
		"changing a part of it":            `UPDATE transaction_audit_log_default SET actor = 'nobody'`,
	} {
		if _, err := r.Pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("the database allows %s", name)
		}
	}
	// A function's role has no such right to begin with.
	for _, sql := range []string{
		`UPDATE transaction_audit_log SET actor = 'nobody'`, `DELETE FROM transaction_audit_log`,
		`UPDATE provider_facts SET effect = 'applied'`, `DELETE FROM transactions`, `UPDATE events SET payload = ''`,
		`UPDATE merchants SET status = 'ACTIVE'`, `SELECT * FROM transaction_audit_log`,
	} {
		err := pgx.BeginFunc(t.Context(), r.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE tollgate_createpayment`); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "42501" || !strings.Contains(pg.Message, "permission denied") {
			t.Errorf("%s as a function: %v, want permission denied", sql, err)
		}
	}
}

func TestFoldFindsATamperedLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	_, err := r.Pool.Exec(t.Context(), `
		SET session_replication_role = replica;
		UPDATE transaction_audit_log SET delta = delta || '{"captured_minor": 1}' WHERE version = 2;
		SET session_replication_role = origin`)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := AuditMismatches(t.Context(), r.Pool)
	if err != nil || !slices.Equal(wrong, []string{"transactions " + paymentID(t, p).String()}) {
		t.Errorf("mismatches: %v %v, want the one payment", wrong, err)
	}
}

func TestBadValuesAreNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := strings.Repeat("x", 600)
	for name, c := range map[string]struct {
		change func(*CreateParams)
		code   fault.Code
		field  string
	}{
		"amount 0":            {func(in *CreateParams) { in.Amount = 0 }, fault.InvalidRequest, "amount"},
		"amount negative":     {func(in *CreateParams) { in.Amount = -1 }, fault.InvalidRequest, "amount"},
		"amount above limit":  {func(in *CreateParams) { in.Amount = 100_000_000 }, fault.InvalidRequest, "amount"},
		"currency unknown":    {func(in *CreateParams) { in.Currency = "ZZZ" }, fault.InvalidRequest, "currency"},
		"currency lower case": {func(in *CreateParams) { in.Currency = "jpy" }, fault.InvalidRequest, "currency"},
		"not representable":   {func(in *CreateParams) { in.Currency, in.Amount = "KWD", 5124 }, fault.AmountNotSupported, "amount"},
		"contradictory UGX":   {func(in *CreateParams) { in.Currency = "UGX" }, fault.CurrencyNotSupported, "currency"},
		"unknown provider":    {func(in *CreateParams) { in.Provider = "acme" }, fault.InvalidRequest, "provider"},
		"capture method":      {func(in *CreateParams) { in.CaptureMethod = "later" }, fault.InvalidRequest, "capture_method"},
		"no payment method":   {func(in *CreateParams) { in.PaymentMethod = "" }, fault.InvalidRequest, "payment_method"},
		"long reference":      {func(in *CreateParams) { in.MerchantReference = long }, fault.InvalidRequest, "merchant_reference"},
		"long metadata":       {func(in *CreateParams) { in.Metadata = map[string]string{"k": long} }, fault.InvalidRequest, "metadata.k"},
		"bad return url":      {func(in *CreateParams) { in.ReturnURL = "javascript:alert(1)" }, fault.InvalidRequest, "return_url"},
		"short expiry":        {func(in *CreateParams) { in.ExpiresIn = minor(5) }, fault.InvalidRequest, "expires_in"},
		"a zero character":    {func(in *CreateParams) { in.Description = "a\x00b" }, fault.InvalidRequest, "description"},
	} {
		in := r.params(Manual)
		c.change(&in)
		_, err := r.Create(t.Context(), r.caller, r.key("/v1/payments"), in)
		f := fault.As(err)
		if !fault.Is(err, c.code) || len(f.Fields) != 1 || f.Fields[0].Name != c.field || f.Fields[0].Detail == "" {
			t.Errorf("%s: %v, want %s about %s", name, err, c.code, c.field)
		}
	}
	for _, table := range []string{"transactions", "idempotency_keys", "transaction_saga", "transaction_audit_log"} {
		if n := r.count(`SELECT count(*) FROM ` + table); n != 0 {
			t.Errorf("refused requests left %d rows in %s", n, table)
		}
	}
}

func TestReferencesAreUniqueForEver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Manual)
	in.MerchantReference = "order-17"
	p := r.pay(in)
	_, err := r.Create(t.Context(), r.caller, r.key("/v1/payments"), in)
	if !fault.Is(err, fault.ReferenceTaken) || fault.As(err).Extra["payment_id"] != p.ID {
		t.Errorf("the reference again: %v", err)
	}
	if n := len(r.sim.Effects()); n != 1 {
		t.Errorf("%d effects at the provider", n)
	}
	if n := r.count(`SELECT count(*) FROM idempotency_keys`); n != 1 {
		t.Errorf("%d keys kept, want the first one's", n)
	}
	other := r.caller
	other.MerchantID = r.merchant()
	req := r.key("/v1/payments")
	req.MerchantID = other.MerchantID
	r.must(r.Create(t.Context(), other, req, in)) // another merchant's references are its own
}

func TestAMerchantNeverSeesAnothersPayment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	other := Caller{MerchantID: r.merchant(), KeyID: r.NewID()}
	req := r.key("/x")
	req.MerchantID = other.MerchantID
	_, get := r.Get(t.Context(), other.MerchantID, paymentID(t, p), Expand{})
	_, capture := r.Capture(t.Context(), other, req, paymentID(t, p), CaptureParams{})
	_, cancel := r.Cancel(t.Context(), other, req, paymentID(t, p))
	_, refund := r.Refund(t.Context(), other, req, paymentID(t, p), RefundParams{})
	for name, err := range map[string]error{"get": get, "capture": capture, "cancel": cancel, "refund": refund} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v, want not_found", name, err)
		}
	}
	page, err := r.List(t.Context(), other.MerchantID, Filter{})
	if err != nil || len(page.Data) != 0 {
		t.Errorf("listed: %v %v", page.Data, err)
	}
	if n := r.count(`SELECT count(*) FROM transaction_audit_log WHERE kind = 'refused'`); n != 0 {
		t.Errorf("%d audit rows about it", n)
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var want []string
	for i := range 7 {
		in := r.params(Manual)
		in.MerchantReference = fmt.Sprint("order-", i)
		want = append([]string{r.pay(in).ID}, want...)
	}
	slices.SortFunc(want, func(a, b string) int { return strings.Compare(b, a) }) // all at one instant: newest id first
	var got []string
	for f := (Filter{Limit: 3}); ; {
		page, err := r.List(t.Context(), r.caller.MerchantID, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Data {
			got = append(got, v.ID)
		}
		if page.HasMore != (page.NextCursor != nil) {
			t.Errorf("has_more %v with cursor %v", page.HasMore, page.NextCursor)
		}
		if !page.HasMore {
			break
		}
		f.Cursor = *page.NextCursor
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages give %v, want %v", got, want)
	}
	one, err := r.List(t.Context(), r.caller.MerchantID, Filter{MerchantReference: "order-3", Status: []string{"AUTHORIZED"}, Currency: "JPY", Provider: "stripe"})
	if err != nil || len(one.Data) != 1 || *one.Data[0].MerchantReference != "order-3" {
		t.Errorf("filtered: %+v %v", one.Data, err)
	}
	for _, f := range []Filter{{Cursor: "nonsense"}, {Cursor: "bm9uc2Vuc2U"}, {Limit: 101}, {Limit: -1}, {Status: []string{"DONE"}}, {Currency: "XXX"}} {
		if _, err := r.List(t.Context(), r.caller.MerchantID, f); !fault.Is(err, fault.InvalidRequest) {
			t.Errorf("%+v: %v, want invalid_request", f, err)
		}
	}
}

// Whatever facts come, in whatever order and however often, the amounts stay within
// their bounds and the status on the machine.
func TestFactsInAnyOrder(t *testing.T) {
	t.Parallel()
	jpy := money.MustParseCurrency("JPY")
	rapid.Check(t, func(t *rapid.T) {
		s := &Service{Now: func() time.Time { return epoch }, NewID: id.Source{Now: func() time.Time { return epoch }}.New}
		p := &Payment{ID: s.NewID(), Status: Pending, Currency: jpy, AmountMinor: 1000, CaptureMethod: Manual, Provider: "p"}
		d := s.newDossier(p)
		d.units = func(f provider.Fact, minor int64) bool { return f.Units == minor }
		d.before()
		type seen struct{ object, state string }
		applied := map[seen]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "facts") {
			f := rapid.SampledFrom([]provider.Fact{
				fact(provider.KindAuthorization, "pi", provider.StateRequiresAction, 1000),
				fact(provider.KindAuthorization, "pi", provider.StateFailed, 1000),
				fact(provider.KindAuthorization, "pi", provider.StateAuthorized, 1000),
				fact(provider.KindAuthorization, "pi", provider.StateCanceled, 1000),
				fact(provider.KindCapture, "pi/capture", provider.StateSucceeded, 600),
				fact(provider.KindRefund, "re1", provider.StatePending, 200),
				fact(provider.KindRefund, "re1", provider.StateSucceeded, 200),
				fact(provider.KindRefund, "re1", provider.StateFailed, 200),
				fact(provider.KindRefund, "re2", provider.StateSucceeded, 500),
				fact(provider.KindRefund, "re3", provider.StateSucceeded, 400),
				fact(provider.KindDispute, "du1", provider.StateOpen, 500),
				fact(provider.KindDispute, "du1", provider.StateWon, 500),
				fact(provider.KindDispute, "du2", provider.StateLost, 600),
				fact(provider.KindDispute, "du2", provider.StateOpen, 600),
			}).Draw(t, "fact")
			was := *p
			effect, err := d.apply(f, d.Provider)
			if err != nil && !fault.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
			if was.Status != p.Status && !was.Status.CanBecome(p.Status) {
				t.Fatalf("%s.%s moved the payment from %s to %s", f.Kind, f.State, was.Status, p.Status)
			}
			if key := (seen{f.ObjectID, string(f.State)}); err == nil {
				if applied[key] && (effect != effectRepeated || len(delta(&was, p)) > 0) {
					t.Fatalf("%v came twice and had the effect %s", key, effect)
				}
				applied[key] = true
			}
			if p.RefundedMinor+p.RefundReservedMinor+p.DisputedMinor > p.CapturedMinor || p.CapturedMinor > p.AuthorizedMinor ||
				p.AuthorizedMinor > p.AmountMinor || p.RefundedMinor < 0 || p.RefundReservedMinor < 0 ||
				p.RefundExcessMinor < 0 || p.CaptureExcessMinor < 0 || p.DisputedMinor < 0 {
				t.Fatalf("after %s.%s the amounts are out of bounds: %+v", f.Kind, f.State, p)
			}
			var counted int64
			for _, dispute := range d.disputes {
				counted += dispute.CountedMinor
			}
			if counted != p.DisputedMinor {
				t.Fatalf("after %s.%s %d are disputed, of which the disputes count %d", f.Kind, f.State, p.DisputedMinor, counted)
			}
		}
	})
}

func fact(k provider.Kind, object string, s provider.State, amount int64) provider.Fact {
	jpy := money.MustParseCurrency("JPY")
	return provider.Fact{
		Kind: k, State: s, ObjectID: object, Reference: "pi", Units: amount, UnitCurrency: "jpy",
		Amount: money.Money{Minor: amount, Currency: jpy}, NextAction: &provider.NextAction{Type: "redirect_to_url"},
	}
}
