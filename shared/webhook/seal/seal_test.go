package seal

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

func key(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, sealingBytes))
}

func sealer(t testing.TB, keys ...string) *Sealer {
	t.Helper()
	s, err := New(telemetry.Secret(strings.Join(keys, ", ")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(t testing.TB, s *Sealer, endpoint id.ID, secret []byte) []byte {
	t.Helper()
	b, err := s.Seal(t.Context(), endpoint, secret)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealedSecretOpensOnlyAsItWasMade(t *testing.T) {
	t.Parallel()
	s, endpoint, secret := sealer(t, key(1)), id.ID{1}, bytes.Repeat([]byte{9}, 32)
	box := sealed(t, s, endpoint, secret)
	if got, err := s.Open(t.Context(), endpoint, box); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("Open = %x, %v", got, err)
	}
	if bytes.Contains(box, secret[:8]) {
		t.Error("the sealed secret shows the secret")
	}
	if bytes.Equal(box, sealed(t, s, endpoint, secret)) {
		t.Error("two seals of one secret are the same")
	}
	if _, err := s.Open(t.Context(), id.ID{2}, box); err == nil {
		t.Error("it opens for another endpoint")
	}
	for i := range box {
		changed := bytes.Clone(box)
		changed[i] ^= 1
		if _, err := s.Open(t.Context(), endpoint, changed); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
		if _, err := s.Open(t.Context(), endpoint, box[:i]); err == nil {
			t.Errorf("its first %d bytes open", i)
		}
	}
	for _, secret := range [][]byte{nil, make([]byte, maxBytes+1)} {
		if _, err := s.Seal(t.Context(), endpoint, secret); err == nil {
			t.Errorf("a secret of %d bytes is sealed", len(secret))
		}
	}
}

func TestSealingKeysCanBeReplaced(t *testing.T) {
	t.Parallel()
	endpoint, secret := id.ID{1}, bytes.Repeat([]byte{9}, 32)
	before := sealed(t, sealer(t, key(1)), endpoint, secret)
	during := sealer(t, key(2), key(1))
	if got, err := during.Open(t.Context(), endpoint, before); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("sealed by the old key: %x, %v", got, err)
	}
	after := sealer(t, key(2))
	if got, err := after.Open(t.Context(), endpoint, sealed(t, during, endpoint, secret)); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("sealed by the new key: %x, %v", got, err)
	}
	if _, err := after.Open(t.Context(), endpoint, before); err == nil || !strings.Contains(err.Error(), "WEBHOOK_SEALING_KEY") {
		t.Errorf("sealed by a key that is gone: %v", err)
	}
}

func TestMalformedSealingKeysAreRefusedUnseen(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"", "c2hvcnQ=", "not base64!", key(1) + ",", key(1) + ",c2hvcnQ=", strings.TrimRight(key(1), "=")} {
		_, err := New(telemetry.Secret(keys))
		if err == nil {
			t.Errorf("%q is taken", keys)
		} else if keys != "" && strings.Contains(err.Error(), keys) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := sealer(f, key(1))
	f.Add(sealed(f, s, id.ID{1}, bytes.Repeat([]byte{9}, 32)))
	f.Add([]byte{sealVersion})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if _, err := s.Open(t.Context(), id.ID{2}, sealed); err == nil {
			t.Errorf("%x opens", sealed)
		}
	})
}
