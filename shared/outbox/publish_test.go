package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
)

func TestPublishSendsWhatWaitsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment, other := w.payment(), w.payment()
	first := w.commit(payment)
	w.commit(payment)
	w.commit(other)
	if err := w.relay().Publish(t.Context(), payment); err != nil {
		t.Fatal(err)
	}
	w.want(payment, 1, 2)
	w.want(other)
	want := outboxtest.Message{
		Key: payment.String(), Sequence: 1, Data: string(first.Payload),
		Attributes: map[string]string{
			"event_id": first.ID.String(), "merchant_id": first.MerchantID.String(), "payment_id": payment.String(),
			"type": "payment.captured", "sequence": "1", "request-id": "req_1",
		},
	}
	if diff := cmp.Diff(want, w.pubsub.Published()[0]); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}

	if err := w.relay().Publish(t.Context(), payment); err != nil {
		t.Fatal(err)
	}
	w.want(payment, 1, 2) // marked, so not again
	if n, err := w.relay().Drain(t.Context(), 100); n != 1 || err != nil {
		t.Errorf("Drain = %d, %v; want the other payment's row", n, err)
	}
	w.want(other, 1)
}

func TestRolledBackChangeTellsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	first := w.commit(payment)
	_, err := outboxtest.Commit(t.Context(), w.db, w.newID,
		outbox.Event{ID: first.ID, PaymentID: payment, At: w.now()}) // its id is taken: the transaction fails
	if err == nil {
		t.Fatal("a second event with the same id was committed")
	}
	if n, err := w.relay().Drain(t.Context(), 100); n != 1 || err != nil {
		t.Errorf("Drain = %d, %v; want 1 row", n, err)
	}
	w.want(payment, 1)
}

// A row committed while the key's relay is publishing finds the key leased, so its
// own relay does nothing. The first one must see it before it lets go.
func TestRowCommittedDuringThePublishIsNotStranded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	w.commit(payment)
	var once sync.Once
	w.pubsub.Fail(func(ctx context.Context, _ *pubsubpb.PublishRequest) error {
		var err error
		once.Do(func() {
			e := outbox.Event{PaymentID: payment, At: w.now()}
			if _, err = outboxtest.Commit(ctx, w.db, w.newID, e); err == nil {
				err = w.relay().Publish(ctx, payment)
			}
			if n := len(w.sequences(payment)); n != 0 {
				err = fmt.Errorf("%d messages overtook the one being published", n)
			}
		})
		return err
	}, nil)
	if err := w.relay().Publish(t.Context(), payment); err != nil {
		t.Fatal(err)
	}
	w.want(payment, 1, 2)
}

func TestFailureBacksOffAndHoldsTheKeyBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	w.commit(payment)
	for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		wait *= time.Second
		w.pubsub.Fail(refuse, nil)
		if n, err := w.relay().Drain(t.Context(), 100); n != 0 || status.Code(err) != codes.PermissionDenied {
			t.Fatalf("try %d: Drain = %d, %v; want the refusal", i, n, err)
		}
		var tries int
		var due time.Time
		var reason string
		const row = `SELECT tries, due_at, last_error FROM outbox WHERE key = $1 AND sequence = 1 AND claim_token IS NULL`
		if err := w.db.QueryRow(t.Context(), row, payment).Scan(&tries, &due, &reason); err != nil {
			t.Fatal(err)
		}
		if tries != i+1 || due.Sub(w.now()) != wait || !strings.Contains(reason, "refused by the test") {
			t.Errorf("try %d: tries %d, due in %v, %q; want %d, %v", i, tries, due.Sub(w.now()), reason, i+1, wait)
		}
		w.pubsub.Fail(nil, nil)
		w.advance(wait - time.Millisecond)
		if n, err := w.relay().Drain(t.Context(), 100); n != 0 || err != nil {
			t.Fatalf("before it is due: Drain = %d, %v", n, err)
		}
		w.advance(time.Millisecond)
	}
	// A later row is due, but it may not overtake; and a request that makes one takes
	// the occasion to try the whole key, whatever its backoff.
	w.pubsub.Fail(refuse, nil)
	if err := w.relay().Publish(t.Context(), payment); err == nil {
		t.Fatal("the refused publish succeeded")
	}
	w.commit(payment)
	w.pubsub.Fail(nil, nil)
	if n, err := w.relay().Drain(t.Context(), 100); n != 0 || err != nil {
		t.Fatalf("Drain = %d, %v; the later row went ahead of the one that waits", n, err)
	}
	if err := w.relay().Publish(t.Context(), payment); err != nil {
		t.Fatal(err)
	}
	w.want(payment, 1, 2)
}

func TestPublishEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	w.commit(payment)
	w.pubsub.Fail(func(ctx context.Context, _ *pubsubpb.PublishRequest) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.relay().Publish(ctx, payment); err == nil {
		t.Fatal("a publish that hangs succeeded")
	}
	w.pubsub.Fail(nil, nil)
	if err := w.relay().Publish(t.Context(), payment); err != nil { // it gave the key back
		t.Fatal(err)
	}
	w.want(payment, 1)
}

// The reply is lost: the rows were published, and nobody knows.
func TestLostReplyRepeatsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	w.commit(payment)
	w.commit(payment)
	w.pubsub.Fail(nil, refuse)
	if err := w.relay().Publish(t.Context(), payment); err == nil {
		t.Fatal("a publish without a reply succeeded")
	}
	w.pubsub.Fail(nil, nil)
	w.commit(payment)
	w.advance(time.Second)
	if n, err := w.relay().Drain(t.Context(), 100); n != 3 || err != nil {
		t.Fatalf("Drain = %d, %v; want 3", n, err)
	}
	w.want(payment, 1, 2, 1, 2, 3)
}

func TestDrainWithADeadContextClaimsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	w.commit(payment)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.relay().Drain(ctx, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain: %v; want canceled", err)
	}
	if n, err := w.relay().Drain(t.Context(), 100); n != 1 || err != nil {
		t.Errorf("Drain = %d, %v; want 1", n, err)
	}
}

func TestDrainStopsWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var payments []id.ID
	for range 3 {
		payments = append(payments, w.payment())
		w.commit(payments[len(payments)-1])
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.pubsub.Fail(nil, func(context.Context, *pubsubpb.PublishRequest) error {
		cancel()
		return nil
	})
	if n, err := w.relay().Drain(ctx, 10); n == 0 || err != nil {
		t.Fatalf("Drain = %d, %v; want what was published before the end, and no error", n, err)
	}
	w.pubsub.Fail(nil, nil)
	w.advance(time.Minute)
	if _, err := w.relay().Drain(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	for _, p := range payments {
		if diff := cmp.Diff([]int64{1}, firsts(w.sequences(p))); diff != "" {
			t.Errorf("first arrivals of %s (-want +got):\n%s", p, diff)
		}
	}
}
