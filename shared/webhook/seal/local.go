package seal

import (
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// localKey is a wrapping key that a variable holds.
type localKey struct {
	hash [keyHashBytes]byte
	aead cipher.AEAD
}

// addLocal adds keys in base64, separated by commas.
func (s *Sealer) addLocal(keys telemetry.Secret) error {
	for text := range strings.SplitSeq(keys.Reveal(), ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(key) != dataKeyBytes {
			return fmt.Errorf("WEBHOOK_SEALING_KEY is malformed: want %d bytes in base64, or several such, separated by commas", dataKeyBytes)
		}
		aead, err := newAEAD(key)
		if err != nil {
			return fmt.Errorf("WEBHOOK_SEALING_KEY: %w", err)
		}
		sum := sha256.Sum256(key)
		k := localKey{hash: [keyHashBytes]byte(sum[:]), aead: aead}
		s.local, s.wrappers = append(s.local, k), append(s.wrappers, k)
	}
	return nil
}

func (k localKey) id() keyID { return keyID(append([]byte{kindLocal}, k.hash[:]...)) }

func (k localKey) wrap(_ context.Context, dataKey, aad []byte) ([]byte, error) {
	return k.aead.Seal(nil, nil, dataKey, aad), nil
}

func (k localKey) unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	dataKey, err := k.aead.Open(nil, nil, wrapped, aad)
	if err != nil {
		return nil, errForged
	}
	return dataKey, nil
}

// openVersion1 opens what a local key encrypted itself.
func (s *Sealer) openVersion1(endpoint id.ID, sealed []byte) ([]byte, error) {
	const header = 1 + keyHashBytes
	if len(sealed) < header {
		return nil, errMalformed
	}
	hash := [keyHashBytes]byte(sealed[1:header])
	for _, k := range s.local {
		if k.hash != hash {
			continue
		}
		secret, err := k.aead.Open(nil, nil, sealed[header:], endpoint[:])
		if err != nil {
			return nil, errForged
		}
		return secret, nil
	}
	return nil, unknownKey(keyID(append([]byte{kindLocal}, hash[:]...)))
}
