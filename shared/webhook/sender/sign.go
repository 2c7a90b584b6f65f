package sender

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
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

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
	// What the specification allows.
	MinSecretBytes, MaxSecretBytes = 24, 64
)

// Sign is the value of webhook-signature: an HMAC-SHA256 over "id.timestamp.body" by
// every secret, newest first. A receiver accepts any match, which is how it can go
// from one secret to the next without missing an event.
func Sign(id string, at time.Time, body []byte, secrets [][]byte) string {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + Timestamp(at) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " ")
}

// Timestamp is the value of webhook-timestamp.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// NewSecret makes a signing secret; read gives random bytes, and is crypto/rand's
// when nil.
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

// Spell is the secret as merchants and their libraries have it.
func Spell(secret []byte) telemetry.Secret {
	return telemetry.Secret(secretPrefix + base64.StdEncoding.EncodeToString(secret))
}
