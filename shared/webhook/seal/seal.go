// Package seal encrypts what must not be readable in the database: the signing
// secrets of endpoints, and the headers that merchants have sent along.
package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Sealer encrypts signing secrets, so that the database alone does not give them
// away. A sealed secret is
//
//	version (1 byte) | key id (8 bytes) | nonce (12) | AES-256-GCM ciphertext and tag
//
// bound to its endpoint: sealed for one, it does not open for another. The key id
// says which key opens it, so that keys can be replaced; the version leaves room for
// keys that a key management service holds.
type Sealer struct {
	keys []sealingKey // the first seals, all open
}

type sealingKey struct {
	id   [keyIDBytes]byte
	aead cipher.AEAD
}

const (
	sealVersion  = 1
	keyIDBytes   = 8
	sealingBytes = 32

	// What is sealed: signing secrets, and a merchant's own headers.
	minBytes, maxBytes = 1, 16 << 10
)

// New reads the keys, in base64 and separated by commas. The first seals; the
// others open what was sealed before.
func New(keys telemetry.Secret) (*Sealer, error) {
	var s Sealer
	for text := range strings.SplitSeq(keys.Reveal(), ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(key) != sealingBytes {
			return nil, fmt.Errorf("WEBHOOK_SEALING_KEY is malformed: want %d bytes in base64, or several such, separated by commas", sealingBytes)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("WEBHOOK_SEALING_KEY: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("WEBHOOK_SEALING_KEY: %w", err)
		}
		sum := sha256.Sum256(key)
		s.keys = append(s.keys, sealingKey{id: [keyIDBytes]byte(sum[:]), aead: aead})
	}
	return &s, nil
}

// Seal encrypts a secret of the endpoint.
func (s *Sealer) Seal(_ context.Context, endpoint id.ID, secret []byte) ([]byte, error) {
	if n := len(secret); n < minBytes || n > maxBytes {
		return nil, fmt.Errorf("webhook: a secret has %d bytes", n)
	}
	key := s.keys[0]
	sealed := append([]byte{sealVersion}, key.id[:]...)
	return key.aead.Seal(sealed, nil, secret, endpoint[:]), nil
}

// Open decrypts what Seal made for the endpoint. Its errors tell nothing of the content.
func (s *Sealer) Open(_ context.Context, endpoint id.ID, sealed []byte) ([]byte, error) {
	const header = 1 + keyIDBytes
	if len(sealed) < header || sealed[0] != sealVersion {
		return nil, errors.New("webhook: a sealed secret is malformed")
	}
	for _, key := range s.keys {
		if !bytes.Equal(key.id[:], sealed[1:header]) {
			continue
		}
		secret, err := key.aead.Open(nil, nil, sealed[header:], endpoint[:])
		if err != nil {
			return nil, errors.New("webhook: a sealed secret does not open: it was changed, or sealed for another endpoint")
		}
		if n := len(secret); n < minBytes || n > maxBytes {
			return nil, fmt.Errorf("webhook: a secret has %d bytes", n)
		}
		return secret, nil
	}
	return nil, fmt.Errorf("webhook: a secret is sealed by the key %x, which WEBHOOK_SEALING_KEY does not have", sealed[1:header])
}
