package pubsubpush

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"pgregory.net/rapid"
)

func TestChaos(t *testing.T) {
	t.Parallel()
	const n = 300
	run := func(chaos Chaos) (inOrder, repeated int, order []string) {
		st := newStand(t, chaos)
		st.subscribe(t, Subscription{Ordered: true, MaxOutstanding: 1})
		var messages []*pb.PubsubMessage
		for i := range n {
			messages = append(messages, msg(fmt.Sprintf("%03d", i), fmt.Sprint("key", i%5)))
		}
		st.publish(t, messages...)
		st.advance(t, time.Minute)
		if b := st.Backlog(notify); b != 0 {
			t.Errorf("backlog %d", b)
		}
		seen, last := map[string]bool{}, map[string]string{}
		for _, r := range st.pushes() {
			order = append(order, r.data())
			if seen[r.data()] {
				repeated++
				continue
			}
			seen[r.data()] = true
			if key := r.Push.Message.OrderingKey; r.data() > last[key] {
				last[key] = r.data()
				inOrder++
			}
		}
		if len(seen) != n {
			t.Errorf("%d of %d delivered", len(seen), n)
		}
		return inOrder, repeated, order
	}
	if inOrder, repeated, _ := run(Chaos{}); inOrder != n || repeated != 0 {
		t.Errorf("without chaos %d in order, %d repeated", inOrder, repeated)
	}
	chaos := Chaos{Seed: 3, DuplicateOneIn: 10, ReorderOneIn: 5}
	inOrder, repeated, order := run(chaos)
	if inOrder > n-20 || repeated < 10 || repeated > 80 {
		t.Errorf("with chaos %d in order, %d repeated", inOrder, repeated)
	}
	if _, _, again := run(chaos); !slices.Equal(order, again) {
		t.Error("one seed, two orders")
	}
}

// Through failures and chaos every message is acknowledged at least once, and nothing is left over.
func TestNothingIsLostProperty(t *testing.T) {
	t.Parallel()
	st := newStand(t, Chaos{Seed: 1, DuplicateOneIn: 7, ReorderOneIn: 7})
	var mu sync.Mutex
	fails, acked := map[string]int{}, map[string]bool{}
	st.respond = func(r received) int {
		mu.Lock()
		defer mu.Unlock()
		if fails[r.data()] > 0 {
			fails[r.data()]--
			return http.StatusServiceUnavailable
		}
		acked[r.data()] = true
		return http.StatusOK
	}
	st.subscribe(t, Subscription{Ordered: true})
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		var names []string
		var messages []*pb.PubsubMessage
		for i, f := range rapid.SliceOfN(rapid.IntRange(0, 4), 1, 30).Draw(rt, "failures") {
			name := fmt.Sprintf("%d-%d", round, i)
			names = append(names, name)
			mu.Lock()
			fails[name] = f
			mu.Unlock()
			key := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(rt, "key")
			messages = append(messages, msg(name, key))
		}
		st.publish(t, messages...)
		if err := st.clock.Advance(context.Background(), time.Hour); err != nil {
			rt.Fatal(err)
		}
		for _, name := range names {
			if !acked[name] {
				rt.Fatalf("%s was lost", name)
			}
		}
		if b := st.Backlog(notify); b != 0 {
			rt.Fatalf("backlog %d", b)
		}
	})
}
