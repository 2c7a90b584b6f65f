package webhook

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/id"
)

var week = Schedule{0, time.Minute, time.Hour, 24 * time.Hour}

func TestWaitsHaveTheSameJitterEveryTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var delivery id.ID
		copy(delivery[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "delivery"))
		attempt := rapid.IntRange(1, 10).Draw(t, "attempt")
		base := week[min(attempt, len(week))-1]
		w := week.wait(delivery, attempt)
		if w < base || w > base+base/10 {
			t.Fatalf("attempt %d waits %v; want %v and up to a tenth more", attempt, w, base)
		}
		if again := week.wait(delivery, attempt); again != w {
			t.Fatalf("attempt %d waits %v, then %v", attempt, w, again)
		}
	})
}

// What failed together must not come back together.
func TestJitterSpreads(t *testing.T) {
	t.Parallel()
	const n = 4000
	var tenths [10]int
	for i := range n {
		share := float64(week.wait(id.ID{byte(i), byte(i >> 8)}, 4)-24*time.Hour) / float64(24*time.Hour) / jitter
		tenths[int(share*10)]++
	}
	for i, got := range tenths {
		if math.Abs(float64(got-n/10)) > n/40 {
			t.Errorf("%d of %d waits in tenth %d of the jitter: %v", got, n, i, tenths)
		}
	}
}

func TestNextAttempt(t *testing.T) {
	t.Parallel()
	failed := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	var d id.ID
	for name, c := range map[string]struct {
		attempt    int
		retryAfter time.Duration
		want       time.Duration // 0: exhausted
	}{
		"as scheduled":                 {1, 0, week.wait(d, 2)},
		"a shorter wait is not heard":  {2, time.Minute, week.wait(d, 3)},
		"a longer one is":              {2, 5 * time.Hour, 5 * time.Hour},
		"but no more than a day":       {2, 1000 * time.Hour, 24 * time.Hour},
		"or than what is scheduled":    {3, 1000 * time.Hour, week.wait(d, 4)},
		"the last one":                 {4, 0, 0},
		"the last one, asked to retry": {4, time.Hour, 0},
		"one after the last":           {9, 0, 0},
	} {
		status, at := week.next(d, c.attempt, failed, c.retryAfter)
		switch {
		case c.want == 0:
			if status != Exhausted || at != nil {
				t.Errorf("%s: %s at %v; want exhausted", name, status, at)
			}
		case status != Pending || at == nil || at.Sub(failed) != c.want:
			t.Errorf("%s: %s at %v; want after %v", name, status, at, c.want)
		}
	}
}

func TestSchedulesThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, waits := range [][]time.Duration{nil, {}, {0, -time.Second}, {0, 28 * 24 * time.Hour}} {
		if _, err := NewSchedule(waits); err == nil {
			t.Errorf("%v is taken", waits)
		}
	}
}
