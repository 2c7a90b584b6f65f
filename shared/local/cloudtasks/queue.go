package cloudtasks

import (
	"container/heap"
	"math"
	"sort"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/proto"
)

// retention is how long a task lives, "regardless of whether it was dispatched or not".
const retention = 31 * 24 * time.Hour

// queue is one queue and its tasks. The server's lock guards it.
type queue struct {
	conf     *pb.Queue
	tasks    map[string]*task // by name
	order    []*task          // as created; those gone are left out by compact
	waiting  byTime           // those not under way
	underWay int              // dispatches
	bucket   bucket
}

type task struct {
	pb         *pb.Task // never handed out; see view
	seq        uint64   // order of creation
	place      int      // in waiting, -1 when not there
	underWay   int      // dispatches; more than one when forced to run
	named      bool     // by its creator
	executions int      // responses other than 5xx
	previous   int      // HTTP status of the latest response, 0 when there is none
	gone       bool     // done, deleted, purged or given up
}

// view is a copy for callers. BASIC leaves the payload out.
func (t *task) view(v pb.Task_View) *pb.Task {
	c := proto.CloneOf(t.pb)
	c.View = pb.Task_FULL
	if v != pb.Task_FULL {
		c.View = pb.Task_BASIC
		c.GetHttpRequest().Body = nil
	}
	return c
}

func newQueue(conf *pb.Queue, now time.Time) *queue {
	q := &queue{conf: conf, tasks: map[string]*task{}}
	q.bucket = newBucket(conf.RateLimits, now)
	return q
}

func (q *queue) add(t *task) {
	q.tasks[t.pb.Name] = t
	q.order = append(q.order, t)
	q.wait(t)
}

func (q *queue) wait(t *task) { heap.Push(&q.waiting, t) }

// remove forgets the task. One under way stays so, but its outcome no longer matters.
func (q *queue) remove(t *task) {
	t.gone = true
	delete(q.tasks, t.pb.Name)
	if t.place >= 0 {
		heap.Remove(&q.waiting, t.place)
	}
	if len(q.order) > 64 && len(q.order) > 2*len(q.tasks) {
		q.compact()
	}
}

func (q *queue) compact() {
	alive := make([]*task, 0, len(q.tasks))
	for _, t := range q.order {
		if !t.gone {
			alive = append(alive, t)
		}
	}
	q.order = alive
}

// after returns up to n tasks created after the one numbered seq, and whether there are more.
func (q *queue) after(seq uint64, n int) (page []*task, more bool) {
	from := sort.Search(len(q.order), func(i int) bool { return q.order[i].seq > seq })
	for _, t := range q.order[from:] {
		if t.gone {
			continue
		}
		if len(page) == n {
			return page, true
		}
		page = append(page, t)
	}
	return page, false
}

// open tells whether the queue would dispatch a task that is due.
func (q *queue) open() bool {
	return q.conf.State == pb.Queue_RUNNING && q.underWay < int(q.conf.RateLimits.MaxConcurrentDispatches)
}

func (q *queue) nextDue(now time.Time) (time.Time, bool) {
	if !q.open() || len(q.waiting) == 0 {
		return time.Time{}, false
	}
	due := q.waiting[0].pb.ScheduleTime.AsTime()
	if due.Before(now) {
		due = now
	}
	return q.bucket.ready(due), true
}

// take removes the next due task from the waiting ones, if the queue's limits let one go. overtakes decides whether
// the one behind it goes first.
func (q *queue) take(now time.Time, overtakes func() bool) *task {
	due := func() bool { return len(q.waiting) > 0 && !q.waiting[0].pb.ScheduleTime.AsTime().After(now) }
	for due() && now.Sub(q.waiting[0].pb.CreateTime.AsTime()) >= retention {
		q.remove(q.waiting[0])
	}
	if !q.open() || !due() || !q.bucket.take(now) {
		return nil
	}
	t := heap.Pop(&q.waiting).(*task)
	if due() && overtakes() {
		first := t
		t = heap.Pop(&q.waiting).(*task)
		heap.Push(&q.waiting, first)
	}
	return t
}

// byTime is a heap of tasks: the earliest schedule time first, and of equals the one created first.
type byTime []*task

func (h byTime) Len() int { return len(h) }

func (h byTime) Less(i, j int) bool {
	if c := h[i].pb.ScheduleTime.AsTime().Compare(h[j].pb.ScheduleTime.AsTime()); c != 0 {
		return c < 0
	}
	return h[i].seq < h[j].seq
}

func (h byTime) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *byTime) Push(x any) {
	t := x.(*task)
	t.place = len(*h)
	*h = append(*h, t)
}

func (h *byTime) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = -1
	return t
}

// bucket is the token bucket of a queue's rate, as the comment of RateLimits.max_burst_size describes it.
type bucket struct {
	rate   float64 // tokens per second
	burst  float64
	tokens float64
	at     time.Time // when tokens was right
}

func newBucket(l *pb.RateLimits, now time.Time) bucket {
	return bucket{rate: l.MaxDispatchesPerSecond, burst: float64(l.MaxBurstSize), tokens: float64(l.MaxBurstSize), at: now}
}

func (b *bucket) change(l *pb.RateLimits, now time.Time) {
	b.refill(now)
	b.rate, b.burst = l.MaxDispatchesPerSecond, float64(l.MaxBurstSize)
	b.tokens = min(b.tokens, b.burst)
}

// almostOne forgives the rounding of many small refills.
const almostOne = 1 - 1e-6

func (b *bucket) refill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.burst, b.tokens+d.Seconds()*b.rate)
		b.at = now
	}
}

func (b *bucket) take(now time.Time) bool {
	b.refill(now)
	if b.tokens < almostOne {
		return false
	}
	b.tokens--
	return true
}

// ready is the first instant, not before t, at which tokens are worth looking for: at high rates they come in slices
// of 20 ms, so that a very full queue does not stop the clock for every single task.
func (b *bucket) ready(t time.Time) time.Time {
	b2 := *b
	b2.refill(t)
	if b2.tokens >= almostOne {
		return t
	}
	want := min(b.burst, max(1, b.rate/50))
	wait := time.Duration(math.Ceil((want-b2.tokens)/b.rate*1e6)) * time.Microsecond
	return t.Add(wait)
}

// tombstones remember names that were used, for a time that is the same for all of a kind.
type tombstones struct {
	until map[string]time.Time
	line  []string // in the order in which they end
}

func (g *tombstones) bury(name string, until time.Time) {
	g.until[name] = until
	g.line = append(g.line, name)
}

func (g *tombstones) has(name string, now time.Time) bool {
	for len(g.line) > 0 && !g.until[g.line[0]].After(now) {
		delete(g.until, g.line[0])
		g.line = g.line[1:]
	}
	return g.until[name].After(now)
}
