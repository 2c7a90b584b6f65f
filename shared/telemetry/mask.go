package telemetry

import (
	"strings"

	"github.com/tollgate/tollgate/shared/pan"
)

// Mask replaces what must not be written down by "[masked]": card numbers, API
// keys (sk_… and rk_…, ours and Stripe's), webhook secrets (whsec_…) and bearer
// tokens. It looks at shapes only; give a secret without one the type Secret.
func Mask(s string) string {
	return pan.Mask(maskKeys(maskBearer(s)))
}

// keyPrefixes begin secrets. The long ones are masked wherever they stand; the
// short ones end common words (task_, mark_) and count only at a word's start.
var keyPrefixes = []struct {
	prefix    string
	wordStart bool
}{
	{"whsec_", false},
	{"sk_live_", false},
	{"sk_test_", false},
	{"rk_live_", false},
	{"rk_test_", false},
	{"sk_", true},
	{"rk_", true},
}

func maskKeys(s string) string {
	if !strings.Contains(s, "sk_") && !strings.Contains(s, "rk_") && !strings.Contains(s, "whsec_") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		n := keyAt(s, i)
		if n == 0 {
			out.WriteByte(s[i])
			i++
			continue
		}
		out.WriteString(masked)
		i += n
	}
	return out.String()
}

// keyAt returns the length of the key that starts at i, or 0.
func keyAt(s string, i int) int {
	for _, k := range keyPrefixes {
		if !strings.HasPrefix(s[i:], k.prefix) || k.wordStart && !startsWord(s, i) {
			continue
		}
		if n := tokenLength(s[i+len(k.prefix):]); n > 0 {
			return len(k.prefix) + n
		}
	}
	return 0
}

// startsWord reports whether no word runs into s[i]. The letter of an escape such
// as \n and the digits of %3D belong to what they stand for.
func startsWord(s string, i int) bool {
	return i == 0 || !isAlphanumeric(s[i-1]) ||
		i >= 2 && s[i-2] == '\\' ||
		i >= 3 && s[i-3] == '%'
}

func maskBearer(s string) string {
	const scheme = "bearer"
	var out strings.Builder
	kept := 0
	for i := 0; i+len(scheme) < len(s); i++ {
		if s[i]|0x20 != 'b' || !strings.EqualFold(s[i:i+len(scheme)], scheme) || !startsWord(s, i) {
			continue
		}
		start := i + len(scheme)
		for start < len(s) && (s[start] == ' ' || s[start] == '\t') {
			start++
		}
		n := tokenLength(s[start:])
		if start == i+len(scheme) || n == 0 {
			continue
		}
		out.WriteString(s[kept:start])
		out.WriteString(masked)
		kept = start + n
		i = kept - 1
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

// tokenLength counts the leading characters of a token68 of RFC 9110 section
// 11.2, which covers API keys, base64 in both alphabets, and JWTs.
func tokenLength(s string) int {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("-._~+/=", s[i]) < 0 {
			return i
		}
	}
	return len(s)
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
