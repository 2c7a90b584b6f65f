package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/scripts/internal/setup"
	"github.com/tollgate/tollgate/shared/local/pubsubpush"
	"github.com/tollgate/tollgate/shared/local/stack"
)

// DrainUsage explains the command.
const DrainUsage = `scripts/load outbox-drain [--quick] [--rows N]

Takes Pub/Sub away for an hour of the clock, in which events are committed all the
same, and measures how fast the sweep publishes them when it is back, and whether
each payment's events come in their order. Takes about five minutes.

    --quick   400 rows and no sweep in the outage, in some seconds; the rate is not held to its bound
    --rows N  events that are committed in the hour, 36,000 by default
`

// minDrain is how many rows a second a sweep must publish.
const minDrain = 1000

// A drainPlan is what is done.
type drainPlan struct {
	Rows     int
	Payments int    // that they are about
	Sweeps   string // the schedule, in the outage
	Slices   int    // of the hour; the clock is moved on after each
	Timed    bool
}

// begin is when the outage does: no sweep is due just then.
var begin = time.Date(2026, 11, 24, 9, 1, 0, 0, time.UTC)

const (
	outage = time.Hour

	// During an outage a sweep tries for twenty seconds until it gives up, and time stands still in the meantime. So
	// there are three in the hour, not sixty; and when it is over they are run by hand, each minute of the clock.
	inTheOutage = "20,40,0 * * * *"

	committers = 200 // at a time: each waits, in vain, for Pub/Sub
)

// DrainCommand reads the command line.
func DrainCommand(args []string) (measure.Benchmark, error) {
	p := drainPlan{Sweeps: inTheOutage, Slices: 12, Timed: true}
	flags := measure.NewFlags("outbox-drain")
	flags.IntVar(&p.Rows, "rows", 36_000, "")
	hurried := flags.Bool("quick", false, "")
	if err := measure.Parse(flags, args, func() bool { return p.Rows >= 100 }); err != nil {
		return nil, err
	}
	p.Payments = p.Rows / 9
	if *hurried {
		p = quickDrain()
	}
	return func(ctx context.Context, progress io.Writer) (measure.Report, error) {
		if err := setup.Postgres(ctx, progress); err != nil {
			return nil, err
		}
		return p.run(ctx, "", progress)
	}, nil
}

// quickDrain is a plan that takes seconds: no sweep comes in the outage.
func quickDrain() drainPlan {
	return drainPlan{Rows: 400, Payments: 40, Sweeps: "30 8 * * *", Slices: 2}
}

// A DrainReport is what was measured.
type DrainReport struct {
	At       time.Time `json:"at"`
	Machine  string    `json:"machine"`
	Busy     float64   `json:"load_average_before"`
	Rows     int       `json:"rows"` // in the outbox when Pub/Sub was back
	Payments int       `json:"payments"`
	Sweeps   []drained `json:"sweeps"`
	measure.CPU

	Arrived  int              `json:"events_arrived"`
	Repeats  int              `json:"arrived_again"`
	Disorder int              `json:"out_of_order"`
	Verdicts measure.Verdicts `json:"verdicts"`
}

// drained is what a sweep published.
type drained struct {
	Rows    int     `json:"rows"`
	Seconds float64 `json:"seconds"` // that the whole sweep took
}

// OK implements measure.Report.
func (r *DrainReport) OK() bool { return r.Verdicts.OK() }

// perSecond is rows a second, while sweeps ran.
func (r *DrainReport) perSecond() float64 {
	rows, seconds := 0, 0.0
	for _, s := range r.Sweeps {
		rows, seconds = rows+s.Rows, seconds+s.Seconds
	}
	if seconds == 0 {
		return 0
	}
	return math.Round(float64(rows) / seconds)
}

// run does it. The merchants have no endpoints: what is published is pushed to notifymerchant, which finds nobody to
// tell, and to a subscriber here, which looks at the order.
func (p drainPlan) run(ctx context.Context, databaseURL string, progress io.Writer) (_ *DrainReport, err error) {
	r := &DrainReport{At: time.Now().UTC(), Machine: measure.Machine(), Busy: measure.Busy(), Payments: p.Payments}
	w, err := openWorld(ctx, worldOptions{
		DatabaseURL: databaseURL, From: begin, Jumps: true, Merchants: 1, Payments: p.Payments, NoEndpoints: true, Processes: 1,
		SweepSchedule: p.Sweeps,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = w.close(err) }()
	watch, err := openWatch(ctx, w)
	if err != nil {
		return nil, err
	}
	w.stack.PubSub.Stop()
	if err := p.outage(ctx, w, progress); err != nil {
		return nil, err
	}
	w.stack.PubSub.Start()
	if err := p.drain(ctx, w, r, progress); err != nil {
		return nil, err
	}
	if err := watch.await(ctx, p.Rows); err != nil {
		return nil, err
	}
	r.Arrived, r.Repeats, r.Disorder = watch.count()
	r.judge(p)
	return r, nil
}

// outage commits events for an hour.
func (p drainPlan) outage(ctx context.Context, w *world, progress io.Writer) error {
	payments := w.merchants[0].Payments
	for n := range p.Slices {
		rows := p.Rows*(n+1)/p.Slices - p.Rows*n/p.Slices
		_, _ = fmt.Fprintf(progress, "%s: %d events\n", w.stack.Clock.Now().Format("15:04"), rows)
		var all errgroup.Group
		all.SetLimit(committers)
		for range rows {
			payment := payments[rand.IntN(len(payments))]
			all.Go(func() error {
				_, err := w.committer.commit(ctx, payment)
				w.committer.publish(ctx, payment)
				return err
			})
		}
		if err := all.Wait(); err != nil {
			return err
		}
		if err := w.stack.Advance(ctx, outage/time.Duration(p.Slices)); err != nil {
			return err
		}
	}
	return nil
}

// maxSweeps bounds how long the drain may take, in minutes.
const maxSweeps = 10

// drain sweeps each minute of the clock until nothing is left to be published.
func (p drainPlan) drain(ctx context.Context, w *world, r *DrainReport, progress io.Writer) error {
	left, err := w.unpublished(ctx)
	if err != nil {
		return err
	}
	r.Rows = left
	before := measure.WorkSoFar(w.pids()...)
	for range maxSweeps {
		_, _ = fmt.Fprintf(progress, "%s: sweep, with %d rows left\n", w.stack.Clock.Now().Format("15:04"), left)
		began := time.Now()
		if err := w.stack.RunJob(ctx, "sweep"); err != nil {
			return err
		}
		took := time.Since(began)
		now, err := w.unpublished(ctx)
		if err != nil {
			return err
		}
		r.Sweeps = append(r.Sweeps, drained{left - now, math.Round(took.Seconds()*1000) / 1000})
		if left = now; left == 0 {
			break
		}
		if err := w.stack.Advance(ctx, time.Minute); err != nil {
			return err
		}
	}
	r.CPU = measure.WorkSoFar(w.pids()...).Since(before)
	return nil
}

func (w *world) unpublished(ctx context.Context) (n int, err error) {
	return n, w.stack.DB.QueryRow(ctx, countUnpublished).Scan(&n)
}

// A watch is a subscriber to the topic: it looks at the order in which events come.
type watch struct {
	mu       sync.Mutex
	last     map[string]int64 // sequence, by ordering key
	arrived  int
	repeats  int // of what had come before
	disorder int // that came before an earlier one of their payment
}

func openWatch(ctx context.Context, w *world) (*watch, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	v := &watch{last: map[string]int64{}}
	server := &http.Server{Handler: v, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // it ends with the world
	w.closers = append(w.closers, func() { _ = server.Close() })
	return v, w.stack.PubSub.Subscribe(ctx, pubsubpush.Subscription{
		Name: stack.Subscription("watch"), Topic: "projects/" + project() + "/topics/" + paymentEvents, Endpoint: "http://" + l.Addr().String(),
		Ordered: true,
	})
}

// ServeHTTP implements http.Handler.
func (v *watch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var push struct {
		Message struct {
			Data        []byte
			OrderingKey string
		}
	}
	var event struct{ Sequence int64 }
	if json.NewDecoder(r.Body).Decode(&push) != nil || json.Unmarshal(push.Message.Data, &event) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	v.note(push.Message.OrderingKey, event.Sequence)
	w.WriteHeader(http.StatusNoContent)
}

// note takes an event in. Each must be the next of its payment, or one that had come.
func (v *watch) note(key string, sequence int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.last[key]
	switch {
	case sequence == last+1:
		v.arrived++
		v.last[key] = sequence
	case sequence <= last:
		v.repeats++
	default:
		v.disorder++
	}
}

func (v *watch) count() (arrived, repeats, disorder int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.arrived, v.repeats, v.disorder
}

// arrival is how long pushes may take, after all is published.
const arrival = 2 * time.Minute

// await waits until so many events have arrived. Whether they have is for the report to say.
func (v *watch) await(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, arrival, errArrival)
	defer cancel()
	for {
		if arrived, _, disorder := v.count(); arrived+disorder >= n {
			return nil
		}
		if !measure.Pause(ctx, lookEvery) {
			if errors.Is(context.Cause(ctx), errArrival) {
				return nil
			}
			return ctx.Err()
		}
	}
}

var errArrival = errors.New("not all events have arrived")

func (r *DrainReport) judge(p drainPlan) {
	add := r.Verdicts.Add
	add(r.Rows == p.Rows, "outage", "nothing is published in it", "%d of %d rows were left", r.Rows, p.Rows)
	swept := 0
	for _, s := range r.Sweeps {
		swept += s.Rows
	}
	add(swept == p.Rows, "drained", "all of it", "%d rows, by %d sweeps", swept, len(r.Sweeps))
	if p.Timed {
		add(r.perSecond() >= minDrain, "rate", fmt.Sprintf("at least %d rows/s", minDrain), "%.0f rows/s", r.perSecond())
	}
	add(r.Arrived == p.Rows && r.Disorder == 0, "order", "each payment's events in order", "%d arrived in order, %d did not, %d repeats",
		r.Arrived, r.Disorder, r.Repeats)
}

// Print implements measure.Report.
func (r *DrainReport) Print(out io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	line("%s, %s, load average %.2f before", r.At.Format("2006-01-02 15:04 MST"), r.Machine, r.Busy)
	line("%d rows of up to %d payments, after an outage of an hour; %.0f%% of the machine used, %.0f%% by others\n", r.Rows, r.Payments, r.Own, r.Others)
	t := measure.NewTable(out)
	t.Row("sweep", "rows", "seconds", "rows/s")
	for n, s := range r.Sweeps {
		t.Row(n+1, s.Rows, fmt.Sprintf("%.2f", s.Seconds), fmt.Sprintf("%.0f", float64(s.Rows)/s.Seconds))
	}
	t.Flush()
	line("")
	r.Verdicts.Print(out)
}
