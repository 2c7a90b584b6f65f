// Package pubsubpush is Pub/Sub in one process, push delivery included: a gRPC server that the real client publishes
// to, and a driver that pushes to HTTP endpoints when the test clock says so.
//
// Topics and pull subscriptions are those of pstest, Google's own fake. Pull goes by real time, since pstest drops what
// is ten minutes old and an advance of the test clock would make it so. Push is ours, since pstest has none and gets
// retries and dead letters wrong: the wrapped body of https://cloud.google.com/pubsub/docs/push, a signed ID token, one
// outstanding message per ordering key, backoff by the test clock, and a dead letter that is forwarded once.
//
// It is for tests and the local stack and never linked into a deployed function. Everything is in memory.
package pubsubpush

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	pb "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
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
	Token func(email, audience string) string // signs the ID tokens of pushes
	Wake  func()                              // called when a push may have become due: (*clock.Clock).Wake
	Chaos Chaos

	// Transport sends the pushes; the default is one of the server's own.
	Transport http.RoundTripper
}

// Chaos makes the server misbehave as the product may. A rate of 0 is never, of n one time in n.
type Chaos struct {
	Seed           uint64
	DuplicateOneIn int // a message that was acknowledged is pushed once more, past the order of its key
	ReorderOneIn   int // a message is overtaken by the next, of its key or of another
}

// Server is a Pub/Sub. It takes part in a test clock as a clock.Participant.
type Server struct {
	now    func() time.Time
	token  func(email, audience string) string
	wake   func()
	chaos  Chaos
	client *http.Client

	addr   string
	grpc   *grpc.Server
	pstest *pstest.Server
	ctx    context.Context // ends with Close; pushes under way live in it
	cancel context.CancelFunc
	pushes sync.WaitGroup

	mu     sync.Mutex // never held while a push is sent: what receives it publishes
	subs   []*subscription
	seq    uint64
	random *rand.Rand
	down   bool // an outage
	closed bool
}

var _ clock.Participant = (*Server)(nil)

// New starts a server on a free port of loopback.
func New(o Options) (*Server, error) {
	if o.Now == nil || o.Token == nil {
		return nil, errors.New("pubsubpush: Now and Token are required")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("pubsubpush: %w", err)
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}
	}
	s := &Server{
		now: o.Now, token: o.Token, wake: o.Wake, chaos: o.Chaos,
		client: &http.Client{
			Transport:     o.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		addr:   l.Addr().String(),
		pstest: pstest.NewServer(),
		random: rand.New(rand.NewPCG(o.Chaos.Seed, 0)),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// pstest's services are served a second time, here, where calls can be refused and publishing listened to.
	s.grpc = grpc.NewServer(grpc.UnaryInterceptor(s.refuseCall), grpc.StreamInterceptor(s.refuseStream))
	pb.RegisterPublisherServer(s.grpc, publisher{&s.pstest.GServer, s})
	pb.RegisterSubscriberServer(s.grpc, subscriber{&s.pstest.GServer})
	go func() { _ = s.grpc.Serve(l) }() // it ends with Close, and its error is that it did
	return s, nil
}

// Addr is the host and port that the gRPC server listens at, as for PUBSUB_EMULATOR_HOST.
func (s *Server) Addr() string { return s.addr }

// ClientOptions make pubsub.NewClient talk to this server.
func (s *Server) ClientOptions() []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(s.addr),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// CreateTopic makes a topic, such as projects/demo/topics/payment-events.
func (s *Server) CreateTopic(ctx context.Context, name string) error {
	_, err := s.pstest.GServer.CreateTopic(ctx, &pb.Topic{Name: name})
	return err
}

// Close stops the server, breaks off the pushes under way and waits for them to end.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.grpc.Stop()
	_ = s.pstest.Close()
	s.pushes.Wait()
	s.client.CloseIdleConnections()
}

// Stop begins an outage: every call fails with UNAVAILABLE and nothing is pushed. Messages are kept.
func (s *Server) Stop() { s.setDown(true) }

// Start ends an outage.
func (s *Server) Start() { s.setDown(false) }

func (s *Server) setDown(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
	s.wake()
}

func (s *Server) available() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return status.Error(codes.Unavailable, "The service was unable to fulfill your request.")
	}
	return nil
}

func (s *Server) refuseCall(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := s.available(); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

func (s *Server) refuseStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := s.available(); err != nil {
		return err
	}
	return handle(srv, stream)
}

// NextDue implements clock.Participant.
func (s *Server) NextDue() (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.closed {
		return time.Time{}, false
	}
	for _, u := range s.subs {
		if due, has := u.nextDue(); has && (!ok || due.Before(next)) {
			next, ok = due, true
		}
	}
	return next, ok
}

// RunDue implements clock.Participant: it pushes what is due, each subscription within its limits.
func (s *Server) RunDue(ctx context.Context) error { return clock.Drain(ctx, s.claim) }

func (s *Server) claim() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.closed {
		return nil
	}
	now := s.now()
	var work []func()
	for _, u := range s.subs {
		for l := u.take(now, s.reorder); l != nil; l = u.take(now, s.reorder) {
			s.pushes.Add(1)
			d := l.line[0]
			d.attempt++
			attempt := d.attempt
			work = append(work, func() {
				defer s.pushes.Done()
				acked := s.push(u, d, attempt)
				s.finish(u, l, acked)
				s.wake()
			})
		}
	}
	return work
}

// Backlog is the number of messages of a subscription, by its full name, that are not acknowledged.
func (s *Server) Backlog(subscription string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, u := range s.subs {
		if u.Name == subscription {
			n += u.backlog
		}
	}
	return n
}

func (s *Server) oneIn(n int) bool { return n > 0 && s.random.IntN(n) == 0 }

func (s *Server) reorder() bool { return s.oneIn(s.chaos.ReorderOneIn) }
