package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
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
func (s spread) through(timed bool) int {
	n := s.Answers[authorized] + s.Answers[payersTurn]
	if !timed {
		n += s.Answers[unknown] // the answer of a machine so busy that the provider's time ran out; it is found out later
	}
	return n
}

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

// work is CPU time so far, in hundredths of a second.
type work struct {
	all    float64 // that there was
	busy   float64 // of it
	family float64 // of it by this process, and by those that it started and that are still there
}

// workSoFar reads it where Linux tells it; elsewhere it is zero.
func workSoFar() (w work) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return w
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for n, field := range strings.Fields(line) {
		var v float64
		if _, err := fmt.Sscan(field, &v); err != nil || n > 8 { // guests' time is in the first ones
			continue
		}
		w.all += v
		if n != 4 && n != 5 { // idle, waiting for disks
			w.busy += v
		}
	}
	w.family = familyTicks(os.Getpid())
	return w
}

// familyTicks adds up the CPU time of a process and of all that descend from it.
func familyTicks(root int) (sum float64) {
	children, own := map[int][]int{}, map[int]float64{}
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var pid, parent int
		var user, system float64
		// The second field is a name in brackets, which may hold anything (proc_pid_stat(5)).
		end := strings.LastIndexByte(string(text), ')')
		fields := strings.Fields(string(text[end+1:]))
		_, err = fmt.Sscan(string(text), &pid)
		if err != nil || len(fields) < 13 {
			continue
		}
		if _, err := fmt.Sscan(strings.Join([]string{fields[1], fields[11], fields[12]}, " "), &parent, &user, &system); err != nil {
			continue
		}
		children[parent] = append(children[parent], pid)
		own[pid] = user + system
	}
	for todo := []int{root}; len(todo) > 0; todo = todo[1:] {
		sum += own[todo[0]]
		todo = append(todo, children[todo[0]]...)
	}
	return sum
}

// since is the share of the CPUs that was used, in percent: by this process and those it started, and by others.
func (w work) since(before work) (own, others float64) {
	all := w.all - before.all
	if all == 0 {
		return 0, 0
	}
	own = math.Round(100 * (w.family - before.family) / all)
	return own, max(0, math.Round(100*(w.busy-before.busy)/all)-own)
}
