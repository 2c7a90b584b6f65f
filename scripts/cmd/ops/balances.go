package main

import (
	"context"
	"flag"

	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
)

// balanceRow is what an account of the ledger stands at.
type balanceRow struct {
	Currency money.Currency       `json:"currency" col:"currency"`
	Provider string               `json:"provider" col:"provider"`
	Merchant external[ofMerchant] `json:"merchant_id,omitzero" col:"merchant"`
	Account  ledger.Account       `json:"account" col:"account"`
	Amount   int64                `json:"amount_minor" col:"minor units (debit +, credit -)"`
}

func balancesList(f *flag.FlagSet) action {
	merchant, provider, currency := f.String("merchant", "", ""), f.String("provider", "", ""), f.String("currency", "", "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		filter := ledger.Filter{Provider: *provider}
		if *merchant != "" {
			m, err := parseID[ofMerchant](*merchant)
			if err != nil {
				return nil, err
			}
			filter.MerchantID = m.ID
		}
		if *currency != "" {
			c, err := money.ParseCurrency(*currency)
			if err != nil {
				return nil, usageError(err.Error())
			}
			filter.Currency = c
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		all, err := ledger.Balances(ctx, db, filter)
		var rows []balanceRow
		for _, b := range all {
			rows = append(rows, balanceRow{b.Currency, b.Provider, external[ofMerchant]{b.MerchantID}, b.Account, b.AmountMinor})
		}
		return list[balanceRow]{rows, "Nothing was posted."}, err
	}
}
