package breaker_test

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// A crowd is a few instances of which anything may be asked, in any order, with clocks that differ.
type crowd struct {
	hand    *hand
	line    *line
	all     []*breaker.Breaker
	pending []underway
	forced  breaker.Mode
	changed time.Time // when the document last became another generation
	last    int64
}

type underway struct {
	permit breaker.Permit
	began  time.Time
}

func newCrowd() *crowd {
	c := &crowd{hand: newHand(), line: newLine(), changed: epoch}
	for _, skew := range []time.Duration{0, 500 * time.Millisecond, -500 * time.Millisecond} {
		now := c.hand.skewed(skew)
		c.all = append(c.all, breaker.New(breaker.Options{
			Provider: "stripe", Store: c.line, Now: now, NewID: id.Source{Now: now}.New,
		}))
	}
	return c
}

func (c *crowd) ask(t *rapid.T) {
	b := rapid.SampledFrom(c.all).Draw(t, "instance")
	for range rapid.IntRange(1, 12).Draw(t, "calls") {
		if p, refused := b.Ask(context.Background()); refused == nil {
			c.pending = append(c.pending, underway{p, c.hand.now()})
		} else if refused.RetryAfter < time.Second || refused.RetryAfter > 2*time.Minute || refused.Why == "" {
			t.Fatalf("refused with %+v", *refused)
		}
	}
}

// done ends some calls, in any order. Some never end.
func (c *crowd) done(t *rapid.T) {
	verdict := rapid.SampledFrom([]breaker.Verdict{breaker.Ignored, ok, ok, failed, failed}).Draw(t, "verdict")
	for range rapid.IntRange(0, len(c.pending)).Draw(t, "how many") {
		i := rapid.IntRange(0, len(c.pending)-1).Draw(t, "which")
		one := c.pending[i]
		c.pending = append(c.pending[:i], c.pending[i+1:]...)
		if rapid.IntRange(0, 9).Draw(t, "lost") > 0 {
			one.permit.Done(context.Background(), verdict, c.hand.now().Sub(one.began))
		}
	}
}

func (c *crowd) pass(t *rapid.T) {
	c.hand.pass(rapid.SampledFrom([]time.Duration{
		100 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 30 * time.Second, time.Minute,
	}).Draw(t, "time"))
}

func (c *crowd) operate(t *rapid.T) {
	var err error
	switch rapid.IntRange(0, 11).Draw(t, "operation") {
	case 0:
		c.forced, err = breaker.ForcedOpen, breaker.Force(context.Background(), c.line, "stripe", breaker.ForcedOpen, "ann", "a drill", c.hand.now())
	case 1:
		c.forced, err = breaker.ForcedClosed, breaker.Force(context.Background(), c.line, "stripe", breaker.ForcedClosed, "ann", "a drill", c.hand.now())
	case 2, 3:
		c.forced, err = "", breaker.Reset(context.Background(), c.line, "stripe", "ann", "over", c.hand.now())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *crowd) check(t *rapid.T) {
	doc, err := breaker.Show(context.Background(), c.line, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	if doc.Generation < c.last {
		t.Fatalf("generation %d after %d", doc.Generation, c.last)
	}
	if doc.Generation != c.last {
		c.last, c.changed = doc.Generation, c.hand.now()
	}
	live := 0
	for _, end := range doc.Probes {
		if c.hand.now().Add(500 * time.Millisecond).Before(end) {
			live++
		}
	}
	if live > 5 || doc.Successes > 2 || doc.Failures > 2 {
		t.Fatalf("%d probes under way in %+v", live, doc)
	}
	if c.forced != "" && (doc.Forced == nil || doc.Forced.Mode != c.forced) || c.forced == "" && doc.Forced != nil {
		t.Fatalf("%+v, forced %q", doc, c.forced)
	}
	// Two seconds after a change all see it, as far as their clocks allow.
	settled := c.hand.now().Sub(c.changed) >= 2*time.Second+time.Second
	early, late := doc.At(c.hand.now().Add(-time.Second)), doc.At(c.hand.now().Add(time.Second))
	if !settled || early != late {
		return
	}
	for i, b := range c.all {
		ready, why := readyNow(context.Background(), b)
		if early == breaker.Closed && !ready || early == breaker.Open && ready {
			t.Fatalf("instance %d is ready: %v (%s), and the circuit is %v: %+v", i, ready, why, early, doc)
		}
	}
}

func TestACrowdAgrees(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, agrees) // a bubble has no deadline to ask for
	})
}

func agrees(t *rapid.T) {
	c := newCrowd()
	t.Repeat(map[string]func(*rapid.T){
		"ask": c.ask, "ask 2": c.ask, "done": c.done, "done 2": c.done, "pass": c.pass, "operate": c.operate, "": c.check,
	})
	// Whatever happened, a provider that is well is called again.
	if c.forced != "" {
		if err := breaker.Reset(context.Background(), c.line, "stripe", "ann", "over", c.hand.now()); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		c.hand.pass(time.Minute)
		for range 5 {
			if p, refused := c.all[0].Ask(context.Background()); refused == nil {
				p.Done(context.Background(), ok, time.Millisecond)
			}
		}
	}
	for _, b := range c.all {
		c.hand.pass(2 * time.Second)
		if _, refused := b.Ask(context.Background()); refused != nil {
			t.Fatalf("wedged: %+v", *refused)
		}
	}
}
