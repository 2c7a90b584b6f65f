package chaos

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// simulator is what the simulated providers have in common.
type simulator interface {
	http.Handler
	SetPlan(providersim.Plan) error
	Inject(providersim.Rule) error
	SetCredentials(...string)
	OnHang(func())
	EffectsFor(key, value string) []providersim.Effect
	Effects() []providersim.Effect
	Counters() map[string]int64
	NextDue() (time.Time, bool)
	RunDue(context.Context) int
	Quiesce(context.Context) error
	Close()
}

// host is one provider on a network in memory. Every request has a connection of its own,
// takes some simulated time, and is answered when all that it set off is done.
type host struct {
	simulator
	name, base string
	pass       func(time.Duration) // lets simulated time go by
	rand       *rand.Rand          // how long requests take

	away bool          // connections are refused
	slow time.Duration // added to every request

	server   *http.Server
	incoming pipes

	mu     sync.Mutex
	client net.Conn // of the latest request
}

// pipes is a net.Listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   *sync.Once
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func newHost(name, base string, sim simulator, seed uint64, pass func(time.Duration)) *host {
	h := &host{
		simulator: sim, name: name, base: base, pass: pass, rand: rand.New(rand.NewPCG(seed, 0x6c6174656e6379)),
		incoming: pipes{make(chan net.Conn), make(chan struct{}), new(sync.Once)},
	}
	h.server = &http.Server{Handler: http.HandlerFunc(h.serve)}
	h.server.SetKeepAlivesEnabled(false) // whether a connection is refused must not depend on an older one
	sim.OnHang(h.giveUp)
	go func() { _ = h.server.Serve(h.incoming) }() // ends with close
	return h
}

func (h *host) close() {
	h.simulator.Close()
	_ = h.server.Close()
}

// dial connects to the host, whatever the address.
func (h *host) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	if h.away {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	client, server := net.Pipe()
	select {
	case h.incoming.conns <- server:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.mu.Lock()
	h.client = client
	h.mu.Unlock()
	return client, nil
}

// giveUp has the caller of a request that hangs run out of patience, when all that the
// request set off is done.
func (h *host) giveUp() {
	h.quiet()
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.client.SetReadDeadline(time.Unix(1, 0)) // a pipe has deadlines
}

func (h *host) quiet() { _ = h.Quiesce(context.Background()) }

// serve answers a request some simulated time after it was sent. The answer leaves when
// the provider is quiet, so that what its webhooks say never comes beside it.
func (h *host) serve(w http.ResponseWriter, r *http.Request) {
	h.pass(time.Duration(1+h.rand.IntN(40))*time.Millisecond + h.slow)
	held := &heldAnswer{header: w.Header()}
	h.simulator.ServeHTTP(held, r)
	h.quiet()
	held.send(w)
}

// heldAnswer keeps what a handler answers, or does to its connection, for later.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
	torn   *tornConn
}

func (a *heldAnswer) Header() http.Header { return a.header }

func (a *heldAnswer) WriteHeader(status int) { a.status = status }

func (a *heldAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }

// Hijack gives a connection that is written to and closed later.
func (a *heldAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.torn = &tornConn{}
	return a.torn, bufio.NewReadWriter(bufio.NewReader(a.torn), bufio.NewWriter(a.torn)), nil
}

// tornConn keeps what is written to it. Nothing else of it is used but Close.
type tornConn struct {
	net.Conn
	written bytes.Buffer
}

func (c *tornConn) Write(b []byte) (int, error) { return c.written.Write(b) }

func (*tornConn) Read([]byte) (int, error) { return 0, io.EOF }

func (*tornConn) Close() error { return nil }

func (a *heldAnswer) send(w http.ResponseWriter) {
	if a.torn == nil {
		if a.status != 0 {
			w.WriteHeader(a.status)
		}
		_, _ = w.Write(a.body.Bytes())
		return
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = conn.Write(a.torn.written.Bytes())
	_ = conn.Close()
}
