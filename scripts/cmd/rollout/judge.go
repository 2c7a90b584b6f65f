package main

import (
	"fmt"
	"math"
	"time"
)

// A sample is how a revision answered for a while.
type sample struct {
	requests int64
	errors   int64 // answers 5xx
	p95      time.Duration
}

func (s sample) plus(t sample) sample {
	return sample{requests: s.requests + t.requests, errors: s.errors + t.errors, p95: max(s.p95, t.p95)}
}

func (s sample) ratio() float64 {
	if s.requests == 0 {
		return 0
	}
	return float64(s.errors) / float64(s.requests)
}

func (s sample) String() string {
	if s.requests == 0 {
		return "no requests"
	}
	return fmt.Sprintf("%d requests, %d errors, p95 %s", s.requests, s.errors, s.p95.Round(time.Millisecond))
}

const (
	// tolerated is the ratio of 5xx that a revision may always have: what the objective
	// for payment requests (99.9 %) leaves.
	tolerated = 0.001
	// chance is how unlikely the canary's errors must be, if it were as good as the
	// stable revision, to count against it. By a probability and not by a ratio, one
	// rule serves a function with three requests and one with a million.
	chance = 0.01
	// enoughForLatency is the number of requests below which a 95th percentile is one
	// or two slow requests: a cold start, say.
	enoughForLatency = 100
	// expectedAtLeast is the number of requests that a canary must have been due
	// before having none means that it gets none.
	expectedAtLeast = 20
)

// judge says what is wrong with the canary, or nothing. The stable revision's sample
// is of the same time, or of the time before when it gets no requests any more;
// expected is how many requests the canary was due.
//
// Too few requests to tell are no reason against it: what a daily function does in ten
// minutes says nothing, and it stays a tag away from going back.
func judge(canary, stable sample, expected float64) string {
	switch p := unlikely(canary, stable); {
	case canary.requests == 0 && expected >= expectedAtLeast:
		return fmt.Sprintf("it was due about %.0f requests and has none", expected)
	case p < chance:
		return fmt.Sprintf("%.2f %% of its answers are 5xx, of the stable revision's %.2f %%", 100*canary.ratio(), 100*stable.ratio())
	case slower(canary, stable):
		return fmt.Sprintf("its p95 is %s, the stable revision's %s", canary.p95.Round(time.Millisecond), stable.p95.Round(time.Millisecond))
	}
	return ""
}

// unlikely is the probability of at least so many errors of a revision that fails as
// often as the stable one does.
func unlikely(canary, stable sample) float64 {
	return atLeast(canary.errors, canary.requests, max(tolerated, stable.ratio()))
}

// atLeast is the probability of at least k successes in n trials of probability p.
func atLeast(k, n int64, p float64) float64 {
	if float64(k) <= float64(n)*p || p >= 1 {
		return 1 // no more than the mean: never unlikely
	}
	sum := 0.0
	for i := range k {
		sum += math.Exp(logChoose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return max(0, 1-sum)
}

func logChoose(n, k int64) float64 {
	return logFactorial(n) - logFactorial(k) - logFactorial(n-k)
}

func logFactorial(n int64) float64 {
	l, _ := math.Lgamma(float64(n) + 1)
	return l
}

// slower compares 95th percentiles: half as long again and a tenth of a second more,
// so that neither a fast function's noise nor a slow one's counts.
func slower(canary, stable sample) bool {
	if canary.requests < enoughForLatency || stable.requests < enoughForLatency {
		return false
	}
	return canary.p95 > stable.p95+stable.p95/2 && canary.p95 > stable.p95+100*time.Millisecond
}
