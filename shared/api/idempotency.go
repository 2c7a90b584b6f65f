package api

import (
	"net/http"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/pan"
)

const (
	keyHeader = "Idempotency-Key"
	minKey    = 16
	maxKey    = 255
)

// Idempotent names the merchant's request for what it may happen once: key, method,
// path and raw body.
func Idempotent(r *http.Request, merchant id.ID) (idempotency.Request, error) {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return idempotency.Request{}, err
	}
	body, err := Body(r, MaxBody)
	if err != nil {
		return idempotency.Request{}, err
	}
	return idempotency.Request{MerchantID: merchant, Key: key, Method: r.Method, Path: r.URL.EscapedPath(), Body: body}, nil
}

// idempotencyKey reads the header in both spellings in use: a String of RFC 8941,
// quoted, as draft-ietf-httpapi-idempotency-key-header has it, and bare. "abc" and
// abc are one key.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values(keyHeader)
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return "", keyFault(fault.IdempotencyKeyMissing, "is missing: send a value of 16 to 255 characters, unique to this operation, such as a UUID, and the same one when you repeat it")
	}
	if len(values) > 1 {
		return "", keyFault(fault.IdempotencyKeyInvalid, "is there %d times; send it once", len(values))
	}
	key, ok := unquote(values[0])
	if !ok {
		return "", keyFault(fault.IdempotencyKeyInvalid, `may have visible ASCII characters only, bare or in one pair of double quotes, without spaces`)
	}
	if len(key) < minKey || len(key) > maxKey {
		return "", keyFault(fault.IdempotencyKeyInvalid, "has %d characters; send %d to %d", len(key), minKey, maxKey)
	}
	if pan.Find(key) {
		return "", cardNumber("The Idempotency-Key header")
	}
	return key, nil
}

func keyFault(code fault.Code, format string, args ...any) error {
	e := fault.Invalid(keyHeader, format, args...)
	e.Code = code
	return e
}

// unquote takes an RFC 8941 string's quotes and escapes away, if it has them.
func unquote(s string) (string, bool) {
	inner, quoted := strings.CutPrefix(s, `"`)
	if quoted {
		var ok bool
		if inner, ok = strings.CutSuffix(inner, `"`); !ok {
			return "", false
		}
	}
	var key strings.Builder
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if quoted && c == '\\' {
			if i++; i == len(inner) || inner[i] != '"' && inner[i] != '\\' {
				return "", false
			}
			c = inner[i]
		} else if c == '"' || c <= ' ' || c > '~' {
			return "", false
		}
		key.WriteByte(c)
	}
	return key.String(), true
}
