package api

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Lifecycle is what a function has beside its requests: what must be well before the
// first of them and for more of them, and what is closed after the last. Its parts
// register as they are opened. It is safe for concurrent use, and nil is one without
// parts, which registers nothing.
type Lifecycle struct {
	mu       sync.Mutex
	checks   []*registered
	closers  []closer
	draining atomic.Bool
}

// Check is one thing that a function's health depends on.
type Check struct {
	Name  string // in answers, logs and metrics; no secret
	Probe Probe  // which asks for it

	// Optional is what the function goes on without, degraded.
	Optional bool

	// Within bounds Do, which ends when its context does. One that is under way serves
	// all who ask in the meantime.
	Within time.Duration
	Do     func(context.Context) error
}

type registered struct {
	Check
	flight singleflight.Group
	bad    atomic.Bool // as it was found last
}

type closer struct {
	name  string
	close func(context.Context) error
}

// Check has a probe look at one more thing.
func (l *Lifecycle) Check(c Check) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks = append(l.checks, &registered{Check: c})
}

// Closes has a part closed when no request needs it any more.
func (l *Lifecycle) Closes(name string, close func(context.Context) error) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, closer{name, close})
}

// Close closes the parts, the last opened first, until ctx ends, and returns their names
// in that order. A part that fails or does not end keeps no other from being closed; it
// is logged. Closing twice is harmless.
func (l *Lifecycle) Close(ctx context.Context, log *slog.Logger) (closed []string) {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	parts := l.closers
	l.closers = nil
	l.mu.Unlock()
	for i := len(parts) - 1; i >= 0; i-- {
		if err := bounded(ctx, parts[i].close); err != nil {
			log.WarnContext(ctx, "not closed", "part", parts[i].name, "error", err)
			continue
		}
		closed = append(closed, parts[i].name)
	}
	return closed
}

// bounded runs do until it ends or ctx does. What does not heed ctx is left to itself.
func bounded(ctx context.Context, do func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- contained(ctx, do) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// contained turns a panic into an error.
func contained(ctx context.Context, do func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do(ctx)
}

// of lists the checks of a probe.
func (l *Lifecycle) of(p Probe) []*registered {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []*registered
	for _, c := range l.checks {
		if c.Probe == p {
			found = append(found, c)
		}
	}
	return found
}

// look has the thing checked, or joins who has it checked just now, and waits as long as
// ctx. The check itself goes on past that: a connection that is being made is there for
// the next to ask.
func (c *registered) look(ctx context.Context) error {
	flight := c.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Within)
		defer cancel()
		return nil, contained(ctx, c.Do)
	})
	select {
	case r := <-flight:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}
