package reconcile

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Agreement holds our balance at a provider against the provider's own, in one currency.
// All are minor units. Reported is Ledger and the rest together, or something is not
// explained: then a difference was overlooked.
type Agreement struct {
	Provider    string
	Currency    money.Currency
	Reported    int64 // what all entries of the report come to
	Ledger      int64 // on the accounts receivable
	Differences int64 // by which the report has more, as rows of differences say
	Waiting     int64 // entries that are still to be judged, or ahead of their objects
	Unreported  int64 // in the ledger, and not in the report yet
}

// Unexplained is what is left when all that is known to differ is taken into account.
func (a Agreement) Unexplained() int64 {
	return a.Reported - a.Ledger - a.Differences - a.Waiting + a.Unreported
}

// A difference that is written off or approved is booked; one that a human explained or
// rejected goes on to explain what the sums differ by.
const selectSums = `
	SELECT currency, 'reported' AS part, sum(net_minor)::bigint AS amount_minor FROM provider_entries WHERE provider = $1 GROUP BY 1
	UNION ALL
	SELECT currency, 'waiting', sum(net_minor)::bigint FROM provider_entries
	WHERE provider = $1 AND coalesce(verdict, 'waiting') = 'waiting' GROUP BY 1
	UNION ALL
	SELECT currency, 'differences', sum(CASE WHEN kind = 'ledger' THEN expected_minor ELSE -expected_minor END)::bigint FROM differences
	WHERE provider = $1 AND NOT booked AND coalesce(resolution, '') NOT IN ('agrees', 'automatic') GROUP BY 1
	UNION ALL
	SELECT actual_currency, 'differences', sum(CASE WHEN kind = 'ledger' THEN -actual_minor ELSE actual_minor - fee_minor END)::bigint
	FROM differences
	WHERE provider = $1 AND NOT booked AND coalesce(resolution, '') NOT IN ('agrees', 'automatic') GROUP BY 1`

// Agree holds all that is known of each provider against its report, as far as it was
// read. It reads everything there is.
func (s *Service) Agree(ctx context.Context) ([]Agreement, error) {
	rows, _ := s.Pool.Query(ctx, `SELECT DISTINCT provider FROM statement_cursors ORDER BY provider`) // CollectRows returns the error
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fault.Wrap(err, "list the providers whose reports are read")
	}
	var all []Agreement
	for _, name := range names {
		at, err := s.agreeAt(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, at...)
	}
	return all, nil
}

func (s *Service) agreeAt(ctx context.Context, name string) ([]Agreement, error) {
	by := map[money.Currency]*Agreement{}
	of := func(c money.Currency) *Agreement {
		if by[c] == nil {
			by[c] = &Agreement{Provider: name, Currency: c}
		}
		return by[c]
	}
	rows, _ := s.Pool.Query(ctx, selectSums, name) // ForEachRow returns the error
	var c money.Currency
	var part string
	var amount int64
	_, err := pgx.ForEachRow(rows, []any{&c, &part, &amount}, func() error {
		switch a := of(c); part {
		case "reported":
			a.Reported += amount
		case "waiting":
			a.Waiting += amount
		case "differences":
			a.Differences += amount
		}
		return nil
	})
	if err != nil {
		return nil, fault.Wrap(err, "sum the report of %s up", name)
	}
	balances, err := ledger.Balances(ctx, s.Pool, ledger.Filter{Provider: name})
	if err != nil {
		return nil, err
	}
	for _, b := range balances {
		if b.Account == ledger.Receivable {
			of(b.Currency).Ledger += b.AmountMinor
		}
	}
	unreported, err := s.unreported(ctx, name)
	if err != nil {
		return nil, err
	}
	for c, amount := range unreported {
		of(c).Unreported += amount
	}
	all := make([]Agreement, 0, len(by))
	for _, a := range by {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Agreement) int { return cmp.Compare(a.Currency.Code(), b.Currency.Code()) })
	return all, nil
}

// readAccount is an account, and which facts were held against its report.
type readAccount struct {
	Account string    `db:"account"`
	FactsTo time.Time `db:"facts_to"`
}

// unreported sums up what moved by our facts and is not late in the report yet.
func (s *Service) unreported(ctx context.Context, name string) (map[money.Currency]int64, error) {
	rows, _ := s.Pool.Query(ctx, `SELECT account, facts_to FROM statement_cursors WHERE provider = $1`, name) // CollectRows returns the error
	accounts, err := pgx.CollectRows(rows, pgx.RowToStructByName[readAccount])
	if err != nil {
		return nil, fault.Wrap(err, "read how far %s was matched", name)
	}
	sums := map[money.Currency]int64{}
	for _, a := range accounts {
		r := &run{Service: s, name: name, account: a.Account, cursor: cursor{FactsTo: a.FactsTo}}
		if err := r.sumUnreported(ctx, sums); err != nil {
			return nil, fault.Wrap(err, "read young facts of %s", name)
		}
	}
	return sums, nil
}

func (r *run) sumUnreported(ctx context.Context, sums map[money.Currency]int64) error {
	var after aged
	done := map[string]bool{} // a payment comes up by each of its objects
	for {
		facts, err := collect[aged](ctx, r, selectAged, r.name, r.account, r.cursor.FactsTo, r.Now().Add(time.Hour), after.RecordedAt, after.ObjectID, batch)
		if err != nil {
			return err
		}
		var objects []string
		for _, f := range facts {
			objects = append(objects, f.ObjectID)
		}
		if err := r.addUnreported(ctx, objects, done, sums); err != nil {
			return err
		}
		if len(facts) < batch {
			return nil
		}
		after = facts[len(facts)-1]
	}
}

func (r *run) addUnreported(ctx context.Context, objects []string, done map[string]bool, sums map[money.Currency]int64) error {
	if len(objects) == 0 {
		return nil
	}
	return postgres.InTx(ctx, r.Pool, func(tx pgx.Tx) error {
		units, err := r.load(ctx, tx, objects, nil)
		if err != nil {
			return err
		}
		for _, u := range units {
			key := u.TransactionID.String()
			if u.TransactionID.IsZero() && len(u.facts) > 0 {
				key = u.facts[0].ObjectID
			}
			if done[key] {
				continue
			}
			done[key] = true
			for c, amount := range judge(&u.unit, terms{now: r.Now(), horizon: r.cursor.FactsTo}).unreported {
				sums[c] += amount
			}
		}
		return nil
	})
}
