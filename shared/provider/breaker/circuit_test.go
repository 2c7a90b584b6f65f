package breaker

import "testing"

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
	if c = c.report(2, "lease", good, "me", epoch, s); c.State != Closed {
		t.Errorf("%+v after a success, of which one is enough", c)
	}
}
