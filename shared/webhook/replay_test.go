package webhook

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/event/eventtest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// exhaust has the endpoint refuse an event of each payment until it is given up.
func (r *rig) exhaust(payments []id.ID) {
	r.t.Helper()
	r.endpoint.answers(status(http.StatusBadRequest))
	for _, p := range payments {
		r.tell(p)
	}
	r.advance(36 * time.Hour)
	if got := r.count(); got[Exhausted] != len(payments) {
		r.t.Fatalf("%v; want %d given up", got, len(payments))
	}
}

func (r *rig) replay(q ReplayRequest) Replay {
	r.t.Helper()
	made, err := r.StartReplay(r.t.Context(), r.merchant, q)
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

func (r *rig) replayed(made Replay) Replay {
	r.t.Helper()
	got, err := r.GetReplay(r.t.Context(), r.merchant, made.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// healthy forgets the endpoint's failures, so that nothing happens by itself.
func (r *rig) healthy() {
	r.exec(`UPDATE webhook_endpoints SET failing_since = NULL, failures = 0, open_until = NULL, probe_at = NULL`)
}

func TestReplayOfWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.subscribe(r.endpoint.URL)
	start := r.Now()
	early := r.payments(2)
	r.exhaust(early)
	since := r.Now()
	late := r.payments(3)
	for _, p := range late {
		r.tell(p)
	}
	r.advance(36 * time.Hour)
	r.healthy()
	posts := len(r.endpoint.got())
	r.endpoint.answers(status(http.StatusOK))

	made := r.replay(ReplayRequest{EndpointID: e.ID, Since: since})
	if made.State != "collecting" || made.Reason != "requested" || !made.Until.Equal(r.Now()) {
		t.Errorf("made %+v", made)
	}
	r.advance(time.Minute)
	got := r.replayed(made)
	if got.State != "done" || got.Total != 3 || got.Delivered != 3 || got.Waiting != 0 || got.GivenUp != 0 || got.FinishedAt == nil {
		t.Errorf("replay %+v", got)
	}
	if n := len(r.endpoint.got()) - posts; n != 3 {
		t.Errorf("%d posts", n)
	}
	for _, p := range early {
		if d := r.deliveryOf(p); d.Status != Exhausted {
			t.Errorf("an event before the time asked for: %+v", d)
		}
	}
	d := r.deliveryOf(late[0])
	log := r.logged(d.ID)
	if last := log[len(log)-1]; d.Status != Delivered || *d.ReplayID != made.ID || last.Attempt != len(r.Schedule)+1 || last.Outcome != sender.OutcomeDelivered {
		t.Errorf("delivery %+v, last attempt %+v", d, last)
	}

	kind := r.replay(ReplayRequest{EndpointID: e.ID, Since: start, Until: since, EventTypes: []string{"payment.*"}})
	r.advance(time.Minute)
	if got := r.replayed(kind); got.State != "done" || got.Total != 2 {
		t.Errorf("replay of a kind: %+v", got)
	}

	// By type; and one that is over can't be cancelled.
	none := r.replay(ReplayRequest{EndpointID: e.ID, Since: start, EventTypes: []string{event.RefundFailed}})
	r.advance(time.Minute)
	if got := r.replayed(none); got.State != "done" || got.Total != 0 {
		t.Errorf("replay of another type: %+v", got)
	}
	if got, err := r.CancelReplay(t.Context(), r.merchant, made.ID); err != nil || got.State != "done" {
		t.Errorf("cancelled when done: %+v, %v", got, err)
	}
	list, err := r.ListReplays(t.Context(), r.merchant, id.ID{}, 1, none.ID)
	if err != nil || len(list) != 1 || list[0].ID != kind.ID {
		t.Errorf("the page after the first: %+v, %v", list, err)
	}
}

// A replay of everything sends what was delivered again, under the same id and to the byte.
func TestReplayOfWhatWasDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.subscribe(r.endpoint.URL)
	start := r.Now()
	for range 3 {
		r.tell(r.payment)
		r.advance(time.Second)
	}
	made := r.replay(ReplayRequest{EndpointID: e.ID, Since: start, Until: start.Add(2 * time.Second), All: true})
	r.advance(time.Minute)
	posts := r.endpoint.got()
	if got := r.replayed(made); got.Total != 2 || got.Delivered != 2 || len(posts) != 5 {
		t.Fatalf("replay %+v, %d posts", got, len(posts))
	}
	for i := range 2 {
		was, is := posts[i], posts[3+i]
		if was.Header.Get(sender.HeaderID) != is.Header.Get(sender.HeaderID) || string(was.Body) != string(is.Body) {
			t.Errorf("event %d came again as\n%s\nand was\n%s", i, is.Body, was.Body)
		}
	}
}

// The events of a payment come in order in a replay, also where the endpoint refuses one
// for a while, and at the endpoint's pace.
func TestReplayKeepsOrderAndPace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.subscribe(r.endpoint.URL)
	r.endpoint.answers(status(http.StatusBadRequest))
	payments := r.payments(5)
	for range 4 {
		for _, p := range payments {
			r.tell(p)
		}
	}
	r.advance(36 * time.Hour)
	r.healthy()
	r.exec(`UPDATE webhook_endpoints SET rate_limit = 2`)
	refused := payments[2].String()
	var at []time.Time
	took := map[string][]int64{}
	r.endpoint.answers(func(w http.ResponseWriter, req *http.Request) {
		subject, sequence := r.where(req.Header.Get(sender.HeaderID))
		at = append(at, r.Now())
		if subject == refused && sequence == 2 && len(at) < 15 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		took[subject] = append(took[subject], sequence)
	})
	began := r.Now()
	made := r.replay(ReplayRequest{EndpointID: e.ID, Since: began.Add(-48 * time.Hour)})
	r.advance(30 * time.Minute)
	if got := r.replayed(made); got.State != "done" || got.Delivered != 20 {
		t.Errorf("replay %+v", got)
	}
	for subject, sequences := range took {
		if want := []int64{1, 2, 3, 4}; !slices.Equal(sequences, want) {
			t.Errorf("payment %s got %v; want %v", subject, sequences, want)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	for i, a := range at {
		if least := began.Add(time.Duration(i-2) * time.Second / 2); a.Before(least) {
			t.Errorf("attempt %d after %v; want it not before %v", i, a.Sub(began), least.Sub(began))
		}
	}
}

func TestReplayCanBeCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.subscribe(r.endpoint.URL)
	payments := r.payments(12)
	r.exhaust(payments)
	r.healthy()
	r.endpoint.answers(status(http.StatusOK))
	r.exec(`UPDATE webhook_endpoints SET rate_limit = 1`)
	made := r.replay(ReplayRequest{EndpointID: e.ID, Since: r.Now().Add(-48 * time.Hour)})
	r.advance(0)
	if got := r.replayed(made); got.Total != 12 || got.State != "running" {
		t.Fatalf("replay %+v", got)
	}
	got, err := r.CancelReplay(t.Context(), r.merchant, made.ID)
	if err != nil || got.State != "canceled" || got.FinishedAt == nil {
		t.Fatalf("cancelled: %+v, %v", got, err)
	}
	r.advance(time.Hour)
	if now := r.count(); now[Held] != 0 || now[Pending] != 0 || now[Delivered] < 1 || now[Delivered] > 5 || now[Exhausted]+now[Delivered] != 12 {
		t.Errorf("%v; want what was let go delivered, and the rest as it was", now)
	}
}

// A replay is cancelled before its worker has written down what it took.
func TestReplayCancelledWhileItCollects(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sweeps()
	e, _ := r.subscribe(r.endpoint.URL)
	r.exhaust(r.payments(3))
	r.healthy()
	r.endpoint.answers(status(http.StatusOK))
	made := r.replay(ReplayRequest{EndpointID: e.ID, Since: r.Now().Add(-48 * time.Hour)})
	if _, err := r.CancelReplay(t.Context(), r.merchant, made.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.collect(t.Context(), turn{ID: made.ID, Reason: made.Reason, State: made.State}); err != nil {
		t.Fatal(err)
	}
	r.advance(time.Hour)
	if got := r.count(); got[Exhausted] != 3 {
		t.Errorf("%v; want all as it was", got)
	}
}

// A replay's task is lost, and a worker dies between its turns: the sweep goes on.
func TestReplayWithoutATaskGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.subscribe(r.endpoint.URL)
	r.exhaust(r.payments(2))
	r.healthy()
	r.endpoint.answers(status(http.StatusOK))
	r.queue.Stop()
	_, err := r.StartReplay(t.Context(), r.merchant, ReplayRequest{EndpointID: e.ID, Since: r.Now().Add(-48 * time.Hour)})
	r.queue.Start()
	if err == nil {
		t.Fatal("the outage of the queue was not noticed")
	}
	r.advance(lostAfter - time.Second)
	if n, err := r.ReplaysWithoutTask(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("early: %d, %v", n, err)
	}
	r.advance(time.Second)
	if n, err := r.ReplaysWithoutTask(t.Context(), 10); n != 1 || err != nil {
		t.Errorf("%d replays, %v", n, err)
	}
	r.advance(time.Minute)
	if got := r.count(); got[Delivered] != 2 {
		t.Errorf("%v", got)
	}
}

func TestReplaysThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.subscribe(r.endpoint.URL)
	now := r.Now()
	for name, c := range map[string]struct {
		merchant id.ID
		request  ReplayRequest
		want     fault.Code
	}{
		"no endpoint":        {r.merchant, ReplayRequest{EndpointID: r.NewID(), Since: now}, fault.NotFound},
		"another merchant's": {r.NewID(), ReplayRequest{EndpointID: e.ID, Since: now}, fault.NotFound},
		"backwards":          {r.merchant, ReplayRequest{EndpointID: e.ID, Since: now, Until: now.Add(-time.Hour)}, fault.InvalidRequest},
		"in the future":      {r.merchant, ReplayRequest{EndpointID: e.ID, Since: now.Add(time.Hour)}, fault.InvalidRequest},
	} {
		if _, err := r.StartReplay(t.Context(), c.merchant, c.request); !fault.Is(err, c.want) {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
	r.exec(`UPDATE webhook_endpoints SET enabled = false, disabled_at = updated_at, disabled_by = 'merchant'`)
	if _, err := r.StartReplay(t.Context(), r.merchant, ReplayRequest{EndpointID: e.ID, Since: now}); !fault.Is(err, fault.InvalidState) {
		t.Errorf("a disabled endpoint: %v", err)
	}
	if list, err := r.ListReplays(t.Context(), r.merchant, id.ID{}, 10, id.ID{}); err != nil || len(list) != 0 {
		t.Errorf("replays %+v, %v; want none made", list, err)
	}
	if _, err := r.GetReplay(t.Context(), r.merchant, r.NewID()); !fault.Is(err, fault.NotFound) {
		t.Errorf("no replay: %v", err)
	}
}

func TestTestEventGoesToItsEndpointAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, secret := r.subscribe(r.endpoint.URL, event.PaymentCaptured)
	other := newReceiver(t)
	r.subscribe(other.URL)
	d, err := r.SendTest(t.Context(), r.merchant, e.ID)
	if err != nil || d.Status != Pending || d.EventType != event.EndpointTest || d.PaymentID != nil || d.Sequence != 1 {
		t.Fatalf("made %+v, %v", d, err)
	}
	r.advance(0)
	posts := r.endpoint.got()
	if len(posts) != 1 || len(other.got()) != 0 {
		t.Fatalf("%d posts, %d to another endpoint", len(posts), len(other.got()))
	}
	eventtest.Check(t, posts[0].Body)
	if err := verify(secret, posts[0].Header, posts[0].Body); err != nil {
		t.Errorf("the signature: %v", err)
	}
	if _, err := r.SendTest(t.Context(), r.NewID(), e.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another merchant's: %v", err)
	}
	if again, err := r.SendTest(t.Context(), r.merchant, e.ID); err != nil || again.Sequence != 2 {
		t.Errorf("a second one: %+v, %v", again, err)
	}
	if diff := cmp.Diff(map[Status]int{Delivered: 1, Pending: 1}, r.count()); diff != "" {
		t.Error(diff)
	}
}
