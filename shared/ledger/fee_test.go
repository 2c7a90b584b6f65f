package ledger

import (
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestFees(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		points, fixed int64
		rounding      Rounding
		amount, want  int64
	}{
		{360, 0, HalfUp, 5000, 180},
		{290, 30, HalfUp, 1000, 59},
		{100, 0, HalfUp, 50, 1}, // 0.5
		{100, 0, HalfEven, 50, 0},
		{100, 0, HalfEven, 150, 2}, // 1.5
		{100, 0, HalfEven, 250, 2},
		{100, 0, HalfEven, 251, 3},
		{100, 0, Up, 1, 1},
		{100, 0, Up, 100, 1},
		{100, 0, Down, 199, 1},
		{100, 0, HalfUp, 49, 0},
		{0, 25, "", 1, 25}, // more than the amount
		{0, 0, "", 5000, 0},
		{10000, 0, Down, math.MaxInt64, math.MaxInt64},
	} {
		s := Schedule{BasisPoints: c.points, FixedMinor: c.fixed, Rounding: c.rounding}
		if got, err := s.Fee(c.amount); err != nil || got != c.want {
			t.Errorf("%d basis points and %d, %s, of %d: %d %v, want %d", c.points, c.fixed, c.rounding, c.amount, got, err, c.want)
		}
	}
	for name, s := range map[string]Schedule{
		"out of range": {BasisPoints: 10000, FixedMinor: 1, Rounding: Down}, "no rounding": {BasisPoints: 1},
	} {
		if got, err := s.Fee(math.MaxInt64); err == nil {
			t.Errorf("%s: a fee of %d", name, got)
		}
	}
	for _, points := range []int64{0, 100} {
		if got, err := (Schedule{BasisPoints: points, Rounding: HalfUp}).Fee(-1); err == nil {
			t.Errorf("%d basis points of a negative amount: %d", points, got)
		}
	}
}

// rounded is the quotient as the rule says, by arithmetic that has no bounds.
func rounded(n, d *big.Int, by Rounding) int64 {
	q, r := new(big.Int).QuoRem(n, d, new(big.Int))
	middle := new(big.Int).Lsh(r, 1).Cmp(d)
	up := map[Rounding]bool{
		Up: r.Sign() > 0, HalfUp: middle >= 0, HalfEven: middle > 0 || middle == 0 && q.Bit(0) == 1,
	}[by]
	if up {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64()
}

func TestFeesAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "amount")
		s := Schedule{
			BasisPoints: rapid.Int64Range(0, basis).Draw(t, "basis points"), FixedMinor: rapid.Int64Range(0, maxFixed).Draw(t, "fixed"),
			Rounding: rapid.SampledFrom(Roundings()).Draw(t, "rounding"), RefundReturnsFee: true,
		}
		fee, err := s.Fee(amount)
		want := rounded(new(big.Int).Mul(big.NewInt(amount), big.NewInt(s.BasisPoints)), big.NewInt(basis), s.Rounding) + s.FixedMinor
		if err != nil || fee != want {
			t.Fatalf("the fee is %d (%v), want %d", fee, err, want)
		}
		// Refunds return it bit by bit, and in the end nothing is left.
		var before int64
		for _, refunded := range append(slices.Sorted(slices.Values(rapid.SliceOfN(rapid.Int64Range(0, amount), 0, 5).Draw(t, "refunded"))), amount) {
			if amount == 0 {
				break
			}
			back, err := s.Returned(fee, refunded, amount)
			if err != nil || back < before || back > fee || refunded == amount && back != fee {
				t.Fatalf("of %d, for %d of %d, %d are returned after %d (%v)", fee, refunded, amount, back, before, err)
			}
			before = back
		}
	})
}

func TestNothingIsReturnedOtherwise(t *testing.T) {
	t.Parallel()
	keeps, returns := Schedule{Rounding: HalfUp}, Schedule{Rounding: HalfUp, RefundReturnsFee: true}
	for name, c := range map[string]struct {
		s                       Schedule
		fees, refunded, capture int64
		want                    int64
	}{
		"not agreed":                      {keeps, 100, 500, 1000, 0},
		"no fees":                         {returns, 0, 500, 1000, 0},
		"refunds have failed":             {returns, 100, 0, 1000, 0},
		"half":                            {returns, 100, 500, 1000, 50},
		"more than was captured":          {returns, 100, 2000, 1000, 100},
		"nothing is known to be captured": {returns, 0, 500, 0, 0},
	} {
		if got, err := c.s.Returned(c.fees, c.refunded, c.capture); err != nil || got != c.want {
			t.Errorf("%s: %d %v, want %d", name, got, err, c.want)
		}
	}
}

func TestSchedulesFollowEachOther(t *testing.T) {
	t.Parallel()
	l := newBook(t, pgtest.Tx(t))
	m := l.merchant()
	schedule := func(provider, currency string, points int64, from time.Time) Schedule {
		return Schedule{
			MerchantID: m, Provider: provider, Currency: money.MustParseCurrency(currency), BasisPoints: points, FixedMinor: 7,
			Rounding: HalfEven, RefundReturnsFee: true, DisputeFeeMinor: 1500, EffectiveFrom: from,
		}
	}
	set := func(s Schedule) {
		t.Helper()
		if err := SetSchedule(t.Context(), l.db, s, epoch); err != nil {
			t.Fatal(err)
		}
	}
	later := epoch.Add(24 * time.Hour)
	set(schedule("stripe", "JPY", 100, epoch))
	set(schedule("stripe", "JPY", 200, later))
	set(schedule("paypal", "JPY", 300, later))
	set(schedule("stripe", "USD", 400, epoch))
	for at, want := range map[time.Time]map[string]int64{
		epoch.Add(-time.Second): {},
		epoch:                   {"stripe": 100},
		later.Add(-time.Second): {"stripe": 100},
		later:                   {"stripe": 200, "paypal": 300},
	} {
		got := l.schedules(m, "JPY", at)
		if len(got) != len(want) {
			t.Errorf("at %s: %v, want %v", at, got, want)
		}
		for provider, points := range want {
			if s := got[provider]; s.BasisPoints != points || s.FixedMinor != 7 || s.Rounding != HalfEven || !s.RefundReturnsFee || s.DisputeFeeMinor != 1500 {
				t.Errorf("at %s by %s: %+v, want %d basis points", at, provider, s, points)
			}
		}
	}
	if other := l.schedules(l.merchant(), "JPY", later); len(other) != 0 {
		t.Errorf("another merchant pays %v", other)
	}
	all, err := ListSchedules(t.Context(), l.db, m)
	if err != nil || len(all) != 4 || all[1].BasisPoints != 200 || all[2].BasisPoints != 100 {
		t.Errorf("listed: %+v %v", all, err)
	}
	if err := SetSchedule(t.Context(), l.db, schedule("bank", "JPY", 1, epoch.Add(-time.Second)), epoch); !fault.Is(err, fault.InvalidRequest) {
		t.Errorf("in the past: %v", err)
	}
	unknown := schedule("bank", "JPY", 1, epoch)
	unknown.MerchantID = id.Source{Now: func() time.Time { return epoch }}.New()
	if err := SetSchedule(t.Context(), l.db, unknown, epoch); !fault.Is(err, fault.NotFound) {
		t.Errorf("of nobody: %v", err)
	}
}
