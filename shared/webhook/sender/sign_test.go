package sender

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/telemetry"
)

func v1(secret []byte) Key { return Key{Scheme: SchemeV1, Secret: secret} }

func v1a(seed []byte) Key { return Key{Scheme: SchemeV1a, Secret: seed} }

// The message of the published vectors.
const (
	vectorID   = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorBody = `{"test": 2432232314}`
)

var vectorAt = time.Unix(1614265330, 0)

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vector that the specification's libraries publish.
func TestSignatureOfThePublishedVector(t *testing.T) {
	t.Parallel()
	key := v1(decode(t, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	got := Sign(vectorID, vectorAt, []byte(vectorBody), []Key{key})
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("sign = %q, want %q", got, want)
	}
	if got, want := key.Spell().Reveal(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"; got != want {
		t.Errorf("it is spelled %q, want %q", got, want)
	}
}

// The specification's libraries have none of v1a. This is the one of the server of Svix,
// who wrote the specification, and the signature is the one in the specification's
// example (https://github.com/svix/svix-webhooks, test_asymmetric_key_signing).
func TestSignatureOfThePublishedAsymmetricVector(t *testing.T) {
	t.Parallel()
	pair := decode(t, "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
	key := v1a(pair[:ed25519.SeedSize])
	got := Sign(vectorID, vectorAt, []byte(vectorBody), []Key{key})
	if want := "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="; got != want {
		t.Errorf("sign = %q, want %q", got, want)
	}
	if got, want := key.Spell().Reveal(), "whpk_"+base64.StdEncoding.EncodeToString(pair[ed25519.SeedSize:]); got != want {
		t.Errorf("it is spelled %q, want %q", got, want)
	}
}

// signed is the header of an attempt as a merchant sees it.
func signed(id string, at time.Time, body []byte, keys ...Key) http.Header {
	header := http.Header{}
	header.Set(HeaderID, id)
	header.Set(HeaderTimestamp, Timestamp(at))
	header.Set(HeaderSignature, Sign(id, at, body, keys))
	return header
}

// verify is what a merchant does with a secret of v1, by the public library. The
// library's own check of the age reads the real clock, so the tests compare the
// timestamp themselves.
func verify(secret telemetry.Secret, header http.Header, body []byte) error {
	w, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		return err
	}
	return w.VerifyIgnoringTimestamp(body, header)
}

// verifyAsymmetric is what a merchant does with a public key of v1a. The public Go
// library does not know v1a, and passes over its signatures.
func verifyAsymmetric(t rapid.TB, public telemetry.Secret, header http.Header, body []byte) bool {
	text, ok := strings.CutPrefix(public.Reveal(), "whpk_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize {
		t.Fatalf("%q is no public key: %v", public.Reveal(), err)
	}
	content := []byte(header.Get("webhook-id") + "." + header.Get("webhook-timestamp") + "." + string(body))
	for one := range strings.FieldsSeq(header.Get("webhook-signature")) {
		text, ok := strings.CutPrefix(one, "v1a,")
		if signature, err := base64.StdEncoding.DecodeString(text); ok && err == nil && ed25519.Verify(key, content, signature) {
			return true
		}
	}
	return false
}

func TestSignaturesAgreeWithThePublicLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), MinSecretBytes, MaxSecretBytes).Draw(t, "secret")
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0)

		oracle, err := standardwebhooks.NewWebhookRaw(secret)
		if err != nil {
			t.Fatal(err)
		}
		want, err := oracle.Sign("evt_1", at, body)
		if err != nil {
			t.Fatal(err)
		}
		if got := Sign("evt_1", at, body, []Key{v1(secret)}); got != want {
			t.Fatalf("sign = %q, the library's %q", got, want)
		}
	})
}

// Its check of the age reads the real clock.
func TestThePublicLibraryTakesFreshSignaturesAlone(t *testing.T) {
	t.Parallel()
	key, body := v1(bytes.Repeat([]byte{1}, 32)), []byte("{}")
	w, err := standardwebhooks.NewWebhook(key.Spell().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for age, fresh := range map[time.Duration]bool{0: true, 4 * time.Minute: true, 6 * time.Minute: false, -6 * time.Minute: false} {
		if err := w.Verify(body, signed("evt_1", time.Now().Add(-age), body, key)); (err == nil) != fresh {
			t.Errorf("%v old: %v; want it taken: %v", age, err, fresh)
		}
	}
}

// In a rotation, also from one scheme to the other, whoever has any of the keys can
// verify, and nobody else.
func TestSignaturesVerifyThroughARotation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Key {
			return Key{
				Scheme: rapid.SampledFrom([]string{SchemeV1, SchemeV1a}).Draw(t, "scheme"),
				Secret: rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"),
			}
		}), 2, 4, func(k Key) string { return string(k.Secret) }).Draw(t, "keys")
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0)
		live, stranger := keys[:len(keys)-1], keys[len(keys)-1]

		verifies := func(k Key, header http.Header, body []byte) bool {
			if k.Scheme == SchemeV1a {
				return verifyAsymmetric(t, k.Spell(), header, body)
			}
			return verify(k.Spell(), header, body) == nil
		}
		header := signed("evt_1", at, body, live...)
		later := header.Clone()
		later.Set(HeaderTimestamp, Timestamp(at.Add(time.Second)))
		for _, k := range live {
			if !verifies(k, header, body) {
				t.Fatalf("a live key of %s does not verify %q", k.Scheme, header.Get(HeaderSignature))
			}
			if verifies(k, header, append(slices.Clone(body), ' ')) || verifies(k, later, body) {
				t.Fatalf("a live key of %s verifies what was not signed", k.Scheme)
			}
		}
		if verifies(stranger, header, body) {
			t.Fatal("a key that did not sign verifies")
		}
	})
}

func TestNewKeys(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{SchemeV1, SchemeV1a} {
		a, err := NewKey(scheme, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewKey(scheme, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Check() != nil || bytes.Equal(a.Secret, b.Secret) {
			t.Errorf("keys %x and %x", a.Secret, b.Secret)
		}
	}
	secret, err := NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := Spell(secret).Reveal()
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_")); err != nil || !bytes.Equal(raw, secret) {
		t.Errorf("%q does not spell the secret: %v", text, err)
	}
	if _, err := NewKey(SchemeV1, func([]byte) (int, error) { return 0, http.ErrBodyNotAllowed }); err == nil {
		t.Error("a key was made without randomness")
	}
	if _, err := NewKey("v2", nil); err == nil {
		t.Error("there is a key of an unknown scheme")
	}
}

// With an empty key everybody could sign.
func TestKeysThatCannotSignAreRefused(t *testing.T) {
	t.Parallel()
	for _, k := range []Key{{}, v1(nil), v1(make([]byte, 23)), v1(make([]byte, 65)), v1a(nil), v1a(make([]byte, 31)), v1a(make([]byte, 64)), {"v3", make([]byte, 32)}} {
		if k.Check() == nil {
			t.Errorf("a key of %d bytes passes for %q", len(k.Secret), k.Scheme)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a key of %d bytes signs by %q", len(k.Secret), k.Scheme)
				}
			}()
			Sign("evt_1", vectorAt, nil, []Key{k})
		}()
		if _, err := Header("evt_1", vectorAt, nil, []Key{k}, nil); err == nil {
			t.Errorf("there is a header signed by a key of %d bytes for %q", len(k.Secret), k.Scheme)
		}
	}
	if _, err := Header("evt_1", vectorAt, nil, nil, nil); err == nil {
		t.Error("there is a header without a signature")
	}
}
