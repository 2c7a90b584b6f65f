package isolation

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
)

// A Report is all that was measured, and what is thought of it.
type Report struct {
	At       time.Time        `json:"at"`
	Machine  string           `json:"machine"`
	Busy     float64          `json:"load_average_before"` // of others, before anything was measured
	Sick     string           `json:"sick"`
	Healthy  string           `json:"healthy"`
	Rate     int              `json:"rate_per_second"`
	Runs     []run            `json:"runs"`
	Outage   *outage          `json:"without_firestore"`
	Verdicts measure.Verdicts `json:"verdicts"`
}

// The bounds.
const (
	maxOpening = 15.0 // seconds
	minOpen    = 60.0 // seconds
	maxApart   = 2.0  // seconds
	maxProbes  = 5

	// logged is how much later, in seconds, something may be in a log than it was: what is compared are such times.
	logged = 0.3
)

func newReport(p plan) *Report {
	return &Report{At: time.Now().UTC(), Machine: measure.Machine(), Busy: measure.Busy(), Sick: p.Sick, Healthy: healthy, Rate: p.Rate}
}

// judge holds what was measured against the bounds. Those of time are left out of a rehearsal.
func (r *Report) judge(timed bool) {
	add := r.Verdicts.Add
	if timed {
		r.Verdicts.Isolation(r.p95s())
	}
	for _, run := range r.Runs {
		add(run.Healthy.through(timed) == run.Healthy.Payments, run.Name+": "+r.Healthy, "all payments through", "%s", run.Healthy.answers())
		if run.Sick != nil {
			run.Sick.judge(run.Name, timed, add)
		}
	}
	if o := r.Outage; o != nil {
		const name = "without Firestore"
		add(o.Healthy.through(timed) == o.Healthy.Payments, name+": "+r.Healthy, "all payments through", "%s", o.Healthy.answers())
		add(o.Before.through(timed) == o.Before.Payments && o.Before.Payments > 0, name+": "+r.Sick, "all payments through", "%s", o.Before.answers())
		add(len(o.Opened) == processes && o.Openers == processes, name+": opens", "in each instance by itself", "%s, by %d", list(o.Opened), o.Openers)
		if timed {
			add(len(o.Closed) == processes, name+": closes", "in each instance", "%s", list(o.Closed))
			add(o.After.through(timed) == o.After.Payments && o.After.Payments > 0, name+": "+r.Sick+" afterwards", "all payments through", "%s", o.After.answers())
		}
	}
}

func (i *illness) judge(name string, timed bool, add func(ok bool, what, want, got string, args ...any)) {
	_, last := bounds(i.Opened)
	everywhere := len(i.Opened) == processes
	if timed {
		add(everywhere && last <= maxOpening, name+": opens", fmt.Sprintf("everywhere within %.0f s", maxOpening), "%s", list(i.Opened))
		add(i.Tripped > 0 && i.Halfway-i.Tripped >= minOpen-logged, name+": half-opens", fmt.Sprintf("after %.0f s", minOpen), "%.1f s later", i.Halfway-i.Tripped)
		least, most := bounds(i.Closed)
		add(most-least <= maxApart+logged, name+": agree", fmt.Sprintf("within %.0f s of the first to close", maxApart), "%.1f s", most-least)
	} else {
		add(everywhere, name+": opens", "everywhere", "in %d instances", len(i.Opened))
	}
	add(i.Probes > 0 && i.Probes <= maxProbes, name+": probes", fmt.Sprintf("at most %d in all", maxProbes), "%d", i.Probes)
	add(len(i.Closed) == processes, name+": closes", "everywhere", "%s", list(i.Closed))
}

// p95s are those of the runs without the sick provider, and of those with it.
func (r *Report) p95s() (alone, beside []float64) {
	for _, run := range r.Runs {
		if run.Sick == nil {
			alone = append(alone, run.Healthy.P95)
		} else {
			beside = append(beside, run.Healthy.P95)
		}
	}
	return alone, beside
}

// OK reports whether every bound was kept.
func (r *Report) OK() bool { return r.Verdicts.OK() }

// list writes the values in order, seconds.
func list(values map[string]float64) string {
	if len(values) == 0 {
		return "never"
	}
	var all []string
	for _, v := range slices.Sorted(maps.Values(values)) {
		all = append(all, fmt.Sprintf("%.1f", v))
	}
	return strings.Join(all, " ") + " s"
}

// Print writes the report for people.
func (r *Report) Print(out io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	line("%s, %s, load average %.2f before", r.At.Format("2006-01-02 15:04 MST"), r.Machine, r.Busy)
	rate := "a few payments"
	if r.Rate > 0 {
		rate = fmt.Sprintf("%d payments/s", r.Rate)
	}
	line("%s to %s, and beside them %s to %s, over %d instances", rate, r.Healthy, rate, r.Sick, processes)
	t := measure.NewTable(out)
	row := t.Row
	line("\nWhat %s's payments took, in ms", r.Healthy)
	row("run", "payments", "p50", "p95", "p99", "max", "late p99", "cpu", "others", "answers")
	for _, run := range r.Runs {
		spreadRow(row, run.Name, run.Healthy, fmt.Sprintf("%.0f%%", run.CPU.Own), fmt.Sprintf("%.0f%%", run.CPU.Others))
		if run.Sick == nil {
			continue
		}
		for _, p := range run.Sick.Phases {
			spreadRow(row, fmt.Sprintf("  %.0f-%.0f s, %s", p.From, p.To, p.Name), p.Healthy, "", "")
		}
	}
	if r.Outage != nil {
		spreadRow(row, "without Firestore", r.Outage.Healthy, "", "")
	}
	t.Flush()
	for _, run := range r.Runs {
		if run.Sick != nil {
			line("\n%s: what %s's payments were answered, by the seconds since it hung", run.Name, r.Sick)
			run.Sick.table(row)
			t.Flush()
			line("circuit: tripped at %.1f s, open in createpayment at %s (by %d), half-open at %.1f s, %d probes, closed %s; %d calls hung", run.Sick.Tripped, list(run.Sick.Opened),
				run.Sick.Openers, run.Sick.Halfway, run.Sick.Probes, list(run.Sick.Closed), run.Sick.Hung)
		}
	}
	line("")
	r.Verdicts.Print(out)
}

func spreadRow(row func(...any), name string, s spread, cpu, others string) {
	row(name, s.Payments, s.P50, s.P95, s.P99, s.Max, s.LateP99, cpu, others, s.answers())
}

// table has a row for each slice of time, and a column for each answer.
func (i *illness) table(row func(...any)) {
	names := map[string]bool{}
	for _, s := range i.Slices {
		for name := range s.Sick.Answers {
			names[name] = true
		}
	}
	columns := slices.Sorted(maps.Keys(names))
	head := []any{"seconds", "p50 ms", "p95 ms"}
	for _, name := range columns {
		head = append(head, name)
	}
	row(head...)
	for _, s := range i.Slices {
		cells := []any{fmt.Sprintf("%.0f-%.0f", s.From, s.To), fmt.Sprintf("%.0f", s.Sick.P50), fmt.Sprintf("%.0f", s.Sick.P95)}
		for _, name := range columns {
			if n := s.Sick.Answers[name]; n > 0 {
				cells = append(cells, n)
			} else {
				cells = append(cells, "")
			}
		}
		row(cells...)
	}
}
