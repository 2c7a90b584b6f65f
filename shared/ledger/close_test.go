package ledger

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/period"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// closePeriod marks a period, waits until it is ready, and closes it.
func closePeriod(ctx context.Context, pool *pgxpool.Pool, until, now time.Time) error {
	if err := period.Mark(ctx, pool, until, now); err != nil {
		return err
	}
	for {
		if ready, err := period.Ready(ctx, pool, until); err != nil {
			return err
		} else if ready {
			break
		}
	}
	return postgres.InTx(ctx, pool, func(tx pgx.Tx) error {
		if err := Close(ctx, tx, until); err != nil {
			return err
		}
		return period.Close(ctx, tx, until, now)
	})
}

// However postings and closed periods follow each other, balances are the sums of all
// entries, and nothing that is closed changes.
func TestBalancesAreTheSumOfAllEntries(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	l := newBook(t, pool)
	now := epoch
	merchants := []id.ID{l.merchant(), l.merchant(), {}}
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 7200).Draw(t, "seconds")) * time.Second)
			if rapid.IntRange(0, 4).Draw(t, "close") == 0 {
				until := now.Add(-period.Horizon)
				if last, err := period.Last(l.t.Context(), pool); err != nil || last != nil && !until.After(last.Until) {
					continue
				}
				if err := closePeriod(l.t.Context(), pool, until, now); err != nil {
					t.Fatal(err)
				}
				continue
			}
			p := l.posting(rapid.SampledFrom(merchants).Draw(t, "merchant"), 0)
			p.At, p.Provider = now, rapid.SampledFrom([]string{"stripe", "bank"}).Draw(t, "provider")
			p.Currency = money.MustParseCurrency(rapid.SampledFrom([]string{"JPY", "KWD"}).Draw(t, "currency"))
			kinds := []Kind{Capture, Fee, Refund, DisputeOpened, Payout, ProviderFee}
			if p.MerchantID.IsZero() {
				kinds = []Kind{Payout, ProviderFee}
			}
			p.Kind = rapid.SampledFrom(kinds).Draw(t, "kind")
			p.Entries = Entries(p.Kind, rapid.Int64Range(1, 1000).Draw(t, "amount"))
			if err := l.post(p); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Balances(l.t.Context(), pool, Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if want := l.sums(); !slices.Equal(got, want) {
			t.Fatalf("balances %v\nwant %v", got, want)
		}
	})
	if n := l.count(`SELECT count(*) FROM ledger_balances`); n == 0 {
		t.Error("nothing was ever closed")
	}
	wrong := l.count(`
		SELECT count(*) FROM ledger_balances b WHERE balance_minor <> (SELECT sum(amount_minor) FROM ledger_entries e
			WHERE coalesce(e.merchant_id, '00000000-0000-0000-0000-000000000000') = b.merchant_id AND e.provider = b.provider
				AND e.currency = b.currency AND e.account = b.account AND e.posted_at < b.until)`)
	if wrong != 0 {
		t.Errorf("%d of the closed balances are not what the entries come to", wrong)
	}
}

// sums are the balances, the slow way.
func (l *book) sums() []Balance {
	l.t.Helper()
	rows, err := l.db.Query(l.t.Context(), `
		SELECT merchant_id, provider, currency, account, sum(amount_minor)::bigint AS amount_minor FROM ledger_entries
		GROUP BY merchant_id, provider, currency, account
		ORDER BY currency, provider, coalesce(merchant_id, '00000000-0000-0000-0000-000000000000'), account`)
	if err != nil {
		l.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Balance])
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}

func TestOnlyWhatIsCompleteIsClosed(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	l := newBook(t, pool)
	m, until, now := l.merchant(), epoch.Add(time.Minute), epoch.Add(2*time.Hour)
	closing := func() error {
		return postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { return Close(t.Context(), tx, until) })
	}
	if err := closing(); err == nil {
		t.Error("a period that was not marked is closed")
	}
	slow, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := (&book{t, slow, l.newID}).post(l.posting(m, 700)); err != nil {
		t.Fatal(err)
	}
	if err := period.Mark(t.Context(), pool, until, now); err != nil {
		t.Fatal(err)
	}
	if err := closing(); err == nil {
		t.Error("a period is closed before the last of its postings is there")
	}
	if err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := closePeriod(t.Context(), pool, until, now); err != nil {
		t.Fatal(err)
	}
	if err := closing(); err != nil {
		t.Errorf("closing it again: %v", err)
	}
	if n := l.count(`SELECT balance_minor FROM ledger_balances WHERE account = 'receivable'`); n != 700 {
		t.Errorf("closed at %d, want the slow posting's 700", n)
	}
	if err := l.post(l.posting(m, 1)); !postgres.HasCode(err, postgres.PeriodClosed) {
		t.Errorf("posting in the closed period: %v", err)
	}
	for _, sql := range []string{`UPDATE ledger_balances SET balance_minor = 0`, `DELETE FROM ledger_balances`, `TRUNCATE ledger_balances`} {
		if _, err := pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
}
