package e2e

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/iterator"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/webhook"
)

// The waits before each attempt, as they are promised to merchants. Up to a tenth of each is added, as jitter.
var schedule = []time.Duration{0, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

const jitter = 0.1

// down has the shop's endpoint answer 503 until it is told otherwise.
func down(shop.Webhook) int { return http.StatusServiceUnavailable }

// try is a row of webhook_delivery_logs.
type try struct {
	Attempt     int
	RequestedAt time.Time
	Outcome     string
}

// tries reads the log of the payment's one event.
func (w *world) tries(p answer) []try {
	w.t.Helper()
	rows, err := w.DB.Query(w.t.Context(), `
		SELECT l.attempt, l.requested_at, l.outcome FROM webhook_delivery_logs l JOIN webhook_deliveries d ON d.id = l.delivery_id
		WHERE d.transaction_id = $1 ORDER BY l.attempt`, w.uuid(p))
	if err != nil {
		w.t.Fatal(err)
	}
	var all []try
	for rows.Next() {
		var a try
		if err := rows.Scan(&a.Attempt, &a.RequestedAt, &a.Outcome); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, a)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) uuid(p answer) id.ID {
	w.t.Helper()
	u, err := id.Payment.Parse(p.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// delivery reads the payment's one delivery.
func (w *world) delivery(p answer) webhook.Delivery {
	w.t.Helper()
	var d id.ID
	if err := w.DB.QueryRow(w.t.Context(), `SELECT id FROM webhook_deliveries WHERE transaction_id = $1`, w.uuid(p)).Scan(&d); err != nil {
		w.t.Fatal(err)
	}
	found, err := w.operator().Get(w.t.Context(), d)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// operator is the webhook service as an operator has it: it can look, and make tasks.
func (w *world) operator() *webhook.Service {
	w.t.Helper()
	tasks, err := outbox.OpenTasks(w.t.Context(), w.TasksConfig(), w.Tasks.ClientOptions()...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = tasks.Close() })
	return &webhook.Service{
		Pool: w.DB, Now: w.Clock.Now, NewID: id.Source{Now: w.Clock.Now}.New, Tasks: tasks,
		Schedule: schedule, Log: slog.New(slog.DiscardHandler),
	}
}

// waiting lists the tasks of the delivery queue, by the real client.
func (w *world) waiting() (tasks []*cloudtaskspb.Task) {
	w.t.Helper()
	client, err := w.TasksClient(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	all := client.ListTasks(w.t.Context(), &cloudtaskspb.ListTasksRequest{Parent: stack.DeliveryQueue()})
	for {
		task, err := all.Next()
		if err == iterator.Done {
			return tasks
		}
		if err != nil {
			w.t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
}

// runTask has a task run at once, as `gcloud tasks run` does.
func (w *world) runTask(name string) {
	w.t.Helper()
	client, err := w.TasksClient(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.RunTask(w.t.Context(), &cloudtaskspb.RunTaskRequest{Name: name}); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// wantOnSchedule holds the failed tries against the schedule: each within its wait and jitter after the one before.
func (w *world) wantOnSchedule(tries []try, from time.Time) {
	w.t.Helper()
	for i, a := range tries {
		since := a.RequestedAt.Sub(from)
		if most := schedule[i] + time.Duration(jitter*float64(schedule[i])); since < schedule[i] || since > most {
			w.t.Errorf("attempt %d came %v after the one before, want %v to %v", a.Attempt, since, schedule[i], most)
		}
		if a.Attempt != i+1 || a.Outcome != "status_5xx" {
			w.t.Errorf("try %d: %+v", i+1, a)
		}
		from = a.RequestedAt
	}
}

// got lists when the shop was sent the payment's event, and holds every request to be the same event, verified.
func (w *world) got(p answer) (at []time.Time) {
	w.t.Helper()
	var first *shop.Webhook
	for _, r := range w.shop.Received() {
		if r.Err != nil {
			w.t.Errorf("a webhook that can't be trusted: %v", r.Err)
		}
		if r.PaymentID != p.ID {
			continue
		}
		if first == nil {
			first = &r
		}
		if r.ID != first.ID || string(r.Body) != string(first.Body) {
			w.t.Errorf("an attempt sent something else: %s", r.Body)
		}
		at = append(at, r.At)
	}
	return at
}

// Two endpoints are down for eight hours. One merchant's event is then delivered when its time comes, and the other's at
// once, since an operator runs the task that waits.
func TestTwoEndpointsAreDownForEightHours(t *testing.T) {
	t.Parallel()
	patient := newWorld(t, stack.Options{SweepSchedule: rarely, Jobs: sweepAlone})
	hurried := enter(t, patient.Stack)
	began := patient.Clock.Now()
	made := map[*world]answer{}
	for _, w := range []*world{patient, hurried} {
		w.shop.Answer(down)
		made[w] = w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	}
	patient.advance(8 * time.Hour)
	tasks := patient.waiting()
	if len(tasks) != 2 {
		t.Fatalf("%d tasks wait in the queue, want one of each delivery: %v", len(tasks), tasks)
	}
	for w, p := range made {
		w.shop.Answer(nil)
		tries := w.tries(p)
		if len(tries) < 5 || len(tries) > 6 { // the sixth comes after 7h21m, or up to 44 minutes later
			t.Errorf("%d tries in eight hours: %v", len(tries), tries)
		}
		w.wantOnSchedule(tries, began)
		if n := len(w.got(p)); n != len(tries) {
			t.Errorf("%d tries are in the log, and %d reached the shop", len(tries), n)
		}
		d := w.delivery(p)
		if d.Status != webhook.Pending || d.NextAttemptAt == nil {
			t.Fatalf("after eight hours: %+v", d)
		}
		name := stack.DeliveryQueue() + "/tasks/" + d.TaskName()
		i := slices.IndexFunc(tasks, func(task *cloudtaskspb.Task) bool { return task.Name == name })
		if i < 0 || !tasks[i].ScheduleTime.AsTime().Equal(*d.NextAttemptAt) {
			t.Fatalf("no task %s at %v among %v", name, d.NextAttemptAt, tasks)
		}
	}

	next := hurried.delivery(made[hurried])
	hurried.runTask(stack.DeliveryQueue() + "/tasks/" + next.TaskName())
	hurried.wantDelivered(made[hurried], hurried.Clock.Now())
	due := *patient.delivery(made[patient]).NextAttemptAt
	patient.advance(due.Sub(patient.Clock.Now()))
	patient.wantDelivered(made[patient], due)
	if tasks := patient.waiting(); len(tasks) != 0 {
		t.Errorf("tasks still wait: %v", tasks)
	}
}

// wantDelivered wants the payment's event delivered by its last attempt, at the time.
func (w *world) wantDelivered(p answer, at time.Time) {
	w.t.Helper()
	w.wantEvents(p, "payment.authorized")
	tries := w.tries(p)
	last := tries[len(tries)-1]
	if diff := cmp.Diff(try{len(tries), at, "delivered"}, last, cmp.Transformer("UTC", time.Time.UTC)); diff != "" {
		w.t.Errorf("the last try (-want +got):\n%s", diff)
	}
	if d := w.delivery(p); d.Status != webhook.Delivered || d.Attempts != len(tries) {
		w.t.Errorf("after the delivery: %+v", d)
	}
}

// The endpoint is down for forty hours: seven attempts, and then the event is given up, but for an attempt each hour
// that finds out whether the endpoint is back. An operator need not wait for that.
func TestTheEndpointIsDownForFortyHours(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{SweepSchedule: rarely, Jobs: sweepAlone})
	w.shop.Answer(down)
	began := w.Clock.Now()
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	w.advance(40 * time.Hour)
	w.shop.Answer(nil)
	tries := w.tries(p)
	if most := len(schedule) + 9; len(tries) < len(schedule)+5 || len(tries) > most { // given up after 31h21m, or up to 3h8m later
		t.Fatalf("%d tries in forty hours: %v", len(tries), tries)
	}
	w.wantOnSchedule(tries[:len(schedule)], began)
	for i, probe := range tries[len(schedule):] {
		since := probe.RequestedAt.Sub(tries[len(schedule)+i-1].RequestedAt)
		if since < time.Hour || since > time.Hour+10*time.Minute || probe.Outcome != "status_5xx" {
			t.Errorf("%v after the attempt before: %+v", since, probe)
		}
	}
	if n := len(w.got(p)); n != len(tries) {
		t.Errorf("%d tries are in the log, and %d reached the shop", len(tries), n)
	}
	if tasks := w.waiting(); len(tasks) != 0 {
		t.Errorf("tasks wait for what was given up: %v", tasks)
	}

	operator := w.operator()
	given, err := operator.ListExhausted(context.Background(), 10)
	if err != nil || len(given) != 1 || *given[0].PaymentID != w.uuid(p) || given[0].Status != webhook.Exhausted {
		t.Fatalf("given up: %+v, %v", given, err)
	}
	again, err := operator.Redeliver(t.Context(), w.merchantID, given[0].ID)
	if err != nil || again.Status != webhook.Pending {
		t.Fatalf("redelivered: %+v, %v", again, err)
	}
	if tasks := w.waiting(); len(tasks) != 1 || tasks[0].Name != stack.DeliveryQueue()+"/tasks/"+again.TaskName() {
		t.Errorf("the queue holds %v, want the task %s", tasks, again.TaskName())
	}
	w.settle()
	w.wantDelivered(p, w.Clock.Now())
	if given, err := operator.ListExhausted(context.Background(), 10); err != nil || len(given) != 0 {
		t.Errorf("still given up: %+v, %v", given, err)
	}
}
