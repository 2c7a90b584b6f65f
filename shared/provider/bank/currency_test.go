package bank

import (
	"testing"

	"github.com/tollgate/tollgate/shared/fault"
)

func TestUnitsAtTheirLimits(t *testing.T) {
	t.Parallel()
	for minor, want := range map[int64]bool{-1: false, 0: false, 1: true, maxUnits: true, maxUnits + 1: false} {
		if units, err := Units(pounds(minor)); (err == nil) != want || want && units != minor || !want && !fault.Is(err, fault.AmountNotSupported) {
			t.Errorf("Units(%d) = %d, %v", minor, units, err)
		}
	}
}

func TestAmountsOfGoCardlessRefused(t *testing.T) {
	t.Parallel()
	for code, units := range map[string]int64{"JPY": 1, "gbp": 1, "": 1, "GBP": -1} {
		if m, err := amountOf(units, code); err == nil {
			t.Errorf("amountOf(%d %q) = %s, want an error", units, code, m)
		}
	}
}
