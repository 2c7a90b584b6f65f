package pan

// issuers lists the ranges of card numbers in use, by their first four digits
// (the start of the issuer identification number of ISO/IEC 7812-1), with the
// lengths that are issued in them. Ranges overlap where schemes do. Airline
// cards (UATP, 15 digits starting with 1) are left out: half of all counters
// look like them, and no provider here takes them.
var issuers = []struct {
	low, high         int // first four digits, inclusive
	shortest, longest int // digits, inclusive
}{
	{1800, 1800, 15, 15}, // JCB, old
	{2131, 2131, 15, 15}, // JCB, old
	{2200, 2205, 16, 19}, // Mir, BORICA
	{2221, 2720, 16, 16}, // Mastercard
	{3000, 3059, 14, 19}, // Diners Club
	{3095, 3095, 14, 19}, // Diners Club
	{3400, 3499, 15, 15}, // American Express
	{3528, 3589, 16, 19}, // JCB
	{3600, 3699, 14, 19}, // Diners Club
	{3700, 3799, 15, 15}, // American Express
	{3800, 3999, 14, 19}, // Diners Club
	{4000, 4999, 13, 13}, // Visa, old
	{4000, 4999, 16, 16}, // Visa
	{4000, 4999, 18, 19}, // Visa
	{5000, 5099, 13, 19}, // Maestro, Elo, Verve, Dankort (5019)
	{5100, 5599, 16, 16}, // Mastercard
	{5600, 5899, 13, 19}, // Maestro
	{6000, 6099, 16, 19}, // Discover (6011), RuPay, Hipercard
	{6200, 6299, 16, 19}, // UnionPay
	{6300, 6399, 13, 19}, // Maestro, InterPayment, InstaPayment
	{6440, 6599, 16, 19}, // Discover, RuPay, Troy, Elo
	{6700, 6799, 13, 19}, // Maestro
	{8100, 8171, 16, 19}, // UnionPay
	{8600, 8600, 16, 16}, // Uzcard
	{9792, 9792, 16, 16}, // Troy
	{9860, 9860, 16, 16}, // Humo
}

// issued reports whether the digits have a known prefix and a length issued
// under it.
func issued(number []byte) bool {
	prefix := 0
	for _, d := range number[:4] {
		prefix = 10*prefix + int(d)
	}
	for _, i := range issuers {
		if i.low <= prefix && prefix <= i.high && i.shortest <= len(number) && len(number) <= i.longest {
			return true
		}
	}
	return false
}
