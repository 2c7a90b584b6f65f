package webhooks

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// An ailment is what is wrong with an endpoint.
type ailment int32

const (
	well   ailment = iota
	hangs          // takes requests, and answers none
	resets         // breaks connections off
)

// shops are all merchants' endpoints: they keep a diary together.
type shops struct {
	mu      sync.Mutex
	events  map[string]*entry // by webhook-id
	wrong   int               // requests that were not signed as they must be, or were no events
	strange string            // what was wrong with one of them
}

// An entry is what was received of an event.
type entry struct {
	First     time.Time
	Times     int
	PaymentID string
	Sequence  int64
}

func newShops() *shops { return &shops{events: map[string]*entry{}} }

// endpoint is a merchant's server, at a port of its own: connections are counted by host and port.
type endpoint struct {
	URL    string
	all    *shops
	now    func() time.Time
	secret atomic.Pointer[string]
	ill    atomic.Int32
	server *http.Server
}

func (s *shops) open(now func() time.Time) (*endpoint, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("an endpoint: %w", err)
	}
	e := &endpoint{URL: "http://" + l.Addr().String() + "/webhooks", all: s, now: now}
	e.trust("")
	e.server = &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = e.server.Serve(l) }() // it ends with close
	return e, nil
}

func (e *endpoint) close() { _ = e.server.Close() }

// trust sets the secret, whsec_….
func (e *endpoint) trust(secret string) { e.secret.Store(&secret) }

// become has the endpoint well or ill from now on.
func (e *endpoint) become(a ailment) { e.ill.Store(int32(a)) }

// ServeHTTP implements http.Handler.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	at := e.now()
	switch ailment(e.ill.Load()) {
	case hangs:
		<-r.Context().Done()
		return
	case resets:
		breakOff(w)
		return
	}
	got := shop.Verify(*e.secret.Load(), r.Header, body, at)
	if e.all.write(got) {
		w.WriteHeader(http.StatusNoContent)
	} else {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// breakOff ends the connection with a reset.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, is := conn.(*net.TCPConn); is {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// write notes what came, and reports whether it was in order.
func (s *shops) write(got shop.Webhook) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if got.Err != nil {
		s.wrong++
		s.strange = got.Err.Error()
		return false
	}
	e := s.events[got.ID]
	if e == nil {
		e = &entry{First: got.At, PaymentID: got.PaymentID, Sequence: got.Sequence}
		s.events[got.ID] = e
	}
	e.Times++
	return true
}

// of is what was received of an event.
func (s *shops) of(webhookID string) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.events[webhookID]; e != nil {
		return *e, true
	}
	return entry{}, false
}

// count is how many events were received, how many requests more than that, and how many were not in order.
func (s *shops) count() (events, repeats, wrong int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		repeats += e.Times - 1
	}
	return len(s.events), repeats, s.wrong
}

// received is how many events were, cheaply.
func (s *shops) received() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}
