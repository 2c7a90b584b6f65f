package merchant

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// KeyPrefix begins every API key: sk_, the key's id, _ and its secret.
const KeyPrefix id.Prefix = "sk"

const secretBytes = 32

func newKey(key id.ID, read func([]byte) (int, error)) (string, error) {
	if read == nil {
		read = rand.Read
	}
	secret := make([]byte, secretBytes)
	if _, err := read(secret); err != nil {
		return "", err
	}
	return KeyPrefix.External(key) + "_" + base64.RawURLEncoding.EncodeToString(secret), nil
}

// hash covers the whole text, so that a secret is good for its own key id only.
func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// Authenticate finds out who sent the key, in one query.
func (s *Store) Authenticate(ctx context.Context, text string) (Caller, error) {
	key, ok := keyID(text)
	if !ok {
		return Caller{}, unauthenticated()
	}
	var found struct {
		merchant id.ID
		hash     []byte
		revoked  bool
		status   Status
		prefers  []string
	}
	err := s.DB.QueryRow(ctx, selectKey, key).Scan(&found.merchant, &found.hash, &found.revoked, &found.status, &found.prefers)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Caller{}, fault.Wrap(err, "look up an API key")
	}
	if err != nil {
		found.hash = make([]byte, sha256.Size) // compared all the same, so that time does not tell an unknown id from a wrong secret
	}
	if subtle.ConstantTimeCompare(hash(text), found.hash) != 1 || found.revoked {
		return Caller{}, unauthenticated()
	}
	if found.status != Active {
		return Caller{}, fault.New(fault.MerchantSuspended, "The merchant is suspended. Ask support why; no request is accepted meanwhile.")
	}
	return Caller{MerchantID: found.merchant, KeyID: key, Preference: found.prefers}, nil
}

// keyID takes the id out of a key's text.
func keyID(text string) (id.ID, bool) {
	const length = len("sk_") + 26
	if len(text) != length+1+base64.RawURLEncoding.EncodedLen(secretBytes) || text[length] != '_' {
		return id.ID{}, false
	}
	key, err := KeyPrefix.Parse(text[:length])
	return key, err == nil
}

func unauthenticated() error {
	return fault.New(fault.Unauthenticated, "The API key is not known, not right, or revoked. Send Authorization: Bearer sk_… with a key of yours.")
}
