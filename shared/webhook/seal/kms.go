package seal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strings"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/sync/singleflight"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	// kmsTimeout bounds a call with its repetitions. A delivery holds its lease while
	// it waits, and the request to the merchant is still to come.
	kmsTimeout = 3 * time.Second

	// kmsTries is how often a call is made whose bytes were damaged on the way; Google
	// advises "a limited number of retries".
	kmsTries = 3
)

// kmsKey is a wrapping key in Cloud KMS.
type kmsKey struct {
	name   string
	client *kms.KeyManagementClient
	now    func() time.Time
	kept   *keyring // shared by the keys of a Sealer
	asking singleflight.Group
}

var kmsKeyName = regexp.MustCompile(`^projects/[^/,]+/locations/[^/,]+/keyRings/[^/,]+/cryptoKeys/[^/,]+$`)

// kmsKeyNames are the names of keys in a list with commas between them; none in none.
func kmsKeyNames(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if !kmsKeyName.MatchString(name) {
			return nil, fmt.Errorf("WEBHOOK_KMS_KEY is malformed: want projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version, or several such, separated by commas; not %.200q", name)
		}
		names = append(names, name)
	}
	return names, nil
}

// addKMS adds keys by their names, separated by commas.
func (s *Sealer) addKMS(ctx context.Context, list string, now func() time.Time, opts ...option.ClientOption) error {
	names, err := kmsKeyNames(list)
	if err != nil {
		return err
	}
	kept := newKeyring(maxKept)
	var keys []*kmsKey
	for _, name := range names {
		keys = append(keys, &kmsKey{name: name, now: now, kept: kept})
	}
	if s.client, err = kms.NewKeyManagementClient(ctx, opts...); err != nil {
		return fmt.Errorf("webhook: open Cloud KMS: %w", err)
	}
	for _, k := range keys {
		k.client = s.client
		s.wrappers = append(s.wrappers, k)
	}
	return nil
}

func (k *kmsKey) id() keyID {
	hash := sha256.Sum256([]byte(k.name))
	return keyID(append([]byte{kindKMS}, hash[:keyHashBytes]...))
}

func (k *kmsKey) wrap(ctx context.Context, dataKey, aad []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	wrapped, err := undamaged(func() ([]byte, error) { return k.encrypt(ctx, dataKey, aad) })
	if err == nil {
		k.kept.put(k.slot(wrapped, aad), dataKey, k.now())
	}
	return wrapped, err
}

// unwrap asks KMS unless it was asked lately. While KMS can't be asked, what it once
// said holds for longer; that it says no now holds at once.
func (k *kmsKey) unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	slot := k.slot(wrapped, aad)
	kept, good := k.kept.get(slot, k.now())
	if good {
		return kept, nil
	}
	dataKey, err := k.ask(ctx, slot, wrapped, aad)
	switch {
	case err == nil:
		k.kept.put(slot, dataKey, k.now())
		return dataKey, nil
	case refused(err):
		k.kept.drop(slot)
	case kept != nil:
		k.kept.away(k.now())
		return kept, nil
	}
	return nil, err
}

// ask lets those who want the same data key share one call.
func (k *kmsKey) ask(ctx context.Context, slot slot, wrapped, aad []byte) ([]byte, error) {
	answer := k.asking.DoChan(string(slot[:]), func() (any, error) {
		// The call serves others too, so it does not end with the first one's request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kmsTimeout)
		defer cancel()
		return undamaged(func() ([]byte, error) { return k.decrypt(ctx, wrapped, aad) })
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-answer:
		dataKey, _ := r.Val.([]byte)
		return dataKey, r.Err
	}
}

func (k *kmsKey) slot(wrapped, aad []byte) slot {
	return sha256.Sum256(slices.Concat([]byte(k.name), []byte{0}, aad, []byte{0}, wrapped))
}

// errDamaged is a call whose bytes were not the same at both ends
// (https://cloud.google.com/kms/docs/data-integrity-guidelines).
var errDamaged = errors.New("a message to or from Cloud KMS was damaged on its way")

// undamaged repeats a call that was damaged on its way. KMS answers INVALID_ARGUMENT
// to what does not fit its checksum.
func undamaged(call func() ([]byte, error)) ([]byte, error) {
	for try := 1; ; try++ {
		b, err := call()
		if try == kmsTries || !errors.Is(err, errDamaged) && status.Code(err) != codes.InvalidArgument {
			return b, err
		}
	}
}

func (k *kmsKey) encrypt(ctx context.Context, dataKey, aad []byte) ([]byte, error) {
	r, err := k.client.Encrypt(ctx, &kmspb.EncryptRequest{
		Name:      k.name,
		Plaintext: dataKey, PlaintextCrc32C: checksum(dataKey),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: checksum(aad),
	})
	switch {
	case err != nil:
		return nil, err
	case !r.GetVerifiedPlaintextCrc32C() || !r.GetVerifiedAdditionalAuthenticatedDataCrc32C(),
		!strings.HasPrefix(r.GetName(), k.name+"/cryptoKeyVersions/"),
		!fits(r.GetCiphertext(), r.GetCiphertextCrc32C()):
		return nil, errDamaged
	}
	return r.GetCiphertext(), nil
}

func (k *kmsKey) decrypt(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	r, err := k.client.Decrypt(ctx, &kmspb.DecryptRequest{
		Name:       k.name,
		Ciphertext: wrapped, CiphertextCrc32C: checksum(wrapped),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: checksum(aad),
	})
	switch {
	case err != nil:
		return nil, err
	case !fits(r.GetPlaintext(), r.GetPlaintextCrc32C()):
		return nil, errDamaged
	case len(r.GetPlaintext()) != dataKeyBytes:
		return nil, fmt.Errorf("webhook: Cloud KMS unwrapped a data key of %d bytes", len(r.GetPlaintext()))
	}
	return r.GetPlaintext(), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, castagnoli)))
}

// fits is false without a checksum: KMS sends one with everything.
func fits(b []byte, sum *wrapperspb.Int64Value) bool {
	return sum != nil && sum.GetValue() == checksum(b).GetValue()
}

// refused tells that KMS said no from that KMS could not be asked.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument:
		return true
	default:
		return false
	}
}
