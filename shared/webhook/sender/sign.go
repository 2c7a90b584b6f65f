package sender

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/telemetry"
)

// The headers of Standard Webhooks.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// The signature schemes of Standard Webhooks.
const (
	SchemeV1  = "v1"  // HMAC-SHA256, by a secret that the merchant has too
	SchemeV1a = "v1a" // ed25519: the merchant has the public key alone, and nobody but us can sign
)

const (
	secretPrefix    = "whsec_"
	publicKeyPrefix = "whpk_"

	secretBytes = 32 // a v1a seed has as many
	// What the specification allows of v1.
	MinSecretBytes, MaxSecretBytes = 24, 64
)

// Key is a signing key of an endpoint.
type Key struct {
	Scheme string // SchemeV1 or SchemeV1a
	Secret []byte // of v1a the 32-byte seed (RFC 8032 section 5.1.5)
}

// NewKey makes a key; read gives random bytes, and is crypto/rand's when nil.
func NewKey(scheme string, read func([]byte) (int, error)) (Key, error) {
	secret, err := NewSecret(read)
	if err != nil {
		return Key{}, err
	}
	k := Key{Scheme: scheme, Secret: secret}
	return k, k.Check()
}

// Check refuses a key that can't sign.
func (k Key) Check() error {
	n := len(k.Secret)
	switch {
	case k.Scheme == SchemeV1 && n >= MinSecretBytes && n <= MaxSecretBytes:
		return nil
	case k.Scheme == SchemeV1a && n == ed25519.SeedSize:
		return nil
	case k.Scheme != SchemeV1 && k.Scheme != SchemeV1a:
		return fmt.Errorf("%.10q is no signature scheme", k.Scheme)
	default:
		return fmt.Errorf("a key of %d bytes can't sign by %s", n, k.Scheme)
	}
}

// Spell is what the merchant verifies by, as his library takes it: the secret of v1,
// whsec_…, and of v1a the public key, whpk_…, which is no secret.
func (k Key) Spell() telemetry.Secret {
	if k.Scheme == SchemeV1a {
		public := ed25519.NewKeyFromSeed(k.Secret).Public().(ed25519.PublicKey)
		return telemetry.Secret(publicKeyPrefix + base64.StdEncoding.EncodeToString(public))
	}
	return Spell(k.Secret)
}

// Sign is the value of webhook-signature: a signature of "id.timestamp.body" by every
// key, newest first. A receiver accepts any match, which is how it can go from one key
// to the next, or from one scheme to the other, without missing an event.
//
// It panics on a key that Check refuses: an empty one would sign for everybody.
func Sign(id string, at time.Time, body []byte, keys []Key) string {
	content := slices.Concat([]byte(id+"."+Timestamp(at)+"."), body)
	signatures := make([]string, len(keys))
	for i, k := range keys {
		signatures[i] = k.Scheme + "," + base64.StdEncoding.EncodeToString(k.sign(content))
	}
	return strings.Join(signatures, " ")
}

func (k Key) sign(content []byte) []byte {
	if err := k.Check(); err != nil {
		panic("webhook: " + err.Error())
	}
	if k.Scheme == SchemeV1a {
		return ed25519.Sign(ed25519.NewKeyFromSeed(k.Secret), content)
	}
	mac := hmac.New(sha256.New, k.Secret)
	mac.Write(content)
	return mac.Sum(nil)
}

// Timestamp is the value of webhook-timestamp.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// NewSecret makes the secret of a key of either scheme; read is as for NewKey.
func NewSecret(read func([]byte) (int, error)) ([]byte, error) {
	if read == nil {
		read = rand.Read
	}
	secret := make([]byte, secretBytes)
	if _, err := read(secret); err != nil {
		return nil, errors.New("the random source failed")
	}
	return secret, nil
}

// Spell is a secret of v1 as merchants and their libraries have it.
func Spell(secret []byte) telemetry.Secret {
	return telemetry.Secret(secretPrefix + base64.StdEncoding.EncodeToString(secret))
}
