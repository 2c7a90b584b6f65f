package measure

import "testing"

func TestPercentiles(t *testing.T) {
	t.Parallel()
	var hundred []float64
	for n := range 100 {
		hundred = append(hundred, float64(100-n))
	}
	for percent, want := range map[float64]float64{50: 50, 95: 95, 99: 99, 100: 100, 0.1: 1} {
		if got := Percentile(hundred, percent); got != want {
			t.Errorf("%v%%: %v, want %v", percent, got, want)
		}
	}
	if got := Percentile(nil, 95); got != 0 {
		t.Errorf("of none: %v", got)
	}
	if got := Median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("median %v", got)
	}
}
