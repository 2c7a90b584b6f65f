package outbox_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Many events in one statement become what each would have alone.
func TestQueueAllIsQueueForMany(t *testing.T) {
	t.Parallel()
	published := func(queue func(*pgx.Batch, []outbox.Event)) []outboxtest.Message {
		w := newWorld(t)
		var events []outbox.Event
		for n := range 3 {
			p := w.payment()
			e := outbox.Event{PaymentID: p, Type: "payment.settled", Sequence: int64(n + 1), Payload: []byte{'{', byte('0' + n), '}', 0}, RequestID: "req_1", At: w.now()}
			e.ID, e.MerchantID = w.newID(), outboxtest.Merchant(t, w.db, w.newID, w.now())
			events = append(events, e)
		}
		var b pgx.Batch
		queue(&b, events)
		if err := postgres.Pipeline(t.Context(), w.db, &b); err != nil {
			t.Fatal(err)
		}
		if n, err := w.relay().Drain(t.Context(), 10); n != 3 || err != nil {
			t.Fatalf("Drain = %d, %v", n, err)
		}
		var out []outboxtest.Message
		for _, e := range events { // the ids differ between the worlds
			for _, m := range w.pubsub.Published() {
				if m.Key == e.PaymentID.String() {
					if m.Attributes["event_id"] != e.ID.String() || m.Attributes["merchant_id"] != e.MerchantID.String() || m.Attributes["payment_id"] != m.Key {
						t.Errorf("published %+v of %+v", m, e)
					}
					m.Key, m.Attributes["event_id"], m.Attributes["merchant_id"], m.Attributes["payment_id"] = "", "", "", ""
					out = append(out, m)
				}
			}
		}
		return out
	}
	one := published(func(b *pgx.Batch, events []outbox.Event) {
		for _, e := range events {
			outbox.Queue(b, e)
		}
	})
	if diff := cmp.Diff(one, published(outbox.QueueAll)); diff != "" || len(one) != 3 {
		t.Errorf("%d messages (-one by one +at once):\n%s", len(one), diff)
	}
}
