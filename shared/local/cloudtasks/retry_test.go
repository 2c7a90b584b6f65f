package cloudtasks

import (
	"math"
	"testing"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"
)

func TestBackoffProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lo := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "min"))
		hi := lo + time.Duration(rapid.Int64Range(0, int64(100*24*time.Hour)).Draw(t, "spread"))
		c := &pb.RetryConfig{MinBackoff: durationpb.New(lo), MaxBackoff: durationpb.New(hi), MaxDoublings: rapid.Int32Range(1, math.MaxInt32).Draw(t, "doublings")}
		last := time.Duration(0)
		for n := 1; n < 200; n++ {
			b := backoff(c, n)
			if b < lo || b > hi || b < last {
				t.Fatalf("attempt %d waits %s after %s, bounds %s and %s", n, b, last, lo, hi)
			}
			last = b
		}
	})
}

func TestExhausted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attempts, made int32
		limit, passed  time.Duration
		want           bool
	}{
		{attempts: 3, made: 2, want: false},
		{attempts: 3, made: 3, want: true},
		{attempts: 3, made: 3, limit: time.Hour, passed: time.Minute, want: false},
		{attempts: 3, made: 2, limit: time.Hour, passed: time.Hour, want: false},
		{attempts: 3, made: 3, limit: time.Hour, passed: time.Hour, want: true},
		{attempts: -1, made: 1000, want: false},
		{attempts: -1, made: 1000, limit: time.Hour, passed: time.Minute, want: false},
		{attempts: -1, made: 1, limit: time.Hour, passed: time.Hour, want: true},
	} {
		conf := &pb.RetryConfig{MaxAttempts: c.attempts, MaxRetryDuration: durationpb.New(c.limit)}
		if got := exhausted(conf, c.made, c.passed); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// Whatever the rate and however takes are spread, no more than burst + rate x time are let go, and ready is never
// wrong: at the instant it names, take succeeds.
func TestBucketProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.1, 500).Draw(t, "rate")
		b := newBucket(&pb.RateLimits{MaxDispatchesPerSecond: rate, MaxBurstSize: int32(math.Ceil(rate))}, epoch)
		now, taken := epoch, 0
		for _, ms := range rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 50).Draw(t, "pauses") {
			now = now.Add(time.Duration(ms) * time.Millisecond)
			for b.take(now) {
				taken++
			}
			now = b.ready(now)
			if !b.take(now) {
				t.Fatalf("not ready at %s", now)
			}
			taken++
		}
		if most := math.Ceil(rate) + rate*now.Sub(epoch).Seconds() + 1; float64(taken) > most {
			t.Fatalf("%d taken in %s at %f/s", taken, now.Sub(epoch), rate)
		}
	})
}
