package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
)

// feeRow is what a merchant pays at a provider in a currency from a time on.
type feeRow struct {
	Merchant    external[ofMerchant] `json:"merchant_id"`
	Provider    string               `json:"provider" col:"provider"`
	Currency    money.Currency       `json:"currency" col:"currency"`
	BasisPoints int64                `json:"basis_points" col:"basis points"`
	Fixed       int64                `json:"fixed_minor" col:"fixed (minor units)"`
	Rounding    ledger.Rounding      `json:"rounding" col:"rounding"`
	Returned    bool                 `json:"refund_returns_fee" col:"refunds return it"`
	Dispute     int64                `json:"dispute_fee_minor" col:"dispute (minor units)"`
	From        time.Time            `json:"effective_from" col:"from"`
	Force       string               `json:"in_force" col:"in force"`
}

// In which time a schedule is.
const (
	feePast   = "no more"
	feeNow    = "now"
	feeToCome = "not yet"
)

func feesSet(f *flag.FlagSet) action {
	provider, currency, from := f.String("provider", "", ""), f.String("currency", "", ""), f.String("from", "", "")
	points, fixed := f.Int64("basis-points", 0, ""), f.Int64("fixed", 0, "")
	rounding, returned := f.String("rounding", string(ledger.HalfUp), ""), f.Bool("refunds-return-it", false, "")
	dispute := f.Int64("dispute-fee", 0, "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		m, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		if *provider == "" || *currency == "" {
			return nil, usageError("say for which payments: --provider NAME --currency CODE")
		}
		c, err := money.ParseCurrency(*currency)
		if err != nil {
			return nil, usageError(err.Error())
		}
		now := s.now()
		schedule := ledger.Schedule{
			MerchantID: m.ID, Provider: *provider, Currency: c, BasisPoints: *points, FixedMinor: *fixed,
			Rounding: ledger.Rounding(*rounding), RefundReturnsFee: *returned, DisputeFeeMinor: *dispute, EffectiveFrom: now,
		}
		if *from != "" {
			if schedule.EffectiveFrom, err = time.Parse(time.RFC3339, *from); err != nil {
				return nil, usageError(fmt.Sprintf("--from %q is not a time such as 2026-12-01T00:00:00+09:00", *from))
			}
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		said := fmt.Sprintf("%s pays %d basis points and %d minor units of each capture by %s in %s, from %s.",
			m, *points, *fixed, *provider, c, spellTime(schedule.EffectiveFrom))
		return done{said}, ledger.SetSchedule(ctx, db, schedule, now)
	}
}

func feesList(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		m, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		all, err := ledger.ListSchedules(ctx, db, m.ID)
		return list[feeRow]{feeRows(all, s.now()), "It pays no fees. Set them: scripts/ops fees set MERCHANT --provider NAME --currency CODE …"}, err
	}
}

// feeRows says which schedules are in force: of a provider and currency they come with
// the latest first.
func feeRows(all []ledger.Schedule, now time.Time) []feeRow {
	var rows []feeRow
	for i, f := range all {
		force := feePast
		switch {
		case f.EffectiveFrom.After(now):
			force = feeToCome
		case i == 0 || all[i-1].Provider != f.Provider || all[i-1].Currency != f.Currency || all[i-1].EffectiveFrom.After(now):
			force = feeNow
		}
		rows = append(rows, feeRow{
			external[ofMerchant]{f.MerchantID},
			f.Provider, f.Currency, f.BasisPoints, f.FixedMinor, f.Rounding, f.RefundReturnsFee,
			f.DisputeFeeMinor, f.EffectiveFrom, force,
		})
	}
	return rows
}
