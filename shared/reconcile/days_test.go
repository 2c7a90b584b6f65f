package reconcile

import (
	"path"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Three days of mixed traffic over three providers, in five currencies, with a loss of
// replies now and then, and no webhook at all: what differs is what was planted, and every
// minor unit is explained.
func TestThreeDaysOfMixedTraffic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, s := range []ledger.Schedule{
		{Provider: "stripe", Currency: money.MustParseCurrency("KWD"), BasisPoints: 290, FixedMinor: 30, Rounding: ledger.HalfUp},
		{Provider: "paypal", Currency: money.MustParseCurrency("JPY"), BasisPoints: 349, FixedMinor: 49, Rounding: ledger.HalfUp},
		{Provider: "paypal", Currency: money.MustParseCurrency("EUR"), BasisPoints: 349, FixedMinor: 39, Rounding: ledger.HalfUp},
		{Provider: "bank", Currency: money.MustParseCurrency("EUR"), BasisPoints: 100, FixedMinor: 20, Rounding: ledger.HalfUp},
	} {
		s.MerchantID, s.EffectiveFrom = r.shop.MerchantID, r.Now()
		check(t, ledger.SetSchedule(t.Context(), r.Pool, s, r.Now()))
	}
	kinds := []func(n int64) payment.CreateParams{
		card("USD", 1000), card("JPY", 5000), card("EUR", 2000), card("KWD", 10000), wallet("USD", 3000), wallet("JPY", 7000),
		wallet("EUR", 4000), transfer("GBP", 2500), transfer("EUR", 3500),
	}
	r.plant()
	for round := range int64(9) {
		var made []paying
		for i, kind := range kinds {
			if (round+int64(i))%4 == 0 {
				r.lost(providersim.Authorize) // of whichever card is next
			}
			made = append(made, r.create(kind(round)))
			r.payer(made[i])
		}
		r.hourly(2 * time.Hour)
		for i, p := range made {
			if p = r.get(p); p.Status != payment.Captured {
				t.Fatalf("round %d: payment %d is %s", round, i, p.Status)
			}
			if (int(round)+i)%3 == 0 && p.Currency != "KWD" {
				r.refund(p, p.Amount/2)
			}
		}
		r.hourly(6 * time.Hour)
	}
	r.hourly(9 * 24 * time.Hour)
	got := r.strings(`SELECT kind || ' ' || provider FROM differences WHERE state = 'OPEN'`)
	slices.Sort(got)
	want := []string{
		"amount bank", "amount paypal", "amount stripe", "duplicate bank", "duplicate paypal", "duplicate stripe", "fee bank", "fee paypal", "fee stripe",
		"missing_there bank", "missing_there paypal", "missing_there paypal", "missing_there stripe", "missing_there stripe",
		"orphan bank", "orphan paypal", "orphan stripe", "duplicate stripe", "duplicate paypal",
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
		r.wantDifferences()
	}
	r.wantSums()
	r.wantQuiet()
}

// plant makes each report wrong in each way: one charge each, and refunds.
func (r *rig) plant() {
	r.t.Helper()
	sims := map[string]interface {
		Plant(providersim.Plant) error
	}{"stripe": r.stripe, "paypal": r.paypal, "bank": r.bank}
	for name, sim := range sims {
		plants := []providersim.Plant{
			{What: providersim.PlantMissing, Skip: 1},
			{What: providersim.PlantDoubled, Skip: 4},
			{What: providersim.PlantFee, By: 10, Skip: 6},
			{What: providersim.PlantAmount, By: 10, Skip: 9},
			{What: providersim.PlantOrphan, Currency: "eur", Amount: 1770},
		}
		if name != "bank" {
			plants = append(plants, providersim.Plant{What: providersim.PlantMissing, Kind: "refund"}, providersim.Plant{What: providersim.PlantDoubled, Kind: "refund"})
		}
		for _, p := range plants {
			check(r.t, sim.Plant(p))
		}
	}
}

func card(currency string, minor int64) func(int64) payment.CreateParams {
	return func(n int64) payment.CreateParams {
		return payment.CreateParams{Amount: minor + 10*n, Currency: currency, PaymentMethod: "pm_card_visa", CaptureMethod: "automatic"}
	}
}

func wallet(currency string, minor int64) func(int64) payment.CreateParams {
	return func(n int64) payment.CreateParams {
		return payment.CreateParams{Amount: minor + 10*n, Currency: currency, PaymentMethod: "paypal", CaptureMethod: "automatic", ReturnURL: "https://shop.example/back"}
	}
}

func transfer(currency string, minor int64) func(int64) payment.CreateParams {
	return func(n int64) payment.CreateParams {
		return payment.CreateParams{Amount: minor + 10*n, Currency: currency, PaymentMethod: "bank_transfer", ReturnURL: "https://shop.example/back"}
	}
}

// payer has a payment's payer do their part, if they have one.
func (r *rig) payer(p paying) {
	r.t.Helper()
	switch p.Provider {
	case "paypal":
		check(r.t, r.paypal.Approve(*p.ProviderTransactionID, providersim.PayPalApproves))
	case "bank":
		check(r.t, r.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"))
	}
}
