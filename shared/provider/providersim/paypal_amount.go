package providersim

import (
	"fmt"
	"strconv"
	"strings"
)

// paypalAmount is money as PayPal writes it.
type paypalAmount struct {
	CurrencyCode string `json:"currency_code"`
	Value        string `json:"value"`
}

// paypalCurrencies are those that the simulator takes, with their decimals.
var paypalCurrencies = map[string]int{
	"HUF": 0, "JPY": 0, "TWD": 0, "AUD": 2, "BRL": 2, "CAD": 2, "CHF": 2, "CNY": 2, "CZK": 2, "DKK": 2, "EUR": 2, "GBP": 2, "HKD": 2,
	"ILS": 2, "MXN": 2, "MYR": 2, "NOK": 2, "NZD": 2, "PHP": 2, "PLN": 2, "SEK": 2, "SGD": 2, "THB": 2, "USD": 2,
}

func paypalUnits(value, code string) (int64, bool) {
	decimals, ok := paypalCurrencies[code]
	whole, fraction, dotted := strings.Cut(value, ".")
	if !ok || dotted && len(fraction) != decimals || !dotted && decimals != 0 && value != whole {
		return 0, false
	}
	if !dotted {
		fraction = strings.Repeat("0", decimals)
	}
	units, err := strconv.ParseInt(whole+fraction, 10, 64)
	return units, err == nil && units >= 0 && len(whole) <= 7
}

func paypalValue(units int64, code string) string {
	if paypalCurrencies[code] == 0 {
		return strconv.FormatInt(units, 10)
	}
	return fmt.Sprintf("%d.%02d", units/100, units%100)
}
