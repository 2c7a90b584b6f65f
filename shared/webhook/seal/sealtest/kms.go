// Package sealtest is a Cloud KMS for tests: it speaks the protocol to the real
// client, really encrypts, and can be told to misbehave. It knows symmetric keys, and of
// those Encrypt and Decrypt alone.
package sealtest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"hash/crc32"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// maxBytes bounds what is encrypted, and the additional authenticated data, of keys of
// protection level SOFTWARE.
const maxBytes = 64 << 10

// KMS is a Cloud KMS with some keys.
type KMS struct {
	Options []option.ClientOption // for clients

	kmspb.UnimplementedKeyManagementServiceServer

	mu       sync.Mutex
	keys     map[string][]version // by name
	hook     func(ctx context.Context, request any) error
	damage   func(response any)
	requests []any
}

// version is one of a key; its number is its index + 1, and the last one is primary.
type version struct {
	aead     cipher.AEAD
	disabled bool
}

// New starts a KMS with keys of the names, projects/…/cryptoKeys/…. It ends with the test.
func New(t testing.TB, names ...string) *KMS {
	t.Helper()
	k := &KMS{keys: map[string][]version{}}
	for _, name := range names {
		k.Rotate(name)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("sealtest: %v", err)
	}
	s := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(s, k)
	go func() { _ = s.Serve(l) }() // until Stop
	t.Cleanup(s.Stop)
	k.Options = []option.ClientOption{
		option.WithEndpoint(l.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
	return k
}

// Rotate makes a new primary version of the key, and the key if there is none.
func (k *KMS) Rotate(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.keys[name]) + 1
	secret := make([]byte, 32)
	copy(secret, strconv.Itoa(n)+name[max(0, len(name)-24):])
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	k.keys[name] = append(k.keys[name], version{aead: aead})
}

// Disable disables, or enables again, all versions of the key.
func (k *KMS) Disable(name string, disabled bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.keys[name] {
		k.keys[name][i].disabled = disabled
	}
}

// Before has every request go through hook first; its error is the answer. nil ends that.
func (k *KMS) Before(hook func(ctx context.Context, request any) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hook = hook
}

// Damage has every response go through f, as if the network had changed it. nil ends that.
func (k *KMS) Damage(f func(response any)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.damage = f
}

// Requests are the *kmspb.EncryptRequest and *kmspb.DecryptRequest that came, in order.
func (k *KMS) Requests() []any {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.requests)
}

// admit notes the request and lets the hook see it.
func (k *KMS) admit(ctx context.Context, request any) error {
	k.mu.Lock()
	k.requests = append(k.requests, request)
	hook := k.hook
	k.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(ctx, request)
}

func (k *KMS) find(name string) ([]version, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	versions := slices.Clone(k.keys[name])
	if len(versions) == 0 {
		return nil, status.Errorf(codes.NotFound, "CryptoKey %s not found.", name)
	}
	return versions, nil
}

func (k *KMS) spoil(response any) {
	k.mu.Lock()
	damage := k.damage
	k.mu.Unlock()
	if damage != nil {
		damage(response)
	}
}

// Encrypt is of the key's primary version.
func (k *KMS) Encrypt(ctx context.Context, r *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	if err := k.admit(ctx, r); err != nil {
		return nil, err
	}
	versions, err := k.find(r.GetName())
	if err != nil {
		return nil, err
	}
	primary := versions[len(versions)-1]
	switch {
	case len(r.GetPlaintext()) == 0 || len(r.GetPlaintext()) > maxBytes || len(r.GetAdditionalAuthenticatedData()) > maxBytes:
		return nil, status.Error(codes.InvalidArgument, "The plaintext is empty, or too large.")
	case !fits(r.GetPlaintext(), r.GetPlaintextCrc32C()) || !fits(r.GetAdditionalAuthenticatedData(), r.GetAdditionalAuthenticatedDataCrc32C()):
		return nil, status.Error(codes.InvalidArgument, "The checksum did not match the data.")
	case primary.disabled:
		return nil, status.Errorf(codes.FailedPrecondition, "%s is not enabled.", r.GetName())
	}
	// The version that Decrypt finds in the ciphertext.
	ciphertext := binary.BigEndian.AppendUint32([]byte{0x0a, 0x24, 0x00}, uint32(len(versions)))
	ciphertext = primary.aead.Seal(ciphertext, nil, r.GetPlaintext(), r.GetAdditionalAuthenticatedData())
	response := &kmspb.EncryptResponse{
		Name:                    r.GetName() + "/cryptoKeyVersions/" + strconv.Itoa(len(versions)),
		Ciphertext:              ciphertext,
		CiphertextCrc32C:        checksum(ciphertext),
		VerifiedPlaintextCrc32C: r.GetPlaintextCrc32C() != nil,
		VerifiedAdditionalAuthenticatedDataCrc32C: r.GetAdditionalAuthenticatedDataCrc32C() != nil,
		ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE,
	}
	k.spoil(response)
	return response, nil
}

// Decrypt takes the key's name; KMS finds the version by itself.
func (k *KMS) Decrypt(ctx context.Context, r *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	if err := k.admit(ctx, r); err != nil {
		return nil, err
	}
	if strings.Contains(r.GetName(), "/cryptoKeyVersions/") {
		return nil, status.Error(codes.InvalidArgument, "The name is one of a version.")
	}
	versions, err := k.find(r.GetName())
	if err != nil {
		return nil, err
	}
	if !fits(r.GetCiphertext(), r.GetCiphertextCrc32C()) || !fits(r.GetAdditionalAuthenticatedData(), r.GetAdditionalAuthenticatedDataCrc32C()) {
		return nil, status.Error(codes.InvalidArgument, "The checksum did not match the data.")
	}
	const header = 7
	invalid := status.Error(codes.InvalidArgument, "Decryption failed: the ciphertext is invalid.")
	if len(r.GetCiphertext()) < header || !bytes.HasPrefix(r.GetCiphertext(), []byte{0x0a, 0x24, 0x00}) {
		return nil, invalid
	}
	n := binary.BigEndian.Uint32(r.GetCiphertext()[3:])
	if n < 1 || int(n) > len(versions) {
		return nil, invalid
	}
	v := versions[n-1]
	if v.disabled {
		return nil, status.Errorf(codes.FailedPrecondition, "%s/cryptoKeyVersions/%d is not enabled.", r.GetName(), n)
	}
	plaintext, err := v.aead.Open(nil, nil, r.GetCiphertext()[header:], r.GetAdditionalAuthenticatedData())
	if err != nil {
		return nil, invalid
	}
	response := &kmspb.DecryptResponse{
		Plaintext: plaintext, PlaintextCrc32C: checksum(plaintext), UsedPrimary: int(n) == len(versions),
		ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE,
	}
	k.spoil(response)
	return response, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, castagnoli)))
}

// fits takes a missing checksum, as KMS does.
func fits(b []byte, sum *wrapperspb.Int64Value) bool {
	return sum == nil || sum.GetValue() == checksum(b).GetValue()
}
