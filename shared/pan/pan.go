// Package pan finds card numbers (primary account numbers) in text, so that
// requests carrying one are refused and logs never show one.
//
// A card number is 13 to 19 digits, grouped in any way by spaces and dashes, in
// any script's digits (full-width ones above all), with the prefix and length of
// a known issuer and a valid Luhn check digit. Digits that are part of a longer
// run of digits, of a UUID or of a long hexadecimal identifier are not card
// numbers. Chance still makes about one in ten digit strings of an issuer's
// shape pass the check digit; such a string counts as a card number.
//
// It owns no state, and every function runs in time linear in its input.
package pan

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The shortest and longest card numbers of ISO/IEC 7812-1 that issuers use.
const (
	minDigits = 13
	maxDigits = 19
)

// maxGap is how many separators may stand between two groups of digits: enough
// for " - ", too few for the columns of a table.
const maxGap = 3

const mask = "[masked]"

// Find reports whether s contains a card number.
func Find(s string) bool {
	found := false
	scan(s, func(int, int) bool {
		found = true
		return false
	})
	return found
}

// Mask returns s with each card number, separators included, replaced by
// "[masked]". Find of the result is false.
func Mask(s string) string {
	var out strings.Builder
	kept := 0 // s[:kept] is in out
	scan(s, func(start, end int) bool {
		out.WriteString(s[kept:start])
		out.WriteString(mask)
		kept = end
		return true
	})
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

// group is a run of digits without separators.
type group struct {
	start, end int // in bytes of the text
	digits     int // index of its first digit in chain.digits
}

// chain is a sequence of groups with nothing but separators between them. Card
// numbers start and end with a group.
type chain struct {
	groups []group
	digits []byte // values, not characters
}

// scan calls report for each card number of s in order, until it returns false.
func scan(s string, report func(start, end int) bool) {
	if !mayContain(s) {
		return
	}
	var c chain
	gap := 0
	for i := 0; i < len(s); {
		if end := identifierEnd(s, i); end > i {
			if !c.flush(report) {
				return
			}
			i = end
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch value, ok := digit(r); {
		case ok:
			c.add(i, i+size, value)
			gap = 0
		case isSeparator(r) && gap < maxGap:
			gap++
		default:
			if !c.flush(report) {
				return
			}
			gap = 0
		}
		i += size
	}
	c.flush(report)
}

// mayContain is the quick answer for nearly every string.
func mayContain(s string) bool {
	if len(s) < minDigits {
		return false
	}
	n := 0
	for i := range len(s) {
		if isDecimal(s[i]) || s[i] >= utf8.RuneSelf {
			n++
		}
	}
	return n >= minDigits
}

func (c *chain) add(start, end int, value byte) {
	if n := len(c.groups); n > 0 && c.groups[n-1].end == start {
		c.groups[n-1].end = end
	} else {
		c.groups = append(c.groups, group{start, end, len(c.digits)})
	}
	c.digits = append(c.digits, value)
}

// flush reports the card numbers of the chain and empties it. Overlapping ones
// are reported as one, so that no digit of either is left.
func (c *chain) flush(report func(start, end int) bool) bool {
	defer func() { c.groups, c.digits = c.groups[:0], c.digits[:0] }()
	start, end := -1, -1
	for i, g := range c.groups {
		last := c.longestFrom(i)
		if last < 0 {
			continue
		}
		if start >= 0 && g.start >= end {
			if !report(start, end) {
				return false
			}
			start = -1
		}
		if start < 0 {
			start = g.start
		}
		end = max(end, c.groups[last].end)
	}
	return start < 0 || report(start, end)
}

// longestFrom returns the index of the last group of the longest card number
// that starts with group i, or -1. It looks at no more than maxDigits groups.
func (c *chain) longestFrom(i int) int {
	last := -1
	for j := i; j < len(c.groups); j++ {
		end := len(c.digits)
		if j+1 < len(c.groups) {
			end = c.groups[j+1].digits
		}
		number := c.digits[c.groups[i].digits:end]
		if len(number) > maxDigits {
			break
		}
		if len(number) >= minDigits && issued(number) && luhn(number) {
			last = j
		}
	}
	return last
}

// luhn checks the last digit by ISO/IEC 7812-1 annex B.
func luhn(number []byte) bool {
	sum := 0
	for i, d := range number {
		v := int(d)
		if (len(number)-i)%2 == 0 {
			v *= 2
			if v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// digit returns the value of a decimal digit of any script.
func digit(r rune) (byte, bool) {
	if r < utf8.RuneSelf {
		return byte(r - '0'), '0' <= r && r <= '9'
	}
	if !unicode.Is(unicode.Nd, r) {
		return 0, false
	}
	// Unicode encodes the digits of a script side by side, 0 first.
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10), true
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10), true
		}
	}
	return 0, false
}

// isSeparator tells what people and programs put between groups: white space,
// the plus of a form-encoded space, dashes, the long-vowel marks that Japanese
// keyboards give for one, and characters that can't be seen.
func isSeparator(r rune) bool {
	switch r {
	case '-', '+', '\u2212', '\u30fc', '\uff70':
		return true
	}
	if r < utf8.RuneSelf {
		return unicode.IsSpace(r)
	}
	return unicode.In(r, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Pd, unicode.Cf)
}
