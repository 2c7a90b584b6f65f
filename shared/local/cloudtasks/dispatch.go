package cloudtasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// attempt is one dispatch, with what its request says of the task as it was when it began.
type attempt struct {
	queue    *queue
	task     *task
	request  *pb.HttpRequest // tasks are never changed, so it is read without the lock
	deadline time.Duration
	headers  map[string]string

	twice, together bool // sent once more; at the same time or after a success
}

// outcome is what came back: a status, or none.
type outcome struct {
	status     int
	err        error
	retryAfter time.Duration
}

func (o outcome) success() bool { return o.status >= 200 && o.status <= 299 }

// begin takes note of a dispatch of t, which is no longer waiting.
func (s *Server) begin(q *queue, t *task, now time.Time) *attempt {
	a := &attempt{
		queue: q, task: t,
		request:  t.pb.GetHttpRequest(),
		deadline: t.pb.DispatchDeadline.AsDuration(),
		headers: map[string]string{
			"X-CloudTasks-QueueName":          lastSegment(q.conf.Name),
			"X-CloudTasks-TaskName":           lastSegment(t.pb.Name),
			"X-CloudTasks-TaskRetryCount":     strconv.Itoa(int(t.pb.DispatchCount)),
			"X-CloudTasks-TaskExecutionCount": strconv.Itoa(t.executions),
			"X-CloudTasks-TaskETA":            fmt.Sprintf("%.6f", float64(t.pb.ScheduleTime.AsTime().UnixMicro())/1e6),
		},
	}
	if t.previous != 0 {
		a.headers["X-CloudTasks-TaskPreviousResponse"] = strconv.Itoa(t.previous)
	}
	if t.pb.LastAttempt != nil {
		a.headers["X-CloudTasks-TaskRetryReason"] = t.pb.LastAttempt.GetResponseStatus().GetMessage()
	}
	if n := s.chaos.TwiceOneIn; n > 0 && s.random.IntN(n) == 0 {
		a.twice, a.together = true, s.random.IntN(2) == 0
	}
	t.pb.DispatchCount++
	if t.pb.FirstAttempt == nil {
		t.pb.FirstAttempt = &pb.Attempt{DispatchTime: timestamppb.New(now)}
	}
	t.pb.LastAttempt = &pb.Attempt{ScheduleTime: t.pb.ScheduleTime, DispatchTime: timestamppb.New(now)}
	t.underWay++
	q.underWay++
	s.attempts.Add(1)
	return a
}

// run sends the request and records what came of it.
func (s *Server) run(a *attempt) {
	defer s.attempts.Done()
	var second sync.WaitGroup
	if a.twice && a.together {
		second.Go(func() { s.send(a) })
	}
	o := s.send(a)
	if a.twice && !a.together && o.success() {
		s.send(a)
	}
	second.Wait()
	s.finish(a, o)
	s.wake()
}

// send makes the request and waits at most the task's dispatch deadline, in real time, for the whole response.
func (s *Server) send(a *attempt) outcome {
	ctx, cancel := context.WithTimeout(s.ctx, a.deadline)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, a.request.HttpMethod.String(), a.request.Url, bytes.NewReader(a.request.Body))
	if err != nil {
		return outcome{err: err}
	}
	for name, value := range a.request.Headers {
		if !reserved(name) {
			r.Header.Set(name, value)
		}
	}
	r.Header.Set("User-Agent", "Google-Cloud-Tasks")
	for name, value := range a.headers {
		r.Header.Set(name, value)
	}
	if oidc := a.request.GetOidcToken(); oidc != nil {
		r.Header.Set("Authorization", "Bearer "+s.token(oidc.ServiceAccountEmail, oidc.Audience))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return outcome{err: err}
	}
	return outcome{status: resp.StatusCode, retryAfter: retryAfter(resp.Header, s.now())}
}

// reserved tells which of a task's headers are "ignored or replaced".
func reserved(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "host", "content-length", "user-agent":
		return true
	}
	return strings.HasPrefix(name, "x-google-") || strings.HasPrefix(name, "x-appengine-") || strings.HasPrefix(name, "x-cloudtasks-")
}

// finish removes the task or plans its next attempt.
func (s *Server) finish(a *attempt, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, t, now := a.queue, a.task, s.now()
	q.underWay--
	t.underWay--
	if t.gone || s.ctx.Err() != nil {
		return
	}
	if o.status != 0 {
		t.pb.ResponseCount++
		t.previous = o.status
		if o.status < 500 {
			t.executions++
		}
	}
	t.pb.LastAttempt.ResponseTime = timestamppb.New(now)
	t.pb.LastAttempt.ResponseStatus = o.rpcStatus()
	if o.success() {
		s.bury(q, t, now)
		return
	}
	if t.underWay > 0 {
		return // forced to run as well; the attempt that ends last decides
	}
	c := t.pb.RetryConfig
	if c == nil {
		c = q.conf.RetryConfig
	}
	if exhausted(c, t.pb.DispatchCount, now.Sub(t.pb.FirstAttempt.DispatchTime.AsTime())) {
		s.bury(q, t, now) // there is no dead-letter queue: the task is simply gone
		return
	}
	t.pb.ScheduleTime = timestamppb.New(now.Add(max(backoff(c, int(t.pb.DispatchCount)), o.retryAfter)))
	q.wait(t)
}

func (o outcome) rpcStatus() *rpcstatus.Status {
	code := rpccode.Code_UNKNOWN
	switch {
	case errors.Is(o.err, context.DeadlineExceeded):
		code = rpccode.Code_DEADLINE_EXCEEDED
	case o.success():
		return &rpcstatus.Status{}
	case o.status == http.StatusNotFound:
		code = rpccode.Code_NOT_FOUND
	case o.status == http.StatusTooManyRequests:
		code = rpccode.Code_RESOURCE_EXHAUSTED
	case o.status == http.StatusServiceUnavailable:
		code = rpccode.Code_UNAVAILABLE
	case o.status >= 500:
		code = rpccode.Code_INTERNAL
	}
	return &rpcstatus.Status{
		Code:    int32(code),
		Message: fmt.Sprintf("%s(%d): HTTP status code %d", code, code, o.status),
	}
}

func lastSegment(name string) string { return name[strings.LastIndex(name, "/")+1:] }
