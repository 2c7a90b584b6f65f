package providersim

import (
	"maps"
	"sync"
	"time"
)

// EffectKind names a movement of money, or of a claim on it.
type EffectKind string

// Authorize, capture, void and refund have the names of the operations that
// cause them. Expiry and refund reversal happen by themselves.
const (
	EffectAuthorize      EffectKind = "authorize"
	EffectCapture        EffectKind = "capture"
	EffectVoid           EffectKind = "void"
	EffectRefund         EffectKind = "refund"
	EffectExpire         EffectKind = "expire"          // an authorization ran out
	EffectRefundReversed EffectKind = "refund_reversed" // a refund failed after it was made
)

// Effect is one thing the simulated provider really did, whatever it answered.
// A sale with automatic capture is two: authorize and capture.
type Effect struct {
	Seq            int               `json:"seq"` // 1 is the first
	Kind           EffectKind        `json:"kind"`
	Payment        string            `json:"payment"`      // the provider's payment object
	Object         string            `json:"object"`       // what was made or moved: a charge, a refund
	AmountMinor    int64             `json:"amount_minor"` // in the provider's units
	Currency       string            `json:"currency"`     // ISO 4217, lower case
	Metadata       map[string]string `json:"metadata"`     // of the payment, overlaid by the object's own
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	RequestID      string            `json:"request_id,omitempty"`
	At             time.Time         `json:"at"` // simulated time
}

// record keeps effects and counters. It is only ever added to.
type record struct {
	mu         sync.Mutex
	effects    []Effect
	byMetadata map[[2]string][]int
	counters   map[string]int64
}

func (l *record) note(e Effect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = len(l.effects) + 1
	for k, v := range e.Metadata {
		l.byMetadata[[2]string{k, v}] = append(l.byMetadata[[2]string{k, v}], len(l.effects))
	}
	l.effects = append(l.effects, e)
	l.counters["effect."+string(e.Kind)]++
}

func (l *record) count(name string) {
	l.mu.Lock()
	l.counters[name]++
	l.mu.Unlock()
}

// Effects returns everything that was done, in order.
func (l *record) Effects() []Effect {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Effect{}, l.effects...)
}

// EffectsFor returns what was done to payments or refunds that carry this
// metadata value, in order.
func (l *record) EffectsFor(key, value string) []Effect {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []Effect{}
	for _, i := range l.byMetadata[[2]string{key, value}] {
		found = append(found, l.effects[i])
	}
	return found
}

// Counters returns how often things happened, by name: "capture.requests"
// (received), "capture.replays" (answered from a stored result), "fault.drop_after"
// (a fault befell a request or an event), "effect.capture" (see Effects),
// "webhook.attempts", "webhook.delivered", "webhook.failed" (attempts that got no
// 2xx), "webhook.abandoned" (given up).
func (l *record) Counters() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counters)
}
