package breaker_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// gauge keeps what was measured.
type gauge struct {
	mu       sync.Mutex
	said     []string
	failures int
}

func (g *gauge) CircuitState(_ context.Context, provider string, state int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, fmt.Sprint(provider, " ", state))
}

func (g *gauge) CircuitFailure(context.Context, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures++
}

func TestEachStateIsMeasuredAndLoggedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, l, g := newHand(), newLine(), &gauge{}
		var log bytes.Buffer
		b := breaker.New(breaker.Options{
			Provider: "stripe", Store: l, Now: h.now, NewID: id.Source{Now: h.now}.New, Metrics: g,
			Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		trip(t, b)
		refused(t, b)
		refused(t, b)
		h.pass(time.Minute)
		call(t, b, failed, second)
		calls(t, b, 3, ok)
		calls(t, b, 3, ok)
		if want := []string{"stripe 0", "stripe 1", "stripe 2", "stripe 0"}; !slices.Equal(g.said, want) {
			t.Errorf("measured %v, want %v", g.said, want)
		}
		if g.failures != 11 {
			t.Errorf("%d failures, want 11", g.failures)
		}
		text := log.String()
		for _, words := range []string{"circuit opened", "circuit half_open", "circuit closed"} {
			if strings.Count(text, words) != 1 {
				t.Errorf("%q is not in the log once:\n%s", words, text)
			}
		}
	})
}

func TestTheZeroPermitDoesNothing(t *testing.T) {
	t.Parallel()
	breaker.Permit{}.Done(t.Context(), failed, second)
}

func TestACallAllocatesNothing(t *testing.T) { // not parallel: it counts what the whole process allocates
	h := newHand()
	b := instance(newLine(), h.now)
	if n := testing.AllocsPerRun(100, func() {
		p, _ := b.Ask(t.Context())
		p.Done(t.Context(), ok, time.Millisecond)
	}); n != 0 {
		t.Errorf("a call allocates %v times", n)
	}
}

func BenchmarkAskAndDone(b *testing.B) {
	h, l := newHand(), newLine()
	one := instance(l, h.now)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		p, _ := one.Ask(ctx)
		p.Done(ctx, ok, time.Millisecond)
	}
}

func BenchmarkAskAndDoneAtOnce(b *testing.B) {
	h, l := newHand(), newLine()
	one := instance(l, h.now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			p, _ := one.Ask(ctx)
			p.Done(ctx, ok, time.Millisecond)
		}
	})
}
