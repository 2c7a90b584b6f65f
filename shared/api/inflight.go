package api

import (
	"context"
	"sync"
)

// inFlight counts requests. A sync.WaitGroup would not do: requests may begin while
// wait waits.
type inFlight struct {
	mu   sync.Mutex
	n    int
	all  uint64        // that ever began
	none chan struct{} // closed when n falls to 0
}

func (f *inFlight) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all++
	if f.n++; f.n == 1 {
		f.none = make(chan struct{})
	}
}

func (f *inFlight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 {
		close(f.none)
	}
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *inFlight) begun() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all
}

// wait returns when no request is in flight, or when ctx ends.
func (f *inFlight) wait(ctx context.Context) {
	for {
		f.mu.Lock()
		n, none := f.n, f.none
		f.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-none:
		case <-ctx.Done():
			return
		}
	}
}
