package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/period"
)

// Only the accounts that moved in the period get a row, by a look at the last one of each.
const insertBalances = `
	INSERT INTO ledger_balances (merchant_id, provider, currency, account, until, balance_minor)
	SELECT m.merchant_id, m.provider, m.currency, m.account, $1, coalesce(last.balance_minor, 0) + m.moved
	FROM (
		SELECT coalesce(merchant_id, '` + nobody + `') AS merchant_id, provider, currency, account, sum(amount_minor) AS moved
		FROM ledger_entries
		WHERE posted_at < $1 AND posted_at >= coalesce((SELECT max(until) FROM ledger_balances), '-infinity')
		GROUP BY 1, 2, 3, 4) m
	LEFT JOIN LATERAL (
		SELECT balance_minor FROM ledger_balances b
		WHERE b.merchant_id = m.merchant_id AND b.provider = m.provider AND b.currency = m.currency AND b.account = m.account
		ORDER BY until DESC LIMIT 1) last ON true`

// Close keeps what every account stood at when the period ended, so that a balance need
// not be summed from the beginning of time. It belongs in the transaction that closes the
// period, and fails when the period is not period.Ready. To close one twice changes nothing.
func Close(ctx context.Context, tx pgx.Tx, until time.Time) error {
	ready, err := period.Ready(ctx, tx, until)
	if err == nil && !ready {
		err = errors.New("it is not complete")
	}
	if err == nil {
		_, err = tx.Exec(ctx, insertBalances, until)
	}
	return fault.Wrap(err, "sum the ledger's period until %s up", until.UTC())
}
