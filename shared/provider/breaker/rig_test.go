package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

var epoch = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)

// bubble runs a test where no time passes while there is something to do, so that a busy machine makes nobody late.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// hand is a clock that is moved by hand.
type hand struct {
	mu sync.Mutex
	at time.Time
}

func newHand() *hand { return &hand{at: epoch} }

func (h *hand) now() time.Time { return h.skewed(0)() }

func (h *hand) skewed(by time.Duration) func() time.Time {
	return func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.at.Add(by)
	}
}

func (h *hand) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

var errAway = errors.New("the store is away")

// trouble is what a line does instead of its work.
type trouble int

const (
	none trouble = iota
	failing
	hanging
	slow // half a second late
	slower
	contended
)

// line is a store that counts what it is asked, and that can be cut.
type line struct {
	control.Store
	reads, writes atomic.Int64

	mu            sync.Mutex
	onGet, onPost trouble
}

func newLine() *line { return &line{Store: control.NewMemory()} }

func (l *line) cut(get, post trouble) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onGet, l.onPost = get, post
}

func (t trouble) strike(ctx context.Context) error {
	switch t {
	case failing:
		return errAway
	case hanging:
		<-ctx.Done()
		return ctx.Err()
	case slow:
		<-time.After(time.Second / 2)
		return nil
	case slower:
		<-time.After(3 * time.Second / 2)
		return nil
	case contended:
		return fmt.Errorf("%w: %w", control.ErrContended, context.DeadlineExceeded)
	default:
		return nil
	}
}

func (l *line) Get(ctx context.Context, path string) (control.Document, error) {
	l.reads.Add(1)
	l.mu.Lock()
	t := l.onGet
	l.mu.Unlock()
	if err := t.strike(ctx); err != nil {
		return nil, err
	}
	return l.Store.Get(ctx, path)
}

func (l *line) Change(ctx context.Context, path string, change func(control.Document) (control.Document, error)) error {
	l.writes.Add(1)
	l.mu.Lock()
	t := l.onPost
	l.mu.Unlock()
	if err := t.strike(ctx); err != nil {
		return err
	}
	return l.Store.Change(ctx, path, change)
}

func instance(store control.Store, now func() time.Time) *breaker.Breaker {
	return breaker.New(breaker.Options{Provider: "stripe", Store: store, Now: now, NewID: id.Source{Now: now}.New})
}

func instances(n int, store control.Store, now func() time.Time) []*breaker.Breaker {
	var all []*breaker.Breaker
	for range n {
		all = append(all, instance(store, now))
	}
	return all
}

// call makes a call that must be allowed.
func call(t *testing.T, b *breaker.Breaker, v breaker.Verdict, took time.Duration) {
	t.Helper()
	allowed(t, b).Done(t.Context(), v, took)
}

func calls(t *testing.T, b *breaker.Breaker, n int, v breaker.Verdict) {
	t.Helper()
	for range n {
		call(t, b, v, time.Millisecond)
	}
}

// trip opens the circuit by calls.
func trip(t *testing.T, b *breaker.Breaker) {
	t.Helper()
	calls(t, b, 10, breaker.Failed)
}

func allowed(t *testing.T, b *breaker.Breaker) breaker.Permit {
	t.Helper()
	p, refused := b.Ask(t.Context())
	if refused != nil {
		t.Fatalf("refused: %+v", *refused)
	}
	return p
}

func refused(t *testing.T, b *breaker.Breaker) breaker.Refusal {
	t.Helper()
	_, r := b.Ask(t.Context())
	if r == nil {
		t.Fatal("allowed")
	}
	return *r
}

func show(t *testing.T, store control.Store) breaker.Circuit {
	t.Helper()
	c, err := breaker.Show(t.Context(), store, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func is(t *testing.T, c breaker.Circuit, s breaker.State, generation int64) {
	t.Helper()
	if c.State != s || c.Generation != generation {
		t.Errorf("%v of generation %d, want %v of %d: %+v", c.State, c.Generation, s, generation, c)
	}
}
