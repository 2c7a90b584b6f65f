package stripe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Bounds of what is kept of a reply.
const (
	maxEvidenceBytes = 32 << 10
	maxForeignBytes  = 1 << 10 // of a reply that is not JSON
	maxEvidenceError = 500
)

const (
	masked = "[masked]"
	cutOff = "…[cut]"
)

// evidence is the reply as it may be stored. doubt is why it does not decide.
func (x *exchange) evidence(doubt error) provider.Evidence {
	e := provider.Evidence{
		Status: x.status, Body: mask(x.body), Replayed: x.replayed(), Duration: x.duration,
		RequestID: clip(x.header.Get("Request-Id"), 100),
	}
	for _, err := range []error{x.err, doubt} {
		if err != nil {
			e.Error = clip(telemetry.Mask(err.Error()), maxEvidenceError)
			break
		}
	}
	return e
}

// shown names the members whose strings are kept. Every other string is masked, so
// that a client secret, a name, an address, or a member that Stripe adds tomorrow
// never reaches the database; numbers, booleans and the shape of the object are kept.
var shown = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(`
		id object type status code decline_code param message reason
		currency capture_method confirmation_method cancellation_reason
		payment_intent payment_method latest_charge charge balance_transaction failure_balance_transaction
		failure_code failure_message failure_reason pending_reason network_status risk_level seller_message
		brand last4 funding network api_version
		tollgate_payment tollgate_merchant tollgate_refund tollgate_obligation tollgate_reason`) {
		m[name] = true
	}
	return m
}()

// hidden names the members whose numbers are cardholder data.
var hidden = map[string]bool{"exp_month": true, "exp_year": true}

// mask writes a reply down without what must not be kept, as far as it is JSON and
// within the bound. It works token by token, so that a truncated reply is masked as a
// whole one is.
func mask(body []byte) string {
	if len(body) == 0 {
		return ""
	}
	m := masker{}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for m.out.Len() < maxEvidenceBytes {
		token, err := d.Token()
		if err != nil {
			if m.out.Len() == 0 {
				return foreign(body)
			}
			if !errors.Is(err, io.EOF) || len(m.open) > 0 {
				return m.out.String() + cutOff
			}
			return m.out.String()
		}
		if m.out.Len() == 0 && token != json.Delim('{') && token != json.Delim('[') {
			return foreign(body)
		}
		m.write(token)
	}
	return clipBytes(m.out.String(), maxEvidenceBytes-len(cutOff)) + cutOff
}

// foreign keeps the beginning of what is not JSON: a proxy's page, most likely. It
// stops at the first brace, behind which damaged JSON may begin.
func foreign(body []byte) string {
	start := string(body[:min(len(body), maxForeignBytes)])
	s, _, braced := strings.Cut(start, "{")
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?") // PostgreSQL takes no NUL
	s = telemetry.Mask(s)
	if braced || len(body) > maxForeignBytes {
		s += cutOff
	}
	return s
}

// masker writes tokens as compact JSON.
type masker struct {
	out  strings.Builder
	open []level
	key  string // of the value to come
}

type level struct {
	object, wantKey bool
	items           int
	key             string // under which it stands, for the elements of an array
}

func (m *masker) write(token json.Token) {
	if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
		m.open = m.open[:len(m.open)-1]
		m.out.WriteRune(rune(delim))
		return
	}
	key := m.key
	if n := len(m.open); n > 0 {
		top := &m.open[n-1]
		if name, ok := token.(string); ok && top.wantKey {
			m.separate(top)
			m.out.WriteString(quote(telemetry.Mask(name)) + ":")
			m.key, top.wantKey = name, false
			return
		}
		if top.object {
			top.wantKey = true
		} else {
			key = top.key
			m.separate(top)
		}
	}
	switch v := token.(type) {
	case json.Delim:
		m.out.WriteRune(rune(v))
		m.open = append(m.open, level{object: v == '{', wantKey: v == '{', key: key})
	case string:
		m.out.WriteString(quote(visible(key, v)))
	case json.Number:
		m.out.WriteString(number(key, v.String()))
	default:
		fmt.Fprintf(&m.out, "%v", orNull(v))
	}
}

func (m *masker) separate(l *level) {
	if l.items > 0 {
		m.out.WriteByte(',')
	}
	l.items++
}

func visible(key, value string) string {
	if value == "" {
		return ""
	}
	if !shown[key] {
		return masked
	}
	return telemetry.Mask(strings.ReplaceAll(value, "\x00", "?"))
}

func number(key, digits string) string {
	if hidden[key] || telemetry.Mask(digits) != digits {
		return quote(masked)
	}
	return digits
}

func orNull(v any) any {
	if v == nil {
		return "null"
	}
	return v
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `"` + masked + `"` // strings always marshal
	}
	return string(b)
}

// clipBytes cuts s to n bytes at most, at the border of a character.
func clipBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
