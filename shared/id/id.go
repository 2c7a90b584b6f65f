// Package id makes and spells identifiers.
//
// Inside, an identifier is a UUIDv7 (RFC 9562) whose time comes from the
// injected clock, so keys sort by creation. Outside, it is a prefix that names
// the kind of thing and 26 characters of Crockford's base32, lower case:
// pay_01jd3k…. The spelling sorts as the UUID does.
package id

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// ID is a UUID. The zero ID means none.
type ID [16]byte

// Prefix names the kind of thing an external identifier stands for.
type Prefix string

// The prefixes merchants see.
const (
	Payment    Prefix = "pay"
	Refund     Prefix = "re"
	Dispute    Prefix = "dp"
	Settlement Prefix = "stl"
	Event      Prefix = "evt"
	Endpoint   Prefix = "we"
	Delivery   Prefix = "whd"
	Replay     Prefix = "whr"
	Merchant   Prefix = "mer"
	Request    Prefix = "req"
)

// Source makes IDs.
type Source struct {
	Now  func() time.Time
	Read func([]byte) (int, error) // random bytes; crypto/rand when nil
}

// New makes a UUIDv7 of the clock's millisecond and 74 random bits.
func (s Source) New() ID {
	var u ID
	read := s.Read
	if read == nil {
		read = rand.Read
	}
	if _, err := read(u[6:]); err != nil {
		panic("id: the random source failed: " + err.Error()) // crypto/rand does not fail on the systems we run on
	}
	ms := s.Now().UnixMilli()
	for i := range 6 {
		u[i] = byte(ms >> (8 * (5 - i)))
	}
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return u
}

// Time is the millisecond at which a UUIDv7 was made.
func (u ID) Time() time.Time {
	var ms int64
	for _, b := range u[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

// IsZero reports whether there is no ID.
func (u ID) IsZero() bool { return u == ID{} }

// String is the canonical UUID spelling, used inside only.
func (u ID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Parse reads the canonical UUID spelling.
func Parse(s string) (ID, error) {
	var u ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("id: %q is not a UUID", s)
	}
	if _, err := hex.Decode(u[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err != nil {
		return ID{}, fmt.Errorf("id: %q is not a UUID", s)
	}
	return u, nil
}

// MarshalText spells the ID as a UUID, in the log and in JSON.
func (u ID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (u *ID) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err == nil {
		*u = v
	}
	return err
}

// Crockford's alphabet, which leaves out i, l, o and u.
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// External spells the ID with its prefix, as merchants see it.
func (p Prefix) External(u ID) string {
	if u.IsZero() {
		return ""
	}
	return string(p) + "_" + crockford.EncodeToString(u[:])
}

// Parse reads an external identifier of this kind. It accepts one spelling only.
func (p Prefix) Parse(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, string(p)+"_")
	if !ok || len(rest) != 26 {
		return ID{}, fmt.Errorf("%q is not an identifier of the form %s_…", s, p)
	}
	b, err := crockford.DecodeString(rest)
	if err != nil || len(b) != 16 || crockford.EncodeToString(b) != rest {
		return ID{}, fmt.Errorf("%q is not an identifier of the form %s_…", s, p)
	}
	return ID(b), nil
}
