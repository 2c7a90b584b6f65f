package guard

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// busyRetry is when to try again while all places are taken: they are freed call by call.
const busyRetry = time.Second

// insideKey finds the place that a context has at a guard. A place is at one guard: a
// payment that goes on at another provider needs one there.
type insideKey struct{ guard *Guard }

// Enter takes a place, for the calls made with inside until leave is called. A context
// that has one already needs no other, and while the circuit is open nobody does: the
// calls that hang are what opened it, and who comes now is to hear of that and not of
// full places.
func (g *Guard) Enter(ctx context.Context) (inside context.Context, leave func(), ok bool) {
	inside, leave, ok = g.take(ctx)
	if !ok {
		if ok = g.shut(ctx) != nil; !ok {
			g.o.Metrics.BulkheadFull(ctx, g.Name())
		}
	}
	return inside, leave, ok
}

func (g *Guard) take(ctx context.Context) (inside context.Context, leave func(), ok bool) {
	if g.inside(ctx) {
		return ctx, func() {}, true
	}
	select {
	case g.places <- struct{}{}:
	default:
		return ctx, func() {}, false
	}
	held := new(atomic.Bool)
	held.Store(true)
	return context.WithValue(ctx, insideKey{g}, held), sync.OnceFunc(func() {
		held.Store(false) // what still has the context must take a place of its own
		<-g.places
	}), true
}

func (g *Guard) inside(ctx context.Context) bool {
	held, ok := ctx.Value(insideKey{g}).(*atomic.Bool)
	return ok && held.Load()
}

func (g *Guard) full() *refusal {
	return &refusal{fmt.Sprintf("all %d places for calls to %s are taken in this instance", cap(g.places), g.Name()), busyRetry}
}
