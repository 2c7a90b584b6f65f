package webhooks

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/scripts/internal/setup"
)

// RateUsage explains the command.
const RateUsage = `scripts/load webhooks [--quick] [--from N] [--processes N]

Measures how many webhooks a second reach 20 merchants, and how long they take from
the commit of an event: the rate goes up by a quarter until deliveries fall behind,
and the last that they kept up with is then held for a minute, as is half of it.
Takes about five minutes.

    --quick        two short steps, in some seconds: shows that it all happens
    --from N       the first rate, events a second; 40 by default
    --processes N  of the functions; 2 by default
`

// merchantCount is how many merchants there are.
const merchantCount = 20

// A ratePlan is what is measured.
type ratePlan struct {
	From      float64 // events a second
	Processes int
	Payments  int // of each merchant

	Warm, Step, Hold time.Duration
	Most             int // steps
}

const (
	quarter  = 1.25             // each step's rate is so many times the one before it
	patience = 10 * time.Second // with deliveries, after what is measured
)

// RateCommand reads the command line.
func RateCommand(args []string) (measure.Benchmark, error) {
	p := ratePlan{Payments: 200, Warm: 3 * time.Second, Step: 12 * time.Second, Hold: time.Minute, Most: 16}
	flags := measure.NewFlags("webhooks")
	flags.Float64Var(&p.From, "from", 40, "")
	flags.IntVar(&p.Processes, "processes", 2, "")
	hurried := flags.Bool("quick", false, "")
	if err := measure.Parse(flags, args, func() bool { return p.From >= 1 && p.Processes >= 1 }); err != nil {
		return nil, err
	}
	if *hurried {
		p = p.quick()
	}
	return func(ctx context.Context, progress io.Writer) (measure.Report, error) {
		if err := setup.Postgres(ctx, progress); err != nil {
			return nil, err
		}
		return p.measure(ctx, "", progress)
	}, nil
}

// quick is a plan that shows that what is measured happens, and measures nothing.
func (p ratePlan) quick() ratePlan {
	p.Payments, p.Warm, p.Step, p.Hold, p.Most = 10, time.Second, 2*time.Second, 2*time.Second, 2
	return p
}

// A RateReport is what was measured.
type RateReport struct {
	At        time.Time        `json:"at"`
	Machine   string           `json:"machine"`
	Busy      float64          `json:"load_average_before"`
	Processes int              `json:"processes"`
	Steps     []step           `json:"steps"`
	Held      []step           `json:"held"` // the sustainable rate, and half of it
	Repeats   int              `json:"received_again"`
	Verdicts  measure.Verdicts `json:"verdicts"`
}

// Sustainable is the greatest rate that deliveries kept up with for the longer time, in events a second; 0: none.
func (r *RateReport) Sustainable() float64 {
	for _, s := range r.Held {
		if s.sustained() {
			return s.Rate
		}
	}
	return 0
}

// OK implements measure.Report.
func (r *RateReport) OK() bool { return r.Verdicts.OK() }

// measure does all of it in one world.
func (p ratePlan) measure(ctx context.Context, databaseURL string, progress io.Writer) (_ *RateReport, err error) {
	r := &RateReport{At: time.Now().UTC(), Machine: measure.Machine(), Busy: measure.Busy(), Processes: p.Processes}
	w, err := openWorld(ctx, worldOptions{DatabaseURL: databaseURL, Merchants: merchantCount, Payments: p.Payments, Processes: p.Processes})
	if err != nil {
		return nil, err
	}
	defer func() { err = w.close(err) }()
	if err := p.climb(ctx, w, r, progress); err != nil {
		return nil, err
	}
	if err := p.hold(ctx, w, r, progress); err != nil {
		return nil, err
	}
	events, repeats, wrong := w.shops.count()
	r.Repeats = repeats
	r.Verdicts.Add(r.Sustainable() > 0, "sustainable", "a rate that deliveries keep up with", "%.0f deliveries/s", r.Sustainable())
	r.Verdicts.Add(wrong == 0 && events > 0, "signatures", "all verify", "%d of %d requests did not: %q", wrong, events+repeats+wrong, w.shops.strange)
	return r, nil
}

// climb raises the rate until it is not sustained.
func (p ratePlan) climb(ctx context.Context, w *world, r *RateReport, progress io.Writer) error {
	rate := p.From
	for range p.Most {
		_, _ = fmt.Fprintf(progress, "%.0f events/s, %v\n", rate, p.Warm+p.Step)
		s, err := w.run(ctx, w.merchants, w.merchants, rate, p.Warm, p.Step, patience, nil)
		if err != nil {
			return err
		}
		r.Steps = append(r.Steps, s)
		if !s.sustained() {
			return w.recover(ctx)
		}
		rate *= quarter
	}
	return nil
}

// recover waits until what fell behind is delivered.
func (w *world) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		var waiting int
		if err := w.stack.DB.QueryRow(ctx, countUndelivered).Scan(&waiting); err != nil {
			return fmt.Errorf("wait for deliveries that fell behind: %w", err)
		}
		if waiting == 0 {
			return nil
		}
		measure.Pause(ctx, time.Second)
	}
}

const countUndelivered = `
	SELECT count(*) FROM events e
	WHERE NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.event_id = e.id AND d.status = 'DELIVERED')`

// hold measures the last rate that was sustained for longer, or a smaller one if that is not, and half of it.
func (p ratePlan) hold(ctx context.Context, w *world, r *RateReport, progress io.Writer) error {
	for n := len(r.Steps) - 1; n >= 0; n-- {
		if !r.Steps[n].sustained() {
			continue
		}
		s, err := p.holdAt(ctx, w, r, r.Steps[n].Rate, progress)
		if err != nil {
			return err
		}
		if s.sustained() {
			_, err := p.holdAt(ctx, w, r, s.Rate/2, progress)
			return err
		}
		if err := w.recover(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p ratePlan) holdAt(ctx context.Context, w *world, r *RateReport, rate float64, progress io.Writer) (step, error) {
	_, _ = fmt.Fprintf(progress, "%.0f events/s held, %v\n", rate, p.Warm+p.Hold)
	s, err := w.run(ctx, w.merchants, w.merchants, rate, p.Warm, p.Hold, patience, nil)
	if err == nil {
		r.Held = append(r.Held, s)
	}
	return s, err
}

// Print implements measure.Report.
func (r *RateReport) Print(out io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	line("%s, %s, load average %.2f before", r.At.Format("2006-01-02 15:04 MST"), r.Machine, r.Busy)
	line("%d merchants with an endpoint each, %d processes of functions; times in ms from commit", merchantCount, r.Processes)
	t := measure.NewTable(out)
	t.Row("", "", "first attempt", "", "", "receipt", "", "", "", "", "", "", "CPUs", "", "", "deliveries/s per core", "")
	t.Row("events/s", "deliveries/s", "p50", "p95", "p99", "p50", "p95", "p99", "late p99", "missing", "cpu", "others",
		"functions", "database", "load", "of all", "without load")
	for _, s := range r.Steps {
		s.row(t, "")
	}
	for _, s := range r.Held {
		s.row(t, " held")
	}
	t.Flush()
	line("")
	r.Verdicts.Print(out)
}

func (s step) row(t measure.Table, note string) {
	if !s.sustained() {
		note += " behind"
	}
	all, deployed := s.perCore()
	two := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	t.Row(fmt.Sprintf("%.0f%s", s.Rate, note), s.Deliveries, s.Attempt.P50, s.Attempt.P95, s.Attempt.P99, s.Receipt.P50, s.Receipt.P95,
		s.Receipt.P99, s.LateP99, s.Missing, fmt.Sprintf("%.0f%%", s.Own), fmt.Sprintf("%.0f%%", s.Others), two(s.Functions), two(s.Database),
		two(s.Load), all, deployed)
}
