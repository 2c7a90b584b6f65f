package money

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
)

//go:generate go run gen.go

// ErrUnknownCurrency reports a code that is not a circulating ISO 4217 currency.
var ErrUnknownCurrency = errors.New("unknown currency")

type isoEntry struct {
	code      string
	exponent  int
	withdrawn bool
}

// Currency is a circulating ISO 4217 currency. Values compare with == and serve
// as map keys. The zero value is no currency: it has no code, encodes to an error
// and mixes with nothing.
type Currency struct {
	code string
}

// ParseCurrency returns the currency with the given alphabetic code, in upper
// case. Fund, metal, test and withdrawn codes are refused like unknown ones,
// with ErrUnknownCurrency.
func ParseCurrency(code string) (Currency, error) {
	e, ok := lookup(code)
	if !ok || e.withdrawn {
		return Currency{}, unknown(code)
	}
	return Currency{e.code}, nil
}

// MustParseCurrency is ParseCurrency for codes written in source. It panics on
// an unknown one.
func MustParseCurrency(code string) Currency {
	c, err := ParseCurrency(code)
	if err != nil {
		panic(err)
	}
	return c
}

// Currencies returns every currency that ParseCurrency accepts, sorted by code.
func Currencies() []Currency {
	var all []Currency
	for _, e := range isoTable {
		if !e.withdrawn {
			all = append(all, Currency{e.code})
		}
	}
	return all
}

// unknown quotes the start of the code only: whatever else was put in its place
// need not be repeated in full.
func unknown(code string) error {
	return fmt.Errorf("%w %.8q: want an ISO 4217 code in upper case, such as JPY", ErrUnknownCurrency, code)
}

func lookup(code string) (isoEntry, bool) {
	i, ok := slices.BinarySearchFunc(isoTable[:], code, func(e isoEntry, code string) int {
		return strings.Compare(e.code, code)
	})
	if !ok {
		return isoEntry{}, false
	}
	return isoTable[i], true
}

// Code returns the alphabetic code, or "" for the zero value.
func (c Currency) Code() string { return c.code }

// Exponent returns how many decimal digits the minor unit has by ISO 4217: 0 for
// JPY, 2 for USD, 3 for KWD. Providers may count differently; their tables are
// their adapters'. Exponent of the zero value is 0.
func (c Currency) Exponent() int {
	e, _ := lookup(c.code)
	return e.exponent
}

// IsZero reports whether c is the zero value, which is no currency.
func (c Currency) IsZero() bool { return c == Currency{} }

// Equal reports c == other, in the form that go-cmp looks for.
func (c Currency) Equal(other Currency) bool { return c == other }

// String returns the code, or "(no currency)" for the zero value.
func (c Currency) String() string {
	if c.IsZero() {
		return "(no currency)"
	}
	return c.code
}

// MarshalText returns the code. The zero value is an error, never an empty code.
// It serves JSON too, where a currency is a string.
func (c Currency) MarshalText() ([]byte, error) {
	if c.IsZero() {
		return nil, fmt.Errorf("%w: the zero Currency", ErrUnknownCurrency)
	}
	return []byte(c.code), nil
}

// UnmarshalText accepts what ParseCurrency accepts.
func (c *Currency) UnmarshalText(text []byte) error {
	parsed, err := ParseCurrency(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// Value stores the code in a text column.
func (c Currency) Value() (driver.Value, error) {
	text, err := c.MarshalText()
	if err != nil {
		return nil, err
	}
	return string(text), nil
}

// Scan reads the code from a text column. Unlike ParseCurrency it takes a
// withdrawn currency: a payment made while it circulated must stay readable. NULL
// is an error; scan a nullable column into a *Currency.
func (c *Currency) Scan(src any) error {
	var code string
	switch src := src.(type) {
	case string:
		code = src
	case []byte:
		code = string(src)
	default:
		return fmt.Errorf("scan a currency from %T: want text", src)
	}
	e, ok := lookup(code)
	if !ok {
		return unknown(code)
	}
	*c = Currency{e.code}
	return nil
}
