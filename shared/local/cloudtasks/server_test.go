package cloudtasks

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/shared/local/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	location = "projects/demo/locations/asia-northeast1"
	hooks    = location + "/queues/webhooks"
)

var epoch = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// stand is a server with the real client, a frozen clock that drives it, and a worker that its tasks call.
type stand struct {
	*Server
	client *cloudtasks.Client
	clock  *clock.Clock
	url    string // of the worker

	mu      sync.Mutex
	got     []call
	respond func(call) int
}

type call struct {
	After  time.Duration // since epoch
	Path   string
	Body   string
	Header http.Header
}

func newStand(t *testing.T, chaos Chaos) *stand {
	t.Helper()
	st := &stand{clock: clock.NewFrozen(epoch), respond: func(call) int { return http.StatusOK }}
	worker := httptest.NewServer(http.HandlerFunc(st.work))
	t.Cleanup(worker.Close)
	st.url = worker.URL
	var err error
	st.Server, err = New(Options{
		Now:   st.clock.Now,
		Wake:  st.clock.Wake,
		Token: func(email, audience string) string { return email + " for " + audience },
		Chaos: chaos,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	st.clock.Register(st.Server)
	st.client, err = cloudtasks.NewClient(t.Context(), st.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.client.Close() })
	return st
}

func (st *stand) work(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c := call{After: st.clock.Now().Sub(epoch), Path: r.URL.Path, Body: string(body), Header: r.Header}
	st.mu.Lock()
	st.got = append(st.got, c)
	respond := st.respond
	st.mu.Unlock()
	w.WriteHeader(respond(c))
}

func (st *stand) calls() []call {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]call(nil), st.got...)
}

// times are the instants of the calls, as text.
func (st *stand) times() string {
	var s []string
	for _, c := range st.calls() {
		s = append(s, c.After.String())
	}
	return strings.Join(s, " ")
}

func (st *stand) createQueue(t *testing.T, name string, q *pb.Queue) {
	t.Helper()
	if q == nil {
		q = &pb.Queue{}
	}
	q.Name = name
	if _, err := st.client.CreateQueue(t.Context(), &pb.CreateQueueRequest{Parent: location, Queue: q}); err != nil {
		t.Fatal(err)
	}
}

func (st *stand) create(t *testing.T, task *pb.Task) (*pb.Task, error) {
	t.Helper()
	return st.client.CreateTask(t.Context(), &pb.CreateTaskRequest{Parent: hooks, Task: task})
}

func (st *stand) mustCreate(t *testing.T, task *pb.Task) *pb.Task {
	t.Helper()
	created, err := st.create(t, task)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func (st *stand) advance(t *testing.T, d time.Duration) {
	t.Helper()
	if err := st.clock.Advance(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func httpTask(h *pb.HttpRequest) *pb.Task {
	return &pb.Task{MessageType: &pb.Task_HttpRequest{HttpRequest: h}}
}

func (st *stand) task(id string) *pb.Task {
	t := httpTask(&pb.HttpRequest{Url: st.url + "/" + id, Body: []byte(id)})
	t.Name = hooks + "/tasks/" + id
	return t
}

func (st *stand) at(id string, after time.Duration) *pb.Task {
	t := st.task(id)
	t.ScheduleTime = timestamppb.New(epoch.Add(after))
	return t
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func TestQueueLife(t *testing.T) {
	t.Parallel()
	st, ctx := newStand(t, Chaos{}), t.Context()
	st.createQueue(t, hooks, nil)
	q, err := st.client.GetQueue(ctx, &pb.GetQueueRequest{Name: hooks})
	if err != nil {
		t.Fatal(err)
	}
	if q.State != pb.Queue_RUNNING || q.RateLimits.MaxDispatchesPerSecond != 500 || q.RateLimits.MaxConcurrentDispatches != 1000 ||
		q.RetryConfig.MaxAttempts != 100 || q.RetryConfig.MaxDoublings != 16 || q.RetryConfig.MaxBackoff.AsDuration() != time.Hour {
		t.Errorf("defaults: %v", q)
	}
	_, err = st.client.CreateQueue(ctx, &pb.CreateQueueRequest{Parent: location, Queue: &pb.Queue{Name: hooks}})
	wantCode(t, "create again", err, codes.AlreadyExists)

	// An update changes what its mask names, no more.
	q, err = st.client.UpdateQueue(ctx, &pb.UpdateQueueRequest{
		Queue: &pb.Queue{
			Name:        hooks,
			RateLimits:  &pb.RateLimits{MaxDispatchesPerSecond: 5, MaxConcurrentDispatches: 7},
			RetryConfig: &pb.RetryConfig{MaxAttempts: 3, MinBackoff: durationpb.New(time.Second)},
		},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"rate_limits.max_dispatches_per_second", "retry_config"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if q.RateLimits.MaxDispatchesPerSecond != 5 || q.RateLimits.MaxConcurrentDispatches != 1000 || q.RetryConfig.MaxAttempts != 3 {
		t.Errorf("updated: %v", q)
	}

	for _, name := range []string{"a", "b", "c"} {
		st.createQueue(t, location+"/queues/"+name, nil)
	}
	var names []string
	for q, err := range st.client.ListQueues(ctx, &pb.ListQueuesRequest{Parent: location, PageSize: 3}).All() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, lastSegment(q.Name))
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "webhooks"}, names); diff != "" {
		t.Error(diff)
	}

	if err := st.client.DeleteQueue(ctx, &pb.DeleteQueueRequest{Name: hooks}); err != nil {
		t.Fatal(err)
	}
	_, err = st.client.GetQueue(ctx, &pb.GetQueueRequest{Name: hooks})
	wantCode(t, "get deleted", err, codes.NotFound)
	_, err = st.client.UpdateQueue(ctx, &pb.UpdateQueueRequest{Queue: &pb.Queue{Name: hooks}})
	wantCode(t, "recreate", err, codes.FailedPrecondition)
	st.advance(t, 73*time.Hour)
	if _, err := st.client.UpdateQueue(ctx, &pb.UpdateQueueRequest{Queue: &pb.Queue{Name: hooks}}); err != nil {
		t.Errorf("recreate after three days: %v", err)
	}
}

func TestRefusedQueues(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	for what, q := range map[string]*pb.Queue{
		"name":     {Name: location + "/queues/under_score"},
		"parent":   {Name: "projects/other/locations/l/queues/q"},
		"rate":     {Name: hooks, RateLimits: &pb.RateLimits{MaxDispatchesPerSecond: 501}},
		"at once":  {Name: hooks, RateLimits: &pb.RateLimits{MaxConcurrentDispatches: 5001}},
		"attempts": {Name: hooks, RetryConfig: &pb.RetryConfig{MaxAttempts: -2}},
		"backoff":  {Name: hooks, RetryConfig: &pb.RetryConfig{MinBackoff: durationpb.New(2 * time.Hour)}},
	} {
		_, err := st.client.CreateQueue(t.Context(), &pb.CreateQueueRequest{Parent: location, Queue: q})
		wantCode(t, what, err, codes.InvalidArgument)
	}
	_, err := st.client.CreateQueue(t.Context(), &pb.CreateQueueRequest{Parent: location, Queue: &pb.Queue{Name: hooks, HttpTarget: &pb.HttpTarget{}}})
	wantCode(t, "http_target", err, codes.Unimplemented)
	_, err = st.client.UpdateQueue(t.Context(), &pb.UpdateQueueRequest{Queue: &pb.Queue{Name: hooks}})
	if err != nil {
		t.Fatalf("update creates: %v", err)
	}
	_, err = st.client.UpdateQueue(t.Context(), &pb.UpdateQueueRequest{
		Queue: &pb.Queue{Name: hooks}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry_config.nothing"}},
	})
	wantCode(t, "mask", err, codes.InvalidArgument)
}

func TestRefusedTasks(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	_, err := st.create(t, st.task("a"))
	wantCode(t, "no queue", err, codes.NotFound)
	st.createQueue(t, hooks, nil)

	deadline := func(d time.Duration) *pb.Task {
		task := st.task("a")
		task.DispatchDeadline = durationpb.New(d)
		return task
	}
	named := func(name string) *pb.Task {
		task := st.task("a")
		task.Name = name
		return task
	}
	for what, task := range map[string]*pb.Task{
		"nothing":        nil,
		"no request":     {},
		"no scheme":      httpTask(&pb.HttpRequest{Url: "example.com/x"}),
		"long url":       httpTask(&pb.HttpRequest{Url: st.url + "/" + strings.Repeat("u", 2100)}),
		"long headers":   httpTask(&pb.HttpRequest{Url: st.url, Headers: map[string]string{"X-Long": strings.Repeat("h", 80<<10)}}),
		"too large":      httpTask(&pb.HttpRequest{Url: st.url, Body: make([]byte, 100<<10)}),
		"body with GET":  httpTask(&pb.HttpRequest{Url: st.url, HttpMethod: pb.HttpMethod_GET, Body: []byte("b")}),
		"no account":     httpTask(&pb.HttpRequest{Url: st.url, AuthorizationHeader: &pb.HttpRequest_OidcToken{OidcToken: &pb.OidcToken{}}}),
		"31 days ahead":  st.at("a", 31*24*time.Hour),
		"short deadline": deadline(14 * time.Second),
		"long deadline":  deadline(31 * time.Minute),
		"bad id":         named(hooks + "/tasks/a.b"),
		"long id":        named(hooks + "/tasks/" + strings.Repeat("a", 501)),
		"other queue":    named(location + "/queues/other/tasks/a"),
	} {
		_, err := st.create(t, task)
		wantCode(t, what, err, codes.InvalidArgument)
	}
	for what, task := range map[string]*pb.Task{
		"app engine": {MessageType: &pb.Task_AppEngineHttpRequest{AppEngineHttpRequest: &pb.AppEngineHttpRequest{}}},
		"oauth":      httpTask(&pb.HttpRequest{Url: st.url, AuthorizationHeader: &pb.HttpRequest_OauthToken{OauthToken: &pb.OAuthToken{}}}),
	} {
		_, err := st.create(t, task)
		wantCode(t, what, err, codes.Unimplemented)
	}
	if n := st.Len(hooks); n != 0 {
		t.Errorf("%d tasks were made", n)
	}
}

func TestListAndGetTasks(t *testing.T) {
	t.Parallel()
	st, ctx := newStand(t, Chaos{}), t.Context()
	st.createQueue(t, hooks, nil)
	var want []string
	for i := range 25 {
		id := fmt.Sprintf("t%02d", i)
		st.mustCreate(t, st.at(id, time.Duration(25-i)*time.Hour))
		want = append(want, id)
	}
	// Some are deleted between pages.
	pages := iterator.NewPager(st.client.ListTasks(ctx, &pb.ListTasksRequest{Parent: hooks}), 10, "")
	var got []string
	for {
		var page []*pb.Task
		token, err := pages.NextPage(&page)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range page {
			if task.View != pb.Task_BASIC || task.GetHttpRequest().Body != nil {
				t.Errorf("listed %v", task)
			}
			got = append(got, lastSegment(task.Name))
		}
		if token == "" {
			break
		}
		if len(got) == 10 {
			for _, id := range []string{"t09", "t10", "t24"} {
				if err := st.client.DeleteTask(ctx, &pb.DeleteTaskRequest{Name: hooks + "/tasks/" + id}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if diff := cmp.Diff(append(want[:10:10], want[11:24]...), got); diff != "" {
		t.Error(diff)
	}
	full, err := st.client.GetTask(ctx, &pb.GetTaskRequest{Name: hooks + "/tasks/t03", ResponseView: pb.Task_FULL})
	if err != nil || string(full.GetHttpRequest().Body) != "t03" || full.View != pb.Task_FULL {
		t.Errorf("full view %v, %v", full, err)
	}
	_, err = st.client.GetTask(ctx, &pb.GetTaskRequest{Name: hooks + "/tasks/t09"})
	wantCode(t, "deleted", err, codes.NotFound)
	if p := st.Pending(hooks); len(p) != 22 || lastSegment(p[0].Name) != "t23" || st.Len(hooks) != 22 {
		t.Errorf("%d pending, first %s", len(p), p[0].Name)
	}
	_, err = st.client.ListTasks(ctx, &pb.ListTasksRequest{Parent: hooks, PageToken: "x"}).Next()
	wantCode(t, "page token", err, codes.InvalidArgument)
}

func TestUsedNamesAreRefusedForADay(t *testing.T) {
	t.Parallel()
	st, ctx := newStand(t, Chaos{}), t.Context()
	st.createQueue(t, hooks, nil)
	for _, id := range []string{"done", "deleted", "purged", "waiting"} {
		st.mustCreate(t, st.at(id, time.Hour))
	}
	_, err := st.create(t, st.task("waiting"))
	wantCode(t, "waiting", err, codes.AlreadyExists)

	if _, err := st.client.RunTask(ctx, &pb.RunTaskRequest{Name: hooks + "/tasks/done"}); err != nil {
		t.Fatal(err)
	}
	if err := st.client.DeleteTask(ctx, &pb.DeleteTaskRequest{Name: hooks + "/tasks/deleted"}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.client.PurgeQueue(ctx, &pb.PurgeQueueRequest{Name: hooks}); err != nil {
		t.Fatal(err)
	}
	st.advance(t, 23*time.Hour)
	for _, id := range []string{"done", "deleted", "purged"} {
		_, err := st.create(t, st.task(id))
		wantCode(t, id, err, codes.AlreadyExists)
	}
	st.advance(t, time.Hour)
	for _, id := range []string{"done", "deleted", "purged"} {
		st.mustCreate(t, st.task(id))
	}
	if got := len(st.calls()); got != 1 {
		t.Errorf("%d dispatches of tasks, want that of the one that was run", got)
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.createQueue(t, hooks, nil)
	st.mustCreate(t, st.at("a", time.Minute))
	st.Stop()
	_, err := st.create(t, st.task("b"))
	wantCode(t, "during the outage", err, codes.Unavailable)
	st.advance(t, time.Hour)
	if n := len(st.calls()); n != 0 {
		t.Errorf("%d dispatches during the outage", n)
	}
	st.Start()
	st.advance(t, 0)
	if n := len(st.calls()); n != 1 || st.Len(hooks) != 0 {
		t.Errorf("%d dispatches after the outage", n)
	}
}

func TestNewNeedsItsOptions(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Now: time.Now}); err == nil {
		t.Error("a server that cannot sign tokens")
	}
}
