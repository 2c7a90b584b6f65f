package paypal

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
)

func sum(code string, minor int64) money.Money {
	return money.New(minor, money.MustParseCurrency(code))
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m     money.Money
		want  int64
		value string
	}{
		{sum("JPY", 5000), 5000, "5000"},
		{sum("USD", 1234), 1234, "12.34"},
		{sum("USD", 5), 5, "0.05"},
		{sum("HUF", 104500), 1045, "1045"},
		{sum("TWD", 100), 1, "1"},
		{sum("EUR", 999_999_999), 999_999_999, "9999999.99"},
		{sum("JPY", 9_999_999), 9_999_999, "9999999"},
	} {
		got, err := Units(c.m)
		if err != nil || got != c.want || decimal(got, c.m.Currency.Code()) != c.value {
			t.Errorf("Units(%s) = %d, %v, written %s; want %d, %s", c.m, got, err, decimal(got, c.m.Currency.Code()), c.want, c.value)
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
		{sum("HUF", 104550), fault.AmountNotSupported, "use 104500 or 104600"},
		{sum("TWD", 50), fault.AmountNotSupported, "multiples of 100 minor units"},
		{sum("JPY", 10_000_000), fault.AmountNotSupported, "the most in JPY is 9999999 minor units"},
		{sum("HUF", 1<<62), fault.AmountNotSupported, "the most in HUF is 999999900 minor units"},
		{sum("USD", 1_000_000_000), fault.AmountNotSupported, "the most in USD is 999999999 minor units"},
		{sum("JPY", 0), fault.AmountNotSupported, "at least 1"},
		{sum("JPY", -5), fault.AmountNotSupported, "at least 1"},
		{sum("KWD", 1000), fault.CurrencyNotSupported, "use another currency or provider"},
		{sum("RUB", 1000), fault.CurrencyNotSupported, "suspended"},
		{money.Money{Minor: 5}, fault.CurrencyNotSupported, "use another currency"},
	} {
		if got, err := Units(c.m); !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Units(%s) = %d, %v; want %s saying %q", c.m, got, err, c.code, c.says)
		}
	}
}

func TestAmountsOfPayPal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value, code string
		want        int64
	}{
		{"5000", "JPY", 5000},
		{"5000.00", "JPY", 5000}, // PayPal echoes zeros now and then
		{"12.3", "USD", 1230},
		{"12", "USD", 1200},
		{"0.00", "USD", 0},
	} {
		if got, err := unitsOf(c.value, c.code); err != nil || got != c.want {
			t.Errorf("unitsOf(%q %s) = %d, %v; want %d", c.value, c.code, got, err, c.want)
		}
	}
	for value, code := range map[string]string{
		"": "JPY", "-1": "JPY", "1,000": "JPY", "1.5": "JPY", "1.005": "USD", ".5": "USD", "1.": "USD", "1e3": "USD", "+1": "USD", " 1": "USD",
		"99999999999999999999": "EUR", "1": "KWD", "2": "",
	} {
		if got, err := unitsOf(value, code); err == nil {
			t.Errorf("unitsOf(%q %q) = %d, want an error", value, code, got)
		}
	}
}

func TestUnitsRoundTripAndNeverRound(t *testing.T) {
	t.Parallel()
	all := money.Currencies()
	rapid.Check(t, func(t *rapid.T) {
		m := money.New(rapid.OneOf(rapid.Int64(), rapid.Int64Range(1, 2_000_000_000)).Draw(t, "minor"), rapid.SampledFrom(all).Draw(t, "currency"))
		units, err := Units(m)
		if err != nil {
			return
		}
		code := m.Currency.Code()
		stated, err := unitsOf(decimal(units, code), code)
		if err != nil || stated != units {
			t.Fatalf("%s is written %s, which is read as %d, %v", m, decimal(units, code), stated, err)
		}
		if back, err := amountOf(units, code); err != nil || back != m {
			t.Fatalf("amountOf(Units(%s)) = %s, %v", m, back, err)
		}
	})
}
