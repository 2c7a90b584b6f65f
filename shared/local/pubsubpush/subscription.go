package pubsubpush

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"time"
)

// Subscription is a push subscription. Name, Topic and Endpoint are required; the rest has the product's defaults.
type Subscription struct {
	Name     string // projects/PROJECT/subscriptions/ID
	Topic    string // projects/PROJECT/topics/ID
	Endpoint string

	ServiceAccount string // email of the token's account; without it no token is sent
	Audience       string // default: the endpoint

	Ordered     bool          // messages of one ordering key are pushed one after the other
	AckDeadline time.Duration // real time for the endpoint to answer, 10 s (the default) to 600 s
	// MinBackoff and MaxBackoff are the retry policy, 0 to 600 s. With neither set, the product's own push backoff
	// applies: 100 ms, doubling to 60 s. With one set the other is 10 s or 600 s.
	MinBackoff, MaxBackoff time.Duration

	DeadLetterTopic string            // must exist
	MaxAttempts     int               // before a message is forwarded there, 5 (the default) to 100
	Filter          map[string]string // attributes that a message must have, or it is dropped
	Retention       time.Duration     // of messages that are not acknowledged; default 7 days
	MaxOutstanding  int               // pushes at once; default 32
}

var (
	subscriptionName = regexp.MustCompile(`^projects/[^/]+/subscriptions/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
	topicName        = regexp.MustCompile(`^projects/[^/]+/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
)

// Subscribe adds a push subscription. It gets what is published from now on.
func (s *Server) Subscribe(ctx context.Context, sub Subscription) error {
	sub.setDefaults()
	if err := sub.check(); err != nil {
		return fmt.Errorf("pubsubpush: subscription %s: %w", sub.Name, err)
	}
	for _, topic := range []string{sub.Topic, sub.DeadLetterTopic} {
		if topic == "" {
			continue
		}
		if err := s.accepts(ctx, topic); err != nil {
			return fmt.Errorf("pubsubpush: subscription %s: %w", sub.Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.subs {
		if u.Name == sub.Name {
			return fmt.Errorf("pubsubpush: subscription %s exists", sub.Name)
		}
	}
	s.subs = append(s.subs, &subscription{Subscription: sub, lanes: map[string]*lane{}})
	return nil
}

func (u *Subscription) setDefaults() {
	u.Audience = cmp.Or(u.Audience, u.Endpoint)
	u.AckDeadline = cmp.Or(u.AckDeadline, 10*time.Second)
	if u.MinBackoff == 0 && u.MaxBackoff == 0 {
		u.MinBackoff, u.MaxBackoff = 100*time.Millisecond, time.Minute
	}
	u.MinBackoff = cmp.Or(u.MinBackoff, min(10*time.Second, u.MaxBackoff))
	u.MaxBackoff = cmp.Or(u.MaxBackoff, 600*time.Second)
	if u.DeadLetterTopic != "" {
		u.MaxAttempts = cmp.Or(u.MaxAttempts, 5)
	}
	u.Retention = cmp.Or(u.Retention, 7*24*time.Hour)
	u.MaxOutstanding = cmp.Or(u.MaxOutstanding, 32)
}

func (u *Subscription) check() error {
	endpoint, err := url.Parse(u.Endpoint)
	switch {
	case err != nil || endpoint.Host == "":
		return fmt.Errorf("endpoint %q is not a URL", u.Endpoint)
	case !subscriptionName.MatchString(u.Name):
		return errors.New("the name must be projects/PROJECT/subscriptions/ID")
	case !topicName.MatchString(u.Topic):
		return fmt.Errorf("topic %q must be projects/PROJECT/topics/ID", u.Topic)
	case u.AckDeadline < 10*time.Second || u.AckDeadline > 600*time.Second:
		return errors.New("the ack deadline must be 10 s to 600 s")
	case u.MinBackoff < 0 || u.MaxBackoff > 600*time.Second || u.MinBackoff > u.MaxBackoff:
		return errors.New("the backoff must be 0 to 600 s, the shortest first")
	case (u.MaxAttempts == 0) != (u.DeadLetterTopic == ""):
		return errors.New("a dead-letter topic and a number of attempts go together")
	case u.MaxAttempts != 0 && (u.MaxAttempts < 5 || u.MaxAttempts > 100):
		return errors.New("the attempts before a dead letter must be 5 to 100")
	case u.Retention < 10*time.Minute || u.Retention > 31*24*time.Hour:
		return errors.New("the retention must be 10 minutes to 31 days")
	case u.MaxOutstanding < 1:
		return errors.New("at least one push must be possible")
	}
	return nil
}

// backoff is the wait after the attempt numbered n, from 1.
func (u *Subscription) backoff(n int) time.Duration {
	wait := float64(u.MinBackoff) * math.Pow(2, float64(n-1))
	return time.Duration(min(wait, float64(u.MaxBackoff)))
}

// subscription is one with its messages. The server's lock guards it.
type subscription struct {
	Subscription
	lanes    map[string]*lane // by ordering key, of those that have messages
	waiting  byDue            // lanes with no push under way
	underWay int
	backlog  int
}

// lane is a line of messages that are pushed one after the other: those of an ordering key, or a single one.
type lane struct {
	key  string
	line []*delivery
	due  time.Time // when the first may be pushed
	seq  uint64
}

// delivery is one message on its way to one subscription.
type delivery struct {
	message   *message
	attempt   int
	duplicate bool
}

func (u *subscription) wants(m *message) bool {
	for k, v := range u.Filter {
		if got, ok := m.attributes[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (u *subscription) add(m *message, seq uint64, now time.Time) {
	u.backlog++
	d := &delivery{message: m}
	if l := u.lanes[m.key]; l != nil && m.key != "" {
		l.line = append(l.line, d)
		return
	}
	l := &lane{line: []*delivery{d}, due: now, seq: seq}
	if u.Ordered && m.key != "" {
		l.key = m.key
		u.lanes[m.key] = l
	}
	heap.Push(&u.waiting, l)
}

func (u *subscription) nextDue() (time.Time, bool) {
	if len(u.waiting) == 0 || u.underWay >= u.MaxOutstanding {
		return time.Time{}, false
	}
	return u.waiting[0].due, true
}

// take removes the lane whose first message is due from the waiting ones. reorder decides whether something goes
// first that should not.
func (u *subscription) take(now time.Time, reorder func() bool) *lane {
	for u.underWay < u.MaxOutstanding && len(u.waiting) > 0 && !u.waiting[0].due.After(now) {
		l := heap.Pop(&u.waiting).(*lane)
		if now.Sub(l.line[0].message.published) >= u.Retention {
			u.drop(l, now)
			continue
		}
		switch {
		case len(l.line) > 1 && reorder():
			l.line[0], l.line[1] = l.line[1], l.line[0]
		case len(u.waiting) > 0 && !u.waiting[0].due.After(now) && reorder():
			first := l
			l = heap.Pop(&u.waiting).(*lane)
			heap.Push(&u.waiting, first)
		}
		u.underWay++
		return l
	}
	return nil
}

// drop removes the first message of a lane that is not waiting; the next may go at once.
func (u *subscription) drop(l *lane, now time.Time) {
	u.backlog--
	l.line[0] = nil
	l.line = l.line[1:]
	if len(l.line) > 0 {
		u.wait(l, now)
		return
	}
	if u.lanes[l.key] == l {
		delete(u.lanes, l.key)
	}
}

func (u *subscription) wait(l *lane, due time.Time) {
	l.due = due
	heap.Push(&u.waiting, l)
}

// byDue is a heap of lanes: the earliest due first, and of equals the one whose first message is older.
type byDue []*lane

func (h byDue) Len() int { return len(h) }

func (h byDue) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].seq < h[j].seq
}

func (h byDue) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *byDue) Push(x any) { *h = append(*h, x.(*lane)) }

func (h *byDue) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}
