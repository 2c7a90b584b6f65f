package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/event/eventtest"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// sweeper does each few minutes of the clock what the sweep does each minute.
type sweeper struct {
	r    *rig
	next time.Time
}

const sweepEvery = 20 * time.Minute

func (s *sweeper) NextDue() (time.Time, bool) { return s.next, true }

func (s *sweeper) RunDue(ctx context.Context) error {
	s.next = s.r.Now().Add(sweepEvery)
	for name, part := range map[string]func(context.Context, int) (int, error){
		"DueWithoutTask": s.r.DueWithoutTask, "ReleaseStranded": s.r.ReleaseStranded,
		"ReplaysWithoutTask": s.r.ReplaysWithoutTask, "ProbeFailing": s.r.ProbeFailing,
	} {
		if _, err := part(ctx, 1000); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (r *rig) sweeps() { r.clock.Register(&sweeper{r, r.Now().Add(sweepEvery)}) }

// tell commits an event of the payment and notifies.
func (r *rig) tell(payment id.ID) {
	r.t.Helper()
	e, err := outboxtest.Commit(r.t.Context(), r.Pool, r.NewID, outbox.Event{PaymentID: payment, RequestID: "req_1", At: r.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Notify(r.t.Context(), e.ID); err != nil {
		r.t.Fatal(err)
	}
}

// payments makes more payments of the rig's merchant.
func (r *rig) payments(n int) []id.ID {
	made := make([]id.ID, n)
	for i := range made {
		made[i] = outboxtest.Payment(r.t, r.Pool, r.merchant, r.NewID, r.Now())
	}
	return made
}

// count counts the deliveries by status.
func (r *rig) count() map[Status]int {
	r.t.Helper()
	found := map[Status]int{}
	for _, s := range Statuses() {
		var n int
		if err := r.Pool.QueryRow(r.t.Context(), `SELECT count(*) FROM webhook_deliveries WHERE status = $1`, s).Scan(&n); err != nil {
			r.t.Fatal(err)
		}
		if n > 0 {
			found[s] = n
		}
	}
	return found
}

// An ordered endpoint is down from Friday evening to Monday morning, longer than the
// schedule of any delivery. When it is back, everything comes, in order, by itself.
func TestWeekendOutageOfAnOrderedEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sweeps()
	e, _ := r.subscribe(r.endpoint.URL)
	r.exec(`UPDATE webhook_endpoints SET ordered = true`)
	payments := r.payments(6)
	r.tell(payments[0])
	r.advance(time.Minute)
	if got := r.count(); got[Delivered] != 1 {
		t.Fatalf("before the outage: %v", got)
	}

	r.endpoint.answers(status(http.StatusServiceUnavailable))
	want := map[id.ID]int64{payments[0]: 1}
	for hour := range 60 {
		for i, p := range payments {
			if (hour+i)%13 == 0 {
				r.tell(p)
				want[p]++
			}
		}
		r.advance(time.Hour)
	}
	if got := r.count(); got[Exhausted] == 0 || got[Held] == 0 || got[Delivered] != 1 {
		t.Fatalf("at the end of the outage: %v; want some given up and some held", got)
	}
	down := len(r.endpoint.got())
	r.endpoint.answers(status(http.StatusOK))
	r.advance(2 * time.Hour)

	if got := r.count(); len(got) != 1 || got[Delivered] == 0 {
		t.Fatalf("after it: %v; want all delivered", got)
	}
	next := map[string]int64{payments[0].String(): 1}
	for _, p := range r.endpoint.got()[down:] {
		var d struct{ ID string }
		if err := json.Unmarshal(p.Body, &d); err != nil {
			t.Fatal(err)
		}
		subject, sequence := r.where(d.ID)
		if sequence != next[subject]+1 {
			t.Errorf("%s got %d after %d", subject, sequence, next[subject])
		}
		next[subject] = sequence
	}
	for p, n := range want {
		if next[p.String()] != n {
			t.Errorf("payment %s got up to %d; want %d", p, next[p.String()], n)
		}
	}
	replays, err := r.ListReplays(t.Context(), r.merchant, e.ID, 10, id.ID{})
	if err != nil || len(replays) != 1 || replays[0].Reason != "recovered" || replays[0].State != "done" || replays[0].Waiting != 0 ||
		replays[0].Delivered != replays[0].Total {
		t.Errorf("replays %+v, %v", replays, err)
	}
}

// where finds an event's subject and sequence.
func (r *rig) where(event string) (subject string, sequence int64) {
	r.t.Helper()
	u, err := id.Event.Parse(event)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Pool.QueryRow(r.t.Context(), `SELECT subject_id::text, sequence FROM events WHERE id = $1`, u).Scan(&subject, &sequence); err != nil {
		r.t.Fatal(err)
	}
	return subject, sequence
}

// Ten failures in a row open the circuit. What falls due then is lost without a request,
// until one attempt finds that the endpoint answers; and then everything comes.
func TestCircuitOfAnEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(status(http.StatusInternalServerError))
	r.subscribe(r.endpoint.URL)
	payments := r.payments(tripsAfter + 5)
	for _, p := range payments[:tripsAfter] {
		r.tell(p)
		r.advance(0)
	}
	if n := len(r.endpoint.got()); n != tripsAfter || !strings.Contains(r.log.String(), "webhook circuit opened") {
		t.Fatalf("%d posts; want %d, and a line that the circuit is open", n, tripsAfter)
	}
	for _, p := range payments[tripsAfter:] {
		r.tell(p)
		r.advance(0)
	}
	if n := len(r.endpoint.got()); n != tripsAfter {
		t.Errorf("%d posts with the circuit open; want none more than %d", n, tripsAfter)
	}
	lost := r.deliveryOf(payments[tripsAfter])
	if log := r.logged(lost.ID); len(log) != 1 || log[0].Outcome != OutcomeCircuitOpen || lost.Status != Pending || lost.Attempts != 1 {
		t.Errorf("delivery %+v, log %+v", lost, log)
	}

	// After a minute the retries come. One finds that nothing has changed, the others are lost.
	r.advance(2 * time.Minute)
	posts := len(r.endpoint.got())
	if posts < tripsAfter+1 || posts > tripsAfter+4 {
		t.Errorf("%d posts by attempts to find out; want a few", posts-tripsAfter)
	}
	r.endpoint.answers(status(http.StatusNoContent))
	r.advance(time.Hour)
	if got := r.count(); got[Delivered] != len(payments) || len(got) != 1 {
		t.Errorf("after it answers again: %v", got)
	}
	var failing, failures int
	if err := r.Pool.QueryRow(t.Context(), `SELECT count(failing_since) + count(open_until) + count(probe_at), sum(failures)
		FROM webhook_endpoints`).Scan(&failing, &failures); err != nil || failing != 0 || failures != 0 {
		t.Errorf("health: %d, %d failures, %v; want nothing left", failing, failures, err)
	}
}

func (r *rig) deliveryOf(payment id.ID) Delivery {
	r.t.Helper()
	var d id.ID
	if err := r.Pool.QueryRow(r.t.Context(), `SELECT id FROM webhook_deliveries WHERE transaction_id = $1`, payment).Scan(&d); err != nil {
		r.t.Fatal(err)
	}
	return r.get(d)
}

// One failing delivery does not stand for the endpoint: no circuit, no replay.
func TestAnEventThatIsRefusedHarmsNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sweeps()
	e, _ := r.subscribe(r.endpoint.URL)
	payments := r.payments(2)
	poison := payments[0].String()
	r.endpoint.answers(func(w http.ResponseWriter, req *http.Request) {
		if subject, _ := r.where(req.Header.Get(sender.HeaderID)); subject == poison {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	r.tell(payments[0])
	for range 40 {
		r.tell(payments[1])
		r.advance(time.Hour)
	}
	if got := r.count(); got[Exhausted] != 1 || got[Delivered] != 40 {
		t.Errorf("%v; want one given up, 40 delivered", got)
	}
	if n := len(r.logged(r.deliveryOf(payments[0]).ID)); n != len(r.Schedule) {
		t.Errorf("%d attempts at the refused event", n)
	}
	if replays, err := r.ListReplays(t.Context(), r.merchant, e.ID, 10, id.ID{}); err != nil || len(replays) != 0 {
		t.Errorf("replays %+v, %v", replays, err)
	}
}

// A replay does not begin the schedule anew of what is still being tried: an event that the
// endpoint never takes would be tried for ever.
func TestAnEventThatIsRefusedIsGivenUpThroughReplays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(r.endpoint.URL)
	payments := r.payments(tripsAfter + 1)
	poison, down := payments[0].String(), true
	r.endpoint.answers(func(w http.ResponseWriter, req *http.Request) {
		if subject, _ := r.where(req.Header.Get(sender.HeaderID)); down || subject == poison {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	for range 2 {
		down = true
		for _, p := range payments {
			r.tell(p)
			r.advance(0)
		}
		down = false
		r.advance(time.Hour)
	}
	r.advance(72 * time.Hour) // one after the other
	replays, err := r.ListReplays(t.Context(), r.merchant, id.ID{}, 10, id.ID{})
	if err != nil || len(replays) < 2 {
		t.Fatalf("%d replays, %v; want one after each time", len(replays), err)
	}
	if got := r.count(); got[Exhausted] != 2 || got[Delivered] != 2*tripsAfter {
		t.Errorf("%v", got)
	}
	var most int
	if err := r.Pool.QueryRow(t.Context(), `SELECT max(attempt_count) FROM webhook_deliveries`).Scan(&most); err != nil || most != len(r.Schedule) {
		t.Errorf("%d attempts at one event, %v; want %d", most, err, len(r.Schedule))
	}
}

// The circuit's time is over, and two attempts come in the same instant: one asks.
func TestOneAttemptAtATimeFindsOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(r.endpoint.URL)
	r.tell(r.payment)
	r.exec(`UPDATE webhook_endpoints SET failing_since = $1, failures = 10, open_until = $1`, r.Now())
	d := r.deliveryOf(r.payment)
	other, err := r.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(t.Context()) }()
	var backend int
	if err := other.QueryRow(t.Context(), `UPDATE webhook_endpoints SET open_until = $1 RETURNING pg_backend_pid()`, r.Now().Add(lease)).
		Scan(&backend); err != nil {
		t.Fatal(err)
	}
	leased := make(chan *held, 1)
	go func() {
		h, err := r.lease(t.Context(), d.ID, 1)
		if err != nil {
			t.Error(err)
		}
		leased <- h
	}()
	r.waitsFor(backend, func() bool { return len(leased) == 1 })
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := <-leased; h == nil || h.Verdict != shut {
		t.Errorf("the second attempt: %+v; want the circuit shut", h)
	}
}

// A success waits for the failure to be written down that is one too many.
func TestSuccessThatMeetsTheLastFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h, err := r.lease(t.Context(), r.delivery(), 1)
	if err != nil || h == nil {
		t.Fatalf("lease: %+v, %v", h, err)
	}
	most := min(len(r.Schedule), tripsAfter)
	r.exec(`UPDATE webhook_endpoints SET failing_since = $1, failures = $2`, r.Now(), most-1)
	other, err := r.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(t.Context()) }()
	var backend int
	if err := other.QueryRow(t.Context(), `UPDATE webhook_endpoints SET failures = $1 RETURNING pg_backend_pid()`, most).Scan(&backend); err != nil {
		t.Fatal(err)
	}
	got := make(chan *recorded, 1)
	go func() {
		a := attempt{Number: 1, At: r.Now(), Result: sender.Result{Outcome: sender.OutcomeDelivered}}
		written, err := r.record(t.Context(), h, a, Delivered, nil, r.Now())
		if err != nil {
			t.Error(err)
		}
		got <- written
	}()
	r.waitsFor(backend, func() bool { return len(got) == 1 })
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if written := <-got; written == nil || written.ReplayID == nil {
		t.Errorf("%+v; want a replay of what was missed", written)
	}
}

// waitsFor returns when something waits for the backend's locks, or is done.
func (r *rig) waitsFor(backend int, done func() bool) {
	r.t.Helper()
	for waits := false; !waits && !done(); {
		if err := r.Pool.QueryRow(r.t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))`, backend).
			Scan(&waits); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Once given up, an endpoint is asked each hour with the oldest event. After five days of
// nothing but failures it is disabled, and the merchant's other endpoint is told.
func TestEndpointThatNeverAnswersIsDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sweeps()
	r.endpoint.answers(status(http.StatusBadGateway))
	dead, _ := r.subscribe(r.endpoint.URL)
	r.tell(r.payment)
	r.advance(36 * time.Hour)
	if got := r.count(); got[Exhausted] != 1 {
		t.Fatalf("%v; want it given up", got)
	}
	before := len(r.endpoint.got())
	r.advance(24 * time.Hour)
	if n := len(r.endpoint.got()) - before; n < 20 || n > 24 {
		t.Errorf("%d probes in a day; want one an hour", n)
	}
	other := newReceiver(t)
	r.subscribe(other.URL)
	r.advance(3 * 24 * time.Hour)

	var by string
	var enabled bool
	if err := r.Pool.QueryRow(t.Context(), `SELECT enabled, coalesce(disabled_by, '') FROM webhook_endpoints WHERE id = $1`, dead.ID).
		Scan(&enabled, &by); err != nil || enabled || by != "failing" {
		t.Fatalf("enabled %t, by %q, %v", enabled, by, err)
	}
	if posts := other.got(); len(posts) != 1 || !strings.Contains(string(posts[0].Body), event.EndpointDisabled) ||
		!strings.Contains(string(posts[0].Body), id.Endpoint.External(dead.ID)) {
		t.Errorf("the other endpoint got %+v", posts)
	}
	eventtest.Check(t, other.got()[0].Body)
	if !strings.Contains(r.log.String(), "webhook endpoint disabled") {
		t.Error("no line for the operators")
	}
	// What comes now is kept for when it is enabled again.
	silent := len(r.endpoint.got())
	r.tell(r.payment)
	r.advance(48 * time.Hour)
	if got := r.count(); len(r.endpoint.got()) != silent || got[Abandoned] != 1 {
		t.Errorf("%d posts to a disabled endpoint; %v", len(r.endpoint.got())-silent, got)
	}
}
