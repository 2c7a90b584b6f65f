package providersim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Operation names what a request asks of a provider, in words that all
// providers share, so that one fault plan fits every simulator.
type Operation string

// The operations that requests are counted and faults are chosen by.
const (
	Authorize Operation = "authorize" // create a payment, with or without confirming it
	Confirm   Operation = "confirm"   // confirm one that was created before
	Capture   Operation = "capture"
	Void      Operation = "void"
	Refund    Operation = "refund"
	Retrieve  Operation = "retrieve" // read one object
	List      Operation = "list"     // read several
	Report    Operation = "report"   // read the movements of the account's money, or its payouts

	// Webhook is not a request: it is the sending of one event. Only the
	// webhook faults fit it.
	Webhook Operation = "webhook"
)

// FaultKind names one way in which a provider or the network misbehaves.
type FaultKind string

// "Before" means that the provider never acts on the request; "after" means
// that it acts, and the caller does not learn of it. The two look the same from
// outside, which is the point.
const (
	DelayBefore    FaultKind = "delay_before" // wait For in real time, then act and answer; acts even if the caller has gone
	DelayAfter     FaultKind = "delay_after"  // act, wait For in real time, then answer
	HangBefore     FaultKind = "hang_before"  // never act; say nothing until the caller goes away
	HangAfter      FaultKind = "hang_after"   // act; say nothing until the caller goes away
	DropBefore     FaultKind = "drop_before"  // never act; cut the connection
	DropAfter      FaultKind = "drop_after"   // act; cut the connection
	Error500Before FaultKind = "500_before"   // never act; answer 500 and keep it under the idempotency key
	Error500After  FaultKind = "500_after"    // act; answer 500 and keep it under the idempotency key
	RateLimited    FaultKind = "429"          // never act; answer 429, kept nowhere
	Conflict       FaultKind = "409"          // never act; answer as if another request held the key, kept nowhere
	HTMLBefore     FaultKind = "html_before"  // never act; an HTML page with Status (503)
	HTMLAfter      FaultKind = "html_after"   // act; an HTML page with Status (200)
	BadJSON        FaultKind = "bad_json"     // act; the first half of the answer, complete as far as HTTP can tell
	WrongAmount    FaultKind = "wrong_amount" // act; the answer states one minor unit too many
	LateError      FaultKind = "late_500"     // answer 500, kept under the key; act after For of simulated time all the same
	LateDrop       FaultKind = "late_drop"    // cut the connection; act after For of simulated time; the key is in use until then
	LateHang       FaultKind = "late_hang"    // the same, but say nothing until the caller goes away

	WebhookDuplicate FaultKind = "webhook_duplicate" // send the event Copies more times
	WebhookDelay     FaultKind = "webhook_delay"     // hold the event for For of simulated time
	WebhookReorder   FaultKind = "webhook_reorder"   // send the event after the payment's next one, or after For of simulated time
	WebhookLose      FaultKind = "webhook_lose"      // never send the event; it still stands in the list of events
)

// defaults holds every kind there is, with the values its parameters take when
// they are left out.
var defaults = map[FaultKind]Fault{
	DelayBefore: {For: 100 * time.Millisecond}, DelayAfter: {For: 100 * time.Millisecond},
	HangBefore: {}, HangAfter: {},
	DropBefore: {}, DropAfter: {},
	Error500Before: {}, Error500After: {},
	RateLimited: {}, Conflict: {},
	HTMLBefore: {Status: 503}, HTMLAfter: {Status: 200},
	BadJSON: {}, WrongAmount: {},
	LateError: {For: 10 * time.Minute}, LateDrop: {For: 10 * time.Minute}, LateHang: {For: 10 * time.Minute},
	WebhookDuplicate: {Copies: 1}, WebhookDelay: {For: 10 * time.Minute},
	WebhookReorder: {For: time.Minute}, WebhookLose: {},
}

// Fault is one misbehaviour with its parameters. The zero Fault is none. Its
// text form, used by the Sim-Fault header and in plans, is the kind followed by
// parameters: "late_500; for=30m", "html_after; status=503", "drop_after; silent".
type Fault struct {
	Kind FaultKind

	// For is the length of a delay: of real time for delay_*, of simulated
	// time for late_* and webhook_*.
	For time.Duration

	Status int // of an HTML page
	Copies int // extra copies of a duplicated event

	// Silent makes a drop close the connection without sending a byte.
	// Go's http.Transport takes that, on a kept-alive connection, for a
	// server that had closed it already, and sends a request that carries an
	// Idempotency-Key once more by itself. So a drop sends part of a status
	// line first unless it is silent, and the caller always learns of it.
	Silent bool
}

// ParseFault reads the text form.
func ParseFault(s string) (Fault, error) {
	var f Fault
	if err := f.UnmarshalText([]byte(s)); err != nil {
		return Fault{}, err
	}
	return f, nil
}

// UnmarshalText reads the text form; unknown kinds and parameters are errors.
func (f *Fault) UnmarshalText(text []byte) error {
	kind, rest, _ := strings.Cut(string(text), ";")
	*f = Fault{Kind: FaultKind(strings.TrimSpace(kind))}
	for _, param := range strings.Split(rest, ";") {
		if param = strings.TrimSpace(param); param == "" {
			continue
		}
		name, value, _ := strings.Cut(param, "=")
		if err := f.set(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("fault %q: %w", text, err)
		}
	}
	return f.complete()
}

func (f *Fault) set(name, value string) (err error) {
	switch name {
	case "for":
		f.For, err = time.ParseDuration(value)
	case "status":
		f.Status, err = strconv.Atoi(value)
	case "copies":
		f.Copies, err = strconv.Atoi(value)
	case "silent":
		if value != "" {
			return errors.New("silent takes no value")
		}
		f.Silent = true
	default:
		return fmt.Errorf("unknown parameter %q: use for, status, copies or silent", name)
	}
	return err
}

// MarshalText writes the text form.
func (f Fault) MarshalText() ([]byte, error) {
	s := string(f.Kind)
	if f.For != 0 {
		s += "; for=" + f.For.String()
	}
	if f.Status != 0 {
		s += "; status=" + strconv.Itoa(f.Status)
	}
	if f.Copies != 0 {
		s += "; copies=" + strconv.Itoa(f.Copies)
	}
	if f.Silent {
		s += "; silent"
	}
	return []byte(s), nil
}

// complete fills in what was left out and refuses what can't be done.
func (f *Fault) complete() error {
	d, ok := defaults[f.Kind]
	if !ok {
		return fmt.Errorf("unknown fault %q: use one of %s", f.Kind, strings.Join(kindNames(), ", "))
	}
	if f.For < 0 || f.Copies < 0 {
		return fmt.Errorf("fault %q: for and copies can't be negative", f.Kind)
	}
	if f.For == 0 {
		f.For = d.For
	}
	if f.Copies == 0 {
		f.Copies = d.Copies
	}
	if f.Status == 0 {
		f.Status = d.Status
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("fault %q: status must be between 200 and 599", f.Kind)
	}
	return nil
}

// onTheWire tells the faults that strike an answer on its way, and so a replayed
// one too, from those of the provider.
func (k FaultKind) onTheWire() bool {
	switch k {
	case DelayAfter, HangAfter, DropAfter, HTMLAfter, BadJSON, WrongAmount:
		return true
	}
	return false
}

// FaultKinds lists every kind there is, sorted.
func FaultKinds() []FaultKind { return slices.Sorted(maps.Keys(defaults)) }

// AboutWebhooks tells the faults of sent events from those of requests.
func (k FaultKind) AboutWebhooks() bool { return strings.HasPrefix(string(k), "webhook_") }

func kindNames() []string {
	names := make([]string, 0, len(defaults))
	for _, k := range FaultKinds() {
		names = append(names, string(k))
	}
	return names
}
