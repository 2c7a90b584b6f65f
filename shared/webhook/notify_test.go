package webhook

import (
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
)

func TestNotifyMakesOneDeliveryPerSubscriber(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all, _ := r.subscribe(r.endpoint.URL + "/all")
	some, _ := r.subscribe(r.endpoint.URL+"/some", "payment.authorized", "payment.captured")
	r.subscribe(r.endpoint.URL+"/others", "refund.succeeded")
	disabled, _ := r.subscribe(r.endpoint.URL + "/disabled")
	r.exec(`UPDATE webhook_endpoints SET enabled = false, disabled_at = updated_at, disabled_by = 'merchant' WHERE id = $1`, disabled.ID)
	stranger := outboxtest.Merchant(t, r.Pool, r.NewID, r.Now())
	r.subscribeAs(stranger, r.endpoint.URL)

	e := r.event()
	made := r.notified(e)
	var to, names []string
	for _, d := range made {
		if d.EndpointID == disabled.ID {
			if d.Status != Abandoned || d.NextAttemptAt != nil {
				t.Errorf("delivery to a disabled endpoint %+v; want it kept, and not tried", d)
			}
			continue
		}
		to, names = append(to, d.EndpointID.String()), append(names, d.TaskName())
		if d.EventID != e.ID || d.MerchantID != r.merchant || *d.PaymentID != r.payment || d.EventType != "payment.captured" ||
			d.Status != Pending || d.Attempts != 0 || d.RequestID != "req_1" || !d.NextAttemptAt.Equal(r.Now()) {
			t.Errorf("delivery %+v", d)
		}
	}
	want := []string{all.ID.String(), some.ID.String()}
	slices.Sort(to)
	slices.Sort(want)
	if !slices.Equal(to, want) {
		t.Errorf("deliveries to %v; want %v", to, want)
	}
	tasks := r.waiting()
	slices.Sort(names)
	slices.Sort(tasks)
	if !slices.Equal(tasks, names) {
		t.Errorf("tasks %q; want %q", tasks, names)
	}

	// Pub/Sub delivers the message again, before and after the first attempts.
	r.notified(e)
	r.advance(0)
	again := r.notified(e)
	r.advance(time.Minute)
	if len(again) != 3 || len(r.endpoint.got()) != 2 || len(r.waiting()) != 0 {
		t.Errorf("%d deliveries, %d posts, %d tasks; want 3, 2, 0", len(again), len(r.endpoint.got()), len(r.waiting()))
	}
}

func TestNotifyWithoutSubscribersDoesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(r.endpoint.URL, "refund.succeeded")
	if made := r.notified(r.event()); len(made) != 0 || len(r.waiting()) != 0 {
		t.Errorf("%d deliveries, %d tasks; want none", len(made), len(r.waiting()))
	}
	if err := r.Notify(t.Context(), r.NewID()); !fault.Is(err, fault.NotFound) {
		t.Errorf("an event that does not exist: %v; want not_found", err)
	}
}

func TestNotifyAgainMakesTheTaskThatAnOutageKeptBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(r.endpoint.URL)
	e := r.event()
	r.queue.Stop()
	if err := r.Notify(t.Context(), e.ID); err == nil {
		t.Fatal("the task was not made, and Notify did not say so")
	}
	r.queue.Start()
	r.notified(e)
	r.advance(0)
	if n := len(r.endpoint.got()); n != 1 {
		t.Errorf("%d posts; want 1", n)
	}
}

// The endpoint is found disabled; before the delivery is made it is enabled, and replayed.
func TestEventThatComesAsItsEndpointIsEnabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(r.endpoint.URL)
	e := r.commit(r.payment)
	r.exec(`UPDATE webhook_endpoints SET enabled = false, disabled_at = updated_at, disabled_by = 'gone'`)
	other, err := r.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(t.Context()) }()
	var backend int
	if err := other.QueryRow(t.Context(), `
		UPDATE webhook_endpoints SET enabled = true, disabled_at = NULL, disabled_by = NULL RETURNING pg_backend_pid()`).Scan(&backend); err != nil {
		t.Fatal(err)
	}
	notified := make(chan error, 1)
	go func() { notified <- r.Notify(t.Context(), e.ID) }()
	r.waitsFor(backend, func() bool { return len(notified) == 1 })
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-notified; err != nil {
		t.Fatal(err)
	}
	if d := r.deliveryOf(r.payment); d.Status != Pending {
		t.Errorf("%+v; want it pending: no replay comes after it", d)
	}
}
