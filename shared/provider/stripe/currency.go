package stripe

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// Stripe counts some currencies in other units than ISO 4217. Source of all four
// lists: https://docs.stripe.com/currencies ("Zero-decimal currencies", "Three-decimal
// currencies", "Special cases") as quoted in September 2026, and currency.go of
// stripe-go v76.25.0 for what Stripe takes at all. Codes withdrawn from ISO 4217 are
// left out: nobody can ask for them.
const (
	zeroDecimal = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"

	// The API wants the last digit to be 0.
	threeDecimal = "BHD JOD KWD OMR TND"

	// HUF and TWD are charged with two decimals; they lose them only in payouts. ISK has
	// none in life and by ISO, but is sent with two, which must be 00.
	twoDecimal = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BZD " +
		"CAD CDF CHF CNY COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD " +
		"HKD HNL HTG HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MNT MOP " +
		"MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB " +
		"SAR SBD SCR SEK SGD SHP SOS SRD SVC SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD YER ZAR ZMW"

	// Stripe's page lists UGX as zero-decimal, and also as one to be sent times 100: a
	// charge would be wrong by a factor of 100 under one of the two readings.
	contradictory = "UGX"
)

// maxUnits is Stripe's limit of eight digits, counted in its own units:
// https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
const maxUnits = 99_999_999

// unit says how Stripe writes a currency: with how many decimals, and of what number
// its amounts must be multiples.
type unit struct {
	decimals int
	step     int64
}

var unitTable = func() map[string]unit {
	table := map[string]unit{}
	add := func(codes string, u unit) {
		for _, code := range strings.Fields(codes) {
			table[code] = u
		}
	}
	add(zeroDecimal, unit{0, 1})
	add(twoDecimal, unit{2, 1})
	add(threeDecimal, unit{3, 10})
	table["ISK"] = unit{2, 100}
	return table
}()

const currencyPage = "https://docs.stripe.com/currencies"

// currencies lists the table, by code, with what is refused of it.
func currencies() []provider.Currency {
	var list []provider.Currency
	for _, code := range slices.Sorted(maps.Keys(unitTable)) {
		u := unitTable[code]
		list = append(list, provider.Currency{Code: code, Exponent: u.decimals, Step: u.step, Source: currencyPage})
	}
	return append(list, provider.Currency{
		Code: contradictory, Source: currencyPage, Refused: "listed as zero-decimal, and as one to be sent times 100",
	})
}

// Units converts an amount to Stripe's units. It never rounds: what Stripe can't hold
// is a fault, amount_not_supported or currency_not_supported, that says what can be
// sent instead.
func Units(m money.Money) (int64, error) {
	u, err := unitOf(m.Currency)
	if err != nil {
		return 0, err
	}
	if !m.IsPositive() {
		return 0, fault.New(fault.AmountNotSupported, "The amount must be at least 1.")
	}
	units, ok := m.Minor, true
	for d := m.Currency.Exponent(); d < u.decimals; d++ {
		if units > math.MaxInt64/10 {
			return 0, tooLarge(m.Currency, u)
		}
		units *= 10
	}
	for d := u.decimals; d < m.Currency.Exponent(); d++ {
		ok = ok && units%10 == 0
		units /= 10
	}
	if !ok || units%u.step != 0 {
		return 0, unrepresentable(m, u)
	}
	if units > maxUnits {
		return 0, tooLarge(m.Currency, u)
	}
	return units, nil
}

// amountOf is the way back, for what Stripe states: any amount from 0 on, even one
// that could not be sent, as long as it is a whole number of minor units.
func amountOf(units int64, code string) (money.Money, error) {
	currency, err := money.ParseCurrency(strings.ToUpper(code))
	if err != nil {
		return money.Money{}, err
	}
	u, err := unitOf(currency)
	if err != nil {
		return money.Money{}, err
	}
	minor := units
	for d := currency.Exponent(); d < u.decimals; d++ {
		if minor%10 != 0 {
			return money.Money{}, fault.New(fault.AmountNotSupported, "Stripe states %d units of %s, a fraction of its minor unit.", units, currency)
		}
		minor /= 10
	}
	for d := u.decimals; d < currency.Exponent(); d++ {
		if minor > math.MaxInt64/10 {
			return money.Money{}, tooLarge(currency, u)
		}
		minor *= 10
	}
	if units < 0 {
		return money.Money{}, fault.New(fault.AmountNotSupported, "Stripe states a negative amount, %d %s.", units, currency)
	}
	return money.New(minor, currency), nil
}

func unitOf(c money.Currency) (unit, error) {
	if u, ok := unitTable[c.Code()]; ok {
		return u, nil
	}
	if c.Code() == contradictory {
		return unit{}, fault.New(fault.CurrencyNotSupported,
			"Stripe's documentation contradicts itself on the units of %s, so it is refused; use another currency or provider.", c)
	}
	return unit{}, fault.New(fault.CurrencyNotSupported, "Stripe does not take %s; use another currency or provider.", c)
}

// granule is the smallest amount that Stripe can hold, in minor units.
func granule(c money.Currency, u unit) int64 {
	g := u.step
	for d := c.Exponent(); d < u.decimals; d++ {
		g = max(1, g/10)
	}
	for d := u.decimals; d < c.Exponent(); d++ {
		g *= 10
	}
	return g
}

func unrepresentable(m money.Money, u unit) error {
	g := granule(m.Currency, u)
	below := m.Minor - m.Minor%g
	if below == 0 || below > math.MaxInt64-g {
		return fault.New(fault.AmountNotSupported, "Stripe takes %s only in multiples of %d minor units.", m.Currency, g)
	}
	return fault.New(fault.AmountNotSupported, "Stripe takes %s only in multiples of %d minor units; use %d or %d.",
		m.Currency, g, below, below+g)
}

func tooLarge(c money.Currency, u unit) error {
	return fault.New(fault.AmountNotSupported, "The amount is more than Stripe takes; the most in %s is %d minor units.", c, largest(c, u))
}

// largest is the largest amount that Stripe takes, in minor units.
func largest(c money.Currency, u unit) int64 {
	n := maxUnits - maxUnits%u.step
	for d := c.Exponent(); d < u.decimals; d++ {
		n /= 10
	}
	for d := u.decimals; d < c.Exponent(); d++ {
		n *= 10
	}
	return n
}
