package sender

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/telemetry"
)

// The vector that the specification's libraries publish.
func TestSignatureOfThePublishedVector(t *testing.T) {
	t.Parallel()
	secret, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`), [][]byte{secret})
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("sign = %q, want %q", got, want)
	}
}

// verify is what a merchant does, by the public library. The library's own check of
// the age reads the real clock, so the tests compare the timestamp themselves.
func verify(secret telemetry.Secret, header http.Header, body []byte) error {
	w, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		return err
	}
	return w.VerifyIgnoringTimestamp(body, header)
}

func TestSignaturesAgreeWithThePublicLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), MinSecretBytes, MaxSecretBytes).Draw(t, "secret")
		old := rapid.SliceOfN(rapid.Byte(), MinSecretBytes, MaxSecretBytes).Draw(t, "old")
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
		if got := Sign("evt_1", at, body, [][]byte{secret}); got != want {
			t.Fatalf("sign = %q, the library's %q", got, want)
		}
		// In a rotation, whoever has either secret can verify.
		header := http.Header{}
		header.Set(HeaderID, "evt_1")
		header.Set(HeaderTimestamp, Timestamp(at))
		header.Set(HeaderSignature, Sign("evt_1", at, body, [][]byte{secret, old}))
		for _, s := range [][]byte{secret, old} {
			if err := verify(Spell(s), header, body); err != nil {
				t.Fatal(err)
			}
		}
		if err := verify(Spell(append(old[:len(old)-1:len(old)-1], old[len(old)-1]^1)), header, body); err == nil {
			t.Fatal("another secret verifies")
		}
	})
}

func TestNewSecrets(t *testing.T) {
	t.Parallel()
	a, err := NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := Spell(a).Reveal()
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_")); err != nil || string(raw) != string(a) {
		t.Errorf("%q does not spell the secret: %v", text, err)
	}
	if len(a) < MinSecretBytes || string(a) == string(b) {
		t.Errorf("secrets %x and %x", a, b)
	}
	if _, err := NewSecret(func([]byte) (int, error) { return 0, http.ErrBodyNotAllowed }); err == nil {
		t.Error("a secret was made without randomness")
	}
}
