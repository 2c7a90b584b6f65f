package saga

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
)

var noon = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

var newID = id.Source{Now: func() time.Time { return noon }}.New

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for i, sql := range []string{
		insertSaga, insertAttempt, moveSaga, finishSaga, finishAttempts, releaseSaga, resolveSaga, closeAttempt, takeLease, selectSaga, selectAttempts,
		markSending, dueSagas, markTaskMade, countOpen,
	} {
		if _, err := tx.Prepare(t.Context(), fmt.Sprint("s", i), sql); err != nil {
			t.Errorf("%v in:%s", err, sql)
		}
	}
}

// start commits one saga, leased from noon on, on a payment of its own.
func start(t *testing.T, db postgres.DB) *Saga {
	t.Helper()
	until := noon.Add(Lease)
	s := &Saga{
		ID: newID(), TransactionID: newID(), MerchantID: newID(), Kind: provider.Capture, State: Leased,
		Provider: "stripe", AmountMinor: 5, LeaseToken: newID(), LeaseUntil: &until, CreatedAt: noon,
	}
	b := &pgx.Batch{}
	b.Queue(`SET session_replication_role = replica`) // the payment itself does not matter here
	QueueStart(b, s)
	QueueAttempt(b, "stripe", provider.NewAttempt(s.ID, 1, provider.Request{
		Step: provider.Capture, PaymentID: s.TransactionID, Amount: money.Money{Minor: 5, Currency: money.MustParseCurrency("JPY")},
	}, noon))
	b.Queue(`SET session_replication_role = origin`)
	if err := postgres.Pipeline(t.Context(), db, b); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOneWorkerTakesAnOverdueLease(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := start(t, pool)
	if h, err := Take(t.Context(), pool, s.ID, newID(), noon.Add(Lease-time.Millisecond)); h != nil || err != nil {
		t.Fatalf("a live lease was taken: %+v %v", h, err)
	}
	var won atomic.Int64
	var g errgroup.Group
	for range 20 {
		g.Go(func() error {
			h, err := Take(t.Context(), pool, s.ID, newID(), noon.Add(Lease))
			if h != nil {
				won.Add(1)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil || won.Load() != 1 {
		t.Errorf("%d workers took the lease, %v", won.Load(), err)
	}
}

func TestTheFenceHoldsOnlyForTheLease(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := start(t, pool)
	if err := Sending(t.Context(), pool, s.ID, s.LeaseToken, 1, noon); err != nil {
		t.Errorf("with the lease: %v", err)
	}
	if err := Sending(t.Context(), pool, s.ID, newID(), 1, noon); !LeaseLost(err) {
		t.Errorf("with another token: %v, want the lease lost", err)
	}
	b := &pgx.Batch{}
	QueueFinish(b, s.ID, "approved", "", id.ID{}, noon)
	if err := postgres.Pipeline(t.Context(), pool, b); err != nil {
		t.Fatal(err)
	}
	if err := Sending(t.Context(), pool, s.ID, s.LeaseToken, 1, noon); !LeaseLost(err) {
		t.Errorf("after the end: %v, want the lease lost", err)
	}
	if h, err := Take(t.Context(), pool, s.ID, newID(), noon.Add(time.Hour)); h != nil || err != nil {
		t.Errorf("a saga that is done was taken: %+v %v", h, err)
	}
}

func TestOneExclusiveSagaIsOpenPerPayment(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := start(t, pool)
	second := *s
	second.ID, second.Kind = newID(), provider.Void
	b := &pgx.Batch{}
	b.Queue(`SET session_replication_role = replica`)
	QueueStart(b, &second)
	err := postgres.Pipeline(t.Context(), pool, b)
	if !postgres.Violates(err, "transaction_saga_one_open") {
		t.Errorf("a second open exclusive saga: %v", err)
	}
}

func TestDueByLeaseOrByTime(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	leased, waiting := start(t, pool), start(t, pool)
	b := &pgx.Batch{}
	QueueRelease(b, waiting.ID, Unknown, noon.Add(time.Minute), 1, noon)
	if err := postgres.Pipeline(t.Context(), pool, b); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]int{0: 0, Lease: 1, time.Minute: 2} {
		due, err := ListDue(t.Context(), pool, noon.Add(at), 10)
		if err != nil || len(due) != want || want > 0 && due[0].ID != leased.ID {
			t.Errorf("due after %v: %+v %v, want %d", at, due, err, want)
		}
	}
	open, err := CountOpen(t.Context(), pool)
	if err != nil || open[Leased] != 1 || open[Unknown] != 1 {
		t.Errorf("open: %v %v", open, err)
	}
	as, err := Attempts(t.Context(), pool, waiting.ID)
	if err != nil || len(as) != 1 || as[0].Request.PaymentID != waiting.TransactionID || as[0].Unsent {
		t.Errorf("attempts: %+v %v", as, err)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{0: 5 * time.Second, 1: 10 * time.Second, 9: 2560 * time.Second, 10: time.Hour, 99: time.Hour} {
		if got := Backoff(n); got != want {
			t.Errorf("Backoff(%d) = %v, want %v", n, got, want)
		}
	}
	if LeaseLost(errors.New("other")) {
		t.Error("any error counts as a lost lease")
	}
}
