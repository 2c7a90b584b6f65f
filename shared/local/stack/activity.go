package stack

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
)

// activity counts requests from their beginning to the return of their handler, which is later than their answer:
// functions publish what they committed after they have answered.
type activity struct {
	mu    sync.Mutex
	now   Activity
	quiet chan struct{} // closed when InFlight falls to 0
}

// Activity is how busy a host is. As long as Begun stays the same, nothing new has begun.
type Activity struct {
	InFlight int    `json:"in_flight"`
	Begun    uint64 `json:"begun"`
}

func (a *activity) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now.InFlight == 0 {
		a.quiet = make(chan struct{})
	}
	a.now.InFlight++
	a.now.Begun++
}

func (a *activity) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now.InFlight--; a.now.InFlight == 0 {
		close(a.quiet)
	}
}

func (a *activity) read() Activity {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// wait returns when there was a moment without requests.
func (a *activity) wait(ctx context.Context) error {
	a.mu.Lock()
	n, quiet := a.now.InFlight, a.quiet
	a.mu.Unlock()
	if n == 0 {
		return nil
	}
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Host) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.activity.begin()
		defer h.activity.end()
		next.ServeHTTP(w, r)
	})
}

func (h *Host) admin(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /activity", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h.activity.read())
	})
	mux.HandleFunc("POST /quiesce", func(w http.ResponseWriter, r *http.Request) {
		if h.activity.wait(r.Context()) == nil {
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}
