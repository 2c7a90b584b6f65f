package webhooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/scripts/internal/setup"
	"github.com/tollgate/tollgate/shared/id"
)

// CrashUsage explains the command.
const CrashUsage = `scripts/load webhooks-crash [--quick] [--events N] [--kills N] [--rate N] [--processes N]

Commits events in the processes of the functions while these are killed, kill -9, at
random moments, and started again; and Cloud Tasks and Pub/Sub send one thing in a
hundred twice. Every event must reach its merchant, whatever was under way. The sweep comes each minute, as it does in production, so what a killed
process leaves behind takes minutes. Takes a minute or two more than the events do:
eleven minutes at 150 a second.

    --quick        1,500 events, 4 kills; what is left is waited for by moving the clock
    --events N     100,000 by default
    --kills N      50 by default
    --rate N       events a second, 150 by default
    --processes N  of the functions; 2 by default
`

// maxRepeats is the greatest share of events that may come twice.
const maxRepeats = 0.01

// A crashPlan is what is done.
type crashPlan struct {
	Events    int
	Kills     int
	Rate      float64
	Processes int
	Payments  int // of each merchant
	Seed      uint64

	// Cloud Tasks and Pub/Sub promise to send a thing at least once: one in so many they send twice.
	TwiceOneIn int

	// What is left in the end is waited for in real time; or, with Jumps, by moving the clock on from minute to
	// minute, which runs the sweeps of that time at their minutes.
	Jumps      bool
	Patience   time.Duration
	MaxRepeats float64 // share of events
}

// CrashCommand reads the command line.
func CrashCommand(args []string) (measure.Benchmark, error) {
	p := crashPlan{Payments: 500, TwiceOneIn: 100, Patience: 15 * time.Minute, MaxRepeats: maxRepeats, Seed: rand.Uint64()}
	flags := measure.NewFlags("webhooks-crash")
	flags.IntVar(&p.Events, "events", 100_000, "")
	flags.IntVar(&p.Kills, "kills", 50, "")
	flags.Float64Var(&p.Rate, "rate", 150, "")
	flags.IntVar(&p.Processes, "processes", 2, "")
	hurried := flags.Bool("quick", false, "")
	if err := measure.Parse(flags, args, func() bool {
		return p.Events >= 1 && p.Kills >= 1 && p.Rate >= 1 && p.Processes >= 1
	}); err != nil {
		return nil, err
	}
	if *hurried {
		p = p.quick()
	}
	return func(ctx context.Context, progress io.Writer) (measure.Report, error) {
		if err := setup.Postgres(ctx, progress); err != nil {
			return nil, err
		}
		return p.run(ctx, "", progress)
	}, nil
}

// quick is a plan that takes seconds. So few events say nothing of the share of repeats, since a kill costs what is under
// way; but far more would be repeated if what is sent twice were delivered twice.
func (p crashPlan) quick() crashPlan {
	p.Events, p.Kills, p.Rate, p.Payments, p.TwiceOneIn, p.Jumps, p.MaxRepeats = 1500, 4, 150, 10, 3, true, 0.1
	return p
}

// A CrashReport is what became of the events.
type CrashReport struct {
	At        time.Time `json:"at"`
	Machine   string    `json:"machine"`
	Busy      float64   `json:"load_average_before"`
	Processes int       `json:"processes"`
	Rate      float64   `json:"rate_per_second"`
	Seed      uint64    `json:"seed"` // of the kills

	Kills        int     `json:"kills"`
	Unanswered   int     `json:"commits_unanswered"` // it is not known whether they happened, but by the database
	Events       int     `json:"events"`             // committed
	Payments     int     `json:"payments"`           // that they are about
	Received     int     `json:"events_received"`
	Lost         int     `json:"events_lost"`
	Unknown      int     `json:"events_unknown"` // received, and not committed
	Repeats      int     `json:"received_again"`
	Gaps         int     `json:"payments_with_gaps"`      // in the sequence, as committed
	GapsReceived int     `json:"payments_with_gaps_seen"` // in the sequence, as received
	Unpublished  int     `json:"outbox_unpublished"`
	Undelivered  int     `json:"deliveries_not_delivered"`
	Extra        int     `json:"deliveries_too_many"`
	Wrong        int     `json:"requests_not_verified"`
	Flow         float64 `json:"flow_seconds"` // in which events were committed
	Tail         float64 `json:"tail_seconds"` // until the last was received, by the clock

	Verdicts measure.Verdicts `json:"verdicts"`
}

// OK implements measure.Report.
func (r *CrashReport) OK() bool { return r.Verdicts.OK() }

// run does it.
func (p crashPlan) run(ctx context.Context, databaseURL string, progress io.Writer) (_ *CrashReport, err error) {
	r := &CrashReport{
		At: time.Now().UTC(), Machine: measure.Machine(), Busy: measure.Busy(), Processes: p.Processes, Rate: p.Rate, Seed: p.Seed,
	}
	w, err := openWorld(ctx, worldOptions{
		DatabaseURL: databaseURL, Jumps: p.Jumps, Merchants: merchantCount, Payments: p.Payments, Processes: p.Processes, RemoteCommits: true,
		TwiceOneIn: p.TwiceOneIn, Seed: p.Seed,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = w.close(err) }()
	if err := p.flow(ctx, w, r, progress); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(progress, "%d kills and %.0f s later, %d events are received; waiting for the rest\n", r.Kills, r.Flow, w.shops.received())
	if err := p.tail(ctx, w, r); err != nil {
		return nil, err
	}
	if err := r.look(ctx, w); err != nil {
		return nil, err
	}
	r.judge(p)
	return r, nil
}

// flow commits the events while processes are killed.
func (p crashPlan) flow(ctx context.Context, w *world, r *CrashReport, progress io.Writer) error {
	began := time.Now()
	var both errgroup.Group
	killed := make(chan struct{})
	both.Go(func() error {
		defer close(killed)
		return p.kill(ctx, w, r, progress)
	})
	both.Go(func() error { return p.commit(ctx, w, r, killed) })
	err := both.Wait()
	r.Flow = measure.Seconds(time.Since(began))
	return errors.Join(err, ctx.Err())
}

// kill kills a process now and then, and starts it again.
func (p crashPlan) kill(ctx context.Context, w *world, r *CrashReport, progress io.Writer) error {
	random := rand.New(rand.NewPCG(p.Seed, 0))
	// The kills end before the events do, and the sweep finds most of what they left behind in the meantime.
	between := 0.75 * float64(p.Events) / p.Rate / float64(p.Kills)
	next := time.Now()
	for range p.Kills {
		next = next.Add(time.Duration(between * (0.5 + random.Float64()) * float64(time.Second)))
		if !measure.Pause(ctx, time.Until(next)) {
			return ctx.Err()
		}
		n := random.IntN(p.Processes)
		w.kill(n)
		r.Kills++
		if err := w.start(ctx, n); err != nil {
			return err
		}
		if r.Kills%10 == 0 {
			_, _ = fmt.Fprintf(progress, "%d kills, %d events received\n", r.Kills, w.shops.received())
		}
	}
	return nil
}

// commit has the processes commit events, until there are enough and the kills are over.
func (p crashPlan) commit(ctx context.Context, w *world, r *CrashReport, killed <-chan struct{}) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var mu sync.Mutex
	done := 0
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return done >= p.Events
	}
	var under sync.WaitGroup
	defer under.Wait()
	begun := time.Now()
	for n := 0; ; n++ {
		due := begun.Add(time.Duration(float64(n) / p.Rate * float64(time.Second)))
		if !measure.Pause(ctx, time.Until(due)) {
			return ctx.Err()
		}
		if enough() {
			select {
			case <-killed:
				return nil
			default: // on, or the last kills would hit nothing
			}
		}
		payments := w.merchants[n%len(w.merchants)].Payments
		payment := payments[rand.IntN(len(payments))]
		under.Go(func() {
			ok := commitAt(client, w, payment)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				done++
			} else {
				r.Unanswered++
			}
		})
	}
}

// commitAt has a process that is alive commit an event, and reports whether it said that it did.
func commitAt(client *http.Client, w *world, payment id.ID) bool {
	alive := w.alive()
	if len(alive) == 0 {
		return false
	}
	p := alive[rand.IntN(len(alive))]
	resp, err := client.Post("http://"+p.Address+"/"+payment.String(), "", nil)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusNoContent
}

// tail waits until what was committed is received, and nothing is left to be done, or until patience is at its end.
func (p crashPlan) tail(ctx context.Context, w *world, r *CrashReport) error {
	began := w.stack.Clock.Now()
	for w.stack.Clock.Now().Sub(began) < p.Patience {
		var left int
		if err := w.stack.DB.QueryRow(ctx, countUndelivered).Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if p.Jumps {
			if err := w.stack.Advance(ctx, time.Minute); err != nil {
				return err
			}
		} else if !measure.Pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
	r.Tail = measure.Seconds(w.stack.Clock.Now().Sub(began))
	return nil
}

const (
	selectEventIDs = `SELECT id FROM events`
	countPayments  = `SELECT count(DISTINCT subject_id) FROM events`
	countGaps      = `
	SELECT count(*) FROM (
		SELECT FROM events GROUP BY subject_id HAVING min(sequence) <> 1 OR max(sequence) <> count(*)) gaps`
	countUnpublished = `SELECT count(*) FROM outbox WHERE published_at IS NULL`
	countNotYet      = `SELECT count(*) FROM webhook_deliveries WHERE status <> 'DELIVERED'`
	countExtra       = `SELECT count(*) - count(DISTINCT event_id) FROM webhook_deliveries`
)

// look finds what became of the events: what was committed is the database's to say, what was received the shops'.
func (r *CrashReport) look(ctx context.Context, w *world) error {
	for sql, into := range map[string]*int{
		countPayments: &r.Payments, countGaps: &r.Gaps, countUnpublished: &r.Unpublished, countNotYet: &r.Undelivered, countExtra: &r.Extra,
	} {
		if err := w.stack.DB.QueryRow(ctx, sql).Scan(into); err != nil {
			return err
		}
	}
	rows, err := w.stack.DB.Query(ctx, selectEventIDs)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var event id.ID
		if err := rows.Scan(&event); err != nil {
			return err
		}
		r.Events++
		if _, has := w.shops.of(id.Event.External(event)); !has {
			r.Lost++
		}
	}
	r.Received, r.Repeats, r.Wrong = w.shops.count()
	r.Unknown = r.Received - (r.Events - r.Lost)
	r.GapsReceived = w.shops.gaps()
	return rows.Err()
}

// gaps counts the payments of whose events some were not received, as a merchant can tell by their sequence.
func (s *shops) gaps() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type line struct{ events, last int64 }
	lines := map[string]line{}
	for _, e := range s.events {
		l := lines[e.PaymentID]
		lines[e.PaymentID] = line{l.events + 1, max(l.last, e.Sequence)}
	}
	for _, l := range lines {
		if l.events != l.last {
			n++
		}
	}
	return n
}

func (r *CrashReport) judge(p crashPlan) {
	add := r.Verdicts.Add
	add(r.Events >= p.Events, "events", fmt.Sprintf("at least %d", p.Events), "%d committed, of %d payments", r.Events, r.Payments)
	add(r.Kills >= p.Kills, "kill -9", fmt.Sprintf("at least %d", p.Kills), "%d; %d commits were not answered", r.Kills, r.Unanswered)
	add(r.Lost == 0, "delivered", "each at least once", "%d received, %d lost", r.Received, r.Lost)
	add(r.Unknown == 0 && r.Wrong == 0, "authentic", "all committed, and signed", "%d not committed, %d not verified", r.Unknown, r.Wrong)
	add(r.Gaps == 0 && r.GapsReceived == 0, "sequences", "gapless per payment", "%d payments with gaps as committed, %d as received", r.Gaps, r.GapsReceived)
	add(r.Unpublished == 0 && r.Undelivered == 0 && r.Extra == 0, "nothing left", "all published and delivered, in one row each",
		"%d unpublished, %d not delivered, %d rows too many", r.Unpublished, r.Undelivered, r.Extra)
	share := float64(r.Repeats) / float64(max(1, r.Events))
	add(share < p.MaxRepeats, "duplicates", fmt.Sprintf("below %.0f %%", 100*p.MaxRepeats), "%d, %.3f %%, %.1f a kill", r.Repeats, 100*share,
		float64(r.Repeats)/float64(max(1, r.Kills)))
}

// Print implements measure.Report.
func (r *CrashReport) Print(out io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	line("%s, %s, load average %.2f before", r.At.Format("2006-01-02 15:04 MST"), r.Machine, r.Busy)
	line("%.0f events/s for %.0f s to %d merchants, %d processes of functions, seed %d; the last was received %.0f s later by the clock\n", r.Rate, r.Flow,
		merchantCount, r.Processes, r.Seed, r.Tail)
	r.Verdicts.Print(out)
}
