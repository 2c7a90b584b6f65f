package ledger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for i, sql := range []string{
		insertPosting, selectPostings, merchantBalances, allBalances, insertBalances, selectSchedules, insertSchedule, listSchedules,
	} {
		if _, err := tx.Prepare(t.Context(), fmt.Sprint("s", i), sql); err != nil {
			t.Errorf("%v in:%s", err, sql)
		}
	}
}

func TestAPostingIsWrittenWhole(t *testing.T) {
	t.Parallel()
	l := newBook(t, pgtest.Pool(t))
	m := l.merchant()
	capture, fee, settled := l.posting(m, 5000), l.posting(m, 0), l.posting(m, 0)
	fee.Kind, fee.SubjectID, fee.Entries = Fee, l.newID(), append(Entries(Fee, 180), Move(Variance, Fees, 0)...)
	settled.Kind, settled.ObjectID, settled.Reference, settled.Entries = Settlement, "", "settlement:1", Entries(Settlement, 4820)
	if err := l.post(capture, fee, settled, Posting{ID: l.newID()}); err != nil {
		t.Fatal(err)
	}
	got := l.balances(Filter{MerchantID: m})
	if want := (map[Account]int64{Receivable: 5000, Payable: 0, Fees: -180, Payouts: -4820}); !maps.Equal(got, want) {
		t.Errorf("balances %v, want %v", got, want)
	}
	// What a settlement posts is not to be settled itself.
	if n := l.count(`SELECT sum(amount_minor)::bigint FROM unsettled_entries WHERE merchant_id = $1`, m); n != -4820 {
		t.Errorf("%d are to be settled, want -4820", n)
	}
	if n := l.count(`SELECT count(*) FROM ledger_postings`); n != 3 {
		t.Errorf("%d postings, want 3", n)
	}
}

func TestPostingsOfAPayment(t *testing.T) {
	t.Parallel()
	l := newBook(t, pgtest.Pool(t))
	m, other := l.merchant(), l.newID()
	payment := l.payment(m)
	dispute := l.posting(m, 0)
	dispute.Kind, dispute.PaymentID, dispute.SubjectID, dispute.Reference = DisputeOpened, payment, other, "du_1"
	dispute.Entries, dispute.At = Entries(DisputeOpened, 700), epoch.Add(time.Hour)
	capture := l.posting(m, 5000)
	capture.PaymentID = payment
	if err := l.post(dispute, capture, l.posting(m, 10)); err != nil {
		t.Fatal(err)
	}
	got, err := Postings(t.Context(), l.db, payment)
	if err != nil || len(got) != 2 {
		t.Fatalf("postings: %+v %v", got, err)
	}
	for i, want := range []Posting{capture, dispute} {
		p := got[i]
		same := p.ID == want.ID && p.Kind == want.Kind && p.MerchantID == m && p.PaymentID == payment && p.SubjectID == want.SubjectID &&
			p.Provider == "stripe" && p.Currency == jpy && p.ObjectID == "ch_1" && p.Reference == want.Reference && p.At.Equal(want.At)
		if !same || !slices.Equal(p.Entries, want.Entries) {
			t.Errorf("%+v\nwant %+v", p, want)
		}
	}
}

func TestWhatHasAReferenceIsPostedOnce(t *testing.T) {
	t.Parallel()
	l := newBook(t, pgtest.Pool(t))
	for range 2 {
		p := l.posting(id.ID{}, 0)
		p.Kind, p.Reference, p.Entries = Payout, "po_1", Entries(Payout, 900)
		if err := l.post(p); err != nil {
			t.Fatal(err)
		}
	}
	same := l.posting(id.ID{}, 0)
	same.Kind, same.Reference, same.Entries = ProviderFee, "po_1", Entries(ProviderFee, 20) // of another kind
	if err := l.post(same); err != nil {
		t.Fatal(err)
	}
	want := map[Account]int64{Payouts: 900, Receivable: -920, Fees: 20}
	if got := l.balances(Filter{Provider: "stripe"}); !maps.Equal(got, want) {
		t.Errorf("balances %v, want %v", got, want)
	}
}

// Each case does in one transaction what the database has to refuse, at the latest when it
// commits.
func TestTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	l := newBook(t, pgtest.Pool(t))
	m := l.merchant()
	good := l.posting(m, 5000)
	if err := l.post(good); err != nil {
		t.Fatal(err)
	}
	fresh := func(change func(*Posting)) func(*pgx.Batch) {
		return func(b *pgx.Batch) {
			p := l.posting(m, 100)
			change(&p)
			Queue(b, p)
		}
	}
	sql := func(sql string, args ...any) func(*pgx.Batch) {
		return func(b *pgx.Batch) { b.Queue(sql, args...) }
	}
	const entry = `
		INSERT INTO ledger_entries (posting_id, line, account, amount_minor, merchant_id, provider, currency, kind, posted_at)
		VALUES ($1, $2, 'fees', $3, $4, $5, $6, 'capture', $7)`
	bare := func(lines int, entries ...func(*pgx.Batch, id.ID)) func(*pgx.Batch) {
		return func(b *pgx.Batch) {
			p := l.newID()
			b.Queue(`INSERT INTO ledger_postings (id, kind, merchant_id, provider, currency, lines, posted_at)
				VALUES ($1, 'capture', $2, 'stripe', 'JPY', $3, $4)`, p, m, lines, epoch)
			for _, e := range entries {
				e(b, p)
			}
		}
	}
	line := func(n int, amount int64, merchant id.ID, provider, currency string, at time.Time) func(*pgx.Batch, id.ID) {
		return func(b *pgx.Batch, p id.ID) { b.Queue(entry, p, n, amount, merchant, provider, currency, at) }
	}
	one, two := line(1, 5, m, "stripe", "JPY", epoch), line(2, -5, m, "stripe", "JPY", epoch)
	for name, c := range map[string]struct {
		do    func(*pgx.Batch)
		words string
	}{
		"entries that do not balance":    {fresh(func(p *Posting) { p.Entries[0].AmountMinor++ }), "add up to 1"},
		"one entry alone":                {fresh(func(p *Posting) { p.Entries = p.Entries[:1] }), "lines_check"},
		"a posting without its entries":  {bare(2), "has 0 of 2 lines"},
		"a posting with too few entries": {bare(3, one, two), "has 2 of 3 lines"},
		"an entry of another currency":   {bare(2, one, line(2, -5, m, "stripe", "USD", epoch)), "lines"},
		"an entry at another provider":   {bare(2, one, line(2, -5, m, "paypal", "JPY", epoch)), "lines"},
		"an entry of another merchant":   {bare(2, one, line(2, -5, l.newID(), "stripe", "JPY", epoch)), "lines"},
		"an entry of another time":       {bare(2, one, line(2, -5, m, "stripe", "JPY", epoch.Add(time.Second))), "lines"},
		"entries added later, though they balance": {func(b *pgx.Batch) {
			line(3, 5, m, "stripe", "JPY", epoch)(b, good.ID)
			line(4, -5, m, "stripe", "JPY", epoch)(b, good.ID)
		}, "has 4 of 2 lines"},
		"entries of no posting":        {func(b *pgx.Batch) { one(b, l.newID()) }, "ledger_entries_posting_id_fkey"},
		"an account that there is not": {fresh(func(p *Posting) { p.Entries[0].Account = "cash" }), "account_check"},
		"a kind that there is not":     {fresh(func(p *Posting) { p.Kind = "gift" }), "kind_check"},
		"a posting at no provider":     {fresh(func(p *Posting) { p.Provider = "" }), "provider_check"},
		"owing nobody":                 {fresh(func(p *Posting) { p.MerchantID = id.ID{} }), "check"},
		"a payable line that waits for nothing": {func(b *pgx.Batch) {
			p := l.posting(m, 100)
			Queue(b, p)
			b.Queue(`DELETE FROM unsettled_entries WHERE posting_id = $1`, p.ID)
		}, "does not wait to be settled"},
		"a payable line that waits for another amount": {func(b *pgx.Batch) {
			p := l.posting(m, 100)
			Queue(b, p)
			b.Queue(`UPDATE unsettled_entries SET amount_minor = -99 WHERE posting_id = $1`, p.ID)
		}, "does not wait to be settled"},
		"changing a posting":   {sql(`UPDATE ledger_postings SET kind = 'refund'`), "append-only"},
		"changing an entry":    {sql(`UPDATE ledger_entries SET amount_minor = 2 * amount_minor`), "append-only"},
		"deleting postings":    {sql(`DELETE FROM ledger_postings`), "append-only"},
		"deleting entries":     {sql(`DELETE FROM ledger_entries`), "append-only"},
		"emptying the entries": {sql(`TRUNCATE ledger_entries`), "append-only"},
		"emptying the ledger":  {sql(`TRUNCATE ledger_postings CASCADE`), "append-only"},
	} {
		b := &pgx.Batch{}
		c.do(b)
		if err := postgres.Pipeline(t.Context(), l.db, b); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want a refusal with %q", name, err, c.words)
		}
	}
	if n := l.count(`SELECT count(*) FROM ledger_postings`); n != 1 {
		t.Errorf("%d postings in the end, want the first", n)
	}
}

// A function's role has no right to change it to begin with.
func TestWhatFunctionsMay(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	l := newBook(t, pool)
	m := l.merchant()
	as := func(do func(tx pgx.Tx) error) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE tollgate_capturepayment`); err != nil {
				return err
			}
			return do(tx)
		})
	}
	if err := as(func(tx pgx.Tx) error { return (&book{t, tx, l.newID}).post(l.posting(m, 100)) }); err != nil {
		t.Errorf("posting: %v", err)
	}
	for _, sql := range []string{
		`UPDATE ledger_postings SET kind = 'refund'`, `DELETE FROM ledger_entries`, `UPDATE ledger_balances SET balance_minor = 0`,
		`UPDATE unsettled_entries SET amount_minor = 0`, `INSERT INTO fee_schedules SELECT * FROM fee_schedules`,
		`DELETE FROM closed_periods`,
	} {
		err := as(func(tx pgx.Tx) error { _, err := tx.Exec(t.Context(), sql); return err })
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || !strings.Contains(pg.Message, "permission denied") {
			t.Errorf("%s: %v, want permission denied", sql, err)
		}
	}
}

// The database knows the accounts and kinds that the code has, and no others.
func TestTheDatabaseKnowsTheAccountsAndKinds(t *testing.T) {
	t.Parallel()
	l := newBook(t, pgtest.Tx(t))
	for table, column := range map[string]string{"ledger_postings": "kind", "ledger_entries": "account"} {
		var want []string
		for _, k := range Kinds() {
			want = append(want, string(k))
		}
		if column == "account" {
			want = nil
			for _, a := range Accounts() {
				want = append(want, string(a))
			}
		}
		n := l.count(`SELECT count(*) FROM pg_constraint c, regexp_matches(pg_get_constraintdef(c.oid), '''([a-z_]+)''', 'g') m
			WHERE conrelid = $1::regclass AND conname = $1 || '_' || $2 || '_check' AND m[1] = ANY ($3)`, table, column, want)
		all := l.count(`SELECT count(*) FROM pg_constraint c, regexp_matches(pg_get_constraintdef(c.oid), '''([a-z_]+)''', 'g') m
			WHERE conrelid = $1::regclass AND conname = $1 || '_' || $2 || '_check'`, table, column)
		if n != int64(len(want)) || all != n {
			t.Errorf("%s.%s: the database knows %d, of which %d are the code's %d", table, column, all, n, len(want))
		}
	}
}

func TestBalancesAreFiltered(t *testing.T) {
	t.Parallel()
	l := newBook(t, pgtest.Pool(t))
	m := l.merchant()
	dollars, elsewhere, others := l.posting(m, 20), l.posting(m, 300), l.posting(l.merchant(), 4000)
	dollars.Currency = money.MustParseCurrency("USD")
	elsewhere.Provider = "paypal"
	if err := l.post(l.posting(m, 1), dollars, elsewhere, others); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f    Filter
		want int64
	}{
		{Filter{}, 4321},
		{Filter{MerchantID: m}, 321},
		{Filter{MerchantID: m, Provider: "stripe"}, 21},
		{Filter{MerchantID: m, Currency: jpy}, 301},
		{Filter{Provider: "stripe", Currency: jpy}, 4001},
		{Filter{Provider: "bank"}, 0},
	} {
		all, err := Balances(t.Context(), l.db, c.f)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, b := range all {
			if b.Account == Receivable {
				sum += b.AmountMinor
			}
		}
		if sum != c.want {
			t.Errorf("%+v: %d, want %d", c.f, sum, c.want)
		}
	}
}

// payment makes a payment, with its audit row.
func (l *book) payment(m id.ID) id.ID {
	l.t.Helper()
	p := l.newID()
	l.exec(`
		WITH audited AS (
			INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version, action, delta, actor, request_id, at)
			VALUES ($1, $1, $2, 'payment', $1, 'change', 1, 'create', '{}', 'test', '', $3))
		INSERT INTO transactions (id, merchant_id, version, event_sequence, status, reconciliation_status, currency, amount_minor,
			authorized_minor, captured_minor, refund_reserved_minor, refunded_minor, disputed_minor, capture_excess_minor,
			refund_excess_minor, capture_method, payment_method, provider, provider_account, metadata, expires_at, created_at, updated_at)
		VALUES ($1, $2, 1, 0, 'PENDING', 'SYNCED', 'JPY', 5000, 0, 0, 0, 0, 0, 0, 0, 'manual', 'pm', 'stripe', 'acct', '{}', $3, $3, $3)`,
		p, m, epoch)
	return p
}
