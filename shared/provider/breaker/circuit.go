package breaker

import (
	"fmt"
	"time"
)

// State is what a circuit does with calls. The numbers are those of the metric circuit_breaker_state.
type State int

// The states.
const (
	Closed   State = 0 // calls pass
	Open     State = 1 // calls are refused
	HalfOpen State = 2 // a few calls pass, to find out
)

var stateNames = [...]string{Closed: "closed", Open: "open", HalfOpen: "half_open"}

func (s State) String() string { return stateNames[s] }

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("breaker: %q is no state of a circuit", text)
}

// Mode is what an operator forces a circuit to.
type Mode string

// The modes.
const (
	ForcedOpen   Mode = "open"
	ForcedClosed Mode = "closed"
)

// Circuit is the shared document of one provider. The zero Circuit is closed.
type Circuit struct {
	State      State                `json:"state"`                // as written; At tells what it means at some time
	Generation int64                `json:"generation"`           // greater by one with each change but those of a probe
	OpenedAt   time.Time            `json:"opened_at,omitzero"`   // by the clock of who opened it, as is OpenUntil
	OpenUntil  time.Time            `json:"open_until,omitzero"`  // from then on it is half-open
	OpenedBy   string               `json:"opened_by,omitempty"`  // the instance
	Why        string               `json:"why,omitempty"`        // it was opened
	Probes     map[string]time.Time `json:"probes,omitempty"`     // lease of a call under way -> when the lease ends
	Successes  int                  `json:"successes,omitempty"`  // of the probes of this generation
	Failures   int                  `json:"failures,omitempty"`   // of the probes of this generation
	Forced     *Forced              `json:"forced,omitempty"`     // by an operator
	LastReset  *Operation           `json:"last_reset,omitempty"` // by an operator
}

// Operation is something that an operator did.
type Operation struct {
	By  string    `json:"by"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// Forced is what an operator holds a circuit in.
type Forced struct {
	Mode Mode `json:"mode"`
	Operation
}

// At is the state that the circuit has at a time.
func (c Circuit) At(now time.Time) State {
	switch {
	case c.Forced != nil && c.Forced.Mode == ForcedOpen:
		return Open
	case c.Forced != nil && c.Forced.Mode == ForcedClosed:
		return Closed
	case c.State == Open && c.remaining(now) == 0:
		return HalfOpen
	default:
		return c.State
	}
}

// remaining is how long an open circuit stays open. One that was opened further in the future than it is to be open
// comes from a clock that can't be believed, and is taken for one whose time is over.
func (c Circuit) remaining(now time.Time) time.Duration {
	left := c.OpenUntil.Sub(now)
	if left > 2*c.OpenUntil.Sub(c.OpenedAt) {
		return 0
	}
	return max(left, 0)
}

// closed is the circuit's next generation, closed.
func (c Circuit) closed() Circuit {
	return Circuit{State: Closed, Generation: c.Generation + 1, LastReset: c.LastReset}
}

// opened is the circuit's next generation, open from now on.
func (c Circuit) opened(by, why string, now time.Time, s Settings) Circuit {
	return Circuit{
		State: Open, Generation: c.Generation + 1, LastReset: c.LastReset,
		OpenedAt: now, OpenUntil: now.Add(s.Open), OpenedBy: by, Why: why,
	}
}

// place tells whether a probe may start. A probe takes its place until it has ended or its lease has, and keeps it if
// it told something, so that no round sees more than so many that do.
func (c Circuit) place(now time.Time, s Settings) bool {
	if c.At(now) != HalfOpen {
		return false
	}
	under := len(c.live(now))
	return under == 0 || under+c.Successes+c.Failures < s.Probes
}

// live is a copy of the leases that have not ended.
func (c Circuit) live(now time.Time) map[string]time.Time {
	live := map[string]time.Time{}
	for lease, end := range c.Probes {
		if now.Before(end) {
			live[lease] = end
		}
	}
	return live
}

// probe gives out a lease, if there is a place for it. The first one after the open time starts a round, which is a
// generation.
func (c Circuit) probe(lease string, now time.Time, s Settings) (Circuit, bool) {
	if _, has := c.live(now)[lease]; has {
		return c, true // the answer to the first time was lost
	}
	if !c.place(now, s) {
		return c, false
	}
	if c.State == Open {
		c.State, c.Generation, c.Probes, c.Successes, c.Failures = HalfOpen, c.Generation+1, nil, 0, 0
	}
	live := c.live(now)
	live[lease] = now.Add(s.ProbeLease)
	c.Probes = live
	return c, true
}

// report ends the probe of a lease. What comes when the lease has ended, or its round has, and with it all of its
// leases, is not listened to: its place may be another's, and what it says is old.
func (c Circuit) report(lease string, found finding, by string, now time.Time, s Settings) Circuit {
	live := c.live(now)
	if _, has := live[lease]; !has {
		return c
	}
	delete(live, lease)
	c.Probes = live
	switch found {
	case nothing:
	case good:
		if c.Successes++; c.Successes >= s.enough() {
			return c.closed()
		}
	case bad:
		if c.Failures++; c.Failures > s.Probes-s.enough() {
			return c.opened(by, fmt.Sprintf("%d of %d probes failed", c.Failures, c.Failures+c.Successes), now, s)
		}
	}
	return c
}

// finding is what a probe found out.
type finding int

const (
	nothing finding = iota
	good
	bad
)

// join is the shared circuit after an instance that went on by itself from generation base has come to own. If others
// have moved on in the meantime, theirs stands.
func (c Circuit) join(base int64, own Circuit) Circuit {
	switch {
	case c.Generation != base || c.Forced != nil:
		return c
	case own.State == Closed && c.State != Closed:
		return c.closed()
	case own.State != Closed && (c.State == Closed || c.OpenedAt.Before(own.OpenedAt)):
		return Circuit{
			State: Open, Generation: c.Generation + 1, LastReset: c.LastReset,
			OpenedAt: own.OpenedAt, OpenUntil: own.OpenUntil, OpenedBy: own.OpenedBy, Why: own.Why,
		}
	default:
		return c
	}
}

// alone is where an instance starts from that has to find out by itself whether the provider is well again: without
// the probes of the others.
func (c Circuit) alone() Circuit {
	c.Probes, c.Successes, c.Failures = nil, 0, 0
	return c
}

// force is the circuit's next generation, held in a mode.
func (c Circuit) force(mode Mode, o Operation) Circuit {
	c = c.closed()
	c.Forced = &Forced{Mode: mode, Operation: o}
	return c
}

// reset is the circuit's next generation, closed and not held.
func (c Circuit) reset(o Operation) Circuit {
	c = c.closed()
	c.LastReset = &o
	return c
}
