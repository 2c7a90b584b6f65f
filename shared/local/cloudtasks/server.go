// Package cloudtasks is Cloud Tasks in one process: a gRPC server that the real client (cloud.google.com/go/cloudtasks)
// talks to, and a dispatcher that sends the tasks' requests when the test clock says so.
//
// It keeps what the product promises and what it does not: tasks are delivered at least once and in no order, a name
// that was used cannot be used again for a day, a task that used up its attempts is gone without a trace. Limits of
// size, time and rate are refused or kept as documented at https://cloud.google.com/tasks/docs/quotas and in the API's
// own comments, which the comments here quote. What the product has and Tollgate does not use (App Engine tasks,
// OAuth tokens, queue-level targets, batches, IAM, CMEK) is refused, never ignored.
//
// It is for tests and the local stack and never linked into a deployed function. Everything is in memory.
package cloudtasks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/local/clock"
)

// Options configure a Server. Now and Token are required.
type Options struct {
	Now   func() time.Time
	Token func(email, audience string) string // signs the ID tokens of tasks that ask for one
	Wake  func()                              // called when a task may have become due: (*clock.Clock).Wake
	Chaos Chaos

	// Transport sends the tasks' requests; the default is one of the server's own.
	Transport http.RoundTripper
}

// Chaos makes the server use the freedom that the product has.
type Chaos struct {
	Seed       uint64
	TwiceOneIn int  // one dispatch in this many is sent twice, at once or after its success; 0 is never
	OutOfOrder bool // a due task may be overtaken by the next
}

// Server is a Cloud Tasks. It takes part in a test clock as a clock.Participant.
type Server struct {
	pb.UnimplementedCloudTasksServer

	now    func() time.Time
	token  func(email, audience string) string
	wake   func()
	chaos  Chaos
	client *http.Client

	addr     string
	grpc     *grpc.Server
	ctx      context.Context // ends with Close; attempts under way live in it
	cancel   context.CancelFunc
	attempts sync.WaitGroup

	mu     sync.Mutex // never held while a request is sent: what answers it creates tasks
	queues map[string]*queue
	names  []string // of the queues, sorted
	seq    uint64   // of the latest task
	random *rand.Rand
	down   bool // an outage
	closed bool

	usedTasks, usedQueues tombstones
}

var _ clock.Participant = (*Server)(nil)

// New starts a server on a free port of loopback.
func New(o Options) (*Server, error) {
	if o.Now == nil || o.Token == nil {
		return nil, errors.New("cloudtasks: Now and Token are required")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cloudtasks: %w", err)
	}
	s := newServer(o)
	s.addr = l.Addr().String()
	go func() { _ = s.grpc.Serve(l) }() // it ends with Close, and its error is that it did
	return s, nil
}

func newServer(o Options) *Server {
	if o.Wake == nil {
		o.Wake = func() {}
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}
	}
	s := &Server{
		now: o.Now, token: o.Token, wake: o.Wake, chaos: o.Chaos,
		client: &http.Client{
			Transport: o.Transport,
			// The product "may" follow a redirect; a handler that needs it to is not to be relied on.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		queues:     map[string]*queue{},
		usedTasks:  tombstones{until: map[string]time.Time{}},
		usedQueues: tombstones{until: map[string]time.Time{}},
		random:     rand.New(rand.NewPCG(o.Chaos.Seed, 0)),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(grpc.UnaryInterceptor(s.refuseDuringOutage))
	pb.RegisterCloudTasksServer(s.grpc, s)
	return s
}

// Addr is the host and port that the gRPC server listens at.
func (s *Server) Addr() string { return s.addr }

// ClientOptions make cloudtasks.NewClient talk to this server.
func (s *Server) ClientOptions() []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(s.addr),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// Close stops the server, breaks off the requests under way and waits for them to end.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.grpc.Stop()
	s.attempts.Wait()
	s.client.CloseIdleConnections()
}

// Stop begins an outage: every call fails with UNAVAILABLE and nothing is dispatched. Tasks are kept.
func (s *Server) Stop() { s.setDown(true) }

// Start ends an outage.
func (s *Server) Start() { s.setDown(false) }

func (s *Server) setDown(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
	s.wake()
}

func (s *Server) refuseDuringOutage(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		return nil, status.Error(codes.Unavailable, "The service is currently unavailable.")
	}
	return handle(ctx, req)
}

// NextDue implements clock.Participant.
func (s *Server) NextDue() (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.closed {
		return time.Time{}, false
	}
	now := s.now()
	for _, name := range s.names {
		if due, has := s.queues[name].nextDue(now); has && (!ok || due.Before(next)) {
			next, ok = due, true
		}
	}
	return next, ok
}

// RunDue implements clock.Participant: it dispatches what is due, each queue within its limits.
func (s *Server) RunDue(ctx context.Context) error { return clock.Drain(ctx, s.claim) }

func (s *Server) claim() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.closed {
		return nil
	}
	now := s.now()
	var work []func()
	for _, name := range s.names {
		q := s.queues[name]
		for t := q.take(now, s.overtakes); t != nil; t = q.take(now, s.overtakes) {
			a := s.begin(q, t, now)
			work = append(work, func() { s.run(a) })
		}
	}
	return work
}

func (s *Server) overtakes() bool { return s.chaos.OutOfOrder && s.random.IntN(2) == 0 }

// Pending lists the tasks of a queue that are not done, by their schedule time, whole.
func (s *Server) Pending(queue string) []*pb.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[queue]
	if q == nil {
		return nil
	}
	pending := make([]*pb.Task, 0, len(q.tasks))
	for _, t := range q.order {
		if !t.gone {
			pending = append(pending, t.view(pb.Task_FULL))
		}
	}
	slices.SortStableFunc(pending, func(a, b *pb.Task) int {
		return a.ScheduleTime.AsTime().Compare(b.ScheduleTime.AsTime())
	})
	return pending
}

// Len is the number of tasks of a queue that are not done.
func (s *Server) Len(queue string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[queue]; q != nil {
		return len(q.tasks)
	}
	return 0
}
