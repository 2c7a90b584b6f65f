package outbox_test

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/outbox"
)

// A relay dies between publishing and writing that down.
func TestCrashAfterPublishingRepeatsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	w.commit(payment)
	w.commit(payment)
	note := outbox.RelayWithClaim(t, w.relay(), payment, true)
	w.commit(payment) // leased rows hold this one back

	if err := w.relay().Publish(t.Context(), payment); err != nil {
		t.Fatal(err)
	}
	if n, err := w.relay().Drain(t.Context(), 100); n != 0 || err != nil {
		t.Fatalf("Drain = %d, %v; the lease is still held", n, err)
	}
	w.want(payment, 1, 2)

	w.advance(outbox.LeaseTime)
	if n, err := w.relay().Drain(t.Context(), 100); n != 3 || err != nil {
		t.Fatalf("Drain = %d, %v; want 3", n, err)
	}
	w.want(payment, 1, 2, 1, 2, 3)

	// The dead one was only asleep. What it writes down must change nothing.
	if err := note(); err != nil {
		t.Fatal(err)
	}
	w.want(payment, 1, 2, 1, 2, 3)
}

// A relay overstays its lease, and another takes over: only the other may mark.
func TestOverstayedRelayMarksNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payment := w.payment()
	w.commit(payment)
	asleep := outbox.RelayWithClaim(t, w.relay(), payment, false)
	w.advance(outbox.LeaseTime)
	awake := outbox.RelayWithClaim(t, w.relay(), payment, false)
	if err := asleep(); err != nil {
		t.Fatal(err)
	}
	if b := w.backlog(); b.Rows != 1 || b.OldestAge != outbox.LeaseTime {
		t.Errorf("backlog %+v after the late mark; want the row still there, %v old", b, outbox.LeaseTime)
	}
	w.advance(time.Second)
	if err := awake(); err != nil {
		t.Fatal(err)
	}
	if b := w.backlog(); b.Rows != 0 {
		t.Errorf("backlog %+v after the holder's mark; want none", b)
	}
}
