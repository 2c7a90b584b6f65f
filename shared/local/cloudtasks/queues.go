package cloudtasks

import (
	"context"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// queueNameKept is the "tombstone window of up to 3 days" of a deleted queue's name.
const queueNameKept = 3 * 24 * time.Hour

// What the product gives a queue that asks for nothing.
var (
	defaultRates = &pb.RateLimits{MaxDispatchesPerSecond: 500, MaxConcurrentDispatches: 1000}
	defaultRetry = &pb.RetryConfig{
		MaxAttempts:  100,
		MinBackoff:   durationpb.New(100 * time.Millisecond),
		MaxBackoff:   durationpb.New(time.Hour),
		MaxDoublings: 16,
	}
)

func withDefaults(c, def *pb.RetryConfig) *pb.RetryConfig {
	c = proto.CloneOf(c)
	if c == nil {
		c = &pb.RetryConfig{}
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = def.MaxAttempts
	}
	if c.MaxRetryDuration == nil {
		c.MaxRetryDuration = def.MaxRetryDuration
	}
	if c.MinBackoff == nil {
		c.MinBackoff = def.MinBackoff
	}
	if c.MaxBackoff == nil {
		c.MaxBackoff = def.MaxBackoff
	}
	if c.MaxDoublings == 0 {
		c.MaxDoublings = def.MaxDoublings
	}
	return c
}

// configured is a queue's settings with what was left out filled in and output-only fields cleared.
func configured(asked *pb.Queue) *pb.Queue {
	q := &pb.Queue{
		Name:                     asked.Name,
		RateLimits:               proto.CloneOf(asked.RateLimits),
		RetryConfig:              withDefaults(asked.RetryConfig, defaultRetry),
		StackdriverLoggingConfig: proto.CloneOf(asked.StackdriverLoggingConfig),
	}
	if q.RateLimits == nil {
		q.RateLimits = &pb.RateLimits{}
	}
	if q.RateLimits.MaxDispatchesPerSecond == 0 {
		q.RateLimits.MaxDispatchesPerSecond = defaultRates.MaxDispatchesPerSecond
	}
	if q.RateLimits.MaxConcurrentDispatches == 0 {
		q.RateLimits.MaxConcurrentDispatches = defaultRates.MaxConcurrentDispatches
	}
	// "Generally at least equal to max_dispatches_per_second."
	q.RateLimits.MaxBurstSize = int32(math.Ceil(q.RateLimits.MaxDispatchesPerSecond))
	return q
}

// CreateQueue implements the API's method of that name.
func (s *Server) CreateQueue(_ context.Context, r *pb.CreateQueueRequest) (*pb.Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.HasPrefix(r.GetQueue().GetName(), r.Parent+"/queues/") {
		return nil, invalid("queue name %q is not under parent %q", r.GetQueue().GetName(), r.Parent)
	}
	if s.queues[r.Queue.Name] != nil {
		return nil, status.Error(codes.AlreadyExists, "Queue already exists")
	}
	return s.createQueue(r.Queue)
}

func (s *Server) createQueue(asked *pb.Queue) (*pb.Queue, error) {
	if s.usedQueues.has(asked.Name, s.now()) {
		return nil, status.Error(codes.FailedPrecondition, "The queue cannot be created because a queue with this name existed too recently.")
	}
	conf := configured(asked)
	if err := checkQueue(asked, conf); err != nil {
		return nil, err
	}
	conf.State = pb.Queue_RUNNING
	s.queues[conf.Name] = newQueue(conf, s.now())
	s.names = append(s.names, conf.Name)
	slices.Sort(s.names)
	return proto.CloneOf(conf), nil
}

// UpdateQueue implements the API's method of that name; it "creates the queue if it does not exist".
func (s *Server) UpdateQueue(_ context.Context, r *pb.UpdateQueueRequest) (*pb.Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Queue == nil {
		return nil, invalid("queue is required")
	}
	q := s.queues[r.Queue.Name]
	if q == nil {
		return s.createQueue(r.Queue)
	}
	asked := r.Queue
	if paths := r.GetUpdateMask().GetPaths(); len(paths) > 0 {
		asked = proto.CloneOf(q.conf)
		for _, path := range paths {
			if err := copyField(asked.ProtoReflect(), r.Queue.ProtoReflect(), path); err != nil {
				return nil, err
			}
		}
	}
	conf := configured(asked)
	if err := checkQueue(asked, conf); err != nil {
		return nil, err
	}
	conf.State, conf.PurgeTime = q.conf.State, q.conf.PurgeTime
	q.bucket.change(conf.RateLimits, s.now())
	q.conf = conf
	s.wake()
	return proto.CloneOf(conf), nil
}

// copyField copies the field at a path of an update mask, such as "retry_config.max_attempts".
func copyField(to, from protoreflect.Message, path string) error {
	name, rest, nested := strings.Cut(path, ".")
	field := to.Descriptor().Fields().ByName(protoreflect.Name(name))
	if field == nil {
		return invalid("update_mask: no field %q", path)
	}
	if nested {
		if field.Message() == nil {
			return invalid("update_mask: no field %q", path)
		}
		return copyField(to.Mutable(field).Message(), from.Get(field).Message(), rest)
	}
	if !from.Has(field) {
		to.Clear(field)
		return nil
	}
	to.Set(field, from.Get(field))
	return nil
}

// GetQueue implements the API's method of that name.
func (s *Server) GetQueue(_ context.Context, r *pb.GetQueueRequest) (*pb.Queue, error) {
	return s.onQueue(r.Name, func(*queue) {})
}

// PauseQueue implements the API's method of that name.
func (s *Server) PauseQueue(_ context.Context, r *pb.PauseQueueRequest) (*pb.Queue, error) {
	return s.onQueue(r.Name, func(q *queue) { q.conf.State = pb.Queue_PAUSED })
}

// ResumeQueue implements the API's method of that name.
func (s *Server) ResumeQueue(_ context.Context, r *pb.ResumeQueueRequest) (*pb.Queue, error) {
	return s.onQueue(r.Name, func(q *queue) {
		q.conf.State = pb.Queue_RUNNING
		s.wake()
	})
}

// PurgeQueue implements the API's method of that name. It takes effect at once, where the product takes up to a minute.
func (s *Server) PurgeQueue(_ context.Context, r *pb.PurgeQueueRequest) (*pb.Queue, error) {
	return s.onQueue(r.Name, func(q *queue) {
		now := s.now()
		q.conf.PurgeTime = timestamppb.New(now)
		s.empty(q, now)
	})
}

// DeleteQueue implements the API's method of that name.
func (s *Server) DeleteQueue(_ context.Context, r *pb.DeleteQueueRequest) (*emptypb.Empty, error) {
	_, err := s.onQueue(r.Name, func(q *queue) {
		now := s.now()
		s.empty(q, now)
		delete(s.queues, r.Name)
		s.names = slices.DeleteFunc(s.names, func(name string) bool { return name == r.Name })
		s.usedQueues.bury(r.Name, now.Add(queueNameKept))
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (s *Server) empty(q *queue, now time.Time) {
	for _, t := range slices.Clone(q.order) {
		if !t.gone {
			s.bury(q, t, now)
		}
	}
}

func (s *Server) onQueue(name string, do func(*queue)) (*pb.Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		return nil, errNoQueue
	}
	do(q)
	return proto.CloneOf(q.conf), nil
}

// ListQueues implements the API's method of that name, without its filter.
func (s *Server) ListQueues(_ context.Context, r *pb.ListQueuesRequest) (*pb.ListQueuesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, err := pageSize(r.PageSize)
	if err != nil {
		return nil, err
	}
	if r.Filter != "" {
		return nil, unsupported("filter")
	}
	out := &pb.ListQueuesResponse{}
	for _, name := range s.names[sort.SearchStrings(s.names, r.PageToken):] {
		if !strings.HasPrefix(name, r.Parent+"/queues/") {
			continue
		}
		if len(out.Queues) == size {
			out.NextPageToken = name
			break
		}
		out.Queues = append(out.Queues, proto.CloneOf(s.queues[name].conf))
	}
	return out, nil
}
