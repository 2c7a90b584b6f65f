package main

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

// A spread is how payments to one provider went. Times are milliseconds.
type spread struct {
	Payments int            `json:"payments"`
	P50      float64        `json:"p50_ms"`
	P95      float64        `json:"p95_ms"`
	P99      float64        `json:"p99_ms"`
	Max      float64        `json:"max_ms"`
	LateP99  float64        `json:"late_p99_ms"` // the load's own delay, which is in the others
	Answers  map[string]int `json:"answers"`
}

func spreadOf(samples []sample) spread {
	s := spread{Payments: len(samples), Answers: map[string]int{}}
	took, late := make([]float64, len(samples)), make([]float64, len(samples))
	for n, one := range samples {
		took[n], late[n] = ms(one.Took), ms(one.Late)
		s.Answers[one.Answer]++
	}
	s.P50, s.P95, s.P99, s.Max = percentile(took, 50), percentile(took, 95), percentile(took, 99), percentile(took, 100)
	s.LateP99 = percentile(late, 99)
	return s
}

// through is how many payments the provider had its say in.
func (s spread) through() int { return s.Answers[authorized] + s.Answers[payersTurn] }

// answers lists the answers, the most frequent first.
func (s spread) answers() string {
	var names []string
	for name := range s.Answers {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := s.Answers[b] - s.Answers[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for n, name := range names {
		names[n] = fmt.Sprintf("%d x %s", s.Answers[name], name)
	}
	return strings.Join(names, ", ")
}

// percentile is the smallest value that so many percent of all are not above; 0 of none. It sorts the values.
func percentile(values []float64, percent float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[max(0, int(math.Ceil(percent/100*float64(len(values))))-1)]
}

// median is the middle one, the lower of two.
func median(values []float64) float64 { return percentile(slices.Clone(values), 50) }

func ms(d time.Duration) float64 { return math.Round(d.Seconds()*1e5) / 100 }

// seconds rounds to tenths.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

// machine says what this was measured on.
func machine() string {
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

// busy is the load average of the last minute; 0 where that can't be told.
func busy() (load float64) {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &load)
	}
	return load
}

// ticks is how long the machine's CPUs were busy and in all, since it started; zeros where that can't be told.
type ticks struct{ busy, all float64 }

func cpuTicks() (t ticks) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for n, field := range strings.Fields(line) {
		var v float64
		if _, err := fmt.Sscan(field, &v); err != nil || n > 8 { // guests' time is in the first ones
			continue
		}
		t.all += v
		if n != 4 && n != 5 { // idle, waiting for disks
			t.busy += v
		}
	}
	return t
}

// since is the share of the CPUs' time that was used, in percent.
func (t ticks) since(before ticks) float64 {
	if t.all == before.all {
		return 0
	}
	return math.Round(100 * (t.busy - before.busy) / (t.all - before.all))
}
