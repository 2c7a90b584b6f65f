package providersim

import (
	"fmt"
	"strings"
	"sync"
)

// Rule says which requests, or which events, a fault befalls.
type Rule struct {
	// Operation is the operation it fits; empty or "*" is every one.
	// It is Webhook, and may be left out, for the webhook faults.
	Operation Operation `json:"operation,omitempty"`

	// Event narrows a webhook fault to one event type, or to a family by a
	// trailing star: "payment_intent.*".
	Event string `json:"event,omitempty"`

	// Metadata narrows the rule to payments that carry all these values,
	// in the request or in the payment it is about.
	Metadata map[string]string `json:"metadata,omitempty"`

	// Probability is the share of fitting requests that are hit; 0 means all.
	Probability float64 `json:"probability,omitempty"`

	Skip  int `json:"skip,omitempty"`  // let so many fitting requests pass first
	Times int `json:"times,omitempty"` // stop after so many hits; 0 means never

	Fault Fault `json:"fault"`
}

// Plan is a set of faults to come. A request suffers the first rule that hits
// it; an event suffers every rule that does. Whether a rule hits its nth
// fitting request depends on the seed and on n alone, so the same order of
// requests meets the same faults.
type Plan struct {
	Seed  uint64 `json:"seed"`
	Rules []Rule `json:"rules"`
}

// subject is what a rule is held against.
type subject struct {
	operation Operation
	event     string
	metadata  func() map[string]string // asked for only by rules that need it
}

// planner applies a plan, and counts how often each rule was looked at.
type planner struct {
	mu    sync.Mutex
	plan  Plan
	seen  []uint64 // fitting requests so far, by rule
	hits  []int
	extra int // rules put in front by next
}

func (p *Plan) complete() error {
	rules := make([]Rule, len(p.Rules))
	for i, r := range p.Rules {
		if err := r.complete(); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
		rules[i] = r
	}
	p.Rules = rules
	return nil
}

func (r *Rule) complete() error {
	if err := r.Fault.complete(); err != nil {
		return err
	}
	if r.Fault.Kind.AboutWebhooks() {
		if r.Operation == "" || r.Operation == "*" {
			r.Operation = Webhook
		}
		if r.Operation != Webhook {
			return fmt.Errorf("fault %q fits only the operation %q", r.Fault.Kind, Webhook)
		}
	} else if r.Operation == Webhook || r.Event != "" {
		return fmt.Errorf("fault %q does not fit webhooks", r.Fault.Kind)
	}
	if !(r.Probability >= 0 && r.Probability <= 1) {
		return fmt.Errorf("probability must be between 0 and 1, not %v", r.Probability)
	}
	if r.Skip < 0 || r.Times < 0 {
		return fmt.Errorf("skip and times can't be negative")
	}
	return nil
}

// set replaces the plan and forgets all counts.
func (p *planner) set(plan Plan) error {
	if err := plan.complete(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.extra = plan, 0
	p.seen, p.hits = make([]uint64, len(plan.Rules)), make([]int, len(plan.Rules))
	return nil
}

// next adds a rule before those of the plan and after those added before it.
// It hits once unless it says how often.
func (p *planner) next(r Rule) error {
	if err := r.complete(); err != nil {
		return err
	}
	if r.Times == 0 {
		r.Times = 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.extra
	p.plan.Rules = append(p.plan.Rules[:at:at], append([]Rule{r}, p.plan.Rules[at:]...)...)
	p.seen = append(p.seen[:at:at], append([]uint64{0}, p.seen[at:]...)...)
	p.hits = append(p.hits[:at:at], append([]int{0}, p.hits[at:]...)...)
	p.extra++
	return nil
}

func (p *planner) current() Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Plan{Seed: p.plan.Seed, Rules: append([]Rule(nil), p.plan.Rules...)}
}

// pick returns the fault of the first rule that hits.
func (p *planner) pick(s subject) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.plan.Rules {
		if p.hit(i, s) {
			return p.plan.Rules[i].Fault
		}
	}
	return Fault{}
}

// pickAll returns the faults of every rule that hits.
func (p *planner) pickAll(s subject) []Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var faults []Fault
	for i := range p.plan.Rules {
		if p.hit(i, s) {
			faults = append(faults, p.plan.Rules[i].Fault)
		}
	}
	return faults
}

func (p *planner) hit(i int, s subject) bool {
	r := &p.plan.Rules[i]
	if r.Times > 0 && p.hits[i] >= r.Times || !r.fits(s) {
		return false
	}
	n := p.seen[i]
	p.seen[i]++
	if n < uint64(r.Skip) {
		return false
	}
	// Rules that next put in front must not move the draws of the plan's own.
	if r.Probability > 0 && draw(p.plan.Seed, uint64(i-p.extra), n) >= r.Probability {
		return false
	}
	p.hits[i]++
	return true
}

func (r *Rule) fits(s subject) bool {
	any := r.Operation == "" || r.Operation == "*"
	if any && s.operation == Webhook || !any && r.Operation != s.operation {
		return false
	}
	if family, ok := strings.CutSuffix(r.Event, "*"); ok {
		if !strings.HasPrefix(s.event, family) {
			return false
		}
	} else if r.Event != "" && r.Event != s.event {
		return false
	}
	if len(r.Metadata) == 0 {
		return true
	}
	return containsAll(s.metadata(), r.Metadata)
}

func containsAll(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// draw gives a number in [0, 1) for the nth look at one rule: three rounds of
// SplitMix64 (Steele, Lea, Flood 2014), which needs no state to be kept.
func draw(seed, rule, n uint64) float64 {
	x := mix(mix(mix(seed)+rule) + n)
	return float64(x>>11) / (1 << 53)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
