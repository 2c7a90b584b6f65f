package breaker

import (
	"fmt"
	"time"
)

// slices is how many parts the window moves on by.
const slices = 10

// window counts the calls of one instance. A part of it is forgotten as a whole, so what counts is between nine and
// ten tenths of Settings.Window old.
type window struct {
	newest int64 // the number of the latest slice
	parts  [slices]part
}

type part struct {
	slice int64
	tally
}

type tally struct{ calls, failed, slow int }

// add counts a call that ended now, or is found to be slow now, and returns its slice. Should the clock be set back,
// the call counts as one of the latest slice.
func (w *window) add(now time.Time, failed, slow bool, s Settings) (slice int64) {
	w.moveOn(now, s)
	p := &w.parts[w.newest%slices]
	if p.slice != w.newest {
		*p = part{slice: w.newest}
	}
	p.calls++
	if failed {
		p.failed++
	}
	if slow {
		p.slow++
	}
	return w.newest
}

// moveOn lets go of the calls that are too old by now.
func (w *window) moveOn(now time.Time, s Settings) { w.newest = max(w.newest, sliceOf(now, s)) }

// forget takes back a call that was counted as slow, and not as failed, in the slice.
func (w *window) forget(slice int64) {
	if p := &w.parts[slice%slices]; p.slice == slice {
		p.calls--
		p.slow--
	}
}

// sum is the calls that count at the time of the latest one, or since the window has moved on.
func (w *window) sum() (t tally) {
	for _, p := range w.parts {
		if p.slice > w.newest-slices {
			t.calls += p.calls
			t.failed += p.failed
			t.slow += p.slow
		}
	}
	return t
}

func sliceOf(now time.Time, s Settings) int64 { return now.UnixNano() / int64(s.Window/slices) }

// trips tells whether the calls are reason enough to stop calling, and says why.
func (t tally) trips(s Settings) (why string, yes bool) {
	switch n := float64(t.calls); {
	case t.calls < s.MinCalls:
		return "", false
	case float64(t.failed) >= s.FailureRate*n:
		return fmt.Sprintf("%d of %d calls failed within %v", t.failed, t.calls, s.Window), true
	case float64(t.slow) >= s.SlowRate*n:
		return fmt.Sprintf("%d of %d calls took longer than %v within %v", t.slow, t.calls, s.Slow, s.Window), true
	default:
		return "", false
	}
}
