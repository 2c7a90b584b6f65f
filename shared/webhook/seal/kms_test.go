package seal

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/seal/sealtest"
)

const (
	production = "projects/p/locations/asia-northeast1/keyRings/tollgate/cryptoKeys/webhooks"
	successor  = "projects/p/locations/asia-northeast1/keyRings/tollgate/cryptoKeys/webhooks-2"
)

func kmsSealer(t testing.TB, kms *sealtest.KMS, now func() time.Time, c Config) *Sealer {
	t.Helper()
	s, err := Open(t.Context(), c, now, kms.Options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// hands are a clock that is moved by hand.
type hands struct{ atomic.Int64 }

func (h *hands) now() time.Time { return time.Unix(1_800_000_000, h.Load()) }

func (h *hands) advance(d time.Duration) { h.Add(int64(d)) }

// rig is a Sealer that has sealed, and another that has opened nothing yet, as in two
// functions.
type rig struct {
	kms    *sealtest.KMS
	clock  *hands
	opener *Sealer
	box    []byte
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{kms: sealtest.New(t, production), clock: &hands{}}
	r.box = sealed(t, kmsSealer(t, r.kms, r.clock.now, Config{KMSKey: production}))
	r.opener = kmsSealer(t, r.kms, r.clock.now, Config{KMSKey: production})
	return r
}

// asked counts the calls of KMS that f makes.
func (r *rig) asked(f func()) int {
	before := len(r.kms.Requests())
	f()
	return len(r.kms.Requests()) - before
}

func failing(code codes.Code) func(context.Context, any) error {
	return func(context.Context, any) error { return status.Error(code, "as the test wants it") }
}

func TestKMSSeesNoSecretsAndChecksWhatItSees(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	opens(t, r.opener, r.box)
	requests := r.kms.Requests()
	if len(requests) != 2 {
		t.Fatalf("KMS was asked %d times; want twice", len(requests))
	}
	enc, dec := requests[0].(*kmspb.EncryptRequest), requests[1].(*kmspb.DecryptRequest)
	want := []byte(id.Endpoint.External(endpoint))
	if !bytes.Equal(enc.AdditionalAuthenticatedData, want) || !bytes.Equal(dec.AdditionalAuthenticatedData, want) {
		t.Errorf("a data key is bound to %q and %q; want the endpoint", enc.AdditionalAuthenticatedData, dec.AdditionalAuthenticatedData)
	}
	if enc.Name != production || dec.Name != production || len(enc.Plaintext) != dataKeyBytes || bytes.Equal(enc.Plaintext, secret) {
		t.Errorf("KMS was asked to encrypt %d bytes by %s, and to decrypt by %s", len(enc.Plaintext), enc.Name, dec.Name)
	}
	for name, sum := range map[string]*wrapperspb.Int64Value{
		"plaintext": enc.PlaintextCrc32C, "ciphertext": dec.CiphertextCrc32C,
		"aad": enc.AdditionalAuthenticatedDataCrc32C, "aad to decrypt": dec.AdditionalAuthenticatedDataCrc32C,
	} {
		if sum == nil {
			t.Errorf("the %s has no checksum", name)
		}
	}
	if bytes.Contains(r.box, enc.Plaintext[:8]) {
		t.Error("the sealed secret shows its data key")
	}
}

func TestKMSTakesOverFromLocalKeysAndIsReplaced(t *testing.T) {
	t.Parallel()
	kms := sealtest.New(t, production, successor)
	local := telemetry.Secret(key(1))
	byLocal := sealed(t, localSealer(t, key(1)))
	both := kmsSealer(t, kms, time.Now, Config{KMSKey: production, Keys: local})
	opens(t, both, byLocal)

	byFirst := sealed(t, both)
	if len(kms.Requests()) != 1 {
		t.Errorf("KMS was asked %d times; want it to have sealed", len(kms.Requests()))
	}
	kms.Rotate(production)
	byRotated := sealed(t, both)
	replaced := kmsSealer(t, kms, time.Now, Config{KMSKey: successor + ", " + production})
	opens(t, replaced, byFirst)
	opens(t, replaced, byRotated)
	alone := kmsSealer(t, kms, time.Now, Config{KMSKey: successor})
	opens(t, alone, sealed(t, replaced))

	for name, box := range map[string][]byte{"WEBHOOK_KMS_KEY": byFirst, "WEBHOOK_SEALING_KEY": byLocal} {
		if _, err := alone.Open(t.Context(), endpoint, box); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("sealed by a key that is gone: %v; want %s named", err, name)
		}
	}
	if _, err := Open(t.Context(), Config{}, time.Now); err == nil || !strings.Contains(err.Error(), "WEBHOOK_KMS_KEY") || !strings.Contains(err.Error(), "WEBHOOK_SEALING_KEY") {
		t.Errorf("no key at all: %v", err)
	}
}

func TestADeliveryCostsNoCall(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if n := r.asked(func() {
		for range 100 {
			opens(t, r.opener, r.box)
		}
		r.clock.advance(keepFresh - time.Second)
		opens(t, r.opener, r.box)
	}); n != 1 {
		t.Errorf("KMS was asked %d times; want once", n)
	}
	r.clock.advance(time.Second)
	if n := r.asked(func() { opens(t, r.opener, r.box); opens(t, r.opener, r.box) }); n != 1 {
		t.Errorf("after an hour KMS was asked %d times; want once", n)
	}
	// Who sealed it need not ask.
	s := kmsSealer(t, r.kms, r.clock.now, Config{KMSKey: production})
	box := sealed(t, s)
	if n := r.asked(func() { opens(t, s, box) }); n != 0 {
		t.Errorf("KMS was asked %d times for what was just sealed", n)
	}
}

func TestOneCallServesAllWhoWait(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	asked, answer := make(chan struct{}, 100), make(chan struct{})
	r.kms.Before(func(context.Context, any) error {
		asked <- struct{}{}
		<-answer
		return nil
	})
	// The first one gives up, and the call goes on for the others.
	impatient, giveUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := r.opener.Open(impatient, endpoint, r.box); !errors.Is(err, context.Canceled) {
			t.Errorf("whoever gave up got %v", err)
		}
	})
	<-asked
	giveUp()
	for range 20 {
		wg.Go(func() { opens(t, r.opener, r.box) })
	}
	close(answer)
	wg.Wait()
	if n := len(r.kms.Requests()) - 1; n != 1 {
		t.Errorf("KMS was asked %d times; want once", n)
	}
}

func TestKnownEndpointsGoOnWhileKMSIsAway(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]codes.Code{"broken": codes.Internal, "over its quota": codes.ResourceExhausted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			opens(t, r.opener, r.box)
			r.kms.Before(failing(code))
			r.clock.advance(keepFresh)
			if n := r.asked(func() {
				for range 10 {
					opens(t, r.opener, r.box)
				}
			}); n != 1 {
				t.Errorf("KMS, which is away, was asked %d times; want once", n)
			}
			r.clock.advance(awayFor)
			if n := r.asked(func() { opens(t, r.opener, r.box) }); n != 1 {
				t.Errorf("later KMS was asked %d times; want once", n)
			}
			r.clock.advance(keepStale - keepFresh - awayFor - time.Second)
			opens(t, r.opener, r.box)
			r.clock.advance(time.Second)
			if _, err := r.opener.Open(t.Context(), endpoint, r.box); status.Code(err) != code {
				t.Errorf("after a day: %v; want the error of KMS", err)
			}
			r.kms.Before(nil)
			opens(t, r.opener, r.box)
		})
	}
}

func TestWithoutAKeptKeyKMSIsNeeded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.kms.Before(failing(codes.Internal))
	if _, err := r.opener.Open(t.Context(), endpoint, r.box); status.Code(err) != codes.Internal {
		t.Errorf("Open: %v; want the error of KMS", err)
	}
	if _, err := r.opener.Seal(t.Context(), endpoint, secret); status.Code(err) != codes.Internal {
		t.Errorf("Seal: %v; want the error of KMS", err)
	}
}

// Somebody took the key away, and means it.
func TestADisabledKeyOpensNothingForLong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	opens(t, r.opener, r.box)
	r.kms.Disable(production, true)
	r.clock.advance(keepFresh)
	for range 2 {
		if _, err := r.opener.Open(t.Context(), endpoint, r.box); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("disabled: %v", err)
		}
	}
	// That it was refused is not forgotten when KMS goes away.
	r.kms.Before(failing(codes.Internal))
	if _, err := r.opener.Open(t.Context(), endpoint, r.box); err == nil {
		t.Error("a disabled key opens while KMS is away")
	}
	r.kms.Before(nil)
	r.kms.Disable(production, false)
	opens(t, r.opener, r.box)
	for _, code := range []codes.Code{codes.PermissionDenied, codes.NotFound, codes.Unauthenticated} {
		r.kms.Before(failing(code))
		r.clock.advance(keepFresh)
		if _, err := r.opener.Open(t.Context(), endpoint, r.box); status.Code(err) != code {
			t.Errorf("%v: %v", code, err)
		}
		r.kms.Before(nil)
		opens(t, r.opener, r.box)
	}
}

// damages are what the network could do to a response, and each shows.
var damages = map[string]func(any){
	"plaintext": func(r any) {
		if r, ok := r.(*kmspb.DecryptResponse); ok {
			r.Plaintext[3] ^= 1
		}
	},
	"plaintext's checksum": func(r any) {
		if r, ok := r.(*kmspb.DecryptResponse); ok {
			r.PlaintextCrc32C = nil
		}
	},
	"ciphertext": func(r any) {
		if r, ok := r.(*kmspb.EncryptResponse); ok {
			r.Ciphertext[9] ^= 1
		}
	},
	"ciphertext's checksum": func(r any) {
		if r, ok := r.(*kmspb.EncryptResponse); ok {
			r.CiphertextCrc32C.Value++
		}
	},
	"key's name": func(r any) {
		if r, ok := r.(*kmspb.EncryptResponse); ok {
			r.Name = successor + "/cryptoKeyVersions/1"
		}
	},
	"request's checksum": func(r any) {
		if r, ok := r.(*kmspb.EncryptResponse); ok {
			r.VerifiedPlaintextCrc32C = false
		}
	},
	"request's other checksum": func(r any) {
		if r, ok := r.(*kmspb.EncryptResponse); ok {
			r.VerifiedAdditionalAuthenticatedDataCrc32C = false
		}
	},
}

func TestDamagedMessagesAreNotUsed(t *testing.T) {
	t.Parallel()
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			roundtrip := func() error {
				// Neither has kept anything.
				box, err := kmsSealer(t, r.kms, r.clock.now, Config{KMSKey: production}).Seal(t.Context(), endpoint, secret)
				if err != nil {
					return err
				}
				got, err := kmsSealer(t, r.kms, r.clock.now, Config{KMSKey: production}).Open(t.Context(), endpoint, box)
				if err == nil && !bytes.Equal(got, secret) {
					t.Errorf("it opens to %x", got)
				}
				return err
			}
			r.kms.Damage(damage)
			if err := roundtrip(); !errors.Is(err, errDamaged) {
				t.Errorf("damaged for good: %v", err)
			}
			var left atomic.Int32
			left.Store(kmsTries - 1)
			r.kms.Damage(func(response any) {
				if left.Add(-1) >= 0 {
					damage(response)
				}
			})
			if err := roundtrip(); err != nil {
				t.Errorf("damaged for a moment: %v", err)
			}
		})
	}
}

// KMS finds what was damaged on the way to it, and says so.
func TestDamagedRequestsAreRepeated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var n atomic.Int32
	r.kms.Before(func(ctx context.Context, request any) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a call has no deadline")
		}
		if dec := request.(*kmspb.DecryptRequest); n.Add(1) < kmsTries {
			dec.Ciphertext[9] ^= 1
		}
		return nil
	})
	opens(t, r.opener, r.box)
	if n.Load() != kmsTries {
		t.Errorf("KMS was asked %d times; want %d", n.Load(), kmsTries)
	}
}

// A moment's trouble of the connection does not show.
func TestAMomentWithoutKMSIsWaitedOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var n atomic.Int32
	r.kms.Before(func(context.Context, any) error {
		if n.Add(1) == 1 {
			return status.Error(codes.Unavailable, "a moment")
		}
		return nil
	})
	opens(t, r.opener, r.box)
}

func TestAKMSThatHangsHoldsNobodyLongerThanTheyWait(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.kms.Before(func(ctx context.Context, _ any) error {
		deadline, bounded := ctx.Deadline()
		if !bounded || time.Until(deadline) > kmsTimeout {
			t.Errorf("a call may take until %v", deadline)
		}
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if _, err := r.opener.Open(ctx, endpoint, r.box); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
}
