package sender

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	maxOwnHeaders     = 10
	maxOwnHeaderBytes = 4 << 10 // of all names and values
)

// Names that are not a merchant's to set, in lower case; what ends in a hyphen or in
// "x-goog" stands for all names that begin so.
var (
	reservedNames = []string{
		// How the request travels, and how its bytes are to be read. With
		// accept-encoding we would keep answers that nobody can read; expect holds the
		// body back.
		"host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect", "http2-settings",
		"accept-encoding", "user-agent",
		// Tells our own transport that it may repeat a request (Send sets it).
		"idempotency-key", "x-idempotency-key",
		// Would make something else of the request than a POST to its URL.
		"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url",
		// Would have us vouch for where it comes from.
		"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "x-cluster-client-ip",
		// Endpoints have no sessions; a cookie is somebody's.
		"cookie", "cookie2", "set-cookie",
		// What metadata servers ask for, to know that it is not a request like ours.
		"metadata", "metadata-flavor", "x-metadata-token",
	}
	reservedPrefixes = []string{"webhook-", "content-", "proxy-", "sec-", "x-forwarded-", "x-goog", "x-aws-ec2-", "x-tollgate-"}
)

func reserved(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(reservedNames, name) ||
		slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// CheckHeaders refuses what a merchant can't have sent along with each event. Its
// errors continue the sentence "the header …", or "the headers …" where it is about all
// of them, and don't show values, which may be passwords.
func CheckHeaders(h map[string]string) error {
	if len(h) > maxOwnHeaders {
		return fmt.Errorf("list has %d entries; at most %d are sent", len(h), maxOwnHeaders)
	}
	total, seen := 0, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		value := h[name]
		total += len(name) + len(value)
		switch other, double := seen[strings.ToLower(name)]; {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("%.40q has a name that HTTP does not allow", name)
		case reserved(name):
			return fmt.Errorf("%.40q is set by Tollgate, or changes what a request means; choose another name", name)
		case double:
			return fmt.Errorf("%.40q is there twice, as %.40q too", name, other)
		case value == "":
			return fmt.Errorf("%.40q has no value", name)
		case !text(value):
			return fmt.Errorf("%.40q has a value with characters other than visible ASCII, spaces inside it allowed", name)
		}
		seen[strings.ToLower(name)] = name
	}
	if total > maxOwnHeaderBytes {
		return fmt.Errorf("list has %d bytes of names and values; at most %d are sent", total, maxOwnHeaderBytes)
	}
	return nil
}

// text reports whether a value is what every server reads the same way (RFC 9110
// section 5.5): visible ASCII, with spaces or tabs between.
func text(value string) bool {
	for _, c := range []byte(value) {
		if (c < ' ' && c != '\t') || c > '~' {
			return false
		}
	}
	return strings.TrimSpace(value) == value
}

var errUnsigned = errors.New("webhook: an attempt without a signing key")

// Header is the header of an attempt: the merchant's own, which CheckHeaders let pass,
// and ours, which are sent whatever his are. There is an error if no key can sign.
func Header(id string, at time.Time, body []byte, keys []Key, own map[string]string) (http.Header, error) {
	if len(keys) == 0 {
		return nil, errUnsigned
	}
	for _, k := range keys {
		if err := k.Check(); err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
	}
	h := make(http.Header, len(own)+4)
	for name, value := range own {
		// Again, in case more is reserved now than when he gave them.
		if !reserved(name) {
			h.Set(name, value)
		}
	}
	h.Set("Content-Type", "application/json")
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, Timestamp(at))
	h.Set(HeaderSignature, Sign(id, at, body, keys))
	return h, nil
}
