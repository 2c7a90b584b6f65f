package webhook

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/telemetry/prom"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

func TestDeliveryIsSignedAndLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("thanks"))
	})
	_, secret := r.subscribe(r.endpoint.URL + "/hook?shop=1")
	e := r.event()
	d := r.notified(e)[0]
	r.advance(0)

	posts := r.endpoint.got()
	if len(posts) != 1 {
		t.Fatalf("%d posts; want 1", len(posts))
	}
	p := posts[0]
	if err := verify(secret, p.Header, p.Body); err != nil {
		t.Errorf("the signature: %v", err)
	}
	got := map[string]string{}
	for _, name := range []string{sender.HeaderID, sender.HeaderTimestamp, "Content-Type", "User-Agent", "Accept-Encoding", "Idempotency-Key"} {
		got[name] = p.Header.Get(name)
	}
	want := map[string]string{
		sender.HeaderID: id.Event.External(e.ID), sender.HeaderTimestamp: sender.Timestamp(r.Now()), "Content-Type": "application/json",
		"User-Agent": sender.UserAgent, "Accept-Encoding": "", "Idempotency-Key": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if string(p.Body) != string(e.Payload) {
		t.Errorf("body %s; want %s", p.Body, e.Payload)
	}
	d = r.get(d.ID)
	if d.Status != Delivered || d.Attempts != 1 || d.NextAttemptAt != nil || *d.ResponseCode != 202 || *d.ResponseBody != "thanks" ||
		!d.LastAttemptAt.Equal(r.Now()) {
		t.Errorf("delivery %+v", d)
	}
	log := []logRow{{Attempt: 1, Outcome: sender.OutcomeDelivered, Code: 202, Body: "thanks", RequestedAt: r.Now()}}
	if diff := cmp.Diff(log, r.logged(d.ID), utc); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	for _, s := range []string{secret.Reveal(), strings.TrimPrefix(secret.Reveal(), "whsec_"), string(e.Payload)} {
		if strings.Contains(r.log.String(), s) {
			t.Errorf("the log has %q", s)
		}
	}
}

var utc = cmp.Transformer("utc", func(t time.Time) time.Time { return t.UTC() })

// Down for 40 hours: seven attempts, each counted from the failure before it, then
// given up, listed, and a task made again from the row.
func TestEndpointThatStaysDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(status(http.StatusServiceUnavailable))
	delivery := r.delivery()
	start := r.Now()
	var due []time.Time
	at := start
	for attempt := range len(r.Schedule) {
		at = at.Add(r.Schedule.wait(delivery, attempt+1))
		due = append(due, at)
	}
	r.advance(0)
	for attempt := 1; attempt < len(due); attempt++ {
		d := r.get(delivery)
		if d.Status != Pending || d.Attempts != attempt || !d.NextAttemptAt.Equal(due[attempt]) {
			t.Fatalf("after attempt %d: %+v; want the next at %v", attempt, d, due[attempt])
		}
		if names := r.waiting(); !slices.Equal(names, []string{d.TaskName()}) || !strings.Contains(names[0], id.Delivery.External(delivery)) {
			t.Errorf("after attempt %d: tasks %q; want %q", attempt, names, d.TaskName())
		}
		r.advance(due[attempt].Sub(r.Now()) - time.Millisecond)
		if n := len(r.endpoint.got()); n != attempt {
			t.Fatalf("attempt %d came early", n)
		}
		r.advance(time.Millisecond)
	}
	r.advance(start.Add(40 * time.Hour).Sub(r.Now()))

	var made []time.Time
	for i, l := range r.logged(delivery) {
		if l.Attempt != i+1 || l.Outcome != sender.OutcomeStatus5xx || l.Code != 503 {
			t.Errorf("log row %+v", l)
		}
		made = append(made, l.RequestedAt)
	}
	if diff := cmp.Diff(due, made, utc); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	given, err := r.ListExhausted(t.Context(), 10)
	if err != nil || len(given) != 1 || given[0].ID != delivery || given[0].Attempts != 7 || len(r.waiting()) != 0 {
		t.Fatalf("given up: %+v, %v; tasks %q", given, err, r.waiting())
	}

	// A person tries: in vain, then with success.
	if _, err := r.Redeliver(t.Context(), id.ID{}, delivery); err != nil {
		t.Fatal(err)
	}
	r.advance(0)
	if d := r.get(delivery); d.Status != Exhausted || d.Attempts != 8 {
		t.Fatalf("after the eighth attempt: %+v", d)
	}
	r.endpoint.answers(status(http.StatusOK))
	if _, err := r.Redeliver(t.Context(), id.ID{}, delivery); err != nil {
		t.Fatal(err)
	}
	r.advance(0)
	if d := r.get(delivery); d.Status != Delivered || d.Attempts != 9 {
		t.Errorf("after the ninth attempt: %+v", d)
	}
	posts := r.endpoint.got()
	for _, p := range posts {
		if string(p.Body) != string(posts[0].Body) || p.Header.Get(sender.HeaderID) != posts[0].Header.Get(sender.HeaderID) {
			t.Error("the attempts differ in their body or id")
		}
	}
}

func TestWaitingAttemptCanBeRunAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(status(http.StatusInternalServerError))
	delivery := r.delivery()
	r.advance(0)
	r.endpoint.answers(status(http.StatusOK))
	name := queue + "/tasks/" + r.waiting()[0]
	if _, err := r.queue.RunTask(t.Context(), &cloudtaskspb.RunTaskRequest{Name: name}); err != nil {
		t.Fatal(err)
	}
	if d := r.get(delivery); d.Status != Delivered || d.Attempts != 2 || len(r.waiting()) != 0 {
		t.Errorf("delivery %+v, tasks %q", d, r.waiting())
	}
}

func TestManyTasksAtOnceMakeOnePost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	r.endpoint.answers(func(_ http.ResponseWriter, req *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-req.Context().Done():
		}
	})
	delivery := r.delivery()
	var g errgroup.Group
	returned := make(chan struct{}, 10)
	for range 10 {
		g.Go(func() error {
			err := r.Deliver(t.Context(), delivery, 1)
			returned <- struct{}{}
			return err
		})
	}
	<-arrived
	for range 9 { // all but the one that posts give way at once
		<-returned
	}
	close(release)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, log := len(r.endpoint.got()), r.logged(delivery); n != 1 || len(log) != 1 {
		t.Errorf("%d posts, log %+v; want one", n, log)
	}
}

// A worker that overstays its lease can't write over the one that took over.
func TestWorkerThatOverstaysItsLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.endpoint.answers(func(w http.ResponseWriter, _ *http.Request) {
		first := false
		once.Do(func() { first = true })
		if first {
			close(arrived)
			<-release
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	r.subscribe(r.endpoint.URL)
	e := r.event()
	r.queue.Stop() // the test runs the tasks itself
	_ = r.Notify(t.Context(), e.ID)
	var delivery id.ID
	if err := r.Pool.QueryRow(t.Context(), `SELECT id FROM webhook_deliveries`).Scan(&delivery); err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() { slow <- r.Deliver(t.Context(), delivery, 1) }()
	<-arrived
	r.deliver(delivery, 1) // while the lease lives: nothing
	if n := len(r.endpoint.got()); n != 1 {
		t.Fatalf("%d posts under a live lease; want 1", n)
	}
	r.advance(lease)
	r.deliver(delivery, 1)
	close(release)
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	log := r.logged(delivery)
	if d := r.get(delivery); d.Status != Delivered || d.Attempts != 1 || len(log) != 1 || log[0].Outcome != sender.OutcomeDelivered {
		t.Errorf("delivery %+v, log %+v; want the second worker's", d, log)
	}
	if !strings.Contains(r.log.String(), "the lease was lost") {
		t.Error("the lost attempt is not in the log")
	}
}

func TestTasksThatStandForNoAttemptDoNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delivery := r.delivery()
	for _, attempt := range []int{-1, 0, 2, 7} {
		r.deliver(delivery, attempt)
	}
	r.deliver(r.NewID(), 1) // a delivery that does not exist
	if n := len(r.endpoint.got()); n != 0 {
		t.Fatalf("%d posts; want none", n)
	}
	r.advance(0)
	r.deliver(delivery, 1)
	r.deliver(delivery, 2)
	if n, tasks := len(r.endpoint.got()), r.waiting(); n != 1 || len(tasks) != 0 {
		t.Errorf("%d posts, tasks %q; want one post", n, tasks)
	}
}

// The queue is away, or we die, between writing a failure down and making the task of
// the next attempt. The same task runs again, finds the attempt made, and sees to it.
func TestNextTaskIsMadeByTheSameTaskRunAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(status(http.StatusInternalServerError))
	delivery := r.delivery()
	if name := r.waiting(); len(name) != 1 {
		t.Fatalf("tasks %q", name)
	}
	r.queue.Stop()
	if err := r.Deliver(t.Context(), delivery, 1); err == nil {
		t.Fatal("the next task was not made, and Deliver did not say so")
	}
	r.queue.Start()
	r.advance(0) // the first task, whose attempt is made
	if n := len(r.endpoint.got()); n != 1 {
		t.Fatalf("%d posts; want 1", n)
	}
	if d := r.get(delivery); !slices.Contains(r.waiting(), d.TaskName()) {
		t.Fatalf("tasks %q; want %s", r.waiting(), d.TaskName())
	}
	r.endpoint.answers(status(http.StatusOK))
	r.advance(2 * time.Minute)
	if d := r.get(delivery); d.Status != Delivered || d.Attempts != 2 {
		t.Errorf("delivery %+v", d)
	}
}

func TestRotationSignsByEverySecretThatHasNotExpired(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, first := r.subscribe(r.endpoint.URL)
	second, err := sender.NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := r.Sealer.Seal(t.Context(), e.ID, second)
	if err != nil {
		t.Fatal(err)
	}
	r.exec(`UPDATE webhook_endpoint_secrets SET expires_at = $1`, r.Now().Add(24*time.Hour))
	r.exec(`INSERT INTO webhook_endpoint_secrets (id, endpoint_id, sealed, created_at) VALUES ($1, $2, $3, $4)`,
		r.NewID(), e.ID, sealed, r.Now().Add(time.Second))
	r.notified(r.event())
	r.advance(24*time.Hour - time.Second)
	r.notified(r.event())
	r.advance(time.Second)
	r.notified(r.event())
	r.advance(time.Second)
	posts := r.endpoint.got()
	if len(posts) != 3 {
		t.Fatalf("%d posts; want 3", len(posts))
	}
	for i, p := range posts {
		if err := verify(sender.Spell(second), p.Header, p.Body); err != nil {
			t.Errorf("post %d by the new secret: %v", i, err)
		}
		if err := verify(first, p.Header, p.Body); (err == nil) != (i < 2) {
			t.Errorf("post %d by the old secret: %v", i, err)
		}
	}
	if parts := strings.Fields(posts[0].Header.Get(sender.HeaderSignature)); len(parts) != 2 {
		t.Errorf("signatures %q; want two", parts)
	}
}

func TestDeliveriesAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	provider, page := prom.New()
	var err error
	if r.Metrics, err = telemetry.NewMetrics(provider); err != nil {
		t.Fatal(err)
	}
	r.endpoint.answers(status(http.StatusTeapot))
	r.delivery()
	r.advance(0)
	if n, err := r.CountWaiting(t.Context()); n != 1 || err != nil {
		t.Errorf("CountWaiting = %d, %v; want 1", n, err)
	}
	r.endpoint.answers(status(http.StatusOK))
	r.advance(2 * time.Minute)
	text := scrape(t, page)
	merchant := id.Merchant.External(r.merchant)
	for _, want := range []string{
		`webhook_delivery_failure_total{error_type="status_4xx",event_type="payment.captured",merchant_id="` + merchant + `"} 1`,
		`webhook_delivery_success_total{event_type="payment.captured",merchant_id="` + merchant + `"} 1`,
		`webhook_delivery_latency_seconds_count{merchant_id="` + merchant + `"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
}
