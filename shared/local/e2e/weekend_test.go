package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// inOrder holds a server to have taken every event of the payment once, and in the order of their sequence as they came.
func inOrder(t *testing.T, books *shop.Shop, p answer, types ...string) {
	t.Helper()
	var got []string
	for _, r := range books.Received() {
		if r.Err != nil {
			t.Errorf("a webhook that can't be trusted: %v", r.Err)
		}
		if r.PaymentID != p.ID || r.Answered != http.StatusOK {
			continue
		}
		got = append(got, r.Type)
		if r.Sequence != int64(len(got)) {
			t.Errorf("of %s the sequence %d came as number %d", p.ID, r.Sequence, len(got))
		}
	}
	if diff := cmp.Diff(types, got); diff != "" {
		t.Errorf("events of %s as they came (-want +got):\n%s", p.ID, diff)
	}
}

// A server is away from Friday evening to Monday morning, for longer than any event is tried. Meanwhile payments are
// made and go on, old ones too, and others go on while it catches up. It gets everything in the end, each payment's
// events in their order, and nobody does anything about it.
func TestAnOrderedEndpointIsAwayForAWeekend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{SweepSchedule: rarely, Jobs: sweepAlone})
	books := w.open(body{"ordered": true})
	before := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	w.settle()
	inOrder(t, books.Shop, before, "payment.authorized")

	books.Answer(down)
	const step, outage = 3 * time.Hour, 60 * time.Hour
	payments := []answer{before}
	for range int(outage / step) {
		w.post(http.StatusOK, "/v1/payments/"+payments[len(payments)-1].ID+"/capture", body{"amount": 3000})
		if n := len(payments); n > 3 { // what goes on is older than some of its events are tried
			w.post(http.StatusCreated, "/v1/payments/"+payments[n-4].ID+"/refund", body{"amount": 1000})
		}
		payments = append(payments, w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil)))
		w.advance(step)
	}
	asked := len(books.Received())
	if least, most := 60, 12*60+20; asked < least || asked > most { // with its circuit open, one attempt in five minutes
		t.Errorf("it was asked %d times in 60 hours, want %d to %d", asked, least, most)
	}
	for _, p := range payments { // the outage is nobody else's
		if got := w.shop.Events(p.ID); len(got) == 0 || got[0].At.Sub(got[0].Signed) > time.Minute {
			t.Errorf("of %s the other endpoint had %d events meanwhile", p.ID, len(got))
		}
	}

	// Whenever it comes back, the first thing that it is sent of a payment is the first that it misses.
	const ahead = `
		SELECT count(*) FROM webhook_deliveries d JOIN webhook_deliveries e USING (webhook_id, subject_id)
		WHERE d.webhook_id = $1 AND d.status = 'PENDING' AND e.sequence < d.sequence AND e.delivered_at IS NULL`
	if n := w.count(ahead, books.uuid()); n != 0 {
		t.Errorf("%d events are to be tried before earlier ones that it did not get", n)
	}

	books.Answer(nil)
	last := payments[len(payments)-1]
	w.post(http.StatusOK, "/v1/payments/"+last.ID+"/capture", body{"amount": 3000})
	w.advance(2 * time.Hour) // the hourly probe, and what follows from it
	for i, p := range payments {
		types := []string{"payment.authorized", "payment.captured"}
		if i < len(payments)-4 {
			types = append(types, "refund.created", "refund.succeeded")
		}
		inOrder(t, books.Shop, p, types...)
		w.wantEvents(p, types...)
	}
	const undone = `SELECT count(*) FROM webhook_deliveries WHERE merchant_id = $1 AND status <> 'DELIVERED'`
	if n := w.count(undone, w.merchantID); n != 0 {
		t.Errorf("%d deliveries are not done", n)
	}
	replays := books.replays()
	if len(replays) == 0 || slices.ContainsFunc(replays, func(r apiReplay) bool { return r.State != "done" || r.Reason != "recovered" }) {
		t.Errorf("the replays are %+v", replays)
	}
	taken := len(books.Received())
	w.advance(27 * time.Hour) // tasks that were overtaken are left in the queue, and do nothing
	if n := len(books.Received()); n != taken {
		t.Errorf("%d requests came after all was done", n-taken)
	}
	if tasks := w.waiting(); len(tasks) != 0 {
		t.Errorf("tasks still wait: %v", tasks)
	}
}
