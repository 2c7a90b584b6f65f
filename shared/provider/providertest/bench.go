package providertest

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// patience is a timeout that a busy machine does not reach. What is to time out gets a
// context that ends.
const patience = time.Minute

// start is when a bench's clock begins.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// returnURL is where payers come back to.
const returnURL = "https://shop.example/back"

// Bench is an adapter before one account, with a receiver of its webhooks and a clock.
type Bench struct {
	*Account
	Adapter provider.Adapter
	Base    string // where the simulator is reached

	// Wrap, if set before a call, stands between the suite and the adapter.
	Wrap func(provider.Adapter) provider.Adapter

	t       testing.TB
	subject Subject
	real    func() time.Time // the time of a provider's sandbox; nil before a simulator
	hear    Receiver

	mu     sync.Mutex
	at     time.Time
	events []provider.Event
	sent   []Sent
	number uint64 // of the last id
	pages  map[string]string
}

// Sent is a request as the simulator received it.
type Sent struct {
	Line   string // method, path and query
	Key    string
	Body   string
	Secret string // what it was let in with
}

// New opens a simulated account and puts the subject's adapter before it.
func New(t testing.TB, s Subject) *Bench {
	t.Helper()
	b := &Bench{t: t, subject: s, at: start, pages: map[string]string{}}
	b.Account = s.Open(b.Now)
	t.Cleanup(b.Close)
	server := httptest.NewServer(http.HandlerFunc(b.record))
	t.Cleanup(server.Close)
	b.Base = server.URL
	b.Adapter = b.Deploy(b.Credential, "")
	var err error
	if b.hear, err = b.Receiver(b.Base, b.Adapter); err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewServer(http.HandlerFunc(b.receive))
	t.Cleanup(receiver.Close)
	b.SetWebhook(receiver.URL)
	return b
}

// Deploy makes another adapter, as a deployment does.
func (b *Bench) Deploy(credential, account string) provider.Adapter {
	b.t.Helper()
	a, err := b.Account.Adapter(b.Base, credential, account)
	if err != nil {
		b.t.Fatal(err)
	}
	if c, ok := a.(interface{ Close() }); ok {
		b.t.Cleanup(c.Close)
	}
	return a
}

// record keeps what is sent, and passes it on.
func (b *Bench) record(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/_sim/") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller has gone
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		key := r.Header.Get("Idempotency-Key") + r.Header.Get("PayPal-Request-Id")
		b.mu.Lock()
		b.sent = append(b.sent, Sent{Line: r.Method + " " + r.URL.RequestURI(), Key: key, Body: string(body), Secret: r.Header.Get("Authorization")})
		b.mu.Unlock()
	}
	b.ServeHTTP(w, r)
}

// Sent returns the requests so far, those of webhooks' receivers for certificates among
// them.
func (b *Bench) Sent() []Sent {
	b.t.Helper()
	b.quiet()
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Sent(nil), b.sent...)
}

// receive takes a webhook as ingestion does.
func (b *Bench) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	events, err := b.hear(r.Header, body)
	if err != nil {
		b.t.Errorf("webhook %s: %v", body, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.events = append(b.events, events...)
	b.mu.Unlock()
}

// Heard waits for the webhooks under way and returns the events of one payment, in the
// order in which they came: those that name it, and those that name one of its objects.
func (b *Bench) Heard(payment id.ID) []provider.Event {
	b.t.Helper()
	b.quiet()
	b.mu.Lock()
	defer b.mu.Unlock()
	objects := map[string]bool{}
	for _, e := range b.events {
		if e.PaymentID == payment {
			objects[e.Reference], objects[e.ObjectID] = true, true
			for _, f := range e.Facts {
				objects[f.ObjectID] = true
			}
		}
	}
	var events []provider.Event
	for _, e := range b.events {
		if e.PaymentID == payment || e.PaymentID.IsZero() && e.Reference != "" && objects[e.Reference] {
			events = append(events, e)
		}
	}
	return events
}

// Now is the bench's time.
func (b *Bench) Now() time.Time {
	if b.real != nil {
		return b.real()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

func (b *Bench) quiet() {
	b.t.Helper()
	if err := b.Quiesce(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// Advance moves the clock, stopping wherever something is due, and lets the webhooks
// arrive at each stop, so that none comes too old. A sandbox's time is its own.
func (b *Bench) Advance(d time.Duration) {
	b.t.Helper()
	if b.real != nil {
		return
	}
	for end := b.Now().Add(d); ; {
		b.quiet()
		due, waiting := b.NextDue()
		if !waiting || due.After(end) {
			due = end
		}
		b.mu.Lock()
		b.at = due
		b.mu.Unlock()
		b.RunDue(b.t.Context())
		if due.Equal(end) {
			b.quiet()
			return
		}
	}
}

// NewID makes an id with the bench's time in it, and the same ones in every run, but for
// a sandbox, which remembers the last run.
func (b *Bench) NewID() id.ID {
	if b.real != nil {
		return id.Source{Now: b.real}.New()
	}
	b.mu.Lock()
	b.number++
	n := b.number
	b.mu.Unlock()
	return id.Source{Now: b.Now, Read: func(p []byte) (int, error) {
		clear(p)
		binary.BigEndian.PutUint64(p[len(p)-8:], n)
		return len(p), nil
	}}.New()
}

// gone is a context that ends, as by a deadline, when it is told to.
type gone struct {
	context.Context
	once sync.Once
	done chan struct{}
}

// ending makes a context that ends when a request hangs: a timeout without the time.
func (b *Bench) ending(ctx context.Context) context.Context {
	g := &gone{Context: ctx, done: make(chan struct{})}
	b.OnHang(func() { g.once.Do(func() { close(g.done) }) })
	return g
}

func (g *gone) Done() <-chan struct{} { return g.done }

func (g *gone) Err() error {
	select {
	case <-g.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
