package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/seal/sealtest"
)

var (
	endpoint = id.ID{1}
	secret   = bytes.Repeat([]byte{9}, 32)
)

func key(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, dataKeyBytes))
}

func localSealer(t testing.TB, keys ...string) *Sealer {
	t.Helper()
	s, err := New(telemetry.Secret(strings.Join(keys, ", ")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(t testing.TB, s *Sealer) []byte {
	t.Helper()
	b, err := s.Seal(t.Context(), endpoint, secret)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func opens(t testing.TB, s *Sealer, sealed []byte) {
	t.Helper()
	if got, err := s.Open(t.Context(), endpoint, sealed); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("Open = %x, %v; want the secret", got, err)
	}
}

func TestSealedSecretOpensOnlyAsItWasMade(t *testing.T) {
	t.Parallel()
	kms := sealtest.New(t, production)
	for name, s := range map[string]*Sealer{"local": localSealer(t, key(1)), "KMS": kmsSealer(t, kms, time.Now, Config{KMSKey: production})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := sealed(t, s)
			opens(t, s, box)
			if bytes.Contains(box, secret[:8]) {
				t.Error("the sealed secret shows the secret")
			}
			if bytes.Equal(box, sealed(t, s)) {
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
		})
	}
}

// A box does not open under another head, even if its data key is in it.
func TestAllOfASealedSecretBelongsTogether(t *testing.T) {
	t.Parallel()
	s := localSealer(t, key(1), key(2))
	e, err := parse(sealed(t, s))
	if err != nil {
		t.Fatal(err)
	}
	dataKey, err := s.wrappers[0].unwrap(t.Context(), e.wrapped, wrapAAD(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.wrappers {
		again, err := w.wrap(t.Context(), dataKey, wrapAAD(endpoint))
		if err != nil {
			t.Fatal(err)
		}
		by := w.id()
		head := slices.Concat([]byte{version2}, by[:], []byte{0, byte(len(again))}, again)
		if _, err := s.Open(t.Context(), endpoint, append(head, e.box...)); !errors.Is(err, errForged) {
			t.Errorf("wrapped anew by %x: %v; want it refused as forged", by, err)
		}
	}
}

// What was sealed before there were data keys, by the first release.
func TestVersion1StillOpens(t *testing.T) {
	t.Parallel()
	old, err := base64.StdEncoding.DecodeString("AXLNboQixAf79nYBCW6hT/j6YvI9HX6qUkpG9Nc4IhlSPwZ1IWJWSsPyFt3AeBHxy7Z9T7d5VY+G9uXMtUdKQCYzftPi")
	if err != nil {
		t.Fatal(err)
	}
	opens(t, localSealer(t, key(1)), old)
	opens(t, localSealer(t, key(2), key(1)), old)
	opens(t, kmsSealer(t, sealtest.New(t, production), time.Now, Config{KMSKey: production, Keys: telemetry.Secret(key(1))}), old)
	if _, err := localSealer(t, key(1)).Open(t.Context(), id.ID{2}, old); err == nil {
		t.Error("it opens for another endpoint")
	}
	for i := range old {
		changed := bytes.Clone(old)
		changed[i] ^= 1
		if _, err := localSealer(t, key(1)).Open(t.Context(), endpoint, changed); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
	}
	if _, err := localSealer(t, key(2)).Open(t.Context(), endpoint, old); err == nil || !strings.Contains(err.Error(), "WEBHOOK_SEALING_KEY") {
		t.Errorf("sealed by a key that is gone: %v", err)
	}
}

func TestSealingKeysCanBeReplaced(t *testing.T) {
	t.Parallel()
	before := sealed(t, localSealer(t, key(1)))
	during := localSealer(t, key(2), key(1))
	opens(t, during, before)
	after := localSealer(t, key(2))
	opens(t, after, sealed(t, during))
	if _, err := after.Open(t.Context(), endpoint, before); err == nil || !strings.Contains(err.Error(), "WEBHOOK_SEALING_KEY") {
		t.Errorf("sealed by a key that is gone: %v", err)
	}
}

func TestMalformedKeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"", "c2hvcnQ=", "not base64!", key(1) + ",", key(1) + ",c2hvcnQ=", strings.TrimRight(key(1), "=")} {
		_, err := New(telemetry.Secret(keys))
		if err == nil {
			t.Errorf("%q is taken", keys)
		} else if keys != "" && strings.Contains(err.Error(), keys) {
			t.Errorf("the error shows the key: %v", err)
		}
		if _, err := Open(t.Context(), Config{Keys: telemetry.Secret(keys)}, time.Now); err == nil {
			t.Errorf("%q is taken from the configuration", keys)
		}
	}
	kms := sealtest.New(t)
	for _, name := range []string{
		"key", production + "/cryptoKeyVersions/1", "/" + production, production + ",", production + ",x", "projects//locations/l/keyRings/r/cryptoKeys/k",
	} {
		if _, err := Open(t.Context(), Config{KMSKey: name}, time.Now, kms.Options...); err == nil || !strings.Contains(err.Error(), "WEBHOOK_KMS_KEY") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := Open(t.Context(), Config{KMSKey: production, Keys: "short"}, time.Now, kms.Options...); err == nil {
		t.Error("a malformed local key is taken beside KMS")
	}
}

func TestWithoutKeysThereIsNothingToDo(t *testing.T) {
	t.Parallel()
	var none Sealer
	if _, err := none.Seal(t.Context(), endpoint, secret); err == nil {
		t.Error("it is sealed")
	}
	if _, err := none.Open(t.Context(), endpoint, sealed(t, localSealer(t, key(1)))); err == nil {
		t.Error("it is opened")
	}
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	type settings struct{ Seal Config } // as functions have it
	got, err := config.Load[settings](config.Map(map[string]string{"WEBHOOK_SEALING_KEY": key(1), "WEBHOOK_KMS_KEY": production}))
	if err != nil || got.Seal.Keys.Reveal() != key(1) || got.Seal.KMSKey != production {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzOpen(f *testing.F) {
	s := localSealer(f, key(1))
	f.Add(sealed(f, s))
	f.Add([]byte{version1})
	f.Add([]byte{version2, kindLocal})
	f.Fuzz(func(t *testing.T, box []byte) {
		if _, err := s.Open(t.Context(), id.ID{2}, box); err == nil {
			t.Errorf("%x opens", box)
		}
	})
}
