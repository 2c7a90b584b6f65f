// Package money holds amounts: 64-bit integers of minor units together with an
// ISO 4217 currency, and arithmetic that reports overflow instead of wrapping.
//
// It owns the currency table, generated from iso4217.csv. It refuses
// floating-point, rounding, conversion between currencies, and the codes of
// funds, metals, tests and withdrawn currencies. How many decimals a provider
// wants for a currency is that provider's table, not this one.
//
// It has errors of its own rather than faults: what an overflow means to a caller
// is for the operation to say.
package money

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// MaxAmountMinor is the largest amount of one payment, in minor units, unless
// its provider sets another limit. It is Stripe's limit of eight digits:
// https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
const MaxAmountMinor = 99_999_999

var (
	// ErrOverflow reports a result outside the range of int64.
	ErrOverflow = errors.New("amount out of range")
	// ErrCurrencyMismatch reports arithmetic between two currencies, or with no
	// currency at all.
	ErrCurrencyMismatch = errors.New("currencies differ")
)

// Money is an amount in a currency. The zero value has no currency, and no
// arithmetic accepts it.
type Money struct {
	Minor    int64 // minor units: yen, cents, fils
	Currency Currency
}

// New returns the amount of minor units in the currency.
func New(minor int64, c Currency) Money { return Money{Minor: minor, Currency: c} }

// Add returns m + other. It fails with ErrCurrencyMismatch or ErrOverflow.
func (m Money) Add(other Money) (Money, error) {
	return m.combine(other, AddMinor)
}

// Sub returns m - other. It fails with ErrCurrencyMismatch or ErrOverflow.
func (m Money) Sub(other Money) (Money, error) {
	return m.combine(other, SubMinor)
}

func (m Money) combine(other Money, op func(a, b int64) (int64, error)) (Money, error) {
	if err := m.sameCurrency(other); err != nil {
		return Money{}, err
	}
	minor, err := op(m.Minor, other.Minor)
	if err != nil {
		return Money{}, err
	}
	return Money{minor, m.Currency}, nil
}

// Cmp returns -1, 0 or +1 as m is less than, equal to or greater than other. It
// fails with ErrCurrencyMismatch.
func (m Money) Cmp(other Money) (int, error) {
	if err := m.sameCurrency(other); err != nil {
		return 0, err
	}
	return cmp.Compare(m.Minor, other.Minor), nil
}

func (m Money) sameCurrency(other Money) error {
	if m.Currency != other.Currency || m.Currency.IsZero() {
		return fmt.Errorf("%w: %s and %s", ErrCurrencyMismatch, m.Currency, other.Currency)
	}
	return nil
}

// IsZero reports whether the amount is 0, in whatever currency.
func (m Money) IsZero() bool { return m.Minor == 0 }

// IsPositive reports whether the amount is above 0.
func (m Money) IsPositive() bool { return m.Minor > 0 }

// IsNegative reports whether the amount is below 0.
func (m Money) IsNegative() bool { return m.Minor < 0 }

// String writes the amount for people, in major units with all decimals of the
// currency: "JPY 5000", "USD 12.34", "USD -0.05".
func (m Money) String() string {
	digits := strconv.FormatUint(magnitude(m.Minor), 10)
	if exponent := m.Currency.Exponent(); exponent > 0 {
		for len(digits) <= exponent {
			digits = "0" + digits
		}
		point := len(digits) - exponent
		digits = digits[:point] + "." + digits[point:]
	}
	if m.IsNegative() {
		digits = "-" + digits
	}
	return m.Currency.String() + " " + digits
}

// AddMinor returns a + b, or ErrOverflow.
func AddMinor(a, b int64) (int64, error) {
	sum := a + b
	if (sum > a) != (b > 0) {
		return 0, overflow(a, "+", b)
	}
	return sum, nil
}

// SubMinor returns a - b, or ErrOverflow.
func SubMinor(a, b int64) (int64, error) {
	difference := a - b
	if (difference < a) != (b > 0) {
		return 0, overflow(a, "-", b)
	}
	return difference, nil
}

// MulMinor returns a * b, or ErrOverflow.
func MulMinor(a, b int64) (int64, error) {
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	negative := (a < 0) != (b < 0)
	limit := uint64(math.MaxInt64)
	if negative {
		limit++ // the magnitude of math.MinInt64
	}
	if high != 0 || low > limit {
		return 0, overflow(a, "*", b)
	}
	if negative {
		return -int64(low), nil
	}
	return int64(low), nil
}

func overflow(a int64, op string, b int64) error {
	return fmt.Errorf("%w: %d %s %d", ErrOverflow, a, op, b)
}

// magnitude returns |a|, which int64 can't hold for its smallest value.
func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}
