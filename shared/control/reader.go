package control

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// How old a reading may be, by the injected clock, and how long it is waited for, by the machine's.
const (
	freshFor  = time.Second            // it is used, and nothing is done about its age
	usableFor = 2 * time.Second        // it is used, while the next one is fetched
	maxWait   = 200 * time.Millisecond // past that, the next one is waited for this long
	maxFlight = 2 * time.Second        // a fetch that takes longer has failed
)

// A Reading is what a document was at some time.
type Reading[T any] struct {
	Value   T         // the zero T before anything was read
	At      time.Time // when it was asked for: the document is no older. Zero before anything was read
	Version uint64    // greater for a reading that was asked for later
	Silent  time.Time // since when the store has not answered; zero while it does
}

// Reader keeps the latest reading of one document for all the requests of an instance.
//
// While the store answers, no reading is more than 2 s old, and nobody waits for one that is younger. When it does
// not, a request waits 200 ms for it, once: from then on all are served what there is, however old, while one fetch a
// second tries in the background, until one succeeds.
//
// A fetch started by one request may end in another one's time, or be cut off: an instance between requests is frozen.
// It never wedges the reader, for it ends 2 s after it began.
type Reader[T any] struct {
	store Store
	path  string
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	last    Reading[T]
	begun   uint64        // numbers fetches and changes as they begin
	flight  chan struct{} // closed when the fetch under way ends; nil when there is none
	started time.Time     // when the latest fetch began
}

// NewReader reads the document at path, which is a T as JSON. log may be nil.
func NewReader[T any](store Store, path string, now func() time.Time, log *slog.Logger) *Reader[T] {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Reader[T]{store: store, path: path, now: now, log: log}
}

// Get returns the latest reading. It does not fail; At tells how much it is worth.
func (r *Reader[T]) Get(ctx context.Context) Reading[T] {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var late <-chan time.Time
	for {
		age, silent := r.last.age(now), !r.last.Silent.IsZero()
		if age >= freshFor && r.flight == nil && !(silent && since(r.started, now) < freshFor) {
			r.fetch(ctx, now)
		}
		if age < usableFor || silent {
			return r.last
		}
		if late == nil {
			timer := time.NewTimer(maxWait)
			defer timer.Stop()
			late = timer.C
		}
		if !r.wait(ctx, late) {
			return r.last
		}
		// The fetch may have begun long ago, before the instance was frozen: then its reading is too old as well.
	}
}

// wait waits for the fetch under way, with mu held but for that time, and tells whether it ended.
func (r *Reader[T]) wait(ctx context.Context, late <-chan time.Time) bool {
	flight := r.flight
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-flight:
		return true
	case <-ctx.Done(): // the caller's end says nothing about the store
		return false
	case <-late:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.flight == flight {
			r.fails(ctx, context.DeadlineExceeded)
		}
		return false
	}
}

// age is the time since the reading. Requests read the clock at about the same time, in any order; but where it was
// set back, a reading is as good as none.
func (r Reading[T]) age(now time.Time) time.Duration {
	if r.At.IsZero() || r.At.Sub(now) > freshFor {
		return usableFor
	}
	return max(now.Sub(r.At), 0)
}

func since(t, now time.Time) time.Duration {
	if t.Sub(now) > freshFor {
		return freshFor
	}
	return max(now.Sub(t), 0)
}

// fetch starts a read, with mu held.
func (r *Reader[T]) fetch(ctx context.Context, now time.Time) {
	r.begun++
	r.started = now
	number, flight := r.begun, make(chan struct{})
	r.flight = flight
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxFlight)
	go func() {
		defer cancel()
		var v T
		doc, err := r.store.Get(ctx, r.path)
		if err == nil {
			err = Decode(doc, &v)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		defer close(flight)
		r.flight = nil
		if err != nil {
			r.fails(ctx, err)
			return
		}
		r.works(ctx)
		r.keep(number, now, v)
	}()
}

// keep takes a value unless one was kept that was begun later: what is older must not hide what this instance itself
// has just written.
func (r *Reader[T]) keep(number uint64, at time.Time, v T) {
	if number > r.last.Version {
		r.last.Value, r.last.At, r.last.Version = v, at, number
	}
}

func (r *Reader[T]) fails(ctx context.Context, err error) {
	if r.last.Silent.IsZero() {
		r.last.Silent = r.started
		r.log.WarnContext(ctx, "the control plane does not answer; going on with what was last read",
			"document", r.path, "read_at", r.last.At, "error", err)
	}
}

func (r *Reader[T]) works(ctx context.Context) {
	if !r.last.Silent.IsZero() {
		r.last.Silent = time.Time{}
		r.log.InfoContext(ctx, "the control plane answers again", "document", r.path)
	}
}

// Change changes the document as Store.Change does, and makes what it became the latest reading. It lasts as long as
// ctx allows.
func (r *Reader[T]) Change(ctx context.Context, change func(T) (T, error)) (Reading[T], error) {
	now := r.now()
	r.mu.Lock()
	r.begun++
	number := r.begun
	r.mu.Unlock()
	after, err := Change(ctx, r.store, r.path, change)
	if err != nil {
		return Reading[T]{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(number, now, after)
	return Reading[T]{Value: after, At: now, Version: number}, nil
}

// Change changes a document that is a T as JSON, and returns what it became. change is given the zero T when there is
// no document.
func Change[T any](ctx context.Context, store Store, path string, change func(T) (T, error)) (T, error) {
	var after, none T
	err := store.Change(ctx, path, func(d Document) (Document, error) {
		var before T
		if err := Decode(d, &before); err != nil {
			return nil, err
		}
		var err error
		if after, err = change(before); err != nil {
			return nil, err
		}
		return Encode(after)
	})
	if err != nil {
		return none, err
	}
	return after, nil
}
