// Package settlement measures a night: how many payments a second are settled, whether the memory that it takes grows
// with their number, and whether each is settled exactly once though the functions be killed.
//
// Payments are planted in the database, captured, with a fee each, and half of them of one merchant. The functions run in
// a process of their own, which the steps of a run reach through Cloud Tasks, as they do when deployed: a step is a
// transaction of 1,000 payments at most. The time is from the scheduler's call until the run has ended; what becomes of
// the events afterwards is not in it. The memory is the most that the process ever had (VmHWM of Linux), and what it had
// before. Each number of payments has a database and a process of its own.
package settlement

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/instance"
	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/scripts/internal/setup"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/settlement"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

// Usage explains the command.
const Usage = `scripts/load settlement [--quick] [--payments N,N] [--kills N]

Settles a night's payments, and measures how many a second and in how much memory; then
once more the greatest number, in a process that is killed, kill -9, at random moments,
and looks whether each was settled exactly once. Takes about ten minutes.

    --quick         200 and 600 payments, 3 kills, in some seconds; no bounds on rate and memory
    --payments N,N  10,000 and 100,000 by default; the first is what the memory of the last is held against
    --kills N       20 by default; 0: none
`

// The bounds.
const (
	maxTime   = 15 * time.Minute // for a night, at most
	maxGrowth = 1.25             // of the memory over that of the fewest payments …
	maxExtra  = 16.0             // … or so many MB, where that is more: a garbage collector's whim
)

// A plan is what is done.
type plan struct {
	Payments []int
	Kills    int
	Timed    bool
	Seed     uint64
}

// Command reads the command line.
func Command(args []string) (measure.Benchmark, error) {
	p := plan{Timed: true, Seed: rand.Uint64()}
	flags := measure.NewFlags("settlement")
	payments := flags.String("payments", "10000,100000", "")
	flags.IntVar(&p.Kills, "kills", 20, "")
	hurried := flags.Bool("quick", false, "")
	if err := measure.Parse(flags, args, func() bool {
		for part := range strings.SplitSeq(*payments, ",") {
			var n int
			if _, err := fmt.Sscanf(part, "%d", &n); err != nil || n < 100 {
				return false
			}
			p.Payments = append(p.Payments, n)
		}
		return p.Kills >= 0 && slices.IsSorted(p.Payments)
	}); err != nil {
		return nil, err
	}
	if *hurried {
		p = quick()
	}
	return func(ctx context.Context, progress io.Writer) (measure.Report, error) {
		if err := setup.Postgres(ctx, progress); err != nil {
			return nil, err
		}
		return p.run(ctx, func() string { return "" }, progress)
	}, nil
}

func quick() plan { return plan{Payments: []int{200, 600}, Kills: 3, Seed: 1} }

// run does it, each night with a database of its own.
func (p plan) run(ctx context.Context, databaseURL func() string, progress io.Writer) (*Report, error) {
	r := &Report{At: time.Now().UTC(), Machine: measure.Machine(), Busy: measure.Busy(), Seed: p.Seed}
	for _, n := range p.Payments {
		_, _ = fmt.Fprintf(progress, "%d payments\n", n)
		night, err := p.night(ctx, databaseURL(), n, 0)
		if err != nil {
			return nil, err
		}
		r.Nights = append(r.Nights, night)
	}
	if p.Kills > 0 {
		most := p.Payments[len(p.Payments)-1]
		_, _ = fmt.Fprintf(progress, "%d payments, killed %d times\n", most, p.Kills)
		night, err := p.night(ctx, databaseURL(), most, p.Kills)
		if err != nil {
			return nil, err
		}
		r.Nights = append(r.Nights, night)
	}
	r.judge(p)
	return r, nil
}

// A world is the local system with the functions in a process of their own, which may be dead.
type world struct {
	stack   *stack.Stack
	folder  string
	process *instance.Process
}

func (w *world) start(ctx context.Context) (err error) {
	w.process, err = instance.Start(ctx, "functions", w.folder, instance.Task{Host: w.stack.HostConfig(), RealTime: true})
	return err
}

// night plants payments, settles them, and measures that.
func (p plan) night(ctx context.Context, databaseURL string, payments, kills int) (_ Night, err error) {
	n := Night{Payments: payments, Kills: kills}
	w := &world{}
	if w.folder, err = os.MkdirTemp("", "tollgate-load-"); err != nil {
		return n, err
	}
	defer func() {
		if err == nil {
			_ = os.RemoveAll(w.folder)
		} else {
			err = fmt.Errorf("%w; logs are in %s", err, w.folder)
		}
	}()
	w.stack, err = stack.Start(ctx, stack.Options{
		DatabaseURL: databaseURL, Clock: clock.NewFlowing(time.Now()), Run: true, ExternalHost: true,
		Jobs:       []string{"settle"}, // nothing else runs beside it
		TasksChaos: cloudtasks.Chaos{Seed: p.Seed},
	})
	if err != nil {
		return n, err
	}
	defer w.stack.Stop()
	if err := w.plant(ctx, payments); err != nil {
		return n, err
	}
	if err := w.start(ctx); err != nil {
		return n, err
	}
	defer func() { w.process.Stop() }()
	n.MemoryBefore = memory(w.process.PID())
	before, began := measure.WorkSoFar(w.process.PID()), time.Now()
	if err := w.settle(ctx, p, &n); err != nil {
		return n, err
	}
	n.Seconds = measure.Seconds(time.Since(began))
	n.PerSecond = float64(int(float64(payments) / time.Since(began).Seconds()))
	n.CPU = measure.WorkSoFar(w.process.PID()).Since(before)
	n.Memory = memory(w.process.PID())
	if n.Wrong, err = settlementtest.Undone(ctx, w.stack.DB); err != nil {
		return n, err
	}
	return n, w.stack.DB.QueryRow(ctx, selectSteps).Scan(&n.Steps, &n.Lines)
}

const selectSteps = `SELECT (SELECT step FROM batch_job_executions), (SELECT count(*) FROM settlement_lines)`

// plant makes the payments: half of them one merchant's, the others of nine.
func (w *world) plant(ctx context.Context, payments int) error {
	const others = 9
	captured := settlement.Scheduled(settlement.Latest(time.Now())).Add(-15 * time.Hour) // at noon before the last night
	left := payments
	for i := range 1 + others {
		n := payments / 2 / others
		if i == 0 {
			n = payments / 2
		}
		if i == others {
			n = left
		}
		left -= n
		merchant, _, err := w.stack.CreateMerchant(ctx, fmt.Sprintf("Night %d", i))
		if err != nil {
			return err
		}
		err = settlementtest.Plant(ctx, w.stack.DB, settlementtest.Seed{
			Name: fmt.Sprint("night ", i), Merchant: merchant, Payments: n, Fee: 36, At: captured,
		})
		if err != nil {
			return err
		}
	}
	_, err := w.stack.DB.Exec(ctx, `ANALYZE`) // as a database is that has had its payments for a day
	return err
}

const (
	selectEnded    = `SELECT EXISTS (SELECT 1 FROM batch_job_executions WHERE status <> 'RUNNING')`
	selectProgress = `SELECT coalesce(sum(settled_payments), 0) >= $1 FROM settlements`
)

// settle has the scheduler call, and waits until the run has ended. The kills are spread over it, each at a random
// moment after some payments.
func (w *world) settle(ctx context.Context, p plan, n *Night) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, errors.New("the night is over, and payments are not settled"))
	defer cancel()
	called := make(chan error, 1)
	go func() { called <- w.stack.RunJob(ctx, "settle") }()
	random := rand.New(rand.NewPCG(p.Seed, 0))
	for kill := range n.Kills {
		if err := w.await(ctx, selectProgress, kill*n.Payments/n.Kills); err != nil {
			return err
		}
		measure.Pause(ctx, time.Duration(random.IntN(1000))*time.Millisecond)
		w.process.Kill()
		if err := w.start(ctx); err != nil {
			return err
		}
	}
	if err := <-called; err != nil && n.Kills == 0 {
		return err
	}
	return w.await(ctx, selectEnded)
}

// await asks the database until it says yes.
func (w *world) await(ctx context.Context, sql string, args ...any) error {
	for {
		var yes bool
		if err := w.stack.DB.QueryRow(ctx, sql, args...).Scan(&yes); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if yes {
			return nil
		}
		measure.Pause(ctx, 20*time.Millisecond)
	}
}

// memory is the most memory that a process ever had, in MB; 0 where Linux does not tell it.
func memory(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			return float64(int(kb/1024*10)) / 10
		}
	}
	return 0
}
