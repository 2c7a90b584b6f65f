// Package measure is what the benchmarks have in common: percentiles, the CPU time of processes, what a result was
// measured on, and bounds with what became of them. It measures; what is measured is the business of the benchmarks.
package measure

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Percentile is the smallest value that so many percent of all are not above; 0 of none. It sorts the values.
func Percentile(values []float64, percent float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[max(0, int(math.Ceil(percent/100*float64(len(values))))-1)]
}

// Median is the middle one, the lower of two.
func Median(values []float64) float64 { return Percentile(slices.Clone(values), 50) }

// MS is milliseconds, to hundredths.
func MS(d time.Duration) float64 { return math.Round(d.Seconds()*1e5) / 100 }

// Seconds rounds to tenths.
func Seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

// Machine says what this was measured on.
func Machine() string {
	name := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer func() { _ = f.Close() }()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d CPUs (%s), %s, %s", runtime.NumCPU(), name, runtime.GOOS, runtime.Version())
}

// Busy is the load average of the last minute; 0 where that can't be told.
func Busy() (load float64) {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &load)
	}
	return load
}

// Times is how long something took. Times are milliseconds.
type Times struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// TimesOf sums up. It sorts the values, which are milliseconds.
func TimesOf(values []float64) Times {
	return Times{
		N: len(values), P50: Percentile(values, 50), P95: Percentile(values, 95), P99: Percentile(values, 99), Max: Percentile(values, 100),
	}
}
