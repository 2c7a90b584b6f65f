package cloudtasks

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/shared/local/clock"
)

func TestDispatchedRequest(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.createQueue(t, hooks, nil)
	task := st.at("a", 90*time.Second)
	h := task.GetHttpRequest()
	h.Headers = map[string]string{
		"Content-Type": "application/json", "traceparent": "00-x", "User-Agent": "mine", "Authorization": "Bearer mine",
		"X-CloudTasks-TaskRetryCount": "7", "X-Google-Thing": "7", "X-AppEngine-Thing": "7", "Host": "elsewhere.example",
	}
	h.AuthorizationHeader = &pb.HttpRequest_OidcToken{OidcToken: &pb.OidcToken{ServiceAccountEmail: "tasks@demo"}}
	var n atomic.Int32
	st.respond = func(call) int { return []int{500, 404, 200}[n.Add(1)-1] }
	st.mustCreate(t, task)
	st.advance(t, time.Hour)

	calls := st.calls()
	if len(calls) != 3 {
		t.Fatalf("%d calls", len(calls))
	}
	first := calls[0]
	if first.Body != "a" || first.Path != "/a" || first.After != 90*time.Second {
		t.Errorf("first call %+v", first)
	}
	want := map[string]string{
		"Content-Type": "application/json", "Traceparent": "00-x", "User-Agent": "Google-Cloud-Tasks",
		"Authorization": "Bearer tasks@demo for " + st.url + "/a", "X-Google-Thing": "", "X-Appengine-Thing": "",
		"X-Cloudtasks-Queuename": "webhooks", "X-Cloudtasks-Taskname": "a", "X-Cloudtasks-Tasketa": "1772355690.000000",
		"X-Cloudtasks-Taskpreviousresponse": "", "X-Cloudtasks-Taskretryreason": "",
	}
	for name, value := range want {
		if got := first.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	// Retries count every dispatch, executions only responses other than 5xx.
	var counts []string
	for _, c := range calls {
		counts = append(counts, strings.Join([]string{
			c.Header.Get("X-CloudTasks-TaskRetryCount"), c.Header.Get("X-CloudTasks-TaskExecutionCount"),
			c.Header.Get("X-CloudTasks-TaskPreviousResponse"),
		}, ","))
	}
	if diff := cmp.Diff([]string{"0,0,", "1,0,500", "2,1,404"}, counts); diff != "" {
		t.Error(diff)
	}
	if got := calls[2].Header.Get("X-CloudTasks-TaskRetryReason"); got != "NOT_FOUND(5): HTTP status code 404" {
		t.Errorf("retry reason %q", got)
	}
}

// The example of the API's own comment on max_doublings.
func TestRetriesOfTheDocumentedExample(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.createQueue(t, hooks, &pb.Queue{RetryConfig: &pb.RetryConfig{
		MaxAttempts: 9, MinBackoff: durationpb.New(10 * time.Second), MaxBackoff: durationpb.New(300 * time.Second), MaxDoublings: 3,
	}})
	st.respond = func(call) int { return http.StatusInternalServerError }
	st.mustCreate(t, st.task("a"))
	st.advance(t, 24*time.Hour)
	var gaps []string
	calls := st.calls()
	for i := range calls[1:] {
		gaps = append(gaps, (calls[i+1].After - calls[i].After).String())
	}
	if got, want := strings.Join(gaps, " "), "10s 20s 40s 1m20s 2m40s 4m0s 5m0s 5m0s"; got != want {
		t.Errorf("gaps %s, want %s", got, want)
	}
	if st.Len(hooks) != 0 {
		t.Error("the task is still there after its last attempt")
	}
}

func TestTaskLevelRetryAndBothLimits(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.createQueue(t, hooks, &pb.Queue{RetryConfig: &pb.RetryConfig{MinBackoff: durationpb.New(time.Minute), MaxBackoff: durationpb.New(time.Minute)}})
	st.respond = func(call) int { return http.StatusInternalServerError }
	task := st.task("a")
	// Three attempts are soon spent, but the ten minutes are not, so it goes on until they are too.
	task.RetryConfig = &pb.RetryConfig{MaxAttempts: 3, MaxRetryDuration: durationpb.New(10 * time.Minute)}
	st.mustCreate(t, task)
	st.advance(t, 24*time.Hour)
	if got := len(st.calls()); got != 11 {
		t.Errorf("%d attempts: %s", got, st.times())
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"90": "0s 1m30s", "Sun, 01 Mar 2026 09:05:00 GMT": "0s 5m0s", "0": "0s 100ms", "soon": "0s 100ms", "Sun, 01 Mar 2020 09:05:00 GMT": "0s 100ms",
	} {
		c := clock.NewFrozen(epoch)
		var times []string
		s := newServer(Options{Now: c.Now, Token: noToken, Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			times = append(times, c.Now().Sub(epoch).String())
			return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {value}}, Body: http.NoBody}, nil
		})})
		c.Register(s)
		directly(t, s, &pb.Queue{RetryConfig: &pb.RetryConfig{MaxAttempts: 2}}, 1)
		if err := c.Advance(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(times, " "); got != want {
			t.Errorf("Retry-After: %s: attempts at %s, want %s", value, got, want)
		}
		s.Close()
	}
}

func TestPauseResumeAndRun(t *testing.T) {
	t.Parallel()
	st, ctx := newStand(t, Chaos{}), t.Context()
	st.createQueue(t, hooks, nil)
	st.mustCreate(t, st.task("a"))
	st.mustCreate(t, st.at("b", time.Hour))
	if _, err := st.client.PauseQueue(ctx, &pb.PauseQueueRequest{Name: hooks}); err != nil {
		t.Fatal(err)
	}
	st.advance(t, 10*time.Minute)
	if n := len(st.calls()); n != 0 {
		t.Fatalf("%d dispatches of a paused queue", n)
	}
	// Forced to run although paused and not due; a failure plans the next attempt from now.
	st.respond = func(call) int { return http.StatusServiceUnavailable }
	if _, err := st.client.RunTask(ctx, &pb.RunTaskRequest{Name: hooks + "/tasks/b"}); err != nil {
		t.Fatal(err)
	}
	got, err := st.client.GetTask(ctx, &pb.GetTaskRequest{Name: hooks + "/tasks/b"})
	if err != nil {
		t.Fatal(err)
	}
	if got.DispatchCount != 1 || got.ResponseCount != 1 || !got.ScheduleTime.AsTime().Equal(epoch.Add(10*time.Minute+100*time.Millisecond)) ||
		got.LastAttempt.ResponseStatus.Message != "UNAVAILABLE(14): HTTP status code 503" {
		t.Errorf("after a forced run that failed: %v", got)
	}
	st.respond = func(call) int { return http.StatusNoContent }
	if _, err := st.client.RunTask(ctx, &pb.RunTaskRequest{Name: hooks + "/tasks/b"}); err != nil {
		t.Fatal(err)
	}
	_, err = st.client.RunTask(ctx, &pb.RunTaskRequest{Name: hooks + "/tasks/b"})
	wantCode(t, "run what is done", err, codes.NotFound)

	if _, err := st.client.ResumeQueue(ctx, &pb.ResumeQueueRequest{Name: hooks}); err != nil {
		t.Fatal(err)
	}
	st.advance(t, 0)
	if got, want := st.times(), "10m0s 10m0s 10m0s"; got != want || st.Len(hooks) != 0 {
		t.Errorf("dispatches at %s, want %s", got, want)
	}
}

func TestHandlersMayCreateTasks(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.createQueue(t, hooks, nil)
	st.respond = func(c call) int {
		if n := len(c.Body); n < 5 {
			if _, err := st.create(t, st.task(c.Body+"x")); err != nil {
				t.Error(err)
			}
		}
		return http.StatusOK
	}
	st.mustCreate(t, st.task("x"))
	if err := st.clock.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(st.calls()); n != 5 {
		t.Errorf("%d calls", n)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func ok() *http.Response { return &http.Response{StatusCode: 200, Body: http.NoBody} }

func noToken(string, string) string { return "" }

// directly makes a queue with n tasks that are due, without gRPC.
func directly(t *testing.T, s *Server, q *pb.Queue, n int) {
	t.Helper()
	q.Name = hooks
	if _, err := s.CreateQueue(t.Context(), &pb.CreateQueueRequest{Parent: location, Queue: q}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		task := httpTask(&pb.HttpRequest{Url: fmt.Sprintf("http://worker.invalid/%d", i)})
		if _, err := s.CreateTask(t.Context(), &pb.CreateTaskRequest{Parent: hooks, Task: task}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDispatchDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewFrozen(epoch)
		var waited []time.Duration
		s := newServer(Options{Now: c.Now, Token: noToken, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			began := time.Now()
			<-r.Context().Done() // the worker never answers
			waited = append(waited, time.Since(began))
			return nil, r.Context().Err()
		})})
		defer s.Close()
		c.Register(s)
		directly(t, s, &pb.Queue{}, 0)
		for _, d := range []*durationpb.Duration{nil, durationpb.New(20 * time.Second)} {
			task := httpTask(&pb.HttpRequest{Url: "http://worker.invalid"})
			task.DispatchDeadline = d
			if _, err := s.CreateTask(t.Context(), &pb.CreateTaskRequest{Parent: hooks, Task: task}); err != nil {
				t.Error(err)
			}
			if err := c.Settle(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff([]time.Duration{10 * time.Minute, 20 * time.Second}, waited); diff != "" {
			t.Error(diff)
		}
		for _, task := range s.Pending(hooks) {
			if task.DispatchCount != 1 || task.ResponseCount != 0 || task.LastAttempt.ResponseStatus.Code != int32(codes.DeadlineExceeded) {
				t.Errorf("after the deadline: %v", task)
			}
		}
	})
}

func TestOldTasksAreDropped(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.createQueue(t, hooks, &pb.Queue{RetryConfig: &pb.RetryConfig{MaxAttempts: -1, MinBackoff: durationpb.New(time.Hour)}})
	st.respond = func(call) int { return http.StatusInternalServerError }
	st.mustCreate(t, st.task("a"))
	st.advance(t, 40*24*time.Hour)
	if n := len(st.calls()); n != 31*24 || st.Len(hooks) != 0 {
		t.Errorf("%d attempts, %d tasks left", n, st.Len(hooks))
	}
}

func TestPurgeDuringAnAttempt(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.createQueue(t, hooks, nil)
	st.respond = func(call) int {
		if _, err := st.client.PurgeQueue(context.Background(), &pb.PurgeQueueRequest{Name: hooks}); err != nil {
			t.Error(err)
		}
		return http.StatusInternalServerError
	}
	st.mustCreate(t, st.task("a"))
	st.advance(t, time.Hour)
	if n := len(st.calls()); n != 1 || st.Len(hooks) != 0 {
		t.Errorf("%d attempts, %d tasks left", n, st.Len(hooks))
	}
}

func TestFlowingClockDispatchesByItself(t *testing.T) {
	t.Parallel()
	c := clock.NewFlowing(epoch)
	got := make(chan string)
	s := newServer(Options{Now: c.Now, Wake: c.Wake, Token: noToken, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		got <- r.URL.Path
		return ok(), nil
	})})
	defer s.Close()
	c.Register(s)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		_ = c.Run(ctx)
		close(stopped)
	}()
	directly(t, s, &pb.Queue{}, 3)
	for range 3 {
		<-got
	}
	cancel()
	<-stopped
}
