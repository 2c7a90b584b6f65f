package breaker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// alone runs a test of one instance in a bubble, whose time stands still but for what the test waits for.
func alone(t *testing.T, test func(t *testing.T, l *line, b *breaker.Breaker)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		l := newLine()
		test(t, l, instance(l, time.Now))
		<-time.After(3 * time.Second) // for what is under way
	})
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// took fails the test if what is done takes longer than it may.
func took(t *testing.T, most time.Duration, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if d := time.Since(began); d > most {
		t.Errorf("took %v, may take %v", d, most)
	}
	synctest.Wait()
}

func TestWithoutTheStoreAnInstanceWaitsOnceAndJudgesByItself(t *testing.T) {
	for name, way := range map[string]trouble{"failing": failing, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
				calls(t, b, 1, breaker.Ignored)
				pass(time.Minute)
				l.cut(way, way)
				took(t, 200*time.Millisecond, func() { calls(t, b, 1, failed) })
				for range 8 {
					took(t, 0, func() { calls(t, b, 1, failed) })
					pass(100 * time.Millisecond)
				}
				p := allowed(t, b)
				took(t, 200*time.Millisecond, func() { p.Done(t.Context(), failed, time.Second) }) // it tries to tell
				opened, writes := time.Now(), l.writes.Load()
				for time.Since(opened) < 59*time.Second {
					took(t, 0, func() { refused(t, b) })
					pass(500 * time.Millisecond)
				}
				if n := l.writes.Load() - writes; n < 15 || n > 60 {
					t.Errorf("it tried %d times in a minute to tell the others, want about once a second or as long as a try takes", n)
				}
				pass(time.Second)
				// It half-opens by itself, and closes.
				var held []breaker.Permit
				for range 5 {
					took(t, 0, func() { held = append(held, allowed(t, b)) })
				}
				took(t, 0, func() { refused(t, b) })
				for _, p := range held {
					p.Done(t.Context(), ok, time.Second)
				}
				pass(200 * time.Millisecond)
				for range 50 {
					took(t, 0, func() { calls(t, b, 1, ok) })
					pass(100 * time.Millisecond)
				}
				// Nobody else heard of it, and when the store is back nothing is left to say.
				l.cut(none, none)
				pass(3 * time.Second)
				took(t, 0, func() { calls(t, b, 1, ok) })
				pass(time.Second)
				writes = l.writes.Load()
				for range 10 {
					calls(t, b, 1, ok)
					pass(time.Second)
				}
				if n := l.writes.Load(); n != writes {
					t.Errorf("%d more writes by an instance that agrees with all others", n-writes)
				}
				is(t, show(t, l), breaker.Closed, 0)
			})
		})
	}
}

func TestATripIsToldWhenTheStoreIsBack(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		other := instance(l, time.Now)
		calls(t, b, 1, breaker.Ignored)
		l.cut(failing, failing)
		trip(t, b)
		opened := time.Now()
		pass(10 * time.Second)
		refused(t, b)
		is(t, show(t, l.Store), breaker.Closed, 0)
		l.cut(none, none)
		pass(time.Second)
		refused(t, b)
		synctest.Wait()
		c := show(t, l)
		is(t, c, breaker.Open, 1)
		if !c.OpenedAt.Equal(opened) {
			t.Errorf("opened at %v, want %v", c.OpenedAt, opened)
		}
		refused(t, other)
		pass(50 * time.Second)
		calls(t, other, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
		pass(2 * time.Second)
		calls(t, b, 1, ok)
	})
}

// While the store was away for this instance the others went on. What they came to stands.
func TestTheOthersHaveMovedOn(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		calls(t, b, 1, breaker.Ignored)
		l.cut(failing, failing)
		trip(t, b)
		pass(time.Second)
		if err := breaker.Force(t.Context(), l.Store, "stripe", breaker.ForcedClosed, "ann", "I know better", time.Now()); err != nil {
			t.Fatal(err)
		}
		refused(t, b)
		l.cut(none, none)
		pass(time.Second)
		b.Shut(t.Context())
		synctest.Wait()
		calls(t, b, 20, failed)
		is(t, show(t, l), breaker.Closed, 1)
	})
}

func TestWhatAnOperatorForcedStaysWithoutTheStore(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		for _, mode := range []breaker.Mode{breaker.ForcedOpen, breaker.ForcedClosed} {
			l.cut(none, none)
			if err := breaker.Force(t.Context(), l, "stripe", mode, "ann", "a drill", time.Now()); err != nil {
				t.Fatal(err)
			}
			pass(2 * time.Second)
			b.Shut(t.Context())
			synctest.Wait()
			b.Shut(t.Context())
			l.cut(hanging, hanging)
			for range 100 {
				pass(time.Minute)
				if mode == breaker.ForcedOpen {
					refused(t, b)
				} else {
					calls(t, b, 10, failed)
				}
			}
			pass(3 * time.Second)
		}
	})
}

// open is a circuit that all know to be open.
func open(t *testing.T, l *line, b *breaker.Breaker) {
	t.Helper()
	trip(t, b)
	pass(59 * time.Second)
	refused(t, b)
	is(t, show(t, l), breaker.Open, 1)
}

// The store goes away while the circuit is open: for a few seconds nobody probes, then each by itself.
func TestAnInstanceProbesByItselfWhenTheStoreStaysAway(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		open(t, l, b)
		l.cut(hanging, hanging)
		pass(2 * time.Second)
		took(t, 200*time.Millisecond, func() { refused(t, b) })
		pass(4 * time.Second)
		took(t, 0, func() { refused(t, b) })
		pass(time.Second)
		took(t, 0, func() { call(t, b, failed, time.Second) })
		took(t, 0, func() { call(t, b, failed, time.Second) })
		took(t, 200*time.Millisecond, func() { call(t, b, failed, time.Second) }) // it tries to tell
		pass(time.Second)
		if r := refused(t, b); r.Why != "3 of 3 probes failed" {
			t.Errorf("refused with %+v", r)
		}
		l.cut(none, none)
		pass(time.Second)
		refused(t, b)
		pass(2 * time.Second) // a write that began before the store was back hangs until then
		refused(t, b)
		synctest.Wait()
		c := show(t, l)
		is(t, c, breaker.Open, 2)
		if c.Why != "3 of 3 probes failed" {
			t.Errorf("told %+v", c)
		}
	})
}

// The document can be read, but not written.
func TestAStoreThatTakesNoWritesStopsNobody(t *testing.T) {
	for name, way := range map[string]trouble{"failing": failing, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
				open(t, l, b)
				l.cut(none, way)
				pass(time.Second)
				took(t, 200*time.Millisecond, func() { refused(t, b) })
				writes := l.writes.Load()
				for range 4 {
					took(t, 0, func() { refused(t, b) })
				}
				if n := l.writes.Load(); n != writes {
					t.Errorf("%d more writes at once", n-writes)
				}
				pass(5 * time.Second)
				took(t, 200*time.Millisecond, func() { call(t, b, ok, time.Second) })
				pass(10 * time.Second)
				took(t, 0, func() { calls(t, b, 1, ok) })
				pass(10 * time.Second)
				took(t, 200*time.Millisecond, func() { calls(t, b, 1, ok) }) // and tries to tell
				pass(2 * time.Second)
				took(t, 0, func() { calls(t, b, 20, ok) })
				is(t, show(t, l), breaker.Open, 1)
				pass(2 * time.Second)
				l.cut(none, none)
				pass(time.Second)
				calls(t, b, 1, ok)
				synctest.Wait()
				is(t, show(t, l), breaker.Closed, 2)
			})
		})
	}
}

// A store that answers, but cannot keep up with all that write, is not away.
func TestACrowdedDocumentIsNoReasonToProbeAlone(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		open(t, l, b)
		pass(time.Second)
		l.cut(none, failing)
		refused(t, b)
		pass(2 * time.Second)
		l.cut(none, contended)
		refused(t, b)
		for range 20 {
			pass(time.Second)
			writes := l.writes.Load()
			refused(t, b)
			refused(t, b)
			if n := l.writes.Load() - writes; n != 2 {
				t.Errorf("%d writes by two calls, want one each", n)
			}
		}
		l.cut(none, none)
		calls(t, b, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
	})
}

// Two failures with a success between them are not one that lasts.
func TestAWriteThatSucceedsEndsTheTrouble(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		open(t, l, b)
		pass(time.Second)
		l.cut(none, failing)
		refused(t, b)
		pass(time.Second)
		l.cut(none, none)
		call(t, b, ok, time.Second)
		pass(10 * time.Second)
		l.cut(none, failing)
		refused(t, b)
		is(t, show(t, l), breaker.HalfOpen, 2)
	})
}

// The answer to an old word must not make an instance forget what it has come to since.
func TestWhatWasFoundOutInTheMeantimeIsKept(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		calls(t, b, 9, failed)
		pass(time.Second)
		l.cut(slow, slower)
		last := allowed(t, b) // begins to read
		last.Done(t.Context(), failed, time.Second)
		refused(t, b)
		if err := breaker.Reset(t.Context(), l.Store, "stripe", "ann", "it is well", time.Now()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second / 2) // what was read comes, and what was written does not yet
		trip(t, b)
		refused(t, b)
		pass(time.Second)
		l.cut(none, none)
		refused(t, b)
		synctest.Wait()
		is(t, show(t, l), breaker.Open, 2)
		refused(t, b)
	})
}

// A lease that comes too late for the call that asked for it does not keep others out.
func TestALeaseThatNobodyWaitsForIsGivenBack(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		open(t, l, b)
		pass(time.Second)
		b.Shut(t.Context())
		l.cut(none, slow)
		took(t, 200*time.Millisecond, func() { refused(t, b) })
		for range 3 {
			took(t, 0, func() { refused(t, b) }) // they would only be in its way
		}
		pass(time.Second / 2)
		l.cut(none, none)
		pass(time.Second)
		c := show(t, l)
		is(t, c, breaker.HalfOpen, 2)
		if len(c.Probes) != 0 {
			t.Errorf("still given out: %v", c.Probes)
		}
		var held []breaker.Permit
		for range 5 {
			held = append(held, allowed(t, b))
		}
		refused(t, b)
		for _, p := range held {
			p.Done(t.Context(), ok, time.Second)
		}
		is(t, show(t, l), breaker.Closed, 3)
	})
}

// A store that is slow is not away: an instance that finds its reading old and waits in vain does not go its own way.
func TestAStoreThatIsSlowIsNotAway(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		open(t, l, b)
		pass(time.Hour)
		l.cut(slow, slow)
		took(t, 200*time.Millisecond, func() { refused(t, b) })
		pass(time.Second)
		took(t, 200*time.Millisecond, func() { refused(t, b) })
		pass(time.Second)
		l.cut(none, none)
		pass(3 * time.Second)
		calls(t, b, 3, ok)
		is(t, show(t, l), breaker.Closed, 3)
	})
}

// A round that was begun alone is finished alone, and a lease of the others' round is not.
func TestTheStoreComesBackDuringARound(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		open(t, l, b)
		pass(time.Second)
		shared := allowed(t, b)
		l.cut(failing, failing)
		shared.Done(t.Context(), ok, time.Second) // lost
		pass(4 * time.Second)
		refused(t, b)
		pass(time.Second)
		mine := []breaker.Permit{allowed(t, b), allowed(t, b), allowed(t, b)}
		l.cut(none, none)
		pass(2 * time.Second)
		mine[0].Done(t.Context(), ok, time.Second)
		b.Shut(t.Context())
		synctest.Wait()
		shared.Done(t.Context(), failed, time.Second) // the document has its lease still
		mine[1].Done(t.Context(), ok, time.Second)
		is(t, show(t, l), breaker.HalfOpen, 2)
		mine[2].Done(t.Context(), ok, time.Second)
		synctest.Wait()
		is(t, show(t, l), breaker.Closed, 3)
		calls(t, b, 1, ok)
	})
}

// A document that was spoilt by hand stops nobody, and an operator can put another in its place.
func TestASpoiltDocumentStopsNobody(t *testing.T) {
	alone(t, func(t *testing.T, l *line, b *breaker.Breaker) {
		err := l.Change(t.Context(), "circuits/stripe", func(control.Document) (control.Document, error) {
			return control.Document{"state": "ajar", "generation": int64(7)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		trip(t, b)
		refused(t, b)
		if _, err := breaker.Show(t.Context(), l, "stripe"); err == nil || !strings.Contains(err.Error(), "ajar") {
			t.Errorf("show: %v", err)
		}
		if err := breaker.Force(t.Context(), l, "stripe", breaker.ForcedClosed, "ann", "repair", time.Now()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		b.Shut(t.Context())
		synctest.Wait()
		calls(t, b, 1, ok)
	})
}
