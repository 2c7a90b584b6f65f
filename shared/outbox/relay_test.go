package outbox_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// world is a database, a Pub/Sub and a clock that stands still until it is moved.
type world struct {
	t      testing.TB
	db     *pgxpool.Pool
	pubsub *outboxtest.PubSub
	newID  func() id.ID
	micros atomic.Int64
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, db: pgtest.Pool(t), pubsub: outboxtest.NewPubSub(t)}
	w.micros.Store(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC).UnixMicro())
	w.newID = id.Source{Now: w.now}.New
	return w
}

func (w *world) now() time.Time          { return time.UnixMicro(w.micros.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.micros.Add(d.Microseconds()) }
func (w *world) relay() *outbox.Relay {
	return outbox.NewRelay(w.db, w.pubsub.Topics.PaymentEvents, w.now, w.newID)
}

func (w *world) payment() id.ID {
	return outboxtest.Payment(w.t, w.db, outboxtest.Merchant(w.t, w.db, w.newID, w.now()), w.newID, w.now())
}

func (w *world) commit(payment id.ID) outbox.Event {
	w.t.Helper()
	e, err := outboxtest.Commit(w.t.Context(), w.db, w.newID,
		outbox.Event{PaymentID: payment, RequestID: "req_1", At: w.now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) backlog() outbox.Backlog {
	w.t.Helper()
	b, err := outbox.ReadBacklog(w.t.Context(), w.db, w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// sequences lists what was published of a payment, in order of arrival.
func (w *world) sequences(payment id.ID) []int64 {
	var out []int64
	for _, m := range w.pubsub.Published() {
		if m.Key == payment.String() {
			out = append(out, m.Sequence)
		}
	}
	return out
}

func (w *world) want(payment id.ID, sequences ...int64) {
	w.t.Helper()
	if diff := cmp.Diff(sequences, w.sequences(payment)); diff != "" {
		w.t.Errorf("published sequences (-want +got):\n%s", diff)
	}
}

// firsts keeps the first arrival of each sequence.
func firsts(sequences []int64) []int64 {
	var out []int64
	seen := make(map[int64]bool)
	for _, s := range sequences {
		if !seen[s] {
			seen[s], out = true, append(out, s)
		}
	}
	return out
}

func refuse(context.Context, *pubsubpb.PublishRequest) error {
	return status.Error(codes.PermissionDenied, "refused by the test")
}

func TestOnePoisonedKeyStopsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	poisoned, well := w.payment(), w.payment()
	w.commit(poisoned)
	for range 120 { // more than one round takes
		w.commit(well)
	}
	w.pubsub.Fail(func(ctx context.Context, r *pubsubpb.PublishRequest) error {
		if r.Messages[0].OrderingKey == poisoned.String() {
			return refuse(ctx, r)
		}
		return nil
	}, nil)
	if n, err := w.relay().Drain(t.Context(), 1000); n != 120 || err != nil {
		t.Errorf("Drain = %d, %v; want the 120 of the other key", n, err)
	}
	w.advance(time.Minute)
	if b := w.backlog(); b.Rows != 1 || b.OldestAge != time.Minute {
		t.Errorf("backlog %+v; want 1 row, a minute old", b)
	}
}

func TestDrainGivesUpWhilePubSubIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var payments []id.ID
	for range 20 {
		p := w.payment()
		payments = append(payments, p)
		w.commit(p)
	}
	w.pubsub.Fail(refuse, nil)
	n, err := w.relay().Drain(t.Context(), 5) // a round of 5 keys
	if n != 0 || err == nil {
		t.Fatalf("Drain = %d, %v; want the refusal", n, err)
	}
	var tried int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM outbox WHERE tries > 0`).Scan(&tried); err != nil || tried != 5 {
		t.Errorf("%d keys were tried (%v); want one round of 5", tried, err)
	}
	w.pubsub.Fail(nil, nil)
	w.advance(time.Minute)
	if n, err := w.relay().Drain(t.Context(), 1000); n != 20 || err != nil {
		t.Errorf("Drain = %d, %v; want 20", n, err)
	}
	for _, p := range payments {
		w.want(p, 1)
	}
	if b := w.backlog(); b != (outbox.Backlog{}) {
		t.Errorf("backlog %+v; want none", b)
	}
}

// Where nothing fails, relays that work side by side send nothing twice.
func TestRelaysShareTheWork(t *testing.T) {
	t.Parallel()
	const keys, perKey = 40, 8
	w := newWorld(t)
	var payments []id.ID
	for range keys {
		payments = append(payments, w.payment())
	}
	w.fill(perKey)
	var g errgroup.Group
	var drained atomic.Int64
	for range 8 {
		g.Go(func() error {
			for {
				n, err := w.relay().Drain(t.Context(), 5) // small rounds meet more often
				if drained.Add(int64(n)); n == 0 || err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, sent := drained.Load(), len(w.pubsub.Published()); n != keys*perKey || sent != keys*perKey {
		t.Errorf("%d rows were drained by %d messages; want %d", n, sent, keys*perKey)
	}
	for _, p := range payments {
		w.want(p, 1, 2, 3, 4, 5, 6, 7, 8)
	}
}

// Eight relays drain while writers commit and publish inline, requests fail before
// they arrive and after, and the clock runs so fast that leases end in mid-publish.
// Every row arrives, and of each payment the first arrivals are in order.
func TestManyRelaysKeepOrderAndLoseNothing(t *testing.T) {
	t.Parallel()
	const keys, perKey, relays = 20, 40, 8
	w := newWorld(t)
	payments := make([]id.ID, keys)
	for i := range payments {
		payments[i] = w.payment()
	}
	w.failNowAndThen()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	written := make(chan struct{})
	var writers, drains errgroup.Group
	for _, p := range payments {
		writers.Go(func() error {
			for range perKey {
				e := outbox.Event{PaymentID: p, At: w.now()}
				if _, err := outboxtest.Commit(ctx, w.db, w.newID, e); err != nil {
					return err
				}
				_ = w.relay().Publish(ctx, p) // the relays see to what fails
			}
			return nil
		})
	}
	for range relays {
		drains.Go(func() error {
			for ctx.Err() == nil {
				_, _ = w.relay().Drain(ctx, 100) // a refusal ends the round, not the relay
				w.advance(3 * time.Second)
				select {
				case <-written:
				default:
					continue
				}
				if b, err := outbox.ReadBacklog(ctx, w.db, w.now()); err != nil || b.Rows == 0 {
					return err
				}
			}
			return ctx.Err()
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	close(written)
	if err := drains.Wait(); err != nil {
		t.Fatal(err)
	}

	want := make([]int64, perKey)
	for i := range want {
		want[i] = int64(i + 1)
	}
	for _, p := range payments {
		if diff := cmp.Diff(want, firsts(w.sequences(p))); diff != "" {
			t.Errorf("first arrivals of %s (-want +got):\n%s", p, diff)
		}
	}
}

// failNowAndThen fails some requests before they arrive and loses the reply of others.
func (w *world) failNowAndThen() {
	var calls atomic.Int64
	w.pubsub.Fail(
		func(ctx context.Context, r *pubsubpb.PublishRequest) error {
			if calls.Add(1)%7 == 0 {
				return refuse(ctx, r)
			}
			return nil
		},
		func(ctx context.Context, r *pubsubpb.PublishRequest) error {
			if calls.Load()%11 == 0 {
				return refuse(ctx, r)
			}
			return nil
		})
}
