package stripe

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
)

func amount(code string, minor int64) money.Money {
	return money.New(minor, money.MustParseCurrency(code))
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m    money.Money
		want int64
	}{
		{amount("JPY", 5000), 5000},
		{amount("USD", 1234), 1234},
		{amount("HUF", 1045), 1045},
		{amount("TWD", 80045), 80045},
		{amount("ISK", 5), 500},
		{amount("ISK", 999_999), 99_999_900},
		{amount("MGA", 300), 3},
		{amount("MGA", 9_999_999_900), 99_999_999},
		{amount("KWD", 5120), 5120},
		{amount("KWD", 99_999_990), 99_999_990},
		{amount("EUR", 99_999_999), 99_999_999},
		{amount("KRW", 1), 1},
	} {
		got, err := Units(c.m)
		if err != nil || got != c.want {
			t.Errorf("Units(%s) = %d, %v; want %d", c.m, got, err, c.want)
		}
		back, err := amountOf(c.want, strings.ToLower(c.m.Currency.Code()))
		if err != nil || back != c.m {
			t.Errorf("amountOf(%d %s) = %s, %v; want %s", c.want, c.m.Currency, back, err, c.m)
		}
	}
}

func TestUnitsRefusedWithTheWayOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m    money.Money
		code fault.Code
		says string
	}{
		{amount("KWD", 5124), fault.AmountNotSupported, "use 5120 or 5130"},
		{amount("KWD", 4), fault.AmountNotSupported, "multiples of 10 minor units"},
		{amount("MGA", 250), fault.AmountNotSupported, "use 200 or 300"},
		{amount("UGX", 500), fault.CurrencyNotSupported, "contradicts itself"},
		{amount("IRR", 500), fault.CurrencyNotSupported, "use another currency or provider"},
		{amount("USD", 100_000_000), fault.AmountNotSupported, "the most in USD is 99999999 minor units"},
		{amount("ISK", 1_000_000), fault.AmountNotSupported, "the most in ISK is 999999 minor units"},
		{amount("ISK", 1<<62), fault.AmountNotSupported, "the most in ISK is 999999 minor units"},
		{amount("KWD", 100_000_000), fault.AmountNotSupported, "the most in KWD is 99999990 minor units"},
		{amount("MGA", 10_000_000_000), fault.AmountNotSupported, "the most in MGA is 9999999900 minor units"},
		{amount("JPY", 0), fault.AmountNotSupported, "at least 1"},
		{amount("JPY", -5), fault.AmountNotSupported, "at least 1"},
		{money.Money{Minor: 5}, fault.CurrencyNotSupported, "use another currency"},
	} {
		got, err := Units(c.m)
		if !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Units(%s) = %d, %v; want %s saying %q", c.m, got, err, c.code, c.says)
		}
	}
}

func TestAmountsOfStripeRefused(t *testing.T) {
	t.Parallel()
	for units, code := range map[int64]string{-1: "jpy", 550: "isk", 1 << 62: "mga", 500: "ugx", 7: "zzz", 8: ""} {
		if m, err := amountOf(units, code); err == nil {
			t.Errorf("amountOf(%d %q) = %s, want an error", units, code, m)
		}
	}
}

func TestUnitsRoundTripAndNeverRound(t *testing.T) {
	t.Parallel()
	all := money.Currencies()
	rapid.Check(t, func(t *rapid.T) {
		m := money.New(rapid.Int64().Draw(t, "minor"), rapid.SampledFrom(all).Draw(t, "currency"))
		units, err := Units(m)
		if err != nil {
			return
		}
		if units < 1 || units > maxUnits {
			t.Fatalf("Units(%s) = %d", m, units)
		}
		if back, err := amountOf(units, m.Currency.Code()); err != nil || back != m {
			t.Fatalf("amountOf(Units(%s)) = %s, %v", m, back, err)
		}
	})
}
