package guard

import (
	"context"
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// health tells the breaker of one call: once when it has become slow and is still under
// way, and when it ended.
type health struct {
	timer *time.Timer // nil without a breaker

	mu     sync.Mutex
	permit breaker.Permit
	ended  bool
}

func (g *Guard) watch(ctx context.Context, permit breaker.Permit) *health {
	h := &health{permit: permit}
	if g.o.Breaker != nil {
		h.timer = time.AfterFunc(g.o.Breaker.Slow(), func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.ended {
				h.permit = h.permit.Overdue(ctx)
			}
		})
	}
	return h
}

func (h *health) done(ctx context.Context, v breaker.Verdict, took time.Duration) {
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.permit.Done(ctx, v, took)
}
