package money

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	gomoney "github.com/Rhymond/go-money"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/money/internal/isotable"
)

func TestTableIsGeneratedFromSource(t *testing.T) {
	t.Parallel()
	source, err := os.Open("iso4217.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	want, err := isotable.Generate(source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("table_gen.go is stale: run go generate ./shared/money")
	}
}

func TestParseCurrency(t *testing.T) {
	t.Parallel()
	exponents := map[string]int{
		"JPY": 0, "KRW": 0, "CLP": 0, "UGX": 0, "XOF": 0,
		"USD": 2, "EUR": 2, "ISK": 0, "IDR": 2, "YER": 2, "ZWG": 2, "XCG": 2, "VED": 2, "MGA": 2,
		"KWD": 3, "BHD": 3, "TND": 3, "IQD": 3,
	}
	for code, exponent := range exponents {
		c, err := ParseCurrency(code)
		if err != nil {
			t.Errorf("ParseCurrency(%q): %v", code, err)
			continue
		}
		if c.Code() != code || c.String() != code || c.Exponent() != exponent {
			t.Errorf("ParseCurrency(%q) = %s with exponent %d, want %d", code, c, c.Exponent(), exponent)
		}
	}
	refused := map[string]string{
		"":     "empty",
		"jpy":  "lower case",
		"Jpy":  "mixed case",
		"JPY ": "space",
		"JPYX": "four letters",
		"392":  "numeric code",
		"ZZZ":  "unassigned",
		"XTS":  "test",
		"XXX":  "none",
		"XAU":  "metal",
		"CLF":  "fund", "USN": "fund", "UYW": "index unit",
		"ANG": "withdrawn", "BGN": "withdrawn", "HRK": "withdrawn", "DEM": "withdrawn", "ZWL": "withdrawn",
		"\uff2a\uff30\uff39": "full-width letters",
	}
	for code, why := range refused {
		c, err := ParseCurrency(code)
		if !errors.Is(err, ErrUnknownCurrency) || !c.IsZero() {
			t.Errorf("ParseCurrency(%q) (%s) = %v, %v; want ErrUnknownCurrency", code, why, c, err)
		}
	}
}

func TestUnknownCurrencyIsNotRepeatedInFull(t *testing.T) {
	t.Parallel()
	_, err := ParseCurrency("4242424242424242")
	if err == nil || strings.Contains(err.Error(), "424242424") {
		t.Errorf("error %q repeats the whole input", err)
	}
}

// go-money still lists withdrawn currencies and lacks a few new ones; where both
// know a currency they must agree.
func TestExponentsAgreeWithGoMoney(t *testing.T) {
	t.Parallel()
	var missing []string
	for _, c := range Currencies() {
		other := gomoney.GetCurrency(c.Code())
		if other == nil {
			missing = append(missing, c.Code())
			continue
		}
		if other.Fraction != c.Exponent() {
			t.Errorf("%s: exponent %d, go-money says %d", c, c.Exponent(), other.Fraction)
		}
	}
	if want := []string{"VED", "ZWG"}; !slices.Equal(missing, want) {
		t.Errorf("go-money lacks %v, want %v", missing, want)
	}
}

func TestCurrencyJSON(t *testing.T) {
	t.Parallel()
	type wire struct {
		Currency Currency `json:"currency"`
	}
	out, err := json.Marshal(wire{MustParseCurrency("JPY")})
	if err != nil || string(out) != `{"currency":"JPY"}` {
		t.Errorf("Marshal = %s, %v", out, err)
	}
	var in wire
	if err := json.Unmarshal(out, &in); err != nil || in.Currency != MustParseCurrency("JPY") {
		t.Errorf("Unmarshal(%s) = %v, %v", out, in, err)
	}
	if out, err := json.Marshal(wire{}); err == nil {
		t.Errorf("Marshal of no currency = %s, want an error", out)
	}
	for _, bad := range []string{`{"currency":"jpy"}`, `{"currency":""}`, `{"currency":392}`, `{"currency":["JPY"]}`} {
		if err := json.Unmarshal([]byte(bad), &in); err == nil {
			t.Errorf("Unmarshal(%s) passed", bad)
		}
	}
}

func TestCurrencyInDatabase(t *testing.T) {
	t.Parallel()
	v, err := MustParseCurrency("EUR").Value()
	if err != nil || v != "EUR" {
		t.Errorf("Value = %v, %v", v, err)
	}
	if v, err := (Currency{}).Value(); err == nil {
		t.Errorf("Value of no currency = %v, want an error", v)
	}
	var c Currency
	for _, src := range []any{"ANG", []byte("USD")} {
		if err := c.Scan(src); err != nil {
			t.Errorf("Scan(%s): %v", src, err)
		}
	}
	if c.Code() != "USD" {
		t.Errorf("scanned %s, want USD", c)
	}
	for _, src := range []any{nil, "", "ZZZ", 392, "XAU"} {
		if err := c.Scan(src); err == nil {
			t.Errorf("Scan(%v) passed", src)
		}
	}
	if c.Code() != "USD" {
		t.Errorf("a failed Scan left %s", c)
	}
}

func TestMustParseCurrencyPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	MustParseCurrency("zzz")
}

func TestEveryCurrencyReadsBack(t *testing.T) {
	t.Parallel()
	all := Currencies()
	if len(all) < 150 {
		t.Fatalf("only %d currencies", len(all))
	}
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(all).Draw(t, "currency")
		text, err := c.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Currency
		if err := back.UnmarshalText(text); err != nil || !back.Equal(c) {
			t.Fatalf("%s came back as %s, %v", c, back, err)
		}
	})
}

func FuzzParseCurrency(f *testing.F) {
	for _, seed := range []string{"JPY", "usd", "", "XXX", "EURO", "E\x00R", "\uff2a\uff30\uff39"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, code string) {
		c, err := ParseCurrency(code)
		if (err == nil) != (c.Code() == code && code != "") {
			t.Errorf("ParseCurrency(%q) = %v, %v", code, c, err)
		}
	})
}
