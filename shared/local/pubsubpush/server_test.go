package pubsubpush

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	pb "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/googleapis/gax-go/v2"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/local/clock"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // what the client libraries leave behind
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
	)
}

const (
	events    = "projects/demo/topics/payment-events"
	deadTopic = "projects/demo/topics/payment-events-dead"
	notify    = "projects/demo/subscriptions/notifymerchant"
)

var epoch = time.Date(2026, 3, 1, 9, 0, 0, 123456000, time.UTC)

// stand is a server with the real client, a frozen clock that drives it, and an endpoint that it pushes to.
type stand struct {
	*Server
	client *pubsub.Client
	clock  *clock.Clock
	url    string // of the endpoint

	mu      sync.Mutex
	got     []received
	respond func(received) int
}

type received struct {
	After  time.Duration // since epoch
	Header http.Header
	Raw    string
	Push   wrapped
}

func (r received) data() string { return string(r.Push.Message.Data) }

func newStand(t testing.TB, chaos Chaos) *stand {
	t.Helper()
	st := &stand{clock: clock.NewFrozen(epoch), respond: func(received) int { return http.StatusNoContent }}
	endpoint := httptest.NewServer(http.HandlerFunc(st.receive))
	t.Cleanup(endpoint.Close)
	st.url = endpoint.URL
	var err error
	st.Server, err = New(Options{
		Now:   st.clock.Now,
		Wake:  st.clock.Wake,
		Token: func(email, audience string) string { return email + " for " + audience },
		Chaos: chaos,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	st.clock.Register(st.Server)
	for _, topic := range []string{events, deadTopic} {
		if err := st.CreateTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	st.client, err = pubsub.NewClient(t.Context(), "demo", st.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.client.Close() })
	return st
}

func (st *stand) receive(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	got := received{After: st.clock.Now().Sub(epoch), Header: r.Header, Raw: string(raw)}
	if err := json.Unmarshal(raw, &got.Push); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	st.mu.Lock()
	st.got = append(st.got, got)
	respond := st.respond
	st.mu.Unlock()
	w.WriteHeader(respond(got))
}

func (st *stand) pushes() []received {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]received(nil), st.got...)
}

// story is what was pushed when, as text.
func (st *stand) story() string {
	var s []string
	for _, r := range st.pushes() {
		s = append(s, r.data()+"@"+r.After.String())
	}
	return strings.Join(s, " ")
}

func (st *stand) subscribe(t testing.TB, sub Subscription) {
	t.Helper()
	if sub.Name == "" {
		sub.Name = notify
	}
	if sub.Topic == "" {
		sub.Topic = events
	}
	if sub.Endpoint == "" {
		sub.Endpoint = st.url + "/push"
	}
	if err := st.Subscribe(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
}

// publish sends the messages as one request, so that their order is known.
func (st *stand) publish(t testing.TB, messages ...*pb.PubsubMessage) []string {
	t.Helper()
	resp, err := st.client.TopicAdminClient.Publish(t.Context(), &pb.PublishRequest{Topic: events, Messages: messages}, noRetry...)
	if err != nil {
		t.Fatal(err)
	}
	return resp.MessageIds
}

var noRetry = []gax.CallOption{gax.WithRetry(nil)}

func msg(data, key string) *pb.PubsubMessage {
	return &pb.PubsubMessage{Data: []byte(data), OrderingKey: key}
}

func (st *stand) advance(t testing.TB, d time.Duration) {
	t.Helper()
	if err := st.clock.Advance(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestPushedRequest(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{ServiceAccount: "push@demo", Audience: "https://notify.example"})
	ids := st.publish(t, &pb.PubsubMessage{Data: []byte("hello"), Attributes: map[string]string{"kind": "captured"}, OrderingKey: "pay_1"})
	st.advance(t, 0)

	got := st.pushes()
	if len(got) != 1 || st.Backlog(notify) != 0 {
		t.Fatalf("%d pushes, backlog %d", len(got), st.Backlog(notify))
	}
	want := `{"message":{"attributes":{"kind":"captured"},"data":"aGVsbG8=","messageId":"` + ids[0] + `","message_id":"` + ids[0] +
		`","orderingKey":"pay_1","publishTime":"2026-03-01T09:00:00.123Z","publish_time":"2026-03-01T09:00:00.123Z"},"subscription":"` + notify + `"}`
	if got[0].Raw != want {
		t.Errorf("body\n%s\nwant\n%s", got[0].Raw, want)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "CloudPubSub-Google", "Authorization": "Bearer push@demo for https://notify.example",
	} {
		if v := got[0].Header.Get(name); v != value {
			t.Errorf("%s: %q", name, v)
		}
	}
}

func TestWhatAcknowledges(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{})
	for code, acks := range map[int]bool{200: true, 201: true, 202: true, 204: true, 203: false, 206: false, 302: false, 400: false, 404: false, 429: false, 500: false} {
		st.respond = func(received) int { return code }
		st.publish(t, msg("m", ""))
		st.advance(t, 0)
		if acked := st.Backlog(notify) == 0; acked != acks {
			t.Errorf("%d: acknowledged %t", code, acked)
		}
		st.respond = func(received) int { return http.StatusOK }
		st.advance(t, time.Hour)
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{})
	st.publish(t, msg("before", ""))
	st.Stop()
	_, err := st.client.TopicAdminClient.GetTopic(t.Context(), &pb.GetTopicRequest{Topic: events}, noRetry...)
	if status.Code(err) != codes.Unavailable {
		t.Errorf("during the outage: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	p := st.client.Publisher(events)
	if _, err := p.Publish(ctx, &pubsub.Message{Data: []byte("lost")}).Get(ctx); err == nil {
		t.Error("published during the outage")
	}
	st.advance(t, time.Hour)
	if n := len(st.pushes()); n != 0 {
		t.Errorf("%d pushes during the outage", n)
	}
	st.Start()
	p.Stop() // what the client still tries goes out now, or never
	st.publish(t, msg("after", ""))
	st.advance(t, 0)
	if story := st.story(); !strings.Contains(story, "before@1h0m0s") || !strings.Contains(story, "after@1h0m0s") || st.Backlog(notify) != 0 {
		t.Errorf("after the outage: %s", story)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	good := Subscription{Name: notify, Topic: events, Endpoint: st.url}
	for what, change := range map[string]func(*Subscription){
		"name":             func(s *Subscription) { s.Name = "notify" },
		"topic":            func(s *Subscription) { s.Topic = "payment-events" },
		"no such topic":    func(s *Subscription) { s.Topic = "projects/demo/topics/none" },
		"endpoint":         func(s *Subscription) { s.Endpoint = "/push" },
		"short deadline":   func(s *Subscription) { s.AckDeadline = time.Second },
		"long backoff":     func(s *Subscription) { s.MaxBackoff = time.Hour },
		"backoff reversed": func(s *Subscription) { s.MinBackoff, s.MaxBackoff = time.Minute, time.Second },
		"few attempts":     func(s *Subscription) { s.DeadLetterTopic, s.MaxAttempts = deadTopic, 4 },
		"attempts alone":   func(s *Subscription) { s.MaxAttempts = 5 },
		"no dead topic":    func(s *Subscription) { s.DeadLetterTopic = "projects/demo/topics/none" },
		"no push":          func(s *Subscription) { s.MaxOutstanding = -1 },
		"retention":        func(s *Subscription) { s.Retention = time.Minute },
	} {
		s := good
		change(&s)
		if err := st.Subscribe(t.Context(), s); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	st.subscribe(t, good)
	if err := st.Subscribe(t.Context(), good); err == nil {
		t.Error("subscribed twice under one name")
	}
	_, err := st.client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pb.Subscription{
		Name: notify + "2", Topic: events, AckDeadlineSeconds: 10, PushConfig: &pb.PushConfig{PushEndpoint: st.url},
	})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a push subscription over gRPC: %v", err)
	}

	many := map[string]string{}
	for c := range 101 {
		many[strings.Repeat("k", c+1)] = "v"
	}
	for what, m := range map[string]*pb.PubsubMessage{
		"empty":          {},
		"attributes":     {Attributes: many},
		"google's":       {Attributes: map[string]string{"googclient_x": "v"}},
		"long value":     {Attributes: map[string]string{"k": strings.Repeat("v", 1025)}},
		"long key":       {Attributes: map[string]string{strings.Repeat("k", 257): "v"}},
		"ordering key":   {Data: []byte("d"), OrderingKey: strings.Repeat("k", 1025)},
		"larger than 10": {Data: make([]byte, 10<<20)},
	} {
		_, err := (publisher{&st.pstest.GServer, st.Server}).Publish(t.Context(), &pb.PublishRequest{Topic: events, Messages: []*pb.PubsubMessage{m}})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = (publisher{&st.pstest.GServer, st.Server}).Publish(t.Context(), &pb.PublishRequest{
		Topic: "projects/demo/topics/none", Messages: []*pb.PubsubMessage{{Data: []byte("d")}},
	})
	if status.Code(err) != codes.NotFound {
		t.Errorf("no such topic: %v", err)
	}
	if n := st.Backlog(notify); n != 0 {
		t.Errorf("backlog %d", n)
	}
}

func TestPullStillWorks(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{})
	st.subscribe(t, Subscription{})
	pull := "projects/demo/subscriptions/pull"
	_, err := st.client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pb.Subscription{Name: pull, Topic: events, AckDeadlineSeconds: 10})
	if err != nil {
		t.Fatal(err)
	}
	ids := st.publish(t, msg("both", ""))
	st.advance(t, 0)
	if got := st.pushes(); len(got) != 1 || got[0].Push.Message.MessageID != ids[0] {
		t.Errorf("pushed %v", got)
	}
	if m := st.pullOne(t, pull); m.ID != ids[0] || string(m.Data) != "both" {
		t.Errorf("pulled %v", m)
	}
}

func (st *stand) pullOne(t *testing.T, subscription string) *pubsub.Message {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got *pubsub.Message
	var once sync.Once
	err := st.client.Subscriber(subscription).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		m.Ack()
		once.Do(func() {
			got = m
			cancel()
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNewNeedsItsOptions(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Now: time.Now}); err == nil {
		t.Error("a server that cannot sign tokens")
	}
}
