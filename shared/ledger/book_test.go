package ledger

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
)

var (
	epoch = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)
	jpy   = money.MustParseCurrency("JPY")
)

// book is a ledger on a real database.
type book struct {
	t     *testing.T
	db    postgres.DB
	newID func() id.ID
}

func newBook(t *testing.T, db postgres.DB) *book {
	return &book{t, db, id.Source{Now: func() time.Time { return epoch }}.New}
}

func (l *book) merchant() id.ID {
	l.t.Helper()
	m := l.newID()
	l.exec(`INSERT INTO merchants (id, name, status, created_at, updated_at) VALUES ($1, 'Test', 'ACTIVE', $2, $2)`, m, epoch)
	return m
}

func (l *book) exec(sql string, args ...any) {
	l.t.Helper()
	if _, err := l.db.Exec(l.t.Context(), sql, args...); err != nil {
		l.t.Fatal(err)
	}
}

func (l *book) count(sql string, args ...any) (n int64) {
	l.t.Helper()
	if err := l.db.QueryRow(l.t.Context(), sql, args...).Scan(&n); err != nil {
		l.t.Fatal(err)
	}
	return n
}

func (l *book) schedules(m id.ID, currency string, at time.Time) (got Schedules) {
	l.t.Helper()
	b := &pgx.Batch{}
	QueueSchedules(b, m, money.MustParseCurrency(currency), at, &got)
	if err := postgres.Pipeline(l.t.Context(), l.db, b); err != nil {
		l.t.Fatal(err)
	}
	return got
}

// posting is a capture of the merchant's at Stripe, in yen.
func (l *book) posting(m id.ID, amount int64) Posting {
	return Posting{
		ID: l.newID(), Kind: Capture, MerchantID: m, Provider: "stripe", Currency: jpy, ObjectID: "ch_1",
		Entries: Entries(Capture, amount), At: epoch,
	}
}

// post writes postings, in one transaction.
func (l *book) post(all ...Posting) error {
	b := &pgx.Batch{}
	for _, p := range all {
		Queue(b, p)
	}
	return postgres.Pipeline(l.t.Context(), l.db, b)
}

// balances are those of the filter by account, which must be of one provider, merchant
// and currency.
func (l *book) balances(f Filter) map[Account]int64 {
	l.t.Helper()
	all, err := Balances(l.t.Context(), l.db, f)
	if err != nil {
		l.t.Fatal(err)
	}
	by := map[Account]int64{}
	for _, b := range all {
		if _, twice := by[b.Account]; twice {
			l.t.Errorf("%s is there twice", b.Account)
		}
		by[b.Account] = b.AmountMinor
	}
	return by
}
