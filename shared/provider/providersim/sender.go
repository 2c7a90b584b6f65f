package providersim

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	hookTimeout     = 20 * time.Second   // of real time, for one attempt
	hookRetryPeriod = 3 * 24 * time.Hour // Stripe retries for up to three days
	hookParallel    = 16                 // attempts under way at once
	firstHookRetry  = time.Minute        // tripled by each attempt
	longestHookWait = 12 * time.Hour
)

// hook is one event on its way to the receiver.
type hook struct {
	lane     string // events of one lane are sent one after another: a payment
	event    string // its type
	payload  []byte
	created  time.Time
	attempts int
}

// sender posts events to the receiver. Events of one payment go out in order,
// those of different payments side by side; a failed attempt is put on the
// agenda and does not hold up the ones behind it.
type sender struct {
	rig    *rig
	client *http.Client
	sign   func(payload []byte, at time.Time) http.Header
	slots  chan struct{}
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	url    string
	lanes  map[string][]*hook // present while a goroutine works the lane
	held   map[string][]heldHook
	closed bool
}

// heldHook waits for the next event of its lane, or for its time to come.
type heldHook struct {
	hook *hook
	item *dueItem
}

func newSender(g *rig, c rigConfig) *sender {
	s := &sender{
		rig: g, client: c.http, sign: c.sign, url: c.url,
		slots: make(chan struct{}, hookParallel),
		lanes: map[string][]*hook{}, held: map[string][]heldHook{},
	}
	if s.client == nil {
		s.client = &http.Client{
			Transport:     http.DefaultTransport.(*http.Transport).Clone(),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		s.client.Transport.(*http.Transport).MaxIdleConnsPerHost = hookParallel
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

func (s *sender) setURL(url string) {
	s.mu.Lock()
	s.url = url
	s.mu.Unlock()
}

func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	s.client.CloseIdleConnections()
}

// send starts an event on its way, unless there is no receiver, through whatever
// faults the plan has for it.
func (s *sender) send(h hook, metadata map[string]string) {
	s.mu.Lock()
	deaf := s.url == "" || s.closed
	s.mu.Unlock()
	if deaf {
		return
	}
	var lose, reorder bool
	var delay, hold time.Duration
	copies := 1
	for _, f := range s.rig.planner.pickAll(subject{
		operation: Webhook, event: h.event,
		metadata: func() map[string]string { return metadata },
	}) {
		s.rig.strikes(f)
		switch f.Kind {
		case WebhookLose:
			lose = true
		case WebhookDuplicate:
			copies += f.Copies
		case WebhookDelay:
			delay += f.For
		case WebhookReorder:
			reorder, hold = true, f.For
		}
	}
	if lose {
		return
	}
	for range copies {
		each := h
		switch {
		case delay > 0:
			s.rig.schedule(s.rig.now().Add(delay), func() { s.queue(&each) })
		case reorder:
			s.hold(&each, hold)
		default:
			s.queue(&each)
		}
	}
}

// hold keeps an event back until the lane's next event has been queued.
func (s *sender) hold(h *hook, longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := s.rig.schedule(s.rig.now().Add(longest), func() { s.release(h) })
	s.held[h.lane] = append(s.held[h.lane], heldHook{hook: h, item: item})
}

// release queues a held event whose time has come without a next one.
func (s *sender) release(h *hook) {
	s.mu.Lock()
	waiting := s.held[h.lane]
	found := false
	for i := range waiting {
		if waiting[i].hook == h {
			waiting = append(waiting[:i:i], waiting[i+1:]...)
			found = true
			break
		}
	}
	s.setHeld(h.lane, waiting)
	s.mu.Unlock()
	if found {
		s.queue(h)
	}
}

func (s *sender) setHeld(lane string, waiting []heldHook) {
	if len(waiting) == 0 {
		delete(s.held, lane)
		return
	}
	s.held[lane] = waiting
}

// queue puts an event, and those held back for it, at the end of its lane.
func (s *sender) queue(h *hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	behind := []*hook{h}
	for _, held := range s.held[h.lane] {
		s.rig.cancel(held.item)
		behind = append(behind, held.hook)
	}
	delete(s.held, h.lane)
	for range behind {
		s.rig.busy.begin()
	}
	lane, working := s.lanes[h.lane]
	s.lanes[h.lane] = append(lane, behind...)
	if !working {
		s.wg.Add(1)
		go s.work(h.lane)
	}
}

// work sends a lane's events until there are no more.
func (s *sender) work(lane string) {
	defer s.wg.Done()
	for {
		s.mu.Lock()
		queue := s.lanes[lane]
		if len(queue) == 0 {
			delete(s.lanes, lane)
			s.mu.Unlock()
			return
		}
		s.lanes[lane] = queue[1:]
		s.mu.Unlock()

		s.slots <- struct{}{}
		s.attempt(queue[0])
		<-s.slots
		s.rig.busy.end()
	}
}

func (s *sender) attempt(h *hook) {
	s.mu.Lock()
	url := s.url
	s.mu.Unlock()
	if url == "" || s.ctx.Err() != nil {
		return
	}
	h.attempts++
	s.rig.count("webhook.attempts")
	if s.post(url, h) {
		s.rig.count("webhook.delivered")
		return
	}
	if s.ctx.Err() != nil {
		return
	}
	s.rig.count("webhook.failed")
	at := s.rig.now().Add(hookBackoff(h.attempts))
	if at.After(h.created.Add(hookRetryPeriod)) {
		s.rig.count("webhook.abandoned")
		return
	}
	s.rig.schedule(at, func() { s.queue(h) })
}

func (s *sender) post(url string, h *hook) bool {
	ctx, cancel := context.WithTimeout(s.ctx, hookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(h.payload))
	if err != nil {
		return false
	}
	req.Header = s.sign(h.payload, s.rig.now())
	resp, err := s.client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	return resp.StatusCode >= 200 && resp.StatusCode < 300
}

// hookBackoff is how long to wait after the nth failed attempt: 1, 3, 9, 27, 81
// minutes, 4 hours, then every 12. Stripe says only that it backs off
// exponentially.
func hookBackoff(n int) time.Duration {
	wait := firstHookRetry
	for range n - 1 {
		if wait *= 3; wait >= longestHookWait {
			return longestHookWait
		}
	}
	return wait
}
