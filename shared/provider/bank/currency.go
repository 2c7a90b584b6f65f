package bank

import (
	"maps"
	"slices"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// currencies are those of Instant Bank Pay: pounds by Faster Payments, euros by SEPA
// Instant. GoCardless counts both in the minor units of ISO 4217, two decimals:
// https://developer.gocardless.com/api-reference/#billing-requests-create-a-billing-request
// ("amount in minor unit"). Its other currencies are for direct debit alone.
var currencies = map[string]bool{"GBP": true, "EUR": true}

func currencyList() []provider.Currency {
	var list []provider.Currency
	for _, code := range slices.Sorted(maps.Keys(currencies)) {
		list = append(list, provider.Currency{
			Code: code, Exponent: 2, Step: 1, Source: "https://developer.gocardless.com/api-reference/#billing-requests-create-a-billing-request",
		})
	}
	return list
}

// maxUnits stays below the limit of the schemes, one million pounds for Faster
// Payments. A bank may set its customer a lower one, which shows as a failure.
const maxUnits = money.MaxAmountMinor

// Units converts an amount to GoCardless's units, which are minor units. What Instant
// Bank Pay can't take is a fault, amount_not_supported or currency_not_supported.
func Units(m money.Money) (int64, error) {
	switch {
	case !currencies[m.Currency.Code()]:
		return 0, fault.New(fault.CurrencyNotSupported, "Bank transfers are taken in GBP and EUR, not in %s; use another currency or provider.", m.Currency)
	case !m.IsPositive():
		return 0, fault.New(fault.AmountNotSupported, "The amount must be at least 1.")
	case m.Minor > maxUnits:
		return 0, fault.New(fault.AmountNotSupported, "The amount is more than a bank transfer takes; the most in %s is %d minor units.", m.Currency, maxUnits)
	}
	return m.Minor, nil
}

// amountOf is the way back, for what GoCardless states: any amount from 0 on.
func amountOf(units int64, code string) (money.Money, error) {
	if !currencies[code] {
		return money.Money{}, fault.New(fault.CurrencyNotSupported, "GoCardless states the currency %.8q.", code)
	}
	if units < 0 {
		return money.Money{}, fault.New(fault.AmountNotSupported, "GoCardless states a negative amount, %d %s.", units, code)
	}
	return money.New(units, money.MustParseCurrency(code)), nil
}
