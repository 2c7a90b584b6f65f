package outbox_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const location = "projects/test/locations/asia-northeast1"

// newTasks connects the real client to a Cloud Tasks with the webhooks queue.
func newTasks(t *testing.T) (*outbox.Tasks, *cloudtasks.Server, *clock.Clock) {
	t.Helper()
	c := clock.NewFrozen(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	server, err := cloudtasks.New(cloudtasks.Options{
		Now: c.Now, Wake: c.Wake,
		Token: func(email, audience string) string { return email + " for " + audience },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	c.Register(server)
	_, err = server.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{
		Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/" + outbox.DeliveryQueue},
	})
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := outbox.OpenTasks(t.Context(), outbox.TasksConfig{Location: location, ServiceAccount: "tasks@test"},
		server.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tasks.Close() })
	return tasks, server, c
}

func TestTaskIsSentWhenItIsDueAsTheServiceAccount(t *testing.T) {
	t.Parallel()
	tasks, _, c := newTasks(t)
	type call struct {
		At                           time.Time
		Path, Body, Type, ID, Bearer string
	}
	var calls []call
	worker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls = append(calls, call{
			c.Now(), r.URL.Path, string(body), r.Header.Get("Content-Type"), r.Header.Get("Request-Id"),
			r.Header.Get("Authorization"),
		})
	}))
	t.Cleanup(worker.Close)

	start := c.Now()
	task := outbox.Task{
		Queue: outbox.DeliveryQueue, Name: outbox.TaskName("whd_1", 1, 0), URL: worker.URL + "/deliver",
		Body: []byte(`{"delivery_id":"1"}`), At: start.Add(time.Minute), RequestID: "req_1",
	}
	for range 2 { // asked for again, it is not made again
		if err := tasks.Enqueue(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	ctx := telemetry.WithRequestID(t.Context(), "req_of_ctx")
	task.Name, task.At, task.RequestID = outbox.TaskName("whd_1", 2, 0), time.Time{}, ""
	if err := tasks.Enqueue(ctx, task); err != nil {
		t.Fatal(err)
	}
	if err := c.Advance(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := tasks.Enqueue(ctx, task); err != nil { // nor after it was done
		t.Fatal(err)
	}
	if err := c.Advance(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	common := call{
		Path: "/deliver", Body: `{"delivery_id":"1"}`, Type: "application/json",
		Bearer: "Bearer tasks@test for " + worker.URL + "/deliver",
	}
	now, later := common, common
	now.At, now.ID = start, "req_of_ctx"
	later.At, later.ID = start.Add(time.Minute), "req_1"
	if diff := cmp.Diff([]call{now, later}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestTaskThatCannotBeMadeIsAnError(t *testing.T) {
	t.Parallel()
	tasks, server, _ := newTasks(t)
	task := outbox.Task{Queue: "elsewhere", Name: "a", URL: "http://127.0.0.1:1/", Body: []byte("{}")}
	if err := tasks.Enqueue(t.Context(), task); status.Code(err) != codes.NotFound {
		t.Errorf("no such queue: %v", err)
	}
	server.Stop()
	task.Queue = outbox.DeliveryQueue
	if err := tasks.Enqueue(t.Context(), task); status.Code(err) != codes.Unavailable {
		t.Errorf("during an outage: %v", err)
	}
}

func TestTaskNames(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{8}-[A-Za-z0-9_-]{1,400}$`) // what Cloud Tasks takes
	seen := make(map[string]bool)
	prefixes := make(map[string]bool)
	for attempt := range 20 {
		for generation := range 2 {
			name := outbox.TaskName("whd_01jd3k", attempt, generation)
			if !form.MatchString(name) || !strings.Contains(name, "-whd_01jd3k-") || seen[name] {
				t.Errorf("name %q", name)
			}
			seen[name], prefixes[name[:2]] = true, true
		}
	}
	if len(prefixes) < 30 {
		t.Errorf("40 names begin in %d ways only: they would rise together", len(prefixes))
	}
	if got, want := outbox.TaskName("whd_1", 2), "203507f0-whd_1-2"; got != want {
		t.Errorf("TaskName = %q, want %q: a task asked for by an older release must have the same name", got, want)
	}
}
