package cloudtasks

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/local/clock"
)

func TestConcurrencyLimit(t *testing.T) {
	t.Parallel()
	c := clock.NewFrozen(epoch)
	var mu sync.Mutex
	running, most := 0, 0
	full := make(chan struct{})
	s := newServer(Options{Now: c.Now, Token: noToken, Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		mu.Lock()
		running++
		if most = max(most, running); running == 3 && most == 3 {
			select {
			case <-full:
			default:
				close(full) // three at once were reached
			}
		}
		mu.Unlock()
		<-full
		mu.Lock()
		running--
		mu.Unlock()
		return ok(), nil
	})})
	defer s.Close()
	c.Register(s)
	directly(t, s, &pb.Queue{RateLimits: &pb.RateLimits{MaxConcurrentDispatches: 3}}, 50)
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if most != 3 || s.Len(hooks) != 0 {
		t.Errorf("at most %d at once, %d left", most, s.Len(hooks))
	}
}

func TestRateLimitAndAHundredThousandTasks(t *testing.T) {
	t.Parallel()
	c := clock.NewFrozen(epoch)
	var mu sync.Mutex
	perSecond := map[int]int{}
	s := newServer(Options{Now: c.Now, Token: noToken, Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		perSecond[int(c.Now().Sub(epoch)/time.Second)]++
		return ok(), nil
	})})
	defer s.Close()
	c.Register(s)
	const tasks, seconds = 100_000, 20
	directly(t, s, &pb.Queue{}, tasks)
	if err := c.Advance(t.Context(), seconds*time.Second); err != nil {
		t.Fatal(err)
	}
	if sent := tasks - s.Len(hooks); sent < 500*seconds {
		t.Errorf("%d dispatches in %d s", sent, seconds)
	}
	for second, n := range perSecond {
		if most := 550; n > most && second > 0 || n > 500+most { // the first second may spend the burst as well
			t.Errorf("%d dispatches in second %d", n, second)
		}
	}
}

func TestChaosDeliversTwiceAndOutOfOrder(t *testing.T) {
	t.Parallel()
	const tasks = 200
	order := func(chaos Chaos) (paths []string) {
		c := clock.NewFrozen(epoch)
		var mu sync.Mutex
		s := newServer(Options{Now: c.Now, Token: noToken, Chaos: chaos, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			paths = append(paths, r.URL.Path)
			return ok(), nil
		})})
		defer s.Close()
		c.Register(s)
		directly(t, s, &pb.Queue{RateLimits: &pb.RateLimits{MaxConcurrentDispatches: 1}}, tasks)
		if err := c.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		if left := s.Len(hooks); left != 0 {
			t.Errorf("%d tasks left", left)
		}
		return paths
	}
	count := func(paths []string) (distinct, repeated, overtaken int) {
		seen := map[string]bool{}
		last := -1
		for _, p := range paths {
			if seen[p] {
				repeated++
				continue
			}
			seen[p] = true
			var n int
			if _, err := fmt.Sscanf(p, "/%d", &n); err != nil {
				t.Error(err)
			}
			if n < last {
				overtaken++
			}
			last = n
		}
		return len(seen), repeated, overtaken
	}
	if distinct, repeated, overtaken := count(order(Chaos{})); distinct != tasks || repeated != 0 || overtaken != 0 {
		t.Errorf("without chaos: %d distinct, %d repeated, %d overtaken", distinct, repeated, overtaken)
	}
	first := order(Chaos{Seed: 7, TwiceOneIn: 10, OutOfOrder: true})
	if distinct, repeated, overtaken := count(first); distinct != tasks || repeated < 5 || repeated > 50 || overtaken < 20 {
		t.Errorf("with chaos: %d distinct, %d repeated, %d overtaken", distinct, repeated, overtaken)
	}
	if diff := cmp.Diff(first, order(Chaos{Seed: 7, TwiceOneIn: 10, OutOfOrder: true})); diff != "" {
		t.Errorf("one seed, two orders:\n%s", diff)
	}
}
