package bank

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const (
	oldSecret = "old secret"
	newSecret = "new secret"
)

func sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func TestVerify(t *testing.T) {
	t.Parallel()
	body := []byte(`{"events":[]}`)
	both := []telemetry.Secret{oldSecret, " " + newSecret + "\n"}
	for _, c := range []struct {
		name, header string
		secrets      []telemetry.Secret
		ok           bool
	}{
		{"the old secret", sign(oldSecret, body), both, true},
		{"the new secret", sign(newSecret, body), both, true},
		{"upper case", strings.ToUpper(sign(oldSecret, body)), both, true},
		{"a secret that is not ours", sign("another", body), both, false},
		{"another body", sign(oldSecret, []byte(`{"events":[] }`)), both, false},
		{"signed with nothing", sign("", body), []telemetry.Secret{"", " "}, false},
		{"no secrets", sign(oldSecret, body), nil, false},
		{"missing", "", both, false},
		{"not hexadecimal", strings.Repeat("z", 64), both, false},
		{"too short", sign(oldSecret, body)[:62], both, false},
		{"too long", sign(oldSecret, body) + "00", both, false},
		{"two of them", sign(oldSecret, body) + "," + sign(newSecret, body), both, false},
	} {
		err := Verify(c.header, body, c.secrets)
		if (err == nil) != c.ok || err != nil && !fault.Is(err, fault.BankSignatureInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(sign(newSecret, []byte("{}")), []byte("{}"))
	f.Add("", []byte{})
	f.Add(strings.Repeat("0", 64), []byte(`{"events":[]}`))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		err := Verify(header, body, []telemetry.Secret{oldSecret, newSecret})
		valid := strings.EqualFold(header, sign(oldSecret, body)) || strings.EqualFold(header, sign(newSecret, body))
		if (err == nil) != valid {
			t.Errorf("Verify(%q) = %v, valid %t", header, err, valid)
		}
	})
}
