package breaker

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
)

// While a deployment changes the settings, instances differ in them. A round that began with more probes must not be
// full for ever to those that allow fewer.
func TestAnInstanceThatAllowsFewerProbesIsNotStuck(t *testing.T) {
	t.Parallel()
	c := Circuit{State: HalfOpen, Generation: 2, Successes: 1, Failures: 1}
	s := Default()
	s.Probes = 1
	c, granted := c.probe("lease", epoch, s)
	if !granted {
		t.Fatal("no place in a round in which nothing is under way")
	}
	if _, more := c.probe("another", epoch, s); more {
		t.Error("two probes at once, of one that is allowed")
	}
	if c = c.report("lease", good, "me", epoch, s); c.State != Closed {
		t.Errorf("%+v after a success, of which one is enough", c)
	}
}

// Requests at once hear of the document in any order.
func TestWhatWasHeardEarlierDoesNotHideWhatWasHeardLater(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return epoch }
	b := New(Options{Provider: "stripe", Store: control.NewMemory(), Now: now, NewID: id.Source{Now: now}.New})
	newer := control.Reading[Circuit]{Value: Circuit{State: Closed, Generation: 3}, At: epoch, Version: 2}
	older := control.Reading[Circuit]{Value: Circuit{State: HalfOpen, Generation: 2}, At: epoch, Version: 1}
	if !b.adopt(newer) || b.adopt(older) || b.circuit().Generation != 3 {
		t.Errorf("it goes by %+v", b.circuit())
	}
}
