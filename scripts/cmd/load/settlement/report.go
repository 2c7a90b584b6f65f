package settlement

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
)

// A Night is one run.
type Night struct {
	Payments     int     `json:"payments"`
	Kills        int     `json:"kills"`
	Lines        int     `json:"lines"` // entries of the ledger
	Steps        int     `json:"steps"` // transactions
	Seconds      float64 `json:"seconds"`
	PerSecond    float64 `json:"payments_per_second"`
	MemoryBefore float64 `json:"memory_before_mb"`
	Memory       float64 `json:"memory_mb"` // at most; of the last process, when it was killed
	measure.CPU

	Wrong []string `json:"wrong"` // with what should be settled exactly once
}

// A Report is what was measured.
type Report struct {
	At       time.Time        `json:"at"`
	Machine  string           `json:"machine"`
	Busy     float64          `json:"load_average_before"`
	Seed     uint64           `json:"seed"` // of the kills
	Nights   []Night          `json:"nights"`
	Verdicts measure.Verdicts `json:"verdicts"`
}

// OK implements measure.Report.
func (r *Report) OK() bool { return r.Verdicts.OK() }

func (r *Report) judge(p plan) {
	for _, n := range r.Nights {
		what := fmt.Sprintf("%d payments", n.Payments)
		if n.Kills > 0 {
			what += fmt.Sprintf(", %d kills", n.Kills)
		}
		got := "so they are"
		if len(n.Wrong) > 0 {
			got = strings.Join(n.Wrong, ", ")
		}
		r.Verdicts.Add(len(n.Wrong) == 0, what, "each settled exactly once", "%s", got)
	}
	if !p.Timed {
		return
	}
	few := r.Nights[0]
	for _, n := range r.Nights[1:] {
		if n.Kills > 0 {
			continue
		}
		bound := max(maxGrowth*few.Memory, few.Memory+maxExtra)
		r.Verdicts.Add(n.Memory <= bound, "memory", fmt.Sprintf("at most %.0f MB, as with %d payments", bound, few.Payments),
			"%.0f MB with %d, %.0f MB with %d", few.Memory, few.Payments, n.Memory, n.Payments)
	}
}

// Print implements measure.Report.
func (r *Report) Print(out io.Writer) {
	_, _ = fmt.Fprintf(out, "%s, %s, load average %.2f before\n\n", r.At.Format("2006-01-02 15:04 UTC"), r.Machine, r.Busy)
	t := measure.NewTable(out)
	t.Row("payments", "kills", "lines", "steps", "seconds", "payments/s", "MB before", "MB at most", "functions", "database", "others")
	for _, n := range r.Nights {
		t.Row(n.Payments, n.Kills, n.Lines, n.Steps, n.Seconds, fmt.Sprintf("%.0f", n.PerSecond), n.MemoryBefore, n.Memory,
			fmt.Sprintf("%.2f CPUs", n.Functions), fmt.Sprintf("%.2f CPUs", n.Database), fmt.Sprintf("%.0f%%", n.Others))
	}
	t.Flush()
	_, _ = fmt.Fprintln(out)
	r.Verdicts.Print(out)
}
