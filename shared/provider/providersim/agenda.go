package providersim

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda holds what is to happen at a later simulated time. It has no timers:
// whoever owns the clock steps it.
type agenda struct {
	now func() time.Time

	mu    sync.Mutex
	items dueItems
	seq   uint64

	// running is held while due items run, so that a request that arrives
	// meanwhile finds the state as of its own time.
	running sync.Mutex
}

type dueItem struct {
	at    time.Time
	seq   uint64 // ties run in the order they were made
	run   func()
	index int // in the heap; -1 once it ran or was cancelled
}

func (a *agenda) schedule(at time.Time, run func()) *dueItem {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	item := &dueItem{at: at, seq: a.seq, run: run}
	heap.Push(&a.items, item)
	return item
}

// cancel forgets an item. It reports false when the item has begun to run, or is
// nil: items check for themselves whether they still apply.
func (a *agenda) cancel(item *dueItem) bool {
	if item == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if item.index < 0 {
		return false
	}
	heap.Remove(&a.items, item.index)
	return true
}

// NextDue returns when the next thing happens by itself: an authorization
// expires, a refund settles, a late success applies, a webhook is sent again.
// It reports false when nothing is waiting.
func (a *agenda) NextDue() (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.items) == 0 {
		return time.Time{}, false
	}
	return a.items[0].at, true
}

// RunDue does everything that is due by the clock, in order of time, and
// returns how many things that were. Webhooks are handed to the sender; Quiesce
// waits for them. Every API request runs what is due before it is looked at, so
// calling RunDue matters only for what must happen with no request coming in.
func (a *agenda) RunDue(ctx context.Context) int {
	a.running.Lock()
	defer a.running.Unlock()
	n := 0
	for ctx.Err() == nil {
		item := a.pop()
		if item == nil {
			break
		}
		item.run()
		n++
	}
	return n
}

func (a *agenda) pop() *dueItem {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.items) == 0 || a.items[0].at.After(now) {
		return nil
	}
	return heap.Pop(&a.items).(*dueItem)
}

type dueItems []*dueItem

func (d dueItems) Len() int { return len(d) }
func (d dueItems) Less(i, j int) bool {
	if !d[i].at.Equal(d[j].at) {
		return d[i].at.Before(d[j].at)
	}
	return d[i].seq < d[j].seq
}

func (d dueItems) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *dueItems) Push(x any) {
	item := x.(*dueItem)
	item.index = len(*d)
	*d = append(*d, item)
}

func (d *dueItems) Pop() any {
	old := *d
	item := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	item.index = -1
	return item
}
