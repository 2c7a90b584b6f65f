package webhooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/scripts/cmd/load/instance"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/local/pubsubpush"
	"github.com/tollgate/tollgate/shared/local/stack"
)

// worldOptions say how a world differs.
type worldOptions struct {
	DatabaseURL   string    // see stack.Options
	From          time.Time // the clock's; zero: now
	Jumps         bool      // the clock is to be advanced
	Merchants     int       // each with one endpoint, unless NoEndpoints
	Payments      int       // of each merchant
	NoEndpoints   bool
	Processes     int
	RemoteCommits bool // the processes commit events; else this one does
	SweepSchedule string
	TwiceOneIn    int // tasks and messages, that are sent twice; 0: none
	Seed          uint64
}

// A world is the local system with the functions in processes of their own, and merchants with payments.
type world struct {
	stack     *stack.Stack
	merchants []*merchant
	shops     *shops
	committer *committer // in this process
	folder    string     // of the logs
	options   worldOptions
	closers   []func()

	mu        sync.Mutex
	processes []*instance.Process // nil while it is dead
}

// A merchant has payments that events are about, and an endpoint that is told of them.
type merchant struct {
	ID       id.ID
	Payments []id.ID
	Endpoint *endpoint // nil: none
}

func openWorld(ctx context.Context, o worldOptions) (_ *world, err error) {
	w := &world{shops: newShops(), options: o, processes: make([]*instance.Process, o.Processes)}
	defer func() {
		if err != nil {
			err = w.close(err)
		}
	}()
	if w.folder, err = os.MkdirTemp("", "tollgate-load-"); err != nil {
		return nil, err
	}
	if o.From.IsZero() {
		o.From = time.Now()
	}
	w.stack, err = stack.Start(ctx, stack.Options{
		DatabaseURL: o.DatabaseURL, Clock: clock.NewFlowing(o.From), Run: true, ExternalHost: true, SweepSchedule: o.SweepSchedule,
		Jobs:        []string{"sweep"}, // what comes hourly or nightly would be another load
		TasksChaos:  cloudtasks.Chaos{Seed: o.Seed, TwiceOneIn: o.TwiceOneIn},
		PubSubChaos: pubsubpush.Chaos{Seed: o.Seed, DuplicateOneIn: o.TwiceOneIn},
	})
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.stack.Stop)
	if err := w.startProcesses(ctx); err != nil {
		return nil, err
	}
	if w.committer, err = openCommitter(ctx, w.stack.HostConfig(), w.stack.Clock.Now, commitConnections); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.committer.close)
	return w, w.makeMerchants(ctx)
}

func (w *world) startProcesses(ctx context.Context) error {
	var starting errgroup.Group
	for n := range w.processes {
		starting.Go(func() error { return w.start(ctx, n) })
	}
	w.closers = append(w.closers, func() {
		for _, p := range w.alive() {
			p.Stop()
		}
	})
	return starting.Wait()
}

// start starts the process at a place where there is none.
func (w *world) start(ctx context.Context, n int) error {
	p, err := instance.Start(ctx, fmt.Sprintf("instance-%d", n+1), w.folder,
		instance.Task{Host: w.stack.HostConfig(), RealTime: !w.options.Jumps, Beside: w.options.RemoteCommits})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.processes[n] = p
	w.mu.Unlock()
	return nil
}

// kill ends the process at a place, as kill -9 does.
func (w *world) kill(n int) {
	w.mu.Lock()
	p := w.processes[n]
	w.processes[n] = nil
	w.mu.Unlock()
	p.Kill()
}

func (w *world) alive() (all []*instance.Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// pids are those of the functions' processes.
func (w *world) pids() (all []int) {
	for _, p := range w.alive() {
		all = append(all, p.PID())
	}
	return all
}

func (w *world) makeMerchants(ctx context.Context) error {
	for n := range w.options.Merchants {
		owner, _, err := w.stack.CreateMerchant(ctx, fmt.Sprintf("Load %d", n+1))
		if err != nil {
			return err
		}
		m := &merchant{ID: owner}
		if m.Payments, err = insertPayments(ctx, w.stack.DB, owner, w.options.Payments, w.stack.Clock.Now); err != nil {
			return err
		}
		if !w.options.NoEndpoints {
			if m.Endpoint, err = w.shops.open(w.stack.Clock.Now); err != nil {
				return err
			}
			w.closers = append(w.closers, m.Endpoint.close)
			secret, err := w.stack.CreateEndpoint(ctx, owner, m.Endpoint.URL)
			if err != nil {
				return err
			}
			m.Endpoint.trust(secret)
		}
		w.merchants = append(w.merchants, m)
	}
	return nil
}

// A payment comes with the audit row that the database asks for.
const insertPaymentRows = `
	WITH made AS (
		SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS made(id, audit_id)
	), audit AS (
		INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version, action,
			delta, actor, request_id, at)
		SELECT id, audit_id, $3, 'payment', id, 'change', 1, 'create', '{}', 'load', 'req_load', $4 FROM made
	)
	INSERT INTO transactions (id, merchant_id, version, event_sequence, status, reconciliation_status, currency,
		amount_minor, authorized_minor, captured_minor, refund_reserved_minor, refunded_minor, disputed_minor,
		capture_excess_minor, refund_excess_minor, capture_method, payment_method, provider, provider_account,
		metadata, expires_at, created_at, updated_at)
	SELECT id, $3, 1, 0, 'PENDING', 'SYNCED', 'JPY', 5000, 0, 0, 0, 0, 0, 0, 0, 'manual', 'pm_card_visa', 'stripe',
		'acct_load', '{}', $4, $4, $4 FROM made`

func insertPayments(ctx context.Context, db *pgxpool.Pool, merchant id.ID, n int, now func() time.Time) ([]id.ID, error) {
	newID := id.Source{Now: now}.New
	made, audits := make([]id.ID, n), make([]id.ID, n)
	for i := range made {
		made[i], audits[i] = newID(), newID()
	}
	_, err := db.Exec(ctx, insertPaymentRows, made, audits, merchant, now())
	return made, err
}

// close ends everything. Given an error that asks for them, it keeps the processes' logs, and says where they are.
func (w *world) close(err error) error {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
	w.closers = nil
	if err == nil || errors.Is(err, context.Canceled) {
		return errors.Join(err, os.RemoveAll(w.folder))
	}
	return fmt.Errorf("%w\nThe processes' logs are in %s", err, w.folder)
}
