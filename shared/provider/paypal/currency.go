package paypal

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// The currencies that PayPal takes, and how it writes them. Source:
// https://developer.paypal.com/docs/api/reference/currency-codes/ ("This currency does
// not support decimals" of HUF, JPY and TWD), as read in November 2026.
const (
	noDecimals  = "HUF JPY TWD"
	twoDecimals = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN SEK SGD THB USD"

	// The page still lists RUB, while PayPal has suspended its services in Russia since
	// 2022: whether it would be taken is not to be found out with a payment.
	contradictory = "RUB"
)

// maxWhole is the largest amount in whole units of currency: seven digits before the
// point, https://developer.paypal.com/docs/api/payments/v1/#definition-amount. Version 2
// states no limit of its own.
const maxWhole = 9_999_999

var decimalsOf = func() map[string]int {
	table := map[string]int{}
	for _, code := range strings.Fields(noDecimals) {
		table[code] = 0
	}
	for _, code := range strings.Fields(twoDecimals) {
		table[code] = 2
	}
	return table
}()

const currencyPage = "https://developer.paypal.com/docs/api/reference/currency-codes/"

// currencies lists the table, by code, with what is refused of it.
func currencies() []provider.Currency {
	var list []provider.Currency
	for _, code := range slices.Sorted(maps.Keys(decimalsOf)) {
		list = append(list, provider.Currency{Code: code, Exponent: decimalsOf[code], Step: 1, Source: currencyPage})
	}
	return append(list, provider.Currency{
		Code: contradictory, Source: currencyPage, Refused: "listed, while PayPal has suspended its services in Russia",
	})
}

// Units converts an amount to PayPal's smallest units: cents of USD, whole yen, whole
// forint. It never rounds: what PayPal can't write is a fault, amount_not_supported or
// currency_not_supported, that says what can be sent instead.
func Units(m money.Money) (int64, error) {
	decimals, err := decimalsFor(m.Currency)
	if err != nil {
		return 0, err
	}
	if !m.IsPositive() {
		return 0, fault.New(fault.AmountNotSupported, "The amount must be at least 1.")
	}
	g := granule(m.Currency, decimals)
	if most := largest(decimals) * g; m.Minor > most {
		return 0, fault.New(fault.AmountNotSupported, "The amount is more than PayPal takes; the most in %s is %d minor units.", m.Currency, most)
	}
	if m.Minor%g != 0 {
		below := m.Minor - m.Minor%g
		if below == 0 {
			return 0, fault.New(fault.AmountNotSupported, "PayPal takes %s only in multiples of %d minor units.", m.Currency, g)
		}
		return 0, fault.New(fault.AmountNotSupported, "PayPal takes %s only in multiples of %d minor units; use %d or %d.", m.Currency, g, below, below+g)
	}
	return m.Minor / g, nil
}

func decimalsFor(c money.Currency) (int, error) {
	if decimals, ok := decimalsOf[c.Code()]; ok {
		return decimals, nil
	}
	if c.Code() == contradictory {
		return 0, fault.New(fault.CurrencyNotSupported, "PayPal lists %s but has suspended it, so it is refused; use another currency or provider.", c)
	}
	return 0, fault.New(fault.CurrencyNotSupported, "PayPal does not take %s; use another currency or provider.", c)
}

// granule is PayPal's smallest unit, in minor units. PayPal has no currency with more
// decimals than ISO 4217 has; a test holds the table to that.
func granule(c money.Currency, decimals int) int64 {
	g := int64(1)
	for d := decimals; d < c.Exponent(); d++ {
		g *= 10
	}
	return g
}

// largest is the largest amount in PayPal's units.
func largest(decimals int) int64 {
	n := int64(maxWhole)
	for range decimals {
		n = n*10 + 9
	}
	return n
}

// decimal writes units as PayPal does: "50.00", "5000".
func decimal(units int64, code string) string {
	decimals := decimalsOf[code]
	s := strconv.FormatInt(units, 10)
	if decimals == 0 {
		return s
	}
	for len(s) <= decimals {
		s = "0" + s
	}
	return s[:len(s)-decimals] + "." + s[len(s)-decimals:]
}

// unitsOf is the way back, for what PayPal states: any amount from 0 on, with as many
// decimals as the currency has, or none behind the point but zeros that it has not.
func unitsOf(value, code string) (int64, error) {
	decimals, known := decimalsOf[code]
	whole, fraction, _ := strings.Cut(value, ".")
	bad := fault.New(fault.AmountNotSupported, "PayPal states the amount %.40q of %.8q.", value, code)
	if !known || !digits(whole) || fraction != "" && !digits(fraction) || strings.HasSuffix(value, ".") {
		return 0, bad
	}
	for len(fraction) < decimals {
		fraction += "0"
	}
	if strings.Trim(fraction[decimals:], "0") != "" {
		return 0, bad
	}
	units, err := strconv.ParseInt(whole+fraction[:decimals], 10, 64)
	if err != nil {
		return 0, bad
	}
	return units, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// amountOf converts PayPal's units to an amount.
func amountOf(units int64, code string) (money.Money, error) {
	currency, err := money.ParseCurrency(code)
	if err != nil {
		return money.Money{}, err
	}
	decimals, err := decimalsFor(currency)
	if err != nil {
		return money.Money{}, err
	}
	g := granule(currency, decimals)
	if units < 0 || units > math.MaxInt64/g {
		return money.Money{}, fault.New(fault.AmountNotSupported, "PayPal states an amount that is out of range.")
	}
	return money.New(units*g, currency), nil
}
