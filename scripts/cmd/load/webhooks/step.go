package webhooks

import (
	"context"
	"math"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/shared/id"
)

// A step is what became of the events that were committed in a time. Times are milliseconds from the commit.
type step struct {
	Rate       float64       `json:"rate_per_second"` // events that were to be committed
	Committed  int           `json:"committed"`
	Deliveries float64       `json:"deliveries_per_second"` // receipts in that time, divided by it
	Attempt    measure.Times `json:"to_first_attempt"`      // as deliverwebhook wrote it down
	Receipt    measure.Times `json:"to_receipt"`
	LateP99    float64       `json:"late_p99_ms"` // commits: how much later than they were due; not in the other times
	Missing    int           `json:"missing"`     // not received when nobody waited any more
	measure.CPU
}

// perCore is deliveries a second and CPU: of all that was used, and of what a deployment would use, without the load.
func (s step) perCore() (all, deployed float64) {
	share := func(cores float64) float64 {
		if cores == 0 {
			return 0
		}
		return math.Round(10*s.Deliveries/cores) / 10
	}
	return share(s.Cores()), share(s.Functions + s.Database)
}

// Beyond either of these, a rate is not sustained: deliveries fall behind.
const (
	runAway  = 1000.0 // ms, p95 to receipt
	keepPace = 0.95   // of the rate, deliveries
)

func (s step) sustained() bool {
	return s.Missing == 0 && s.Receipt.P95 <= runAway && s.Deliveries >= keepPace*s.Rate
}

// run commits events of the merchants at a rate: for a while to warm up, and then for what is measured, after which
// deliveries may take as long as patience lasts. What happens when what is measured begins, if anything, is begin's.
func (w *world) run(ctx context.Context, merchants, measured []*merchant, rate float64, warm, whole, patience time.Duration, begin func()) (step, error) {
	l := &load{world: w}
	stop := l.stream(ctx, merchants, rate)
	measure.Pause(ctx, warm)
	if begin != nil {
		begin()
	}
	from, before, received := time.Now(), measure.WorkSoFar(w.pids()...), w.shops.received()
	measure.Pause(ctx, whole)
	to, after, got := time.Now(), measure.WorkSoFar(w.pids()...), w.shops.received()
	stop()
	if ctx.Err() != nil {
		return step{}, ctx.Err()
	}
	if err := l.trouble(); err != nil {
		return step{}, err
	}
	samples := l.of(measured, from, to)
	s := step{
		Rate: rate * float64(len(measured)) / float64(len(merchants)), Committed: len(samples), CPU: after.Since(before),
		Deliveries: math.Round(10*float64(got-received)/to.Sub(from).Seconds()) / 10,
		Missing:    w.await(ctx, samples, patience),
	}
	return s, s.times(ctx, w, samples, from)
}

const selectFirstAttempts = `
	SELECT d.event_id, min(l.requested_at) FROM webhook_delivery_logs l JOIN webhook_deliveries d ON d.id = l.delivery_id
	WHERE l.attempt = 1 AND l.requested_at >= $1 GROUP BY d.event_id`

// times looks up when the events' first attempts were, and their receipts.
func (s *step) times(ctx context.Context, w *world, samples []sample, from time.Time) error {
	rows, err := w.stack.DB.Query(ctx, selectFirstAttempts, from)
	if err != nil {
		return err
	}
	defer rows.Close()
	attempts := map[id.ID]time.Time{}
	for rows.Next() {
		var event id.ID
		var at time.Time
		if err := rows.Scan(&event, &at); err != nil {
			return err
		}
		attempts[event] = at
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var attempt, receipt, late []float64
	for _, one := range samples {
		late = append(late, measure.MS(one.Late))
		if at, has := attempts[one.Event]; has {
			attempt = append(attempt, measure.MS(at.Sub(one.At)))
		}
		if e, has := w.shops.of(id.Event.External(one.Event)); has {
			receipt = append(receipt, measure.MS(e.First.Sub(one.At)))
		}
	}
	s.Attempt, s.Receipt, s.LateP99 = measure.TimesOf(attempt), measure.TimesOf(receipt), measure.Percentile(late, 99)
	return nil
}
