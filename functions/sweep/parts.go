package sweep

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/settlement"
	"github.com/tollgate/tollgate/shared/webhook"
)

type sweeper struct {
	env      api.Env
	pool     postgres.DB
	payments *payment.Service
	inbox    *inbox.Inbox
	webhooks *webhook.Service
	relay    *outbox.Relay

	settlements *settlement.Service
}

// part is one thing that the sweep looks after. do returns how much it found.
type part struct {
	name string
	most time.Duration
	do   func(context.Context) (int, error)
}

// How much one sweep takes on. What is beyond that is found by the next one.
const (
	maxTasks  = 500
	maxEvents = 1000
	maxBodies = 5000
	maxRows   = 100_000 // ended by time: draining runs at some thousand rows per second
)

// parts lists them in the order in which they run. The times add up to less than the
// minute after which the next sweep comes. Draining is last and has the most: after an
// outage of Pub/Sub it has the most to do.
func (s *sweeper) parts() []part {
	return []part{
		{"open operations", 9 * time.Second, func(ctx context.Context) (int, error) {
			return s.payments.EnqueueDue(ctx, maxTasks)
		}},
		{"provider events", 7 * time.Second, func(ctx context.Context) (int, error) {
			return s.inbox.DueAgain(ctx, maxEvents)
		}},
		{"deliveries", 6 * time.Second, func(ctx context.Context) (int, error) {
			return s.webhooks.DueWithoutTask(ctx, maxTasks)
		}},
		{"held deliveries", 2 * time.Second, func(ctx context.Context) (int, error) {
			return s.webhooks.ReleaseStranded(ctx, maxTasks)
		}},
		{"replays", 2 * time.Second, func(ctx context.Context) (int, error) {
			return s.webhooks.ReplaysWithoutTask(ctx, maxTasks)
		}},
		{"failing endpoints", 2 * time.Second, func(ctx context.Context) (int, error) {
			return s.webhooks.ProbeFailing(ctx, maxTasks)
		}},
		{"settlements", 2 * time.Second, func(ctx context.Context) (int, error) {
			return s.settlements.Overdue(ctx, maxTasks)
		}},
		{"expired answers", 3 * time.Second, func(ctx context.Context) (int, error) {
			n, err := idempotency.ExpireBodies(ctx, s.pool, s.env.Now(), maxBodies)
			return int(n), err
		}},
		{"gauges", 3 * time.Second, s.measure},
		{"outbox", 18 * time.Second, func(ctx context.Context) (int, error) {
			return s.relay.Drain(ctx, maxRows)
		}},
	}
}

// sweep runs every part, whatever became of the ones before it, and fails if one did,
// so that the scheduler shows it.
func (s *sweeper) sweep(ctx context.Context, _ []byte) error {
	var failed []error
	for _, p := range s.parts() {
		n, err := run(ctx, p)
		if n > 0 {
			s.env.Log.InfoContext(ctx, "swept", "part", p.name, "count", n)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	return errors.Join(failed...)
}

func run(ctx context.Context, p part) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.most)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return p.do(ctx)
}
