package cloudtasks

import (
	"container/heap"
	"context"
	"fmt"
	"strconv"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// nameKept is how long the name of a finished or deleted task is refused. The API's comment says "up to" 24 hours
	// and the quotas page about one; a caller may rely neither on the refusal nor on its end.
	nameKept        = 24 * time.Hour
	defaultDeadline = 10 * time.Minute
	maxPage         = 1000
)

var (
	errNoTask     = status.Error(codes.NotFound, "Requested entity was not found.")
	errNoQueue    = status.Error(codes.NotFound, "Queue does not exist.")
	errNameExists = status.Error(codes.AlreadyExists, "Requested entity already exists")
	errNameTooNew = status.Error(codes.AlreadyExists, "The task cannot be created because a task with this name existed too recently.")
)

// CreateTask implements the API's method of that name.
func (s *Server) CreateTask(_ context.Context, r *pb.CreateTaskRequest) (*pb.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[r.Parent]
	if q == nil {
		return nil, errNoQueue
	}
	now := s.now()
	if err := checkTask(r.Parent, r.Task, now); err != nil {
		return nil, err
	}
	t := &task{pb: newTask(r.Task, q.conf.RetryConfig, now), seq: s.seq + 1}
	if t.pb.Name == "" {
		t.pb.Name = fmt.Sprintf("%s/tasks/%019d", r.Parent, t.seq)
	} else {
		t.named = true
		if q.tasks[t.pb.Name] != nil {
			return nil, errNameExists
		}
		if s.usedTasks.has(t.pb.Name, now) {
			return nil, errNameTooNew
		}
	}
	s.seq++
	q.add(t)
	s.wake()
	return t.view(r.ResponseView), nil
}

// newTask is the task that a checked request asks for, with the defaults filled in and output-only fields cleared.
func newTask(asked *pb.Task, queueRetry *pb.RetryConfig, now time.Time) *pb.Task {
	h := proto.CloneOf(asked.GetHttpRequest())
	if h.HttpMethod == pb.HttpMethod_HTTP_METHOD_UNSPECIFIED {
		h.HttpMethod = pb.HttpMethod_POST
	}
	if o := h.GetOidcToken(); o != nil && o.Audience == "" {
		o.Audience = h.Url
	}
	t := &pb.Task{
		Name:             asked.Name,
		MessageType:      &pb.Task_HttpRequest{HttpRequest: h},
		ScheduleTime:     timestamppb.New(now),
		CreateTime:       timestamppb.New(now.Truncate(time.Second)),
		DispatchDeadline: durationpb.New(defaultDeadline),
	}
	if at := asked.ScheduleTime; at != nil && at.AsTime().After(now) {
		t.ScheduleTime = timestamppb.New(at.AsTime().Truncate(time.Microsecond))
	}
	if d := asked.DispatchDeadline; d != nil {
		t.DispatchDeadline = durationpb.New(d.AsDuration().Truncate(time.Millisecond))
	}
	if asked.RetryConfig != nil {
		t.RetryConfig = withDefaults(asked.RetryConfig, queueRetry)
	}
	return t
}

// GetTask implements the API's method of that name.
func (s *Server) GetTask(_ context.Context, r *pb.GetTaskRequest) (*pb.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, t := s.find(r.Name)
	if t == nil {
		return nil, errNoTask
	}
	return t.view(r.ResponseView), nil
}

// ListTasks implements the API's method of that name. The order is that of creation.
func (s *Server) ListTasks(_ context.Context, r *pb.ListTasksRequest) (*pb.ListTasksResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[r.Parent]
	if q == nil {
		return nil, errNoQueue
	}
	size, err := pageSize(r.PageSize)
	if err != nil {
		return nil, err
	}
	var after uint64
	if r.PageToken != "" {
		if after, err = strconv.ParseUint(r.PageToken, 10, 64); err != nil {
			return nil, invalid("page_token %q is not one of this server", r.PageToken)
		}
	}
	page, more := q.after(after, size)
	out := &pb.ListTasksResponse{}
	for _, t := range page {
		out.Tasks = append(out.Tasks, t.view(r.ResponseView))
	}
	if more {
		out.NextPageToken = strconv.FormatUint(page[len(page)-1].seq, 10)
	}
	return out, nil
}

// DeleteTask implements the API's method of that name.
func (s *Server) DeleteTask(_ context.Context, r *pb.DeleteTaskRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, t := s.find(r.Name)
	if t == nil {
		return nil, errNoTask
	}
	s.bury(q, t, s.now())
	return &emptypb.Empty{}, nil
}

// RunTask implements the API's method of that name: it dispatches the task "even if the task is already running, the
// queue has reached its RateLimits or is PAUSED". Unlike the product it answers only when the attempt has ended, so
// that its caller can look at what came of it; the task in the answer is as it was when the attempt began.
func (s *Server) RunTask(ctx context.Context, r *pb.RunTaskRequest) (*pb.Task, error) {
	s.mu.Lock()
	q, t := s.find(r.Name)
	if t == nil || s.closed {
		s.mu.Unlock()
		return nil, errNoTask
	}
	if t.place >= 0 {
		heap.Remove(&q.waiting, t.place)
	}
	a := s.begin(q, t, s.now())
	begun := t.view(r.ResponseView)
	s.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		s.run(a)
		close(ended)
	}()
	select {
	case <-ended:
		return begun, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (s *Server) find(name string) (*queue, *task) {
	queueName, _ := splitTaskName(name)
	q := s.queues[queueName]
	if q == nil {
		return nil, nil
	}
	return q, q.tasks[name]
}

// bury removes a task and keeps its name from being used again.
func (s *Server) bury(q *queue, t *task, now time.Time) {
	q.remove(t)
	if t.named {
		s.usedTasks.bury(t.pb.Name, now.Add(nameKept))
	}
}
