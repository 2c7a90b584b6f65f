package pan

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestFindsCardNumbers(t *testing.T) {
	t.Parallel()
	numbers := map[string]string{
		"Visa":             "4242424242424242",
		"Visa 13":          "4222222222222",
		"Visa 19":          "4000000000000000006",
		"Mastercard":       "5555555555554444",
		"Mastercard 2":     "2223003122003222",
		"American Express": "378282246310005",
		"Discover":         "6011111111111117",
		"Diners 14":        "36227206271667",
		"Diners":           "3056930009020004",
		"JCB":              "3566002020360505",
		"UnionPay":         "6200000000000005",
		"UnionPay 19":      "6205500000000000004",
		"Maestro":          "6759649826438453",
		"Troy":             "9792030394440796",
	}
	for name, number := range numbers {
		if !Find(number) {
			t.Errorf("%s %s is not found", name, number)
		}
	}
}

func TestFindsEveryForm(t *testing.T) {
	t.Parallel()
	forms := []string{
		"4242 4242 4242 4242",
		"4242-4242-4242-4242",
		"4242\u20134242\u20144242\u22124242",               // en dash, em dash, minus sign
		"4242\u30fc4242\u30fc4242\u30fc4242",               // long-vowel marks
		"4242\u00a04242\u20094242\u30004242",               // no-break, thin, ideographic space
		"4242  4242 - 4242\t4242",                          // several separators
		"4242\n4242\n4242\n4242",                           // lines
		"4242+4242+4242+4242",                              // form-encoded
		"4\u200b2424242\u00ad42424242\ufeff2",              // zero-width space, soft hyphen, byte order mark
		"4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2",                  // digit by digit
		"\uff14\uff12\uff14\uff12424242424242\uff14\uff12", // half full-width
		"３７８２８２２４６３１０００５",
		"\u0664\u0662\u0664\u0662\u0664\u0662\u0664\u0662\u0664\u0662\u0664\u0662\u0664\u0662\u0664\u0662", // Arabic-Indic
		"3782 822463 10005",
		"card:4242424242424242;",
		"card4242424242424242",
		"4242424242424242exp1226",
		"%B4242424242424242^DOE/J^2612101",     // track 1
		";4242424242424242=26121010000000000?", // track 2
		"4242 4242 4242 4242 12/26 123",        // expiry and security code behind
		"4242 4242 4242 4242 123",
		"17 4242424242424242",                                      // a number before
		"2026-11-23 4242424242424242",                              // a date before
		"4111111111111112 4242424242424242",                        // an invalid one before
		"019ab6c4-5d1f-7c2e-8a40-2f6d1b7e9c30 4242 4242 4242 4242", // a UUID before
		`{"number":"4242424242424242"}`,
		"no\xff4242424242424242\xff",
		strings.Repeat("0 ", 500) + "4242424242424242" + strings.Repeat(" 0", 500),
	}
	for _, s := range forms {
		if !Find(s) {
			t.Errorf("not found in %q", s)
		}
		if masked := Mask(s); Find(masked) || !strings.Contains(masked, mask) {
			t.Errorf("Mask(%q) = %q", s, masked)
		}
	}
}

func TestPassesWhatIsNoCardNumber(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"empty":                     "",
		"wrong check digit":         "4242424242424241",
		"unknown issuer":            "1234567812345670",
		"all zeros":                 "0000000000000000",
		"12 digits":                 "424242424242",
		"Visa of 15 digits":         "424242424242426",
		"inside 20 digits":          "42424242424242420000",
		"inside 20 digits, later":   "00004242424242424242",
		"inside 40 digits":          strings.Repeat("0", 12) + "4242424242424242" + strings.Repeat("0", 12),
		"too far apart":             "4242    4242    4242    4242",
		"other punctuation":         "4242.4242.4242.4242",
		"UUID, digits only":         "42424242-4242-4242-8242-424242424242",
		"UUID among words":          "pay 62000000-0000-0005-8000-000000000000 done",
		"hash":                      "ab4242424242424242cdef0123456789",
		"object id":                 "4242424242424242abcdef00",
		"order number":              "ORDER-2026-000123456789",
		"date and time":             "20261123042715",
		"milliseconds":              "1763872035123",
		"nanoseconds":               "1763872035123456789",
		"amounts":                   "5000 5000 5000 5001",
		"telephone":                 "+81 90-1234-5678",
		"time and fraction":         "2026-11-23T04:27:15.123456789Z",
		"masked before":             "[masked]",
		"letters for digits":        "O242 4242 4242 4242",
		"full-width, wrong":         "４２４２４２４２４２４２４２４１",
		"too few full-width digits": "４２４２",
	}
	for name, s := range tests {
		if Find(s) {
			t.Errorf("%s: found in %q", name, s)
		}
		if masked := Mask(s); masked != s {
			t.Errorf("%s: Mask(%q) = %q", name, s, masked)
		}
	}
}

func TestMaskKeepsTheRest(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"pay with 4242 4242 4242 4242, thanks":       "pay with [masked], thanks",
		"4242424242424242":                           "[masked]",
		"a 4242424242424242 b 378282246310005 c":     "a [masked] b [masked] c",
		"order 17, 4242424242424242":                 "order 17, [masked]",
		"日本 ４２４２　４２４２　４２４２　４２４２ 円":                   "日本 [masked] 円",
		"id 019ab6c4-5d1f-7c2e-8a40-2f6d1b7e9c30 ok": "id 019ab6c4-5d1f-7c2e-8a40-2f6d1b7e9c30 ok",
	}
	for s, want := range tests {
		if got := Mask(s); got != want {
			t.Errorf("Mask(%q) = %q, want %q", s, got, want)
		}
	}
}

// cardNumber draws a number of a known issuer with a right check digit.
func cardNumber() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		i := rapid.SampledFrom(issuers).Draw(t, "issuer")
		length := rapid.IntRange(i.shortest, i.longest).Draw(t, "length")
		number := fmt.Appendf(nil, "%04d", rapid.IntRange(i.low, i.high).Draw(t, "prefix"))
		for len(number) < length-1 {
			number = append(number, byte('0'+rapid.IntRange(0, 9).Draw(t, "digit")))
		}
		return string(number) + string('0'+checkDigit(number))
	})
}

// checkDigit follows the standard's own words, doubling from the right, rather
// than the code under test.
func checkDigit(number []byte) rune {
	sum, double := 0, true
	for i := len(number) - 1; i >= 0; i-- {
		d := int(number[i] - '0')
		if double {
			d *= 2
		}
		sum += d/10 + d%10
		double = !double
	}
	return rune((10 - sum%10) % 10)
}

func TestFindsAnyCardNumberAnyhowGrouped(t *testing.T) {
	t.Parallel()
	separator := rapid.StringOfN(rapid.SampledFrom([]rune(" -\t\u00a0\u3000\u2013\u30fc\u200b")), 1, maxGap, -1)
	letters := rapid.StringMatching(`([g-z.,:;日本 ]{0,9}[g-z.,:;日本])?`)
	rapid.Check(t, func(t *rapid.T) {
		number := cardNumber().Draw(t, "number")
		var s strings.Builder
		s.WriteString(letters.Draw(t, "before"))
		for _, r := range number {
			if rapid.Bool().Draw(t, "full width") {
				r += '\uff10' - '0'
			}
			s.WriteRune(r)
			if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
				s.WriteString(separator.Draw(t, "separator"))
			}
		}
		after := letters.Draw(t, "after")
		s.WriteString(after)
		if !Find(s.String()) {
			t.Fatalf("%s not found in %q", number, s.String())
		}
		masked := Mask(s.String())
		if strings.ContainsFunc(masked, unicode.IsDigit) || !strings.HasSuffix(masked, after) {
			t.Fatalf("Mask(%q) = %q", s.String(), masked)
		}
	})
}

func TestOneWrongDigitIsNoCardNumber(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := []byte(cardNumber().Draw(t, "number"))
		i := rapid.IntRange(0, len(number)-1).Draw(t, "position")
		number[i] = '0' + (number[i]-'0'+byte(rapid.IntRange(1, 9).Draw(t, "by")))%10
		if Find(string(number)) {
			t.Fatalf("%s is found", number)
		}
	})
}

// The values of digits are computed from their place in Unicode's table, which
// holds as long as every range there is whole tens.
func TestDigitsOfEveryScript(t *testing.T) {
	t.Parallel()
	for _, r := range unicode.Nd.R16 {
		if r.Stride != 1 || (r.Hi-r.Lo+1)%10 != 0 {
			t.Errorf("range %U to %U is not whole tens", r.Lo, r.Hi)
		}
	}
	for _, r := range unicode.Nd.R32 {
		if r.Stride != 1 || (r.Hi-r.Lo+1)%10 != 0 {
			t.Errorf("range %U to %U is not whole tens", r.Lo, r.Hi)
		}
	}
	for i, r := range []rune("0123456789") {
		for _, zero := range []rune{'0', '\uff10', '\u0660', '\u0966', '\U0001d7ce', '\U0001d7e2'} {
			if v, ok := digit(r - '0' + zero); !ok || int(v) != i {
				t.Errorf("digit(%q) = %d, %t", r-'0'+zero, v, ok)
			}
		}
	}
}

// TestTimeIsLinear scans inputs made to be slow: tens of thousands of candidates in
// one chain. Anything quadratic would need minutes.
func TestTimeIsLinear(t *testing.T) {
	t.Parallel()
	const n = 1 << 17
	inputs := map[string]string{
		"one run":         strings.Repeat("4", n),
		"single digits":   strings.Repeat("4 ", n/2),
		"cards":           strings.Repeat("4242424242424242 ", n/17),
		"near cards":      strings.Repeat("4242424242424241 ", n/17),
		"hexadecimal":     strings.Repeat("4a", n/2),
		"hex and dashes":  strings.Repeat("4a-", n/3),
		"full width":      strings.Repeat("\uff14", n/3),
		"separators":      "4" + strings.Repeat("-", n) + "4242424242424",
		"almost UUIDs":    strings.Repeat("00000000-0000-0000-0000-00000000000_", n/36),
		"broken encoding": strings.Repeat("4\xff", n/2),
	}
	for name, s := range inputs {
		begin := time.Now()
		Mask(s)
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func FuzzMask(f *testing.F) {
	for _, seed := range []string{
		"", "4242424242424242", "4242 4242 4242 4242 123", "\uff14\uff12", "42424242-4242-4242-8242-424242424242",
		"17 378282246310005-4242424242424242", "ab4242424242424242cdef0123456789", "4\xff2", "6304 4242424242424242 6304",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		masked := Mask(s)
		if Find(masked) {
			t.Errorf("Mask(%q) = %q still holds a card number", s, masked)
		}
		if Find(s) != (masked != s) {
			t.Errorf("Find(%q) = %t but Mask gives %q", s, Find(s), masked)
		}
		if utf8.ValidString(s) && !utf8.ValidString(masked) {
			t.Errorf("Mask(%q) broke the encoding: %q", s, masked)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	const body = `{"amount":5000,"currency":"JPY","merchant_reference":"order-17","metadata":{"customer":"019ab6c4-5d1f-7c2e-8a40-2f6d1b7e9c30"}}`
	b.ReportAllocs()
	for b.Loop() {
		if Find(body) {
			b.Fatal("found")
		}
	}
}
