package payment

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func (r *rig) withTasks(queues ...string) *cloudtasks.Server {
	r.t.Helper()
	server, err := cloudtasks.New(cloudtasks.Options{Now: r.clock.Now, Wake: r.clock.Wake, Token: func(string, string) string { return "x" }})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(server.Close)
	const location = "projects/test/locations/asia-northeast1"
	for _, q := range queues {
		if _, err = server.CreateQueue(r.t.Context(), &cloudtaskspb.CreateQueueRequest{
			Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/" + outbox.ResumeQueue(q)},
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	worker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var w Wake
		if err := json.Unmarshal(body, &w); err != nil {
			r.t.Error(err)
		}
		r.keys.Add(1)
		if err := r.Resume(context.Background(), w); err != nil {
			r.t.Error(err)
		}
	}))
	r.t.Cleanup(worker.Close)
	r.Tasks, err = outbox.OpenTasks(r.t.Context(), outbox.TasksConfig{Location: location, ServiceAccount: "tasks@test", ResumeURL: worker.URL}, server.ClientOptions()...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = r.Tasks.Close() })
	return server
}

// An operation that is retried for hours has one chain of tasks, which does not branch.
func TestAStickyErrorCostsFewTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.clock.Register(r.withTasks("stripe"))
	p := r.pay(r.params(Manual))
	if err := r.sim.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Capture, Fault: providersim.Fault{Kind: providersim.Error500Before}}}}); err != nil {
		t.Fatal(err)
	}
	r.must(r.capture(p, nil))
	var per []int64
	for range 7 {
		before := r.keys.Load()
		if err := r.clock.Advance(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		per = append(per, r.keys.Load()-before)
	}
	if per[6] > 4 {
		t.Errorf("tasks run for one operation, hour by hour: %v; attempts %d", per, r.count(`SELECT count(*) FROM saga_attempts WHERE step = 'capture'`))
	}
}

// Tasks that come late find nothing due and leave no tasks of their own.
func TestTasksForOneSagaMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := r.withTasks("stripe")
	in := r.params(Manual)
	in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
	r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), in))
	for range 20 { // the queue is away for twenty minutes, the sweep makes its task each minute
		if err := r.clock.Advance(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := r.EnqueueDue(t.Context(), 500); err != nil {
			t.Fatal(err)
		}
	}
	r.clock.Register(server) // and is back
	var per []int64
	for range 6 {
		before := r.keys.Load()
		if err := r.clock.Advance(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		per = append(per, r.keys.Load()-before)
	}
	if per[5] > 4 {
		t.Errorf("tasks run for one waiting payment, hour by hour: %v", per)
	}
}

// The sweep makes the other sagas' tasks when one saga's queue is missing.
func TestOneMissingQueueStopsNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.DropAfter)
	r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
	if _, err := r.Pool.Exec(t.Context(), `UPDATE transaction_saga SET provider = 'paypal'`); err != nil {
		t.Fatal(err)
	}
	if err := r.clock.Advance(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	r.inject(providersim.Authorize, providersim.DropAfter)
	r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
	if err := r.clock.Advance(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	r.withTasks("stripe")
	n, err := r.EnqueueDue(t.Context(), 500)
	if n == 0 {
		t.Errorf("the stripe saga was not enqueued: %d, %v", n, err)
	}
}

// A merchant who asks again as often as told does not push the resolution away.
func TestAskingAgainDoesNotPutTheResolutionOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.sim.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Fault: providersim.Fault{Kind: providersim.DropBefore}}}}); err != nil {
		t.Fatal(err)
	}
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	for range 12 {
		if err := r.clock.Advance(t.Context(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := r.cancel(p); fault.As(err).Retry != 5*time.Second {
			t.Fatal(err)
		}
	}
	var due time.Time
	if err := r.Pool.QueryRow(t.Context(), `SELECT due_at FROM transaction_saga`).Scan(&due); err != nil {
		t.Fatal(err)
	}
	if d := due.Sub(r.Now()); d > 10*time.Minute {
		t.Errorf("a minute after the create its resolution is due in %v", d)
	}
}
