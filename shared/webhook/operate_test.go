package webhook

import (
	"context"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

func TestStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for name, sql := range map[string]string{
		"selectSubscribers": selectSubscribers, "insertDelivery": insertDelivery, "selectUntried": selectUntried,
		"selectDelivery": selectDelivery, "leaseDelivery": leaseDelivery, "recordAttempt": recordAttempt,
		"releaseDelivery": releaseDelivery, "abandonDelivery": abandonDelivery, "raiseGeneration": raiseGeneration,
		"reviveDelivery": reviveDelivery, "selectExhausted": selectExhausted, "countWaiting": countWaiting,
		"selectSkipped": selectSkipped, "postponeDelivery": postponeDelivery, "lockHead": lockHead, "releaseHead": releaseHead,
		"releaseStranded": releaseStranded, "disableEndpoint": disableEndpoint, "takeProbes": takeProbes,
		"countTroubled": countTroubled, "countEvent": countEvent, "selectReachable": selectReachable,
		"selectReplay": selectReplay, "selectReplayP": selectReplayP, "insertReplay": insertReplay, "cancelReplay": cancelReplay,
		"returnHeld": returnHeld, "beginTurn": beginTurn, "collectRequested": collectRequested, "collectMissed": collectMissed,
		"noteCollected": noteCollected, "letGoOfHeads": letGoOfHeads, "countLeft": countLeft, "endTurn": endTurn,
		"selectOverdueTurns": selectOverdueTurns,
	} {
		if _, err := tx.Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// due runs DueWithoutTask and checks how many tasks it made.
func (r *rig) due(want int) {
	r.t.Helper()
	if n, err := r.DueWithoutTask(r.t.Context(), 100); n != want || err != nil {
		r.t.Errorf("DueWithoutTask = %d, %v; want %d", n, err, want)
	}
}

func taskName(d Delivery) string { return d.TaskName() }

// The task is gone without a trace, as Cloud Tasks loses it after its last try.
func TestLostTaskIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delivery := r.delivery()
	lost := r.waiting()[0]
	if _, err := r.queue.PurgeQueue(t.Context(), &cloudtaskspb.PurgeQueueRequest{Name: queue}); err != nil {
		t.Fatal(err)
	}
	r.advance(lostAfter - time.Second)
	r.due(0)
	r.advance(time.Second)
	r.due(1)
	r.due(0) // not again for a while
	if names := r.waiting(); len(names) != 1 || names[0] == lost || names[0] != taskName(r.get(delivery)) {
		t.Errorf("tasks %q; want a new name", names)
	}
	r.advance(0)
	if d := r.get(delivery); d.Status != Delivered || len(r.endpoint.got()) != 1 {
		t.Errorf("delivery %+v, %d posts", d, len(r.endpoint.got()))
	}
	r.advance(time.Hour)
	r.due(0)
}

// The worker dies in mid-attempt: its lease ends, and nobody else has a task.
func TestAttemptOfADeadWorkerIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delivery := r.delivery()
	r.exec(`UPDATE webhook_deliveries SET lease_token = $1, lease_until = $2`, r.NewID(), r.Now().Add(lostAfter+time.Minute))
	r.advance(0) // the task finds the lease held, and is done
	r.advance(lostAfter)
	r.due(0) // a live lease
	r.advance(time.Minute)
	r.due(1)
	r.advance(0)
	if d := r.get(delivery); d.Status != Delivered || d.Attempts != 1 {
		t.Errorf("delivery %+v", d)
	}
}

func TestDueWithoutTaskDuringAnOutageOfTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.delivery()
	if _, err := r.queue.PurgeQueue(t.Context(), &cloudtaskspb.PurgeQueueRequest{Name: queue}); err != nil {
		t.Fatal(err)
	}
	r.queue.Stop()
	r.advance(lostAfter)
	if n, err := r.DueWithoutTask(t.Context(), 100); n != 0 || err == nil {
		t.Errorf("DueWithoutTask = %d, %v; want the outage", n, err)
	}
	r.queue.Start()
	r.advance(lostAfter)
	r.due(1)
}

func TestGoneDisablesTheEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(status(http.StatusGone))
	e, _ := r.subscribe(r.endpoint.URL)
	first := r.notified(r.event())[0]
	second := r.notified(r.event())[0] // waits behind the first in the queue
	r.deliver(first.ID, 1)
	if d := r.get(first.ID); d.Status != Abandoned || d.Attempts != 1 || *d.ResponseCode != 410 {
		t.Errorf("delivery %+v", d)
	}
	if log := r.logged(first.ID); len(log) != 1 || log[0].Outcome != sender.OutcomeGone {
		t.Errorf("log %+v", log)
	}
	var enabled bool
	var reason string
	err := r.Pool.QueryRow(t.Context(), `SELECT enabled, disabled_reason FROM webhook_endpoints WHERE id = $1`, e.ID).Scan(&enabled, &reason)
	if err != nil || enabled || reason != "the endpoint answered 410 Gone" {
		t.Errorf("enabled %t, disabled because %q, %v", enabled, reason, err)
	}
	r.advance(time.Hour)
	if d := r.get(second.ID); d.Status != Abandoned || d.Attempts != 0 || len(r.endpoint.got()) != 1 {
		t.Errorf("second delivery %+v, %d posts; want it abandoned without a post", d, len(r.endpoint.got()))
	}
	if made := r.notified(r.event()); len(made) != 1 || made[0].Status != Abandoned {
		t.Errorf("a later event has deliveries %+v; want it kept", made)
	}
	if _, err := r.Redeliver(t.Context(), id.ID{}, first.ID); !fault.Is(err, fault.InvalidState) {
		t.Errorf("Redeliver to a disabled endpoint: %v", err)
	}

	r.endpoint.answers(status(http.StatusOK))
	r.exec(`UPDATE webhook_endpoints SET enabled = true, disabled_at = NULL, disabled_by = NULL, disabled_reason = NULL`)
	for _, d := range []Delivery{first, second} {
		if _, err := r.Redeliver(t.Context(), id.ID{}, d.ID); err != nil {
			t.Fatal(err)
		}
	}
	r.advance(0)
	for _, d := range []Delivery{first, second} {
		if d := r.get(d.ID); d.Status != Delivered {
			t.Errorf("after enabling: %+v", d)
		}
	}
}

func TestRedeliverOnlyWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delivery := r.delivery()
	if _, err := r.Redeliver(t.Context(), id.ID{}, delivery); !fault.Is(err, fault.InvalidState) {
		t.Errorf("a pending one: %v", err)
	}
	r.advance(0)
	if _, err := r.Redeliver(t.Context(), r.NewID(), delivery); !fault.Is(err, fault.NotFound) {
		t.Errorf("another merchant's: %v", err)
	}
	if _, err := r.Redeliver(t.Context(), id.ID{}, r.NewID()); !fault.Is(err, fault.NotFound) {
		t.Errorf("one that does not exist: %v", err)
	}
	if n := len(r.endpoint.got()); n != 1 {
		t.Errorf("%d posts; want 1", n)
	}
}

// The queue is away while a person redelivers: the sweep sees to it.
// An operator has heard that the endpoint is back, and its circuit does not know yet.
func TestRedeliveryAsksThoughTheCircuitIsOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.subscribe(r.endpoint.URL)
	payments := r.payments(2)
	r.exhaust(payments)
	open := func() {
		r.exec(`UPDATE webhook_endpoints SET failing_since = $1, failures = 20, open_until = $1::timestamptz + interval '5 minutes'`, r.Now())
	}
	open()
	r.endpoint.answers(status(http.StatusOK))
	if _, err := r.Redeliver(t.Context(), r.merchant, r.deliveryOf(payments[0]).ID); err != nil {
		t.Fatal(err)
	}
	r.advance(0)
	if d := r.deliveryOf(payments[0]); d.Status != Delivered {
		t.Errorf("redelivered: %+v", d)
	}
	r.advance(time.Minute) // what it missed comes by itself
	r.exec(`UPDATE webhook_deliveries SET status = 'EXHAUSTED', delivered_at = NULL`)
	open()
	r.replay(ReplayRequest{EndpointID: e.ID, Since: r.Now().Add(-48 * time.Hour)})
	r.advance(time.Minute)
	if got := r.count(); got[Delivered] != 2 {
		t.Errorf("replayed: %v", got)
	}
}

func TestRedeliveryWithoutAQueueIsNotLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Schedule = Schedule{0}
	r.endpoint.answers(status(http.StatusInternalServerError))
	delivery := r.delivery()
	r.advance(0)
	r.endpoint.answers(status(http.StatusOK))
	r.queue.Stop()
	if _, err := r.Redeliver(t.Context(), id.ID{}, delivery); err == nil {
		t.Fatal("the task was not made, and Redeliver did not say so")
	}
	r.queue.Start()
	r.advance(lostAfter)
	r.due(1)
	r.advance(0)
	if d := r.get(delivery); d.Status != Delivered || d.Attempts != 2 {
		t.Errorf("delivery %+v", d)
	}
}

func TestRetryAfterMovesTheNextAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7200")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	delivery := r.delivery()
	r.advance(0)
	if d := r.get(delivery); d.NextAttemptAt.Sub(r.Now()) != 2*time.Hour {
		t.Errorf("next in %v; want 2h", d.NextAttemptAt.Sub(r.Now()))
	}
	r.advance(2*time.Hour - time.Second)
	if n := len(r.endpoint.got()); n != 1 {
		t.Errorf("%d posts before the wait is over", n)
	}
	r.advance(time.Second)
	if n := len(r.endpoint.got()); n != 2 {
		t.Errorf("%d posts; want 2", n)
	}
}

// A function that serves a slow endpoint may be stopped while the answer is on its
// way. What came of the attempt is kept all the same.
func TestAnswerThatCameIsKeptWhenOurTimeIsUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delivery := r.delivery()
	d, err := r.lease(t.Context(), delivery, 1)
	if err != nil || d == nil {
		t.Fatalf("lease: %v, %v", d, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.conclude(ctx, d, attempt{Result: sender.Result{Outcome: sender.OutcomeDelivered, Code: 200}, Number: 1, At: r.Now()}); err != nil {
		t.Fatal(err)
	}
	if d := r.get(delivery); d.Status != Delivered {
		t.Errorf("delivery %+v", d)
	}
}
