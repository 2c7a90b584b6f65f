package measure

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A Verdict is one bound, and whether it was kept.
type Verdict struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
	OK   bool   `json:"ok"`
}

// Verdicts are all bounds of a benchmark.
type Verdicts []Verdict

// Add holds something against a bound.
func (v *Verdicts) Add(ok bool, what, want, got string, args ...any) {
	*v = append(*v, Verdict{what, want, fmt.Sprintf(got, args...), ok})
}

// OK reports whether every bound was kept. Without any it is false.
func (v Verdicts) OK() bool {
	return len(v) > 0 && !slices.ContainsFunc(v, func(one Verdict) bool { return !one.OK })
}

// Print writes them, a line each.
func (v Verdicts) Print(out io.Writer) {
	t := NewTable(out)
	for _, one := range v {
		word := "PASS"
		if !one.OK {
			word = "FAIL"
		}
		t.Row(word, one.What, one.Want, one.Got)
	}
	t.Flush()
}

// The bounds of isolation: what trouble at one may add to what the others take.
const (
	MaxRatio = 1.3
	MaxExtra = 20.0 // ms, where that is more
)

// Isolation holds the median of what runs beside the trouble took, in ms, against the median of those without.
func (v *Verdicts) Isolation(alone, beside []float64) {
	base, with := Median(alone), Median(beside)
	bound := max(MaxRatio*base, base+MaxExtra)
	v.Add(with <= bound && base > 0, "isolation", fmt.Sprintf("median p95 beside at most %.1f ms", bound),
		"%.1f ms alone, %.1f ms beside: %.2fx, %+.1f ms", base, with, with/base, with-base)
}

// A Table is written in columns.
type Table struct{ w *tabwriter.Writer }

// NewTable begins one.
func NewTable(out io.Writer) Table { return Table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)} }

// Row adds a row. Numbers with a fraction are written with one digit of it.
func (t Table) Row(cells ...any) {
	words := make([]string, len(cells))
	for n, c := range cells {
		if f, is := c.(float64); is {
			c = fmt.Sprintf("%.1f", f)
		}
		words[n] = fmt.Sprint(c)
	}
	_, _ = fmt.Fprintln(t.w, strings.TrimRight(strings.Join(words, "\t"), "\t"))
}

// Flush writes what was added.
func (t Table) Flush() { _ = t.w.Flush() }

// Pause waits, and reports whether it did to the end.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
