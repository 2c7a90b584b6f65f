package endpoint

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// New is what an endpoint is made of. URL alone has to be given.
type New struct {
	URL         string
	Description string
	EventTypes  []string          // such as payment.captured or refund.*; empty: all
	APIVersion  string            // of the events; the current one when empty
	Payload     string            // event.Full, also when empty, or event.Thin
	Ordered     bool              // later events of a payment wait for the earlier ones
	Signature   string            // sender.SchemeV1, also when empty, or SchemeV1a
	Headers     map[string]string // sent along with each event
	RateLimit   int               // attempts/s; 100 when 0
	MaxInFlight int               // attempts at a time; 20 when 0
}

// Change is what of an endpoint's settings is to be different. Nil leaves a setting as
// it is; empty event types are all, empty headers none.
type Change struct {
	URL         *string
	Description *string
	EventTypes  []string
	APIVersion  *string
	Payload     *string
	Ordered     *bool
	Headers     map[string]string
	RateLimit   *int
	MaxInFlight *int
}

// The bounds of the settings.
const (
	MaxDescription = 500 // characters
	MaxEventTypes  = 100
	MaxRateLimit   = 500
	MaxMaxInFlight = 100
)

// check fills the defaults in and refuses what can't be.
func (n *New) check(allowLocal bool) error {
	d := defaults()
	setDefault(&n.APIVersion, d.APIVersion)
	setDefault(&n.Payload, d.Payload)
	setDefault(&n.Signature, d.Signature)
	setDefault(&n.RateLimit, d.RateLimit)
	setDefault(&n.MaxInFlight, d.MaxInFlight)
	var bad problems
	if n.Signature != sender.SchemeV1 && n.Signature != sender.SchemeV1a {
		bad.add("signature", "must be %s or %s", sender.SchemeV1, sender.SchemeV1a)
	}
	bad.check(Change{
		URL: &n.URL, Description: &n.Description, EventTypes: n.EventTypes, APIVersion: &n.APIVersion, Payload: &n.Payload,
		Headers: n.Headers, RateLimit: &n.RateLimit, MaxInFlight: &n.MaxInFlight,
	}, allowLocal)
	return bad.fault()
}

func setDefault[T comparable](setting *T, otherwise T) {
	var zero T
	if *setting == zero {
		*setting = otherwise
	}
}

func (c Change) check(allowLocal bool) error {
	var bad problems
	bad.check(c, allowLocal)
	return bad.fault()
}

// problems are all that is wrong with the settings, so that they are mended in one go.
type problems []fault.Field

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fault.Invalid(field, format, args...).Fields...)
}

func (p problems) fault() error {
	if len(p) == 0 {
		return nil
	}
	f := fault.Invalid("", "")
	f.Fields = p
	return f
}

func (p *problems) check(c Change, allowLocal bool) {
	if c.URL != nil {
		if err := checkURL(*c.URL, allowLocal); err != nil {
			p.add("url", "%v; give the https URL of a public host", err)
		}
	}
	if c.Description != nil && (!text(*c.Description) || utf8.RuneCountInString(*c.Description) > MaxDescription) {
		p.add("description", "must be text of at most %d characters", MaxDescription)
	}
	p.checkEventTypes(c.EventTypes)
	if c.APIVersion != nil && !slices.Contains(event.Versions(), *c.APIVersion) {
		p.add("api_version", "must be %s", strings.Join(event.Versions(), " or "))
	}
	if c.Payload != nil && *c.Payload != event.Full && *c.Payload != event.Thin {
		p.add("payload", "must be %s or %s", event.Full, event.Thin)
	}
	if err := sender.CheckHeaders(c.Headers); err != nil {
		p.add("headers", "%v", err)
	}
	if c.RateLimit != nil && (*c.RateLimit < 1 || *c.RateLimit > MaxRateLimit) {
		p.add("rate_limit", "must be between 1 and %d attempts per second", MaxRateLimit)
	}
	if c.MaxInFlight != nil && (*c.MaxInFlight < 1 || *c.MaxInFlight > MaxMaxInFlight) {
		p.add("max_in_flight", "must be between 1 and %d attempts at a time", MaxMaxInFlight)
	}
}

func checkURL(raw string, allowLocal bool) error {
	if !text(raw) {
		return errors.New("has characters that are not text")
	}
	return sender.CheckURL(raw, allowLocal)
}

func (p *problems) checkEventTypes(types []string) {
	if len(types) > MaxEventTypes {
		p.add("event_types", "must have at most %d entries; leave it empty for all", MaxEventTypes)
		return
	}
	for i, t := range types {
		if err := event.CheckFilter(t); err != nil {
			p.add("event_types", "%v", err)
			return
		}
		if slices.Contains(types[:i], t) {
			p.add("event_types", "has %s twice; name it once", t)
			return
		}
	}
}

// text reports whether PostgreSQL takes the string.
func text(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
