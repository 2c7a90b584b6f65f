package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Bounds of what is kept of a reply.
const (
	MaxEvidenceBytes = 32 << 10
	maxForeignBytes  = 1 << 10 // of a reply that is not JSON
	maxEvidenceError = 500
)

const (
	masked = "[masked]"
	cutOff = "…[cut]"
)

// Mask is what may be kept of a provider's JSON. Every string that Shown does not name
// is masked, so that a client secret, a name, an address, or a member that the provider
// adds tomorrow never reaches the database; numbers, booleans and the shape of the
// object are kept.
type Mask struct {
	Shown  map[string]bool // the members whose strings are kept
	Hidden map[string]bool // the members whose numbers are masked
}

// Names makes a set of the words of a text.
func Names(text string) map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(text) {
		m[name] = true
	}
	return m
}

// Evidence is the reply as it may be stored. requestID is the header by which the
// provider names its reply; doubt is why the reply does not decide.
func (k Mask) Evidence(x *Exchange, requestID string, doubt error) provider.Evidence {
	e := provider.Evidence{
		Status: x.Status, Body: k.Reply(x.Body), Duration: x.Duration,
		RequestID: Clip(x.Header.Get(requestID), 100),
	}
	for _, err := range []error{x.Err, doubt} {
		if err != nil {
			e.Error = Clip(telemetry.Mask(err.Error()), maxEvidenceError)
			break
		}
	}
	return e
}

// Reply writes a reply down without what must not be kept, as far as it is JSON and
// within the bound. It works token by token, so that a truncated reply is masked as a
// whole one is.
func (k Mask) Reply(body []byte) string {
	if len(body) == 0 {
		return ""
	}
	m := masker{keep: k}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for m.out.Len() < MaxEvidenceBytes {
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
	return ClipBytes(m.out.String(), MaxEvidenceBytes-len(cutOff)) + cutOff
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
	keep Mask
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
		m.out.WriteString(quote(m.keep.visible(key, v)))
	case json.Number:
		m.out.WriteString(m.keep.number(key, v.String()))
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

func (k Mask) visible(key, value string) string {
	if value == "" {
		return ""
	}
	if !k.Shown[key] {
		return masked
	}
	return telemetry.Mask(strings.ReplaceAll(value, "\x00", "?"))
}

func (k Mask) number(key, digits string) string {
	if k.Hidden[key] || telemetry.Mask(digits) != digits {
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

// ClipBytes cuts s to n bytes at most, at the border of a character.
func ClipBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// Clip shortens s to n characters at most.
func Clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}
