package breaker

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/control"
)

var epoch = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)

// A sample is one call, as the reference model of the window keeps it: it keeps all of them.
type sample struct {
	at           time.Time
	failed, slow bool
}

// counted are the samples that count after the last one. The window moves on by tenths of its length, so a sample
// counts while its tenth is one of the ten latest.
func counted(all []sample, s Settings) (counted []sample) {
	tenth := func(at time.Time) int64 { return at.UnixMilli() / (s.Window.Milliseconds() / 10) }
	var latest int64
	var tenths []int64
	for _, one := range all {
		latest = max(latest, tenth(one.at)) // a clock that is set back stands still
		tenths = append(tenths, latest)
	}
	for i, one := range all {
		if latest-tenths[i] <= 9 {
			counted = append(counted, one)
		}
	}
	return counted
}

// tripped applies the rule of the issue, in whole numbers.
func tripped(counted []sample) bool {
	failed, slow := 0, 0
	for _, one := range counted {
		if one.failed {
			failed++
		}
		if one.slow {
			slow++
		}
	}
	return len(counted) >= 10 && (failed*100 >= 50*len(counted) || slow*100 >= 80*len(counted))
}

func TestTheWindowDecidesAsAListOfAllCallsWould(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Default()
		var w window
		var all []sample
		now := epoch
		failing := rapid.IntRange(0, 100).Draw(t, "percent failing")
		slowing := rapid.IntRange(0, 100).Draw(t, "percent slow")
		for range rapid.IntRange(1, 150).Draw(t, "calls") {
			step := rapid.SampledFrom([]time.Duration{
				0, 0, time.Millisecond, 40 * time.Millisecond, 500 * time.Millisecond,
				time.Second, 3 * time.Second, 9 * time.Second, 10 * time.Second, time.Minute, -time.Second,
			}).Draw(t, "step")
			now = now.Add(step)
			one := sample{
				now, rapid.IntRange(0, 99).Draw(t, "failed") < failing, rapid.IntRange(0, 99).Draw(t, "slow") < slowing,
			}
			all = append(all, one)
			w.add(now, one.failed, one.slow, s)
			want := counted(all, s)
			got := w.sum()
			if got.calls != len(want) {
				t.Fatalf("%d calls count, want %d", got.calls, len(want))
			}
			if _, trips := got.trips(s); trips != tripped(want) {
				t.Fatalf("trips: %v with %+v, want %v", trips, got, tripped(want))
			}
		}
	})
}

// A call that is overdue counts as slow, and when it ends by its end: once at any time.
func TestAnOverdueCallCountsOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Default()
		var w window
		var all []sample
		type overdue struct {
			slice int64
			since time.Time
		}
		var late []overdue
		now := epoch
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 3 * time.Second, 9 * time.Second}).Draw(t, "step"))
			one := sample{now, rapid.Bool().Draw(t, "failed"), rapid.Bool().Draw(t, "slow")}
			switch {
			case rapid.Bool().Draw(t, "becomes overdue"):
				one.failed, one.slow = false, true
				late = append(late, overdue{w.add(now, false, true, s), now})
			case len(late) > 0 && rapid.Bool().Draw(t, "of an overdue one"):
				ends := late[0]
				late = late[1:]
				w.forget(ends.slice)
				w.add(now, one.failed, one.slow, s)
				for i, o := range all {
					if o.at.Equal(ends.since) && o.slow && !o.failed {
						all = append(all[:i:i], all[i+1:]...)
						break
					}
				}
			default:
				w.add(now, one.failed, one.slow, s)
			}
			all = append(all, one)
			want, got := counted(all, s), w.sum()
			if got.calls != len(want) {
				t.Fatalf("%d calls count, want %d", got.calls, len(want))
			}
			if _, trips := got.trips(s); trips != tripped(want) {
				t.Fatalf("trips: %v with %+v, want %v", trips, got, tripped(want))
			}
		}
	})
}

// Whatever the tenths do: what is younger than nine seconds counts, and what is older than ten does not.
func TestTheWindowIsNineToTenSecondsLong(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Default()
		now := epoch.Add(time.Duration(rapid.Int64Range(0, 20_000).Draw(t, "start")) * time.Millisecond)
		var w window
		age := time.Duration(rapid.Int64Range(0, 20_000).Draw(t, "age")) * time.Millisecond
		w.add(now, true, false, s)
		w.add(now.Add(age), false, false, s)
		counts := w.sum().failed == 1
		if age <= 9*time.Second && !counts || age >= 10*time.Second && counts {
			t.Errorf("a call %v ago counts: %v", age, counts)
		}
	})
}

// A record is what happened to the shared circuit, as the reference model keeps it: all that ever happened, and what
// follows is worked out from the beginning each time.
type record struct {
	at   time.Time
	what string // opened, forced_open, forced_closed, reset, probed, told
	name string // of the probe
	good finding
}

// story is the reference model.
type story []record

// A chapter is what the story has come to at a time.
type chapter struct {
	state   State
	changes int64 // of state
	until   time.Time
	probes  map[string]time.Time // under way -> end of the lease
	good    int
	bad     int
}

func (s story) tell(now time.Time) chapter {
	var c chapter
	held := ""
	begin := func(state State, at time.Time) {
		c = chapter{state: state, changes: c.changes + 1, until: at.Add(time.Minute), probes: map[string]time.Time{}}
	}
	for _, r := range s {
		switch r.what {
		case "opened":
			begin(Open, r.at)
		case "forced_open", "forced_closed", "reset":
			begin(Closed, r.at)
			held = r.what
		case "probed":
			if c.state == Open {
				begin(HalfOpen, r.at)
			}
			c.probes[r.name] = r.at.Add(30 * time.Second)
		case "told":
			delete(c.probes, r.name)
			switch r.good {
			case nothing:
			case good:
				c.good++
			case bad:
				c.bad++
			}
			if c.good == 3 {
				begin(Closed, r.at)
			} else if c.bad == 3 {
				begin(Open, r.at)
			}
		}
	}
	for name, end := range c.probes {
		if !end.After(now) {
			delete(c.probes, name)
		}
	}
	switch {
	case held == "forced_open":
		c.state = Open
	case held == "forced_closed":
		c.state = Closed
	case c.state == Open && !now.Before(c.until):
		c.state = HalfOpen
	}
	return c
}

// book drives a circuit and its story side by side.
type book struct {
	circuit Circuit
	story   story
	now     time.Time
	given   []given // every lease there ever was
	forced  bool
}

type given struct {
	lease      string
	generation int64
}

func (b *book) pass(t *rapid.T) {
	b.now = b.now.Add(rapid.SampledFrom([]time.Duration{
		time.Millisecond, time.Second, 10 * time.Second, 29 * time.Second, 30 * time.Second, 31 * time.Second,
		59 * time.Second, time.Minute, time.Hour,
	}).Draw(t, "time"))
}

func (b *book) open(t *rapid.T) {
	base := b.circuit.Generation - rapid.SampledFrom([]int64{0, 0, 1, -1}).Draw(t, "generations ago")
	started := Circuit{Generation: base}
	mine := started.opened("me", "ill", b.now, Default())
	before := b.story.tell(b.now)
	after := b.circuit.join(base, mine)
	if base == before.changes && !b.forced {
		if before.state == Closed || b.circuit.OpenedAt.Before(b.now) {
			b.story = append(b.story, record{at: b.now, what: "opened"})
		}
	} else if diff := cmp.Diff(b.circuit, after); diff != "" {
		t.Fatalf("a trip from generation %d changed %d:\n%s", base, b.circuit.Generation, diff)
	}
	b.circuit = after
}

func (b *book) probe(t *rapid.T) {
	lease := fmt.Sprint("lease-", len(b.given))
	if len(b.given) > 0 && rapid.IntRange(0, 9).Draw(t, "again") == 0 {
		lease = b.given[len(b.given)-1].lease // the answer was lost
	}
	before := b.story.tell(b.now)
	_, has := before.probes[lease]
	room := before.state == HalfOpen && len(before.probes)+before.good+before.bad < 5
	if b.circuit.place(b.now, Default()) != room {
		t.Fatalf("a place: %v, want %v in %+v", !room, room, before)
	}
	after, granted := b.circuit.probe(lease, b.now, Default())
	if granted != (has || room) {
		t.Fatalf("granted %v, want %v in %+v", granted, has || room, before)
	}
	b.circuit = after
	if granted && !has {
		b.story = append(b.story, record{at: b.now, what: "probed", name: lease})
		b.given = append(b.given, given{lease, after.Generation})
	}
}

func (b *book) tell(t *rapid.T) {
	if len(b.given) == 0 {
		return
	}
	g := rapid.SampledFrom(b.given).Draw(t, "probe")
	if rapid.Bool().Draw(t, "a late one") {
		g = b.given[len(b.given)-1]
	}
	found := rapid.SampledFrom([]finding{nothing, good, good, bad, bad}).Draw(t, "finding")
	before := b.story.tell(b.now)
	if _, has := before.probes[g.lease]; has {
		if before.changes != g.generation {
			t.Fatalf("a probe of generation %d in %d", g.generation, before.changes)
		}
		b.story = append(b.story, record{at: b.now, what: "told", name: g.lease, good: found})
	}
	b.circuit = b.circuit.report(g.lease, found, "me", b.now, Default())
}

func (b *book) operate(t *rapid.T) {
	o := Operation{By: "ann", Why: "maintenance", At: b.now}
	what := rapid.SampledFrom([]string{"forced_open", "forced_closed", "reset", "reset"}).Draw(t, "operation")
	b.story = append(b.story, record{at: b.now, what: what})
	b.forced = what != "reset"
	switch what {
	case "forced_open":
		b.circuit = b.circuit.force(ForcedOpen, o)
	case "forced_closed":
		b.circuit = b.circuit.force(ForcedClosed, o)
	default:
		b.circuit = b.circuit.reset(o)
	}
}

// stored checks that the circuit is what the store would give back of it.
func (b *book) stored(t *rapid.T) {
	d, err := control.Encode(b.circuit)
	if err != nil {
		t.Fatal(err)
	}
	var back Circuit
	if err := control.Decode(d, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Probes) == 0 {
		back.Probes = b.circuit.Probes
	}
	if diff := cmp.Diff(b.circuit, back); diff != "" {
		t.Fatalf("stored (-before +after):\n%s", diff)
	}
}

func (b *book) check(t *rapid.T) {
	want := b.story.tell(b.now)
	if got := b.circuit.At(b.now); got != want.state || b.circuit.Generation != want.changes {
		t.Fatalf("%v of generation %d, want %v of %d", got, b.circuit.Generation, want.state, want.changes)
	}
	if n := len(b.circuit.live(b.now)); n > 5 || n != len(want.probes) {
		t.Fatalf("%d probes under way, want %d, and never more than 5", n, len(want.probes))
	}
	if b.circuit.Successes != want.good || b.circuit.Failures != want.bad {
		t.Fatalf("%d good and %d bad probes, want %d and %d", b.circuit.Successes, b.circuit.Failures, want.good, want.bad)
	}
	if want.state == Open && !b.forced {
		if left := b.circuit.remaining(b.now); left != want.until.Sub(b.now) {
			t.Fatalf("open for %v more, want %v", left, want.until.Sub(b.now))
		}
	}
	// Nothing wedges: when all leases have ended, an open or half-open circuit has room for a probe.
	later := b.now.Add(time.Minute)
	if !b.forced && want.state != Closed && !b.circuit.place(later, Default()) {
		t.Fatalf("no room for a probe a minute later in %+v", b.circuit)
	}
	b.stored(t)
}

func TestACircuitGoesAsItsStoryTells(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := &book{now: epoch}
		t.Repeat(map[string]func(*rapid.T){
			"pass": b.pass, "open": b.open,
			"probe": b.probe, "probe 2": b.probe, "probe 3": b.probe,
			"tell": b.tell, "tell 2": b.tell,
			"operate": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "seldom") == 0 {
					b.operate(t)
				}
			},
			"": b.check,
		})
	})
}
