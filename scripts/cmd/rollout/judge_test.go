package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		canary, stable sample
		expected       float64
		want           string // empty: nothing is wrong
	}{
		"nothing at all":                   {sample{}, sample{}, 0, ""},
		"due a few, and has none":          {sample{}, sample{requests: 361}, 19, ""},
		"due enough, and has none":         {sample{}, sample{requests: 380}, 20, "has none"},
		"the only request failed":          {sample{requests: 1, errors: 1}, sample{requests: 19}, 1, "5xx"},
		"one of ten":                       {sample{requests: 10, errors: 1}, sample{requests: 190}, 10, "5xx"},
		"one of a hundred":                 {sample{requests: 100, errors: 1}, sample{requests: 1900}, 100, ""},
		"three of a thousand":              {sample{requests: 1000, errors: 3}, sample{requests: 19000}, 1000, ""},
		"five of a thousand":               {sample{requests: 1000, errors: 5}, sample{requests: 19000}, 1000, "0.50 % of its answers"},
		"as bad as the stable one":         {sample{requests: 1000, errors: 52}, sample{requests: 19000, errors: 950}, 1000, ""},
		"worse than a bad one":             {sample{requests: 1000, errors: 80}, sample{requests: 19000, errors: 950}, 1000, "5xx"},
		"a million, a little worse":        {sample{requests: 1e6, errors: 1200}, sample{requests: 1e6, errors: 1000}, 1e6, "5xx"},
		"everything fails everywhere":      {sample{requests: 50, errors: 50}, sample{requests: 50, errors: 50}, 50, ""},
		"slower by half and 100 ms":        {sample{requests: 100, p95: 401 * ms}, sample{requests: 100, p95: 200 * ms}, 100, "p95 is 401ms"},
		"slower by less than half":         {sample{requests: 100, p95: 1400 * ms}, sample{requests: 100, p95: 1000 * ms}, 100, ""},
		"slower by less than 100 ms":       {sample{requests: 100, p95: 109 * ms}, sample{requests: 100, p95: 10 * ms}, 100, ""},
		"slower, of too few":               {sample{requests: 99, p95: 9000 * ms}, sample{requests: 2000, p95: 10 * ms}, 99, ""},
		"slower than too few":              {sample{requests: 2000, p95: 9000 * ms}, sample{requests: 99, p95: 10 * ms}, 2000, ""},
		"no request of the stable one's":   {sample{requests: 2000, errors: 1, p95: 9000 * ms}, sample{}, 0, ""},
		"failing, with none to compare to": {sample{requests: 2000, errors: 20}, sample{}, 0, "5xx"},
	} {
		got := judge(c.canary, c.stable, c.expected)
		if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// The tail of the binomial distribution is what counting outcomes gives.
func TestAtLeast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 12).Draw(t, "trials")
		k := rapid.Int64Range(0, n).Draw(t, "successes")
		p := rapid.Float64Range(0.001, 0.999).Draw(t, "probability")
		want := 0.0
		for outcome := range int64(1) << n {
			successes, probability := int64(0), 1.0
			for i := range n {
				if outcome>>i&1 == 1 {
					successes++
					probability *= p
				} else {
					probability *= 1 - p
				}
			}
			if successes >= k {
				want += probability
			}
		}
		if float64(k) <= float64(n)*p {
			want = 1 // no more than the mean is never unlikely
		}
		if got := atLeast(k, n, p); math.Abs(got-want) > 1e-9 {
			t.Fatalf("at least %d of %d with %g: %g, not %g", k, n, p, got, want)
		}
	})
}
