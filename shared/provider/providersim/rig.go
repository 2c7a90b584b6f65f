package providersim

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// rig is what every simulated provider stands on: the fault plan, the record of
// what was really done, the agenda of what is still to happen, and the sender of
// webhooks.
type rig struct {
	record
	agenda
	planner planner
	accepts credentials
	sender  *sender
	busy    activity
	ids     ids
	now     func() time.Time
	closed  chan struct{}
	once    sync.Once

	hanging struct {
		sync.Mutex
		tell func()
	}
}

type rigConfig struct {
	now  func() time.Time
	keys []string
	seed uint64
	url  string
	http *http.Client
	sign func(payload []byte, at time.Time) http.Header
}

func newRig(c rigConfig) *rig {
	if c.now == nil {
		panic("providersim: Now is not set")
	}
	g := &rig{now: c.now, closed: make(chan struct{})}
	g.SetCredentials(c.keys...)
	g.agenda.now = c.now
	g.byMetadata = map[[2]string][]int{}
	g.counters = map[string]int64{}
	g.ids.rand = rand.New(rand.NewPCG(c.seed, 0x70726f7669646572))
	g.sender = newSender(g, c)
	return g
}

// SetPlan replaces the fault plan and forgets how far the last one had come. It
// fails on a plan that names an unknown fault or a probability outside 0 to 1.
func (g *rig) SetPlan(p Plan) error { return g.planner.set(p) }

// Plan returns the rules in force, injected ones first.
func (g *rig) Plan() Plan { return g.planner.current() }

// Inject puts a rule ahead of the plan, behind those injected before it. It hits
// once unless it says how often: Inject(Rule{Operation: Capture, Fault:
// Fault{Kind: DropAfter}}) cuts the next capture's connection after capturing.
func (g *rig) Inject(r Rule) error { return g.planner.next(r) }

// SetCredentials replaces what requests are let in with: Stripe's secret keys, PayPal's
// client secrets, GoCardless's access tokens. Several are accepted while one is rolled;
// none shuts everybody out. Access tokens of PayPal's that were given out before stay
// good, see ExpireTokens.
func (g *rig) SetCredentials(keys ...string) { g.accepts.set(keys) }

// OnHang has a function called whenever a request has begun to hang, which is when the
// simulator has done with it whatever it will. A test then needs no timeout to be sure
// of what the caller can't know.
func (g *rig) OnHang(tell func()) {
	g.hanging.Lock()
	g.hanging.tell = tell
	g.hanging.Unlock()
}

// SetWebhook sets where events are sent from now on; empty stops the sending.
func (g *rig) SetWebhook(url string) { g.sender.setURL(url) }

// Quiesce waits until no request is being answered and no webhook is on its way
// or queued. Hanging requests, and what waits on the agenda (delayed events,
// retries), do not count.
func (g *rig) Quiesce(ctx context.Context) error { return g.busy.wait(ctx) }

// Close ends hanging requests and the sending of webhooks, and waits for the
// latter. The simulator answers requests after it, but sends nothing.
func (g *rig) Close() {
	g.once.Do(func() { close(g.closed) })
	g.sender.close()
}

// strikes counts a fault. It is called once the fault's victim is certain.
func (g *rig) strikes(f Fault) { g.count("fault." + string(f.Kind)) }

// credentials are the keys of an account that are accepted now.
type credentials struct {
	mu     sync.Mutex
	active []string
}

func (c *credentials) set(keys []string) {
	c.mu.Lock()
	c.active = slices.Clone(keys)
	c.mu.Unlock()
}

func (c *credentials) hold(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return key != "" && slices.Contains(c.active, key)
}

// activity counts work under way and lets others wait for the count to be zero.
type activity struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n falls to zero
}

func (a *activity) begin() {
	a.mu.Lock()
	if a.n == 0 {
		a.idle = make(chan struct{})
	}
	a.n++
	a.mu.Unlock()
}

func (a *activity) end() {
	a.mu.Lock()
	if a.n--; a.n == 0 {
		close(a.idle)
	}
	a.mu.Unlock()
}

func (a *activity) wait(ctx context.Context) error {
	for {
		a.mu.Lock()
		n, idle := a.n, a.idle
		a.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ids makes identifiers in the style of the providers: a prefix and letters.
type ids struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func (g *ids) next(prefix string) string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const length = 24
	b := make([]byte, 0, len(prefix)+length)
	b = append(b, prefix...)
	g.mu.Lock()
	defer g.mu.Unlock()
	for range length {
		b = append(b, letters[g.rand.IntN(len(letters))])
	}
	return string(b)
}
