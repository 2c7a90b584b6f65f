// Package seal encrypts what must not be readable in the database: the signing
// secrets of endpoints, and the headers that merchants have sent along.
//
// Each is encrypted by a data key of its own (AES-256-GCM), and the data key by a
// wrapping key. In production Cloud KMS holds that one and it never leaves; elsewhere a
// variable does. Both are replaced in the same way: the new one is put before the old,
// which stays to open what it sealed. What is sealed is bound to its endpoint, and
// opens for no other.
//
// Data keys that KMS unwrapped are kept in memory, so that a delivery does not cost a
// call: for an hour, and for a day while KMS can't be asked. A key that is disabled in
// KMS is useless within the hour.
//
// It owns no tables. Its errors are our own trouble, none is a fault, and none tells
// anything of the content.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Config names the wrapping keys. One of the two must be there; where both are, KMS
// seals, and the local keys open what they sealed before.
type Config struct {
	Keys   telemetry.Secret `env:"WEBHOOK_SEALING_KEY" desc:"key that seals webhook secrets where there is no KMS: 32 bytes in base64; older keys may follow, after commas" who:"scripts/dev"`
	KMSKey string           `env:"WEBHOOK_KMS_KEY" desc:"Cloud KMS key that seals webhook secrets: projects/P/locations/L/keyRings/R/cryptoKeys/K; older keys may follow, after commas" who:"terraform"`
}

// CheckConfig says what is wrong with the keys.
func (c *Config) CheckConfig() []config.Mistake {
	if c.KMSKey == "" && c.Keys.Reveal() == "" {
		return config.About(errNoKey)
	}
	_, wrongNames := kmsKeyNames(c.KMSKey)
	var wrongKeys error
	if c.Keys.Reveal() != "" {
		wrongKeys = new(Sealer).addLocal(c.Keys)
	}
	return append(config.About(wrongNames), config.About(wrongKeys)...)
}

var errNoKey = errors.New("WEBHOOK_KMS_KEY is not set, nor is WEBHOOK_SEALING_KEY: one must seal the secrets of webhooks")

// Sealer encrypts and decrypts. It is safe for concurrent use. The zero Sealer has no
// keys, and does neither.
//
// A sealed secret is
//
//	version, 2 (1 byte) | who wrapped the data key (1) | key id (8) | length (2) | wrapped data key | nonce (12) | ciphertext and tag
//
// with all before the nonce as authenticated data. The data key is wrapped for the
// endpoint. Version 1 had no data key:
//
//	version, 1 (1 byte) | key id (8) | nonce (12) | ciphertext and tag
type Sealer struct {
	wrappers []wrapper  // the first seals, all open
	local    []localKey // those of version 1
	client   *kms.KeyManagementClient
}

// wrapper is a wrapping key. It unwraps with the additional authenticated data (aad)
// alone that it wrapped with.
type wrapper interface {
	id() keyID
	wrap(ctx context.Context, dataKey, aad []byte) ([]byte, error)
	unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}

// keyID tells wrapping keys apart. The first byte says what kind it is, the others are
// a hash: of a local key itself, of the name of one in KMS.
type keyID [1 + keyHashBytes]byte

const (
	version1 = 1
	version2 = 2

	kindLocal = 1
	kindKMS   = 2

	keyHashBytes = 8
	dataKeyBytes = 32
	maxWrapped   = 4 << 10 // KMS makes about a hundred bytes of a data key

	// What is sealed: signing secrets, and a merchant's own headers.
	minBytes, maxBytes = 1, 16 << 10
)

// New makes a Sealer of local keys alone.
func New(keys telemetry.Secret) (*Sealer, error) {
	var s Sealer
	if err := s.addLocal(keys); err != nil {
		return nil, err
	}
	return &s, nil
}

// Open makes a Sealer of the configured keys. It makes no call: KMS is asked when
// there is something to seal or to open. The options are for its client.
func Open(ctx context.Context, c Config, now func() time.Time, opts ...option.ClientOption) (*Sealer, error) {
	if c.KMSKey == "" && c.Keys.Reveal() == "" {
		return nil, errNoKey
	}
	var s Sealer
	if c.KMSKey != "" {
		if err := s.addKMS(ctx, c.KMSKey, now, opts...); err != nil {
			return nil, err
		}
	}
	if c.Keys.Reveal() != "" {
		if err := s.addLocal(c.Keys); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return &s, nil
}

// Close frees the connection to KMS.
func (s *Sealer) Close() error {
	if s.client == nil {
		return nil
	}
	return s.client.Close()
}

// Seal encrypts a secret of the endpoint.
func (s *Sealer) Seal(ctx context.Context, endpoint id.ID, secret []byte) ([]byte, error) {
	if err := checkLength(secret); err != nil {
		return nil, err
	}
	if len(s.wrappers) == 0 {
		return nil, errors.New("webhook: there is no key to seal with")
	}
	dataKey := make([]byte, dataKeyBytes)
	if _, err := rand.Read(dataKey); err != nil {
		return nil, fmt.Errorf("webhook: make a data key: %w", err)
	}
	w := s.wrappers[0]
	wrapped, err := w.wrap(ctx, dataKey, wrapAAD(endpoint))
	if err != nil {
		return nil, fmt.Errorf("webhook: wrap a data key: %w", err)
	}
	if len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("webhook: a wrapped data key has %d bytes", len(wrapped))
	}
	wrappedBy := w.id()
	head := append([]byte{version2}, wrappedBy[:]...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(wrapped)))
	head = append(head, wrapped...)
	box, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	return box.Seal(slices.Clip(head), nil, secret, head), nil
}

// Open decrypts what Seal made for the endpoint.
func (s *Sealer) Open(ctx context.Context, endpoint id.ID, sealed []byte) ([]byte, error) {
	secret, err := s.open(ctx, endpoint, sealed)
	if err != nil {
		return nil, err
	}
	return secret, checkLength(secret)
}

func (s *Sealer) open(ctx context.Context, endpoint id.ID, sealed []byte) ([]byte, error) {
	if len(sealed) > 0 && sealed[0] == version1 {
		return s.openVersion1(endpoint, sealed)
	}
	e, err := parse(sealed)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.wrappers, func(w wrapper) bool { return w.id() == e.wrappedBy })
	if i < 0 {
		return nil, unknownKey(e.wrappedBy)
	}
	dataKey, err := s.wrappers[i].unwrap(ctx, e.wrapped, wrapAAD(endpoint))
	if err != nil {
		return nil, fmt.Errorf("webhook: unwrap a data key: %w", err)
	}
	box, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	secret, err := box.Open(nil, nil, e.box, e.head)
	if err != nil {
		return nil, errForged
	}
	return secret, nil
}

// envelope is a sealed secret in its parts.
type envelope struct {
	head      []byte // all before the box
	wrappedBy keyID
	wrapped   []byte
	box       []byte
}

var (
	errMalformed = errors.New("webhook: a sealed secret is malformed")
	errForged    = errors.New("webhook: a sealed secret does not open: it was changed, or sealed for another endpoint")
)

func parse(sealed []byte) (envelope, error) {
	const fixed = 1 + len(keyID{}) + 2
	if len(sealed) < fixed || sealed[0] != version2 {
		return envelope{}, errMalformed
	}
	n := int(binary.BigEndian.Uint16(sealed[fixed-2:]))
	if n > maxWrapped || len(sealed) < fixed+n {
		return envelope{}, errMalformed
	}
	return envelope{
		head: sealed[:fixed+n], wrappedBy: keyID(sealed[1:]), wrapped: sealed[fixed : fixed+n], box: sealed[fixed+n:],
	}, nil
}

func unknownKey(k keyID) error {
	variable := "WEBHOOK_SEALING_KEY"
	if k[0] == kindKMS {
		variable = "WEBHOOK_KMS_KEY"
	}
	return fmt.Errorf("webhook: a secret is sealed by the key %x, which %s does not have", k[1:], variable)
}

// wrapAAD binds a data key to its endpoint. It is text, so that an operator can
// give it to gcloud.
func wrapAAD(endpoint id.ID) []byte { return []byte(id.Endpoint.External(endpoint)) }

func checkLength(secret []byte) error {
	if n := len(secret); n < minBytes || n > maxBytes {
		return fmt.Errorf("webhook: a secret has %d bytes", n)
	}
	return nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
