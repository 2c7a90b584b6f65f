package providersim

import "strings"

// stripeMaxAmount is the largest amount: eight digits
// (https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).
const stripeMaxAmount = 99_999_999

// stripeCurrencies are those that Stripe charges in
// (https://docs.stripe.com/currencies, and currency.go of stripe-go for SVC). The table is the simulator's own on
// purpose: shared with an adapter, it could not show the adapter wrong.
var stripeCurrencies = func() map[string]bool {
	const all = `
		aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp
		cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr
		isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn
		myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle
		sos srd std svc szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw`
	set := map[string]bool{}
	for _, code := range strings.Fields(all) {
		set[code] = true
	}
	return set
}()

// stripeZeroDecimal currencies have no minor unit at Stripe. MGA has one in ISO
// 4217. UGX stands in Stripe's list too, and as a special case in the text below
// it; the simulator goes by the text.
var stripeZeroDecimal = map[string]bool{
	"bif": true, "clp": true, "djf": true, "gnf": true, "jpy": true, "kmf": true, "krw": true, "mga": true,
	"pyg": true, "rwf": true, "vnd": true, "vuv": true, "xaf": true, "xof": true, "xpf": true,
}

// checkStripeAmount refuses amounts that the currency can't have: ISK and UGX
// are sent times 100 though nothing is smaller than one of them, and currencies
// of three decimals must end in 0 (https://docs.stripe.com/currencies#special-cases).
func checkStripeAmount(param string, amount int64, currency string) *stripeError {
	if amount > stripeMaxAmount {
		return invalid(param, "amount_too_large", "Amount must be no more than %d, in the smallest unit of %s", stripeMaxAmount, currency)
	}
	switch currency {
	case "isk", "ugx":
		if amount%100 != 0 {
			return invalid(param, "invalid_charge_amount_no_decimal_compatible",
				"Invalid amount: %s has no decimals, so the amount must be a multiple of 100.", strings.ToUpper(currency))
		}
	case "bhd", "jod", "kwd", "omr", "tnd":
		if amount%10 != 0 {
			return invalid(param, "invalid_charge_amount",
				"Invalid amount: in %s the last digit must be 0.", strings.ToUpper(currency))
		}
	}
	return nil
}
