package webhook

import (
	"flag"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// ordered makes an ordered endpoint that leads to the rig's receiver.
func (r *rig) ordered() {
	r.t.Helper()
	e, _ := r.subscribe(r.endpoint.URL)
	r.exec(`UPDATE webhook_endpoints SET ordered = true WHERE id = $1`, e.ID)
}

// commit makes an event and tells nobody.
func (r *rig) commit(payment id.ID) outbox.Event {
	r.t.Helper()
	e, err := outboxtest.Commit(r.t.Context(), r.Pool, r.NewID, outbox.Event{PaymentID: payment, RequestID: "req_1", At: r.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// sequences notes those that are answered with 2xx, in that order; refuse says which of the
// rig's payment are not.
func (r *rig) sequences(took *[]int64, refuse func(sequence int64) bool) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, req *http.Request) {
		subject, sequence := r.where(req.Header.Get(sender.HeaderID))
		mu.Lock()
		defer mu.Unlock()
		if subject == r.payment.String() && refuse(sequence) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		*took = append(*took, sequence)
	}
}

func TestOrderedEndpointWaitsForTheEarlierEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	refusals := 2
	var took []int64
	r.endpoint.answers(r.sequences(&took, func(sequence int64) bool {
		if sequence == 1 && refusals > 0 {
			refusals--
			return true
		}
		return false
	}))
	for range 3 {
		r.tell(r.payment)
	}
	other := r.payments(1)[0]
	r.tell(other)
	r.advance(time.Minute / 2)
	if got := r.count(); len(took) != 1 || got[Held] != 2 || got[Pending] != 1 {
		t.Fatalf("took %v, %v; want another payment's, and two held", took, got)
	}
	r.advance(10 * time.Minute)
	if want := []int64{1, 1, 2, 3}; !slices.Equal(took, want) {
		t.Errorf("took %v; want %v", took, want)
	}
}

// An event that the endpoint never takes is given up, and no longer stands in the way.
func TestOrderedEndpointGoesOnAfterAnEventWasGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	var took []int64
	r.endpoint.answers(r.sequences(&took, func(sequence int64) bool { return sequence == 1 }))
	r.tell(r.payment)
	r.tell(r.payment)
	for _, p := range r.payments(40) { // others' events get through meanwhile
		r.tell(p)
		r.advance(time.Hour)
	}
	if got := r.count(); got[Exhausted] != 1 || got[Held] != 0 || got[Pending] != 0 {
		t.Errorf("%v; want one given up, and nothing that waits for it", got)
	}
	if n := len(took); n != 41 {
		t.Errorf("took %d events; want 41", n)
	}
}

// The message of the first event is late. The second does not overtake it.
func TestOrderedEndpointIsToldOfWhatCameBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	var took []int64
	r.endpoint.answers(r.sequences(&took, func(int64) bool { return false }))
	first, second := r.commit(r.payment), r.commit(r.payment)
	r.notified(second)
	r.advance(0)
	r.notified(first)
	r.notified(second)
	r.advance(time.Minute)
	if want := []int64{1, 2}; !slices.Equal(took, want) {
		t.Errorf("took %v; want %v", took, want)
	}
}

// Messages of one payment come together, while earlier deliveries end: whoever comes last
// lets the next one go.
func TestNobodyIsStrandedInALine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	var took []int64
	r.endpoint.answers(r.sequences(&took, func(int64) bool { return false }))
	want := []int64{}
	for round := range 15 {
		var events []outbox.Event
		for range 3 {
			events = append(events, r.commit(r.payment))
			want = append(want, int64(len(want)+1))
		}
		var g errgroup.Group
		for _, e := range events {
			g.Go(func() error { return r.Notify(t.Context(), e.ID) })
			g.Go(func() error { return r.Notify(t.Context(), e.ID) })
		}
		g.Go(func() error { return r.clock.Settle(t.Context()) })
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		r.advance(time.Second)
		if !slices.Equal(took, want) {
			t.Fatalf("round %d: took %v; want %v, without the sweep", round, took, want)
		}
	}
}

// Settings change while events are held, so nobody lets them go: the sweep does.
func TestStrandedDeliveriesAreLetGo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	r.endpoint.answers(status(http.StatusServiceUnavailable))
	r.tell(r.payment)
	r.tell(r.payment)
	r.advance(0)
	r.exec(`UPDATE webhook_endpoints SET ordered = false`)
	r.endpoint.answers(status(http.StatusOK))
	r.advance(2 * time.Minute)
	if got := r.count(); got[Held] != 1 {
		t.Fatalf("%v; want one held", got)
	}
	r.advance(lostAfter)
	if n, err := r.ReleaseStranded(t.Context(), 10); n != 1 || err != nil {
		t.Errorf("ReleaseStranded = %d, %v", n, err)
	}
	r.advance(0)
	if got := r.count(); got[Delivered] != 2 {
		t.Errorf("%v", got)
	}
}

var outages = flag.Int("outages", 12, "how many random histories of an ordered endpoint are run")

// However an ordered endpoint comes and goes, it gets everything in the end, and nothing
// of a payment before what came earlier.
func TestOrderedEndpointThatComesAndGoes(t *testing.T) {
	t.Parallel()
	base := uint64(time.Now().UnixNano())
	for n := range *outages {
		seed := base + uint64(n)
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			comesAndGoes(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func comesAndGoes(t *testing.T, random *rand.Rand) {
	r := newRig(t)
	r.sweeps()
	r.ordered()
	var mu sync.Mutex
	up, took := true, map[string][]int64{}
	turn := func(to bool) {
		mu.Lock()
		defer mu.Unlock()
		up = to
	}
	r.endpoint.answers(func(w http.ResponseWriter, req *http.Request) {
		subject, sequence := r.where(req.Header.Get(sender.HeaderID))
		mu.Lock()
		defer mu.Unlock()
		if !up {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		took[subject] = append(took[subject], sequence)
	})
	payments, made := r.payments(3), map[string]int64{}
	for range 1 + random.IntN(8) {
		turn(random.IntN(2) == 0)
		for range random.IntN(7) {
			p := payments[random.IntN(len(payments))]
			r.tell(p)
			made[p.String()]++
		}
		r.advance([]time.Duration{0, time.Minute, 30 * time.Minute, 5 * time.Hour, 33 * time.Hour}[random.IntN(5)])
	}
	turn(true)
	r.advance(48 * time.Hour)
	for subject, n := range made {
		var want []int64
		for s := range n {
			want = append(want, s+1)
		}
		if !slices.Equal(took[subject], want) {
			t.Errorf("payment %s got %v; want 1 to %d in order", subject, took[subject], n)
		}
	}
}

// The first event was given up in an outage, and the second comes when the endpoint is
// back, before anyone has noticed: it waits for the first.
func TestWhatAnOutageHeldUpGoesFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	r.endpoint.answers(status(http.StatusServiceUnavailable))
	r.tell(r.payment)
	r.advance(36 * time.Hour)
	var took []int64
	r.endpoint.answers(r.sequences(&took, func(int64) bool { return false }))
	r.tell(r.payment)
	r.advance(time.Minute)
	if got := r.count(); len(took) != 0 || got[Held] != 1 {
		t.Fatalf("took %v, %v; want the second event held", took, got)
	}
	if n, err := r.ProbeFailing(t.Context(), 10); n != 1 || err != nil {
		t.Fatalf("ProbeFailing = %d, %v", n, err)
	}
	r.advance(time.Minute)
	if want := []int64{1, 2}; !slices.Equal(took, want) {
		t.Errorf("took %v; want %v", took, want)
	}
}

// A replay is asked for and has not begun. What comes meanwhile comes after it.
func TestWhatIsToBeReplayedGoesFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	r.exhaust([]id.ID{r.payment})
	r.healthy()
	var took []int64
	r.endpoint.answers(r.sequences(&took, func(int64) bool { return false }))
	r.queue.Stop()
	_, err := r.StartReplay(t.Context(), r.merchant, ReplayRequest{EndpointID: r.endpointID(), Since: r.Now().Add(-48 * time.Hour)})
	r.queue.Start()
	if err == nil {
		t.Fatal("the outage of the queue was not noticed")
	}
	r.tell(r.payment)
	r.advance(lostAfter)
	if got := r.count(); len(took) != 0 || got[Held] != 1 {
		t.Fatalf("took %v, %v; want the second event held", took, got)
	}
	if n, err := r.ReplaysWithoutTask(t.Context(), 10); n != 1 || err != nil {
		t.Fatalf("ReplaysWithoutTask = %d, %v", n, err)
	}
	r.advance(lostAfter)
	if n, err := r.ReleaseStranded(t.Context(), 10); err != nil {
		t.Fatalf("ReleaseStranded = %d, %v", n, err)
	}
	r.advance(time.Minute)
	if want := []int64{1, 2}; !slices.Equal(took, want) {
		t.Errorf("took %v; want %v", took, want)
	}
}

func (r *rig) endpointID() (e id.ID) {
	r.t.Helper()
	if err := r.Pool.QueryRow(r.t.Context(), `SELECT id FROM webhook_endpoints`).Scan(&e); err != nil {
		r.t.Fatal(err)
	}
	return e
}

// The first delivery ends in a transaction that does not see the second, which does not
// see the end of the first.
func TestEndOfAHeadMeetsTheNextEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ordered()
	r.tell(r.payment)
	second := r.commit(r.payment)
	tx, err := r.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	var backend int
	if err := tx.QueryRow(t.Context(), `
		UPDATE webhook_deliveries SET status = 'DELIVERED', next_retry_at = NULL, delivered_at = $1 RETURNING pg_backend_pid()`, r.Now()).
		Scan(&backend); err != nil {
		t.Fatal(err)
	}
	if rows, err := tx.Query(t.Context(), releaseHead, r.endpointID(), r.payment, r.Now()); err != nil {
		t.Fatal(err)
	} else {
		rows.Close()
	}
	notified := make(chan error, 1)
	go func() { notified <- r.Notify(t.Context(), second.ID) }()
	r.waitsFor(backend, func() bool { return len(notified) == 1 })
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-notified; err != nil {
		t.Fatal(err)
	}
	if got := r.count(); got[Pending] != 1 {
		t.Errorf("%v; want the second let go", got)
	}
}

// Order is asked for while two events of a payment are under way, and both end at once.
func TestTwoOfALineEndAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	line := r.bothUnderWay()
	for round := range 20 {
		var g errgroup.Group
		for _, d := range line {
			h, err := r.lease(t.Context(), d, round+1)
			if err != nil || h == nil {
				t.Fatalf("lease: %+v, %v", h, err)
			}
			g.Go(func() error { return r.ends(h, sender.OutcomeDelivered, Delivered) })
		}
		if err := g.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		r.exec(`UPDATE webhook_deliveries SET status = 'PENDING', next_retry_at = $1`, r.Now())
	}
}

// The first of a payment's events is given up at an endpoint that fails, as the next one is leased.
func TestEndOfAHeadMeetsTheLeaseOfTheNext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	line := r.bothUnderWay()
	for round := range 20 {
		r.exec(`UPDATE webhook_endpoints SET failing_since = $1, open_until = NULL`, r.Now())
		h, err := r.lease(t.Context(), line[0], round+1)
		if err != nil || h == nil {
			t.Fatalf("lease: %+v, %v", h, err)
		}
		var g errgroup.Group
		g.Go(func() error { return r.ends(h, sender.OutcomeStatus5xx, Exhausted) })
		g.Go(func() error {
			_, err := r.lease(t.Context(), line[1], 1)
			return err
		})
		if err := g.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		r.exec(`UPDATE webhook_deliveries SET status = 'PENDING', next_retry_at = $1, lease_token = NULL, lease_until = NULL`, r.Now())
	}
}

// bothUnderWay makes two pending deliveries of a payment at an endpoint that is ordered since.
func (r *rig) bothUnderWay() (line []id.ID) {
	r.t.Helper()
	r.subscribe(r.endpoint.URL)
	for range 2 {
		line = append(line, r.notified(r.commit(r.payment))[0].ID)
	}
	r.exec(`UPDATE webhook_endpoints SET ordered = true`)
	return line
}

func (r *rig) ends(h *held, o sender.Outcome, s Status) error {
	a := attempt{Number: h.Attempts + 1, At: r.Now(), Result: sender.Result{Outcome: o}}
	_, err := r.record(r.t.Context(), h, a, s, nil, r.Now())
	return err
}
