package main

import (
	"context"
	"flag"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// openObligationRow is money or an authorization that is still to be released.
type openObligationRow struct {
	ID        id.ID               `db:"id" json:"id" col:"obligation"`
	Payment   external[ofPayment] `db:"transaction_id" json:"payment_id" col:"payment"`
	Kind      string              `db:"kind" json:"kind" col:"kind"`
	Provider  string              `db:"provider" json:"provider" col:"provider"`
	Reference string              `db:"reference" json:"reference" col:"reference"`
	Amount    int64               `db:"amount_minor" json:"amount_minor" col:"amount (minor units)"`
	Currency  string              `db:"currency" json:"currency" col:"currency"`
	Reason    string              `db:"reason" json:"reason" col:"reason"`
	Tries     int                 `db:"tries" json:"tries" col:"tries"`
	DueAt     time.Time           `db:"due_at" json:"due_at" col:"due"`
	OpenedAt  time.Time           `db:"opened_at" json:"opened_at" col:"since"`
}

const selectOpenObligations = `
	SELECT id, transaction_id, kind, provider, reference, amount_minor, currency, reason, tries, due_at, opened_at
	FROM obligations WHERE state = 'open' ORDER BY opened_at, id LIMIT $1`

func obligationsList(f *flag.FlagSet) action {
	limit := limitFlag(f)
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		n, err := limit()
		if err != nil {
			return nil, err
		}
		rows, err := query[openObligationRow](ctx, s, selectOpenObligations, n)
		return list[openObligationRow]{rows, "Nothing is to be released."}, err
	}
}
