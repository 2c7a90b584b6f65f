package providertest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providertest"
)

// differing are the currencies that a provider counts otherwise than ISO 4217 does, by
// what its source says: decimals of its units, and what amounts must be multiples of. All
// others must have the decimals of ISO 4217, and any amount.
//
//	https://docs.stripe.com/currencies: zero-decimal currencies, three-decimal ones, whose
//	last digit must be 0, and special cases
//	https://developer.paypal.com/docs/api/reference/currency-codes/: "does not support decimals"
var differing = map[string]map[string][2]int64{
	"stripe": {
		"ISK": {2, 100}, "MGA": {0, 1},
		"BHD": {3, 10}, "JOD": {3, 10}, "KWD": {3, 10}, "OMR": {3, 10}, "TND": {3, 10},
	},
	"paypal": {"HUF": {0, 1}, "TWD": {0, 1}},
	"bank":   {},
}

// contradictory are listed by a provider in a way that can't be relied on.
var contradictory = map[string]string{"stripe": "UGX", "paypal": "RUB", "bank": ""}

func capabilities(t *testing.T, s providertest.Subject) provider.Capabilities {
	return providertest.New(t, s).Adapter.Capabilities()
}

// Every currency of every provider: it is one of ISO 4217's, has a source, is counted as
// the source says, and an amount of it becomes the provider's units without rounding, or
// is refused.
func TestCurrencies(t *testing.T) {
	t.Parallel()
	for _, s := range subjects() {
		caps := capabilities(t, s)
		listed := map[string]bool{}
		for _, c := range caps.Currencies {
			iso, err := money.ParseCurrency(c.Code)
			if err != nil {
				t.Errorf("%s: %v", s.Name, err)
				continue
			}
			if listed[c.Code] || !strings.HasPrefix(c.Source, "https://") {
				t.Errorf("%s %s: listed before %t, source %q", s.Name, c.Code, listed[c.Code], c.Source)
			}
			listed[c.Code] = true
			if (c.Code == contradictory[s.Name]) != (c.Refused != "") {
				t.Errorf("%s %s is refused: %q", s.Name, c.Code, c.Refused)
			}
			want, differs := differing[s.Name][c.Code]
			if !differs {
				want = [2]int64{int64(iso.Exponent()), 1}
			}
			if c.Refused == "" && (int64(c.Exponent) != want[0] || c.Step != want[1]) {
				t.Errorf("%s %s: %d decimals in steps of %d, want %v", s.Name, c.Code, c.Exponent, c.Step, want)
			}
			counts(t, s.Name, caps, iso, c)
		}
		for _, c := range money.Currencies() {
			if _, err := caps.Units(money.New(1000, c)); !listed[c.Code()] && !fault.Is(err, fault.CurrencyNotSupported) {
				t.Errorf("%s: %s is not listed, and Units says %v", s.Name, c, err)
			}
		}
		for code := range differing[s.Name] {
			if !listed[code] {
				t.Errorf("%s does not list %s", s.Name, code)
			}
		}
	}
}

// counts holds Units to the table.
func counts(t *testing.T, name string, caps provider.Capabilities, iso money.Currency, c provider.Currency) {
	t.Helper()
	for _, minor := range []int64{1, 2, 9, 10, 50, 99, 100, 101, 110, 999, 1000, 1010, 5000, 5120, 5124, 123400, 999900} {
		got, err := caps.Units(money.New(minor, iso))
		if c.Refused != "" {
			if !fault.Is(err, fault.CurrencyNotSupported) {
				t.Errorf("%s takes %s, which it refuses: %v", name, iso, err)
			}
			continue
		}
		// In units of the finer of the two, so that nothing is rounded here either.
		up, down := pow10(c.Exponent-iso.Exponent()), pow10(iso.Exponent()-c.Exponent)
		fits := minor*up%down == 0 && minor*up/down%c.Step == 0
		switch {
		case fits && (err != nil || got != minor*up/down):
			t.Errorf("%s: Units(%d %s) = %d, %v; want %d", name, minor, iso, got, err, minor*up/down)
		case !fits && !fault.Is(err, fault.AmountNotSupported):
			t.Errorf("%s: Units(%d %s) = %d, %v; want a refusal", name, minor, iso, got, err)
		}
	}
	for _, minor := range []int64{0, -1, 1 << 62} {
		if got, err := caps.Units(money.New(minor, iso)); err == nil {
			t.Errorf("%s: Units(%d %s) = %d", name, minor, iso, got)
		}
	}
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

// What the documents spell out, amount by amount.
func TestAmountsThatTheDocumentsSpellOut(t *testing.T) {
	t.Parallel()
	const refused = -1
	for _, c := range []struct {
		code                 string
		minor                int64
		stripe, paypal, bank int64
	}{
		{"JPY", 5000, 5000, 5000, refused},
		{"USD", 1050, 1050, 1050, refused},
		{"GBP", 1050, 1050, 1050, 1050},
		{"EUR", 1, 1, 1, 1},
		{"KWD", 5120, 5120, refused, refused},
		{"KWD", 5124, refused, refused, refused}, // 5.124: "to 5120 or 5130"
		{"ISK", 5, 500, refused, refused},        // 5 krónur are sent as 500
		{"HUF", 1045, 1045, refused, refused},    // 10.45 forint: two decimals at Stripe, none at PayPal
		{"HUF", 104500, 104500, 1045, refused},
		{"TWD", 80045, 80045, refused, refused},
		{"TWD", 80000, 80000, 800, refused},
		{"UGX", 500, refused, refused, refused},
		{"MGA", 300, 3, refused, refused},
		{"MGA", 250, refused, refused, refused},
		{"RUB", 10000, 10000, refused, refused},
	} {
		for i, s := range subjects() {
			want := []int64{c.stripe, c.paypal, c.bank}[i]
			got, err := capabilities(t, s).Units(money.New(c.minor, money.MustParseCurrency(c.code)))
			if want == refused && err == nil || want != refused && (err != nil || got != want) {
				t.Errorf("%s: %d minor units of %s are %d, %v; want %d", s.Name, c.minor, c.code, got, err, want)
			}
		}
	}
}

// A payment in every currency: the simulators, which have tables of their own, take the
// units, and echo them.
func TestAPaymentInEveryCurrency(t *testing.T) {
	t.Parallel()
	for _, s := range subjects() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			b := providertest.New(t, s)
			caps := b.Adapter.Capabilities()
			for _, c := range caps.Currencies {
				if c.Refused != "" {
					continue
				}
				r := b.Payment(providertest.Plain, true)
				r.Amount = money.New(100_000, money.MustParseCurrency(c.Code))
				units, err := caps.Units(r.Amount)
				if err != nil {
					t.Fatal(err)
				}
				made := b.Start(r)
				i := slices.IndexFunc(made.Facts, func(f provider.Fact) bool { return f.Kind == provider.KindAuthorization })
				if f := made.Facts[i]; f.Units != units || f.Amount != r.Amount || !strings.EqualFold(f.UnitCurrency, c.Code) {
					t.Errorf("%s of %d units is echoed as %d %s, %s", r.Amount, units, f.Units, f.UnitCurrency, f.Amount)
				}
			}
		})
	}
}
