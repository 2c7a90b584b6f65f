package breaker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
)

// Settings are when a circuit opens, and what brings it back.
type Settings struct {
	FailureRate float64       // it opens when so much of the calls failed, 0 to 1,
	SlowRate    float64       // or so much of them were slow,
	Slow        time.Duration // which is, took longer than this,
	Window      time.Duration // of those that ended within this,
	Open        time.Duration // and is open for this.
	MinCalls    int           // Fewer calls are no reason.
	Probes      int           // So many calls may find out whether the provider is well again,
	ProbeLease  time.Duration // each within this: more than the longest call and the clocks' disagreement
}

// Default returns the settings that README and runbooks speak of.
func Default() Settings {
	return Settings{
		FailureRate: 0.5, SlowRate: 0.8, Slow: 5 * time.Second, Window: 10 * time.Second, Open: time.Minute,
		MinCalls: 10, Probes: 5, ProbeLease: 30 * time.Second,
	}
}

// enough is how many probes must succeed: more than half.
func (s Settings) enough() int { return s.Probes/2 + 1 }

// Metrics is what is measured; *telemetry.Metrics does it.
type Metrics interface {
	CircuitState(ctx context.Context, provider string, state int)
	CircuitFailure(ctx context.Context, provider string)
}

// Options are what a breaker needs.
type Options struct {
	Provider string
	Store    control.Store // nil: this instance judges alone
	Now      func() time.Time
	NewID    func() id.ID
	Log      *slog.Logger // may be nil
	Metrics  Metrics      // may be nil
	Settings Settings     // Default() when zero
}

// Slow is after what time a call is slow: then Permit.Overdue is due.
func (b *Breaker) Slow() time.Duration { return b.o.Settings.Slow }

// Verdict is what a call says about the provider's health.
type Verdict int

// The verdicts.
const (
	Ignored   Verdict = iota // nothing
	Succeeded                // it works, whatever it answered
	Failed                   // it does not
)

// Refusal says that a call must not be made now.
type Refusal struct {
	RetryAfter time.Duration // when it may be worth asking again
	Why        string        // for people; no part of it is secret
}

// Bounds on waiting for the store by the machine's clock, and between tries by the injected one.
const (
	maxWait    = 200 * time.Millisecond
	maxWrite   = 2 * time.Second
	retryWrite = time.Second
	awayAfter  = 5 * time.Second // without the store an instance waits this long before it probes by itself
)

// busyRetry is when to ask again while others find out whether the provider is well.
const busyRetry = 5 * time.Second

// Breaker is one instance's view of a provider's circuit. It is safe for concurrent use.
type Breaker struct {
	o        Options
	instance string
	doc      *control.Reader[Circuit] // nil without a store
	patience time.Duration            // maxWait

	mu      sync.Mutex
	shared  control.Reading[Circuit] // what all instances agreed on when it was last heard
	own     *own                     // what this one has come to since, by itself; nil: nothing
	forks   uint64
	window  window
	counted key // the circuit whose calls window has

	told      State // to metrics and log; -1 before anything was
	asking    bool  // for a lease
	joining   bool
	silent    time.Time // since when reads have not been answered; zero when they are
	failingAt time.Time // when the first of the latest writes failed; zero when the last one did not
	nextWrite time.Time // none before that
}

// own is a circuit that the others don't know.
type own struct {
	Circuit
	fork uint64 // another number for each
	base int64  // the shared generation that it goes on from
}

// key names what a call is counted for: calls that began before the circuit changed say nothing about it since.
type key struct {
	fork       uint64 // 0: shared
	generation int64
}

// New makes a breaker. It starts closed, until the first Ask has read the document.
func New(o Options) *Breaker {
	if o.Settings == (Settings{}) {
		o.Settings = Default()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Breaker{o: o, instance: o.NewID().String(), patience: maxWait, told: -1}
	if o.Store != nil {
		b.doc = control.NewReader[Circuit](o.Store, path(o.Provider), o.Now, o.Log)
	}
	return b
}

func path(provider string) string { return "circuits/" + provider }

// circuit is the one that holds for this instance, with mu held, as for what follows.
func (b *Breaker) circuit() Circuit {
	if b.own != nil {
		return b.own.Circuit
	}
	return b.shared.Value
}

func (b *Breaker) key() key {
	if b.own != nil {
		return key{b.own.fork, b.own.Generation}
	}
	return key{0, b.shared.Value.Generation}
}

// adopt takes what was heard of the document, unless something later was heard already. When the others have moved
// on, this instance does so with them.
func (b *Breaker) adopt(r control.Reading[Circuit]) bool {
	if r.Version <= b.shared.Version {
		return false
	}
	b.shared = r
	if b.own != nil && b.own.base != r.Value.Generation {
		b.own = nil
	}
	return true
}

// fork lets this instance go on by itself, from a circuit.
func (b *Breaker) fork(c Circuit) {
	b.forks++
	b.own = &own{Circuit: c, fork: b.forks, base: b.shared.Value.Generation}
}

// look reads the document, and returns with mu held.
func (b *Breaker) look(ctx context.Context, now time.Time) {
	var r control.Reading[Circuit]
	if b.doc != nil {
		r = b.doc.Get(ctx)
	}
	b.mu.Lock()
	b.adopt(r)
	b.silent = r.Silent
	b.judge(ctx, now) // also when calls that hang keep others from being made: the good ones of before grow old
	b.tell(ctx, now)
}

// tell reports a state that was not reported yet.
func (b *Breaker) tell(ctx context.Context, now time.Time) {
	c := b.circuit()
	s := c.At(now)
	if s == b.told {
		return
	}
	if b.o.Metrics != nil {
		b.o.Metrics.CircuitState(ctx, b.o.Provider, int(s))
	}
	before := b.told
	b.told = s
	switch {
	case s == Open:
		b.o.Log.WarnContext(ctx, "circuit opened", "provider", b.o.Provider, "why", c.reason(), "opened_by", c.OpenedBy,
			"generation", c.Generation)
	case before != -1:
		b.o.Log.InfoContext(ctx, "circuit "+s.String(), "provider", b.o.Provider, "generation", c.Generation)
	}
}

// Ask asks to call the provider. Either it is allowed, and Done must follow the call, or it is refused. It waits at
// most 200 ms for the store, not again while the store is away, and never fails.
func (b *Breaker) Ask(ctx context.Context) (Permit, *Refusal) {
	now := b.o.Now()
	b.look(ctx, now)
	defer b.mu.Unlock()
	if b.own != nil {
		b.join(ctx, now)
	}
	if b.circuit().place(now, b.o.Settings) {
		if p := b.probe(ctx, now); p.b != nil {
			return p, nil
		}
	}
	c := b.circuit()
	if shut := c.refusal(now, b.o.Settings); shut != nil {
		return Permit{}, shut
	}
	return Permit{b: b, key: b.key(), counts: c.Forced == nil}, nil
}

// Shut is the refusal that Ask would give now, nil if it would allow a call. It takes nothing.
func (b *Breaker) Shut(ctx context.Context) *Refusal {
	now := b.o.Now()
	b.look(ctx, now)
	defer b.mu.Unlock()
	c := b.circuit()
	if c.place(now, b.o.Settings) {
		return nil
	}
	return c.refusal(now, b.o.Settings)
}

// refusal is what is said to who wants to call and is no probe; nil when the circuit is closed.
func (c Circuit) refusal(now time.Time, s Settings) *Refusal {
	switch c.At(now) {
	case Closed:
		return nil
	case HalfOpen:
		return &Refusal{busyRetry, "being probed after: " + c.reason()}
	default:
		return &Refusal{c.retryAfter(now, s), c.reason()}
	}
}

func (c Circuit) reason() string {
	if c.Forced != nil {
		return "forced " + string(c.Forced.Mode) + " by an operator: " + c.Forced.Why
	}
	return c.Why
}

func (c Circuit) retryAfter(now time.Time, s Settings) time.Duration {
	if c.Forced != nil {
		return s.Open
	}
	return max(c.remaining(now), time.Second)
}

// away tells whether the store has been away for so long that this instance must find out by itself.
func (b *Breaker) away(now time.Time) bool {
	long := func(since time.Time) bool { return !since.IsZero() && now.Sub(since) >= awayAfter }
	return long(b.silent) || long(b.failingAt)
}

// wrote notes whether a write came through.
func (b *Breaker) wrote(now time.Time, err error) {
	switch {
	case err == nil:
		b.failingAt, b.nextWrite = time.Time{}, time.Time{}
	case errors.Is(err, control.ErrContended): // it answers
		b.failingAt = time.Time{}
	default:
		b.nextWrite = now.Add(retryWrite)
		if b.failingAt.IsZero() {
			b.failingAt = now
		}
	}
}
