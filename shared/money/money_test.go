package money

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

var (
	jpy = MustParseCurrency("JPY")
	usd = MustParseCurrency("USD")
	kwd = MustParseCurrency("KWD")
)

// edgy draws integers of every size, with the ends of the range, where overflow
// lives, much more often than chance would.
func edgy() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64(),
		rapid.Int64Range(-3, 3),
		rapid.Int64Range(math.MinInt64, math.MinInt64+3),
		rapid.Int64Range(math.MaxInt64-3, math.MaxInt64),
		rapid.Int64Range(math.MaxInt32-3, math.MaxUint32+3),
	)
}

// TestMinorArithmeticIsExact holds the checked operations against arbitrary
// precision: the result is exact, or it is ErrOverflow and does not fit.
func TestMinorArithmeticIsExact(t *testing.T) {
	t.Parallel()
	operations := []struct {
		name  string
		minor func(a, b int64) (int64, error)
		exact func(z, a, b *big.Int) *big.Int
	}{
		{"AddMinor", AddMinor, (*big.Int).Add},
		{"SubMinor", SubMinor, (*big.Int).Sub},
		{"MulMinor", MulMinor, (*big.Int).Mul},
	}
	for _, op := range operations {
		t.Run(op.name, rapid.MakeCheck(func(t *rapid.T) {
			a, b := edgy().Draw(t, "a"), edgy().Draw(t, "b")
			want := op.exact(new(big.Int), big.NewInt(a), big.NewInt(b))
			got, err := op.minor(a, b)
			switch {
			case want.IsInt64() && (err != nil || got != want.Int64()):
				t.Fatalf("(%d, %d) = %d, %v; want %s", a, b, got, err, want)
			case !want.IsInt64() && (!errors.Is(err, ErrOverflow) || got != 0):
				t.Fatalf("(%d, %d) = %d, %v; want ErrOverflow", a, b, got, err)
			}
		}))
	}
}

func TestMinorArithmeticAtTheEnds(t *testing.T) {
	t.Parallel()
	const lowest, highest = math.MinInt64, math.MaxInt64
	tests := []struct {
		name string
		op   func(a, b int64) (int64, error)
		a, b int64
		want int64
		ok   bool
	}{
		{"max+0", AddMinor, highest, 0, highest, true},
		{"max+1", AddMinor, highest, 1, 0, false},
		{"min+max", AddMinor, lowest, highest, -1, true},
		{"min-1", SubMinor, lowest, 1, 0, false},
		{"0-min", SubMinor, 0, lowest, 0, false},
		{"-1-min", SubMinor, -1, lowest, highest, true},
		{"min*-1", MulMinor, lowest, -1, 0, false},
		{"min*1", MulMinor, lowest, 1, lowest, true},
		{"2^62*-2", MulMinor, 1 << 62, -2, lowest, true},
		{"2^62*2", MulMinor, 1 << 62, 2, 0, false},
		{"min*0", MulMinor, lowest, 0, 0, true},
	}
	for _, tt := range tests {
		got, err := tt.op(tt.a, tt.b)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s = %d, %v", tt.name, got, err)
		}
	}
}

func TestMoneyArithmetic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := New(edgy().Draw(t, "a"), usd), New(edgy().Draw(t, "b"), usd)
		sum, err := a.Add(b)
		if err != nil {
			if !errors.Is(err, ErrOverflow) {
				t.Fatal(err)
			}
			return
		}
		back, err := sum.Sub(b)
		if err != nil || back != a {
			t.Fatalf("(%s + %s) - %s = %s, %v", a, b, b, back, err)
		}
		order, err := sum.Cmp(a)
		if err != nil || (order > 0) != b.IsPositive() || (order < 0) != b.IsNegative() || (order == 0) != b.IsZero() {
			t.Fatalf("%s compared with %s is %d, %v", sum, a, order, err)
		}
	})
}

func TestMoneyRefusesMixedCurrencies(t *testing.T) {
	t.Parallel()
	pairs := [][2]Money{
		{New(1, jpy), New(1, usd)},
		{New(1, jpy), New(0, usd)},
		{New(1, jpy), {Minor: 1}},
		{{Minor: 1}, {Minor: 1}}, // no currency is no common currency
	}
	for _, p := range pairs {
		_, addErr := p[0].Add(p[1])
		_, subErr := p[0].Sub(p[1])
		_, cmpErr := p[0].Cmp(p[1])
		for _, err := range []error{addErr, subErr, cmpErr} {
			if !errors.Is(err, ErrCurrencyMismatch) {
				t.Errorf("%s with %s: %v, want ErrCurrencyMismatch", p[0], p[1], err)
			}
		}
	}
}

func TestMoneyString(t *testing.T) {
	t.Parallel()
	tests := []struct {
		money Money
		want  string
	}{
		{New(5000, jpy), "JPY 5000"},
		{New(0, jpy), "JPY 0"},
		{New(1234, usd), "USD 12.34"},
		{New(-5, usd), "USD -0.05"},
		{New(0, usd), "USD 0.00"},
		{New(100, usd), "USD 1.00"},
		{New(1, kwd), "KWD 0.001"},
		{New(math.MinInt64, usd), "USD -92233720368547758.08"},
		{New(math.MinInt64, jpy), "JPY -9223372036854775808"},
		{Money{Minor: 7}, "(no currency) 7"},
	}
	for _, tt := range tests {
		if got := tt.money.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
