package cloudtasks

import (
	"math"
	"net/http"
	"strconv"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
)

// backoff is the wait after the attempt numbered n, from 1: it "starts at min_backoff, then doubles max_doublings
// times, then increases linearly, and finally retries at intervals of max_backoff".
func backoff(c *pb.RetryConfig, n int) time.Duration {
	most := c.MaxBackoff.AsDuration()
	wait := float64(c.MinBackoff.AsDuration()) * math.Pow(2, float64(min(n-1, int(c.MaxDoublings))))
	if beyond := n - 1 - int(c.MaxDoublings); beyond > 0 {
		wait *= float64(1 + beyond)
	}
	if wait >= float64(most) { // in floating point, where a large wait cannot overflow
		return most
	}
	return time.Duration(wait)
}

// exhausted tells whether a failed task is given up: "Cloud Tasks stops retrying only when max_attempts and
// max_retry_duration are both satisfied". One that is unlimited (-1 and 0) leaves it to the other.
func exhausted(c *pb.RetryConfig, attempts int32, sinceFirst time.Duration) bool {
	limited, limit := c.MaxAttempts >= 0, c.MaxRetryDuration.AsDuration()
	if !limited && limit <= 0 {
		return false
	}
	return (!limited || attempts >= c.MaxAttempts) && (limit <= 0 || sinceFirst >= limit)
}

// retryAfter reads the header of that name, seconds or a date; 0 when there is none worth heeding.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, retention)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return min(at.Sub(now), retention)
	}
	return 0
}
