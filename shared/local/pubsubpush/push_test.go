package pubsubpush

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2"
	pb "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/local/clock"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sub  Subscription
		want string
	}{
		{Subscription{}, "m@0s m@100ms m@300ms m@700ms m@1.5s m@3.1s"},
		{Subscription{MinBackoff: time.Second, MaxBackoff: 3 * time.Second}, "m@0s m@1s m@3s m@6s m@9s m@12s"},
		{Subscription{MinBackoff: time.Minute}, "m@0s m@1m0s m@3m0s m@7m0s m@15m0s m@25m0s"},
	} {
		st := newStand(t, Chaos{})
		st.subscribe(t, c.sub)
		var n atomic.Int32
		st.respond = func(received) int {
			if n.Add(1) < 6 {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		}
		st.publish(t, msg("m", ""))
		st.advance(t, time.Hour)
		if got := st.story(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
		if got := st.pushes()[5].Push.DeliveryAttempt; got != 0 {
			t.Errorf("delivery attempt %d without a dead-letter policy", got)
		}
	}
}

func TestOrderThroughThePublisherOfTheClient(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{Ordered: true})
	p := st.client.Publisher(events)
	t.Cleanup(p.Stop)
	p.EnableMessageOrdering = true
	const n = 200
	var results []*pubsub.PublishResult
	for i := range n {
		results = append(results, p.Publish(t.Context(), &pubsub.Message{Data: fmt.Appendf(nil, "%03d", i), OrderingKey: fmt.Sprint("key", i%7)}))
	}
	for _, r := range results {
		if _, err := r.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	st.advance(t, 0)
	last := map[string]string{}
	for _, r := range st.pushes() {
		if key := r.Push.Message.OrderingKey; r.data() <= last[key] {
			t.Errorf("%s: %s after %s", key, r.data(), last[key])
		} else {
			last[key] = r.data()
		}
	}
	if got := len(st.pushes()); got != n {
		t.Errorf("%d of %d pushed", got, n)
	}
}

// Whatever fails, the messages of one key arrive in order, a later one only once those before it are acknowledged;
// and another key does not wait.
func TestOrderPerKey(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{Ordered: true, MinBackoff: time.Second, MaxBackoff: time.Second})
	var mu sync.Mutex
	failed := map[string]int{}
	st.respond = func(r received) int {
		mu.Lock()
		defer mu.Unlock()
		if failed[r.data()]++; strings.HasPrefix(r.data(), "a") && failed[r.data()] <= 2 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	st.publish(t, msg("a1", "a"), msg("a2", "a"), msg("b1", "b"), msg("a3", "a"), msg("b2", "b"))
	st.advance(t, time.Minute)
	var a, b []string
	for _, s := range strings.Fields(st.story()) {
		if s[0] == 'a' {
			a = append(a, s)
		} else {
			b = append(b, s)
		}
	}
	if diff := cmp.Diff("a1@0s a1@1s a1@2s a2@2s a2@3s a2@4s a3@4s a3@5s a3@6s", strings.Join(a, " ")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("b1@0s b2@0s", strings.Join(b, " ")); diff != "" {
		t.Error(diff)
	}
}

func TestOneOutstandingPerKeyAndManyKeysAtOnce(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{Ordered: true, MaxOutstanding: 4})
	var mu sync.Mutex
	outstanding := map[string]int{}
	most := 0
	four := make(chan struct{})
	st.respond = func(r received) int {
		mu.Lock()
		outstanding[r.Push.Message.OrderingKey]++
		if n := outstanding[r.Push.Message.OrderingKey]; n > 1 {
			t.Errorf("%d outstanding of one key", n)
		}
		now := 0
		for _, n := range outstanding {
			now += n
		}
		if most = max(most, now); now == 4 {
			select {
			case <-four:
			default:
				close(four)
			}
		}
		mu.Unlock()
		<-four
		mu.Lock()
		outstanding[r.Push.Message.OrderingKey]--
		mu.Unlock()
		return http.StatusOK
	}
	var messages []*pb.PubsubMessage
	for i := range 60 {
		messages = append(messages, msg(fmt.Sprint(i), fmt.Sprint("key", i%6)))
	}
	st.publish(t, messages...)
	st.advance(t, 0)
	if most != 4 || len(st.pushes()) != 60 {
		t.Errorf("at most %d at once, %d pushes", most, len(st.pushes()))
	}
}

func TestDeadLetterOnce(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{Ordered: true, DeadLetterTopic: deadTopic, MaxAttempts: 5, MinBackoff: time.Second, MaxBackoff: time.Second})
	st.subscribe(t, Subscription{Name: notify + "-dead", Topic: deadTopic, Endpoint: st.url + "/dead"})
	pull := "projects/demo/subscriptions/dead-pull"
	_, err := st.client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pb.Subscription{Name: pull, Topic: deadTopic, AckDeadlineSeconds: 10})
	if err != nil {
		t.Fatal(err)
	}
	st.respond = func(r received) int {
		if r.data() == "poison" && r.Push.Subscription == notify {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	}
	poison := msg("poison", "k")
	poison.Attributes = map[string]string{"kind": "captured"}
	st.publish(t, poison, msg("next", "k"))
	st.advance(t, 24*time.Hour)

	var dead []received
	var attempts []int
	for _, r := range st.pushes() {
		if r.Push.Subscription != notify {
			dead = append(dead, r)
		} else if r.data() == "poison" {
			attempts = append(attempts, r.Push.DeliveryAttempt)
		}
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4, 5}, attempts); diff != "" {
		t.Errorf("delivery attempts: %s", diff)
	}
	if len(dead) != 1 || st.Backlog(notify) != 0 {
		t.Fatalf("%d dead letters, backlog %d; %s", len(dead), st.Backlog(notify), st.story())
	}
	want := map[string]string{
		"kind": "captured",
		"CloudPubSubDeadLetterSourceDeliveryCount":       "5",
		"CloudPubSubDeadLetterSourceSubscription":        "notifymerchant",
		"CloudPubSubDeadLetterSourceSubscriptionProject": "demo",
		"CloudPubSubDeadLetterSourceTopicPublishTime":    "2026-03-01T09:00:00.123456Z",
	}
	if diff := cmp.Diff(want, dead[0].Push.Message.Attributes); diff != "" {
		t.Error(diff)
	}
	if m := st.pullOne(t, pull); string(m.Data) != "poison" || m.OrderingKey != "k" || !maps.Equal(m.Attributes, want) {
		t.Errorf("pulled %v", m)
	}
	if !strings.Contains(st.story(), "next@4s") {
		t.Errorf("the next message waits: %s", st.story())
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{Filter: map[string]string{"kind": "captured"}})
	for _, kind := range []string{"captured", "refunded"} {
		m := msg(kind, "")
		m.Attributes = map[string]string{"kind": kind}
		st.publish(t, m)
	}
	st.publish(t, msg("none", ""))
	st.advance(t, 0)
	if got := st.story(); got != "captured@0s" || st.Backlog(notify) != 0 {
		t.Errorf("pushed %s, backlog %d", got, st.Backlog(notify))
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{MinBackoff: 10 * time.Minute, MaxBackoff: 10 * time.Minute, Retention: time.Hour})
	st.respond = func(received) int { return http.StatusInternalServerError }
	st.publish(t, msg("m", ""))
	st.advance(t, 24*time.Hour)
	if n := len(st.pushes()); n != 6 || st.Backlog(notify) != 0 {
		t.Errorf("%d pushes in an hour, backlog %d", n, st.Backlog(notify))
	}
}

func TestEndpointThatIsNotThere(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	var down atomic.Bool
	down.Store(true)
	st.Server.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if down.Load() {
			return nil, fmt.Errorf("connection refused")
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	st.subscribe(t, Subscription{})
	st.publish(t, msg("m", ""))
	st.advance(t, 40*time.Hour)
	down.Store(false)
	st.advance(t, time.Minute)
	if n := len(st.pushes()); n != 1 || st.Backlog(notify) != 0 {
		t.Errorf("%d pushes, backlog %d", n, st.Backlog(notify))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAckDeadline(t *testing.T) {
	t.Parallel()
	// Only the push itself runs on the bubble's fake time, where 20 s are no wait: a server would listen outside it.
	synctest.Test(t, func(t *testing.T) {
		s := &Server{ctx: t.Context(), client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done() // the endpoint never answers
			return nil, r.Context().Err()
		})}}
		u := &subscription{Subscription: Subscription{Endpoint: "http://endpoint.invalid", AckDeadline: 20 * time.Second}}
		began := time.Now()
		if s.push(u, &delivery{message: &message{}}, 1) {
			t.Error("acknowledged without an answer")
		}
		if waited := time.Since(began); waited != 20*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestFlowingClockPushesByItself(t *testing.T) {
	t.Parallel()
	c := clock.NewFlowing(epoch)
	got := make(chan string)
	s, err := New(Options{
		Now: c.Now, Wake: c.Wake, Token: func(string, string) string { return "" },
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			got <- r.URL.Path
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c.Register(s)
	if err := s.CreateTopic(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(t.Context(), Subscription{Name: notify, Topic: events, Endpoint: "http://endpoint.invalid/x"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		_ = c.Run(ctx)
		close(stopped)
	}()
	for range 3 {
		if _, err := (publisher{&s.pstest.GServer, s}).Publish(ctx, &pb.PublishRequest{Topic: events, Messages: []*pb.PubsubMessage{{Data: []byte("m")}}}); err != nil {
			t.Fatal(err)
		}
		<-got
	}
	cancel()
	<-stopped
}

// BenchmarkPush is a message's way from the real client's publish to its acknowledged push, over loopback.
func BenchmarkPush(b *testing.B) {
	st := newStand(b, Chaos{})
	st.subscribe(b, Subscription{Ordered: true})
	p := st.client.Publisher(events)
	b.Cleanup(p.Stop)
	p.EnableMessageOrdering = true
	b.ResetTimer()
	var results []*pubsub.PublishResult
	for i := range b.N {
		results = append(results, p.Publish(b.Context(), &pubsub.Message{
			Data: []byte("a payment event of ordinary length"), OrderingKey: fmt.Sprint("pay", i%500),
		}))
	}
	for _, r := range results {
		if _, err := r.Get(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	st.advance(b, 0)
	if n := len(st.pushes()); n != b.N {
		b.Fatalf("%d of %d pushed", n, b.N)
	}
}
