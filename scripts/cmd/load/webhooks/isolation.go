package webhooks

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/scripts/internal/setup"
)

// IsolationUsage explains the command.
const IsolationUsage = `scripts/load webhooks-isolation [--quick] [--rate N] [--pairs N] [--processes N]

Measures whether webhooks to 18 merchants are later while the endpoints of two more
are in trouble: one takes requests and never answers, one resets connections. Takes
seven minutes, and four more to find the rate if it is not given.

    --quick        show in some seconds that all of it happens; no times are held to bounds
    --rate N       events a second of all 20; by default half of what is sustainable, which
                   is measured first
    --pairs N      runs without the two, and as many with them; 3 by default
    --processes N  of the functions; 2 by default
`

// An isolationPlan is what is measured.
type isolationPlan struct {
	Rate      float64 // events a second, of all merchants
	Pairs     int
	Processes int
	Payments  int // of each merchant

	Warm  time.Duration // with all of them well
	Whole time.Duration // from the beginning of the trouble

	Patience time.Duration // with deliveries, after it
	Timed    bool          // times are held to bounds
}

// IsolationCommand reads the command line.
func IsolationCommand(args []string) (measure.Benchmark, error) {
	p := isolationPlan{Payments: 200, Warm: 5 * time.Second, Whole: time.Minute, Patience: patience, Timed: true}
	flags := measure.NewFlags("webhooks-isolation")
	flags.Float64Var(&p.Rate, "rate", 0, "")
	flags.IntVar(&p.Pairs, "pairs", 3, "")
	flags.IntVar(&p.Processes, "processes", 2, "")
	hurried := flags.Bool("quick", false, "")
	if err := measure.Parse(flags, args, func() bool { return p.Rate >= 0 && p.Pairs >= 1 && p.Processes >= 1 }); err != nil {
		return nil, err
	}
	if *hurried {
		p = p.quick()
	}
	return func(ctx context.Context, progress io.Writer) (measure.Report, error) {
		if err := setup.Postgres(ctx, progress); err != nil {
			return nil, err
		}
		if p.Rate == 0 {
			found, err := ratePlan{
				From: 40, Processes: p.Processes, Payments: p.Payments, Warm: 3 * time.Second, Step: 10 * time.Second, Hold: 30 * time.Second, Most: 16,
			}.measure(ctx, "", progress)
			if err != nil {
				return nil, err
			}
			if p.Rate = found.Sustainable() / 2; p.Rate == 0 {
				return nil, fmt.Errorf("no rate is sustainable on this machine: %+v", found.Steps)
			}
		}
		return p.measure(ctx, progress)
	}, nil
}

// quick is a plan that shows that what is measured happens, and measures nothing.
func (p isolationPlan) quick() isolationPlan {
	p.Rate, p.Pairs, p.Payments, p.Warm, p.Whole, p.Patience, p.Timed = 20, 1, 10, time.Second, 5*time.Second, 2*time.Minute, false
	return p
}

// An IsolationReport is what was measured.
type IsolationReport struct {
	At        time.Time        `json:"at"`
	Machine   string           `json:"machine"`
	Busy      float64          `json:"load_average_before"`
	Rate      float64          `json:"rate_per_second"`
	Processes int              `json:"processes"`
	Runs      []isolationRun   `json:"runs"`
	Verdicts  measure.Verdicts `json:"verdicts"`
}

// An isolationRun is one measurement.
type isolationRun struct {
	Name    string         `json:"name"`
	Healthy step           `json:"healthy"`           // of the 18
	Hangs   map[string]int `json:"hangs,omitempty"`   // attempts at the endpoint that hangs, by outcome
	Resets  map[string]int `json:"resets,omitempty"`  // at the one that resets connections
	Waiting int            `json:"waiting,omitempty"` // deliveries to the two that were left at the end
}

func (r isolationRun) troubled() bool { return r.Hangs != nil }

// OK implements measure.Report.
func (r *IsolationReport) OK() bool { return r.Verdicts.OK() }

// measure does all of it, and judges.
func (p isolationPlan) measure(ctx context.Context, progress io.Writer) (*IsolationReport, error) {
	r := &IsolationReport{
		At: time.Now().UTC(), Machine: measure.Machine(), Busy: measure.Busy(), Rate: p.Rate, Processes: p.Processes,
	}
	for n := range p.Pairs {
		for _, troubled := range []bool{false, true} {
			name := fmt.Sprintf("%d alone", n+1)
			if troubled {
				name = fmt.Sprintf("%d beside", n+1)
			}
			_, _ = fmt.Fprintf(progress, "run %s, %v\n", name, p.Warm+p.Whole)
			one, err := p.run(ctx, "", name, troubled)
			if err != nil {
				return nil, err
			}
			r.Runs = append(r.Runs, one)
		}
	}
	r.judge(p.Timed)
	return r, nil
}

// run makes one run in a world of its own.
func (p isolationPlan) run(ctx context.Context, databaseURL, name string, troubled bool) (_ isolationRun, err error) {
	w, err := openWorld(ctx, worldOptions{DatabaseURL: databaseURL, Merchants: merchantCount, Payments: p.Payments, Processes: p.Processes})
	if err != nil {
		return isolationRun{}, err
	}
	defer func() { err = w.close(err) }()
	healthy, two := w.merchants[2:], w.merchants[:2]
	r := isolationRun{Name: name}
	if !troubled {
		// Without the two, the others' rate is the same.
		r.Healthy, err = w.run(ctx, healthy, healthy, p.Rate*float64(len(healthy))/merchantCount, p.Warm, p.Whole, p.Patience, nil)
		return r, err
	}
	r.Healthy, err = w.run(ctx, w.merchants, healthy, p.Rate, p.Warm, p.Whole, p.Patience, func() {
		two[0].Endpoint.become(hangs)
		two[1].Endpoint.become(resets)
	})
	if err != nil {
		return r, err
	}
	if r.Hangs, err = w.outcomes(ctx, two[0]); err != nil {
		return r, err
	}
	if r.Resets, err = w.outcomes(ctx, two[1]); err != nil {
		return r, err
	}
	return r, w.stack.DB.QueryRow(ctx, countWaiting, two[0].ID, two[1].ID).Scan(&r.Waiting)
}

const (
	countOutcomes = `
	SELECT l.outcome, count(*)::int FROM webhook_delivery_logs l JOIN webhook_deliveries d ON d.id = l.delivery_id
	WHERE d.merchant_id = $1 GROUP BY l.outcome`
	countWaiting = `SELECT count(*) FROM webhook_deliveries WHERE merchant_id IN ($1, $2) AND status = 'PENDING'`
)

// outcomes counts the attempts at a merchant's endpoint.
func (w *world) outcomes(ctx context.Context, m *merchant) (map[string]int, error) {
	rows, err := w.stack.DB.Query(ctx, countOutcomes, m.ID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]int{}
	for rows.Next() {
		var outcome string
		var n int
		if err := rows.Scan(&outcome, &n); err != nil {
			return nil, err
		}
		all[outcome] = n
	}
	return all, rows.Err()
}

// judge holds what was measured against the bounds. Those of time are left out of a rehearsal.
func (r *IsolationReport) judge(timed bool) {
	var alone, beside []float64
	for _, run := range r.Runs {
		if run.troubled() {
			beside = append(beside, run.Healthy.Attempt.P95)
		} else {
			alone = append(alone, run.Healthy.Attempt.P95)
		}
	}
	if timed {
		r.Verdicts.Isolation(alone, beside)
	}
	for _, run := range r.Runs {
		s := run.Healthy
		r.Verdicts.Add(s.Missing == 0 && s.Committed > 0 && s.Attempt.N == s.Committed, run.Name+": the 18", "all delivered",
			"%d of %d events, %d first attempts", s.Committed-s.Missing, s.Committed, s.Attempt.N)
		if run.troubled() {
			// Attempts that hang end after ten seconds, which is longer than a rehearsal.
			r.Verdicts.Add(!timed || run.Hangs["timeout"] > 0, run.Name+": hangs", "its attempts time out", "%s", listOutcomes(run.Hangs))
			r.Verdicts.Add(run.Resets["connection"] > 0, run.Name+": resets", "its connections break", "%s", listOutcomes(run.Resets))
		}
	}
}

// listOutcomes writes them in order of their names.
func listOutcomes(all map[string]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		words = append(words, fmt.Sprintf("%d x %s", all[name], name))
	}
	return strings.Join(words, ", ")
}

// Print implements measure.Report.
func (r *IsolationReport) Print(out io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	line("%s, %s, load average %.2f before", r.At.Format("2006-01-02 15:04 MST"), r.Machine, r.Busy)
	line("%d merchants, %.0f events/s, %d processes of functions; 18 merchants' times in ms from commit", merchantCount, r.Rate, r.Processes)
	t := measure.NewTable(out)
	t.Row("", "", "first attempt", "", "", "", "receipt")
	t.Row("run", "events", "p50", "p95", "p99", "max", "p95", "late p99", "cpu", "others", "of the two: attempts at what hangs; at what resets; left")
	for _, run := range r.Runs {
		s := run.Healthy
		two := ""
		if run.troubled() {
			two = fmt.Sprintf("%s; %s; %d", listOutcomes(run.Hangs), listOutcomes(run.Resets), run.Waiting)
		}
		t.Row(run.Name, s.Committed, s.Attempt.P50, s.Attempt.P95, s.Attempt.P99, s.Attempt.Max, s.Receipt.P95, s.LateP99,
			fmt.Sprintf("%.0f%%", s.Own), fmt.Sprintf("%.0f%%", s.Others), two)
	}
	t.Flush()
	line("")
	r.Verdicts.Print(out)
}
