package stripe

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const (
	oldSecret = "whsec_old"
	newSecret = "whsec_new"
)

var body = []byte(`{"id":"evt_1"}`)

// sign signs as Stripe's own library does.
func sign(secret string, at time.Time) string {
	return "v1=" + hex.EncodeToString(webhook.ComputeSignature(at, body, secret))
}

func stamp(at time.Time) string { return fmt.Sprintf("t=%d", at.Unix()) }

func TestVerify(t *testing.T) {
	t.Parallel()
	both := []telemetry.Secret{oldSecret, newSecret}
	good := sign(newSecret, noon)
	for name, c := range map[string]struct {
		header  string
		body    []byte
		secrets []telemetry.Secret
		now     time.Time
		refused string // why; empty is accepted
	}{
		"one signature":             {header: stamp(noon) + "," + good},
		"old secret":                {header: stamp(noon) + "," + sign(oldSecret, noon)},
		"two signatures":            {header: stamp(noon) + "," + sign("whsec_gone", noon) + "," + good},
		"other schemes":             {header: stamp(noon) + ",v0=abc," + good + ",v2="},
		"upper case":                {header: stamp(noon) + ",v1=" + strings.ToUpper(good[3:])},
		"signature before time":     {header: good + "," + stamp(noon)},
		"300 s old":                 {header: stamp(noon) + "," + good, now: noon.Add(300 * time.Second)},
		"300 s ahead":               {header: stamp(noon) + "," + good, now: noon.Add(-300 * time.Second)},
		"301 s old":                 {header: stamp(noon) + "," + good, now: noon.Add(301 * time.Second), refused: "300 seconds"},
		"301 s ahead":               {header: stamp(noon) + "," + good, now: noon.Add(-301 * time.Second), refused: "300 seconds"},
		"missing":                   {refused: "missing"},
		"too long":                  {header: stamp(noon) + "," + good + ",x=" + strings.Repeat("x", maxSignatureHeader), refused: "too long"},
		"no time":                   {header: good, refused: "needs t and v1"},
		"no signature":              {header: stamp(noon), refused: "needs t and v1"},
		"only an old scheme":        {header: stamp(noon) + ",v0=" + good[3:], refused: "needs t and v1"},
		"two times":                 {header: stamp(noon) + "," + stamp(noon) + "," + good, refused: "exactly one t"},
		"negative time":             {header: "t=-5," + good, refused: "exactly one t"},
		"signed time":               {header: "t=+5," + good, refused: "exactly one t"},
		"time beyond reason":        {header: "t=99999999999999999999," + good, refused: "exactly one t"},
		"the last time there is":    {header: "t=9223372036854775807," + good, refused: "300 seconds"},
		"a space":                   {header: stamp(noon) + ", " + good, refused: "needs t and v1"},
		"two equal signs":           {header: stamp(noon) + "," + good + "=", refused: "name=value"},
		"no equal sign":             {header: stamp(noon) + ",v1", refused: "name=value"},
		"no name":                   {header: stamp(noon) + ",=1," + good, refused: "name=value"},
		"trailing comma":            {header: stamp(noon) + "," + good + ",", refused: "name=value"},
		"short signature":           {header: stamp(noon) + "," + good[:20], refused: "64 hexadecimal digits"},
		"signature not in hex":      {header: stamp(noon) + ",v1=" + strings.Repeat("z", 64), refused: "64 hexadecimal digits"},
		"another body":              {header: stamp(noon) + "," + good, body: []byte(`{"id":"evt_2"}`), refused: "no signature"},
		"another time":              {header: stamp(noon.Add(time.Second)) + "," + good, refused: "no signature"},
		"a secret that is gone":     {header: stamp(noon) + "," + good, secrets: []telemetry.Secret{oldSecret}, refused: "no signature"},
		"no secrets":                {header: stamp(noon) + "," + good, secrets: []telemetry.Secret{}, refused: "no signature"},
		"an empty secret":           {header: stamp(noon) + "," + sign("", noon), secrets: []telemetry.Secret{""}, refused: "no signature"},
		"secret without its prefix": {header: stamp(noon) + "," + sign("new", noon), refused: "no signature"},
	} {
		if c.body == nil {
			c.body = body
		}
		if c.secrets == nil {
			c.secrets = both
		}
		if c.now.IsZero() {
			c.now = noon
		}
		err := Verify(c.header, c.body, c.secrets, c.now)
		if c.refused == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.refused != "" && (!fault.Is(err, fault.SignatureInvalid) || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: %v, want a refusal saying %q", name, err, c.refused)
		}
	}
}

// Whatever Verify accepts, Stripe's own verifier accepts too, apart from the clock.
func FuzzVerify(f *testing.F) {
	f.Add(stamp(noon)+","+sign(newSecret, noon), body)
	f.Add("t=1,v1=,v1=00,v0=x", []byte(nil))
	f.Add(",,==", []byte("{}"))
	f.Fuzz(func(t *testing.T, header string, payload []byte) {
		err := Verify(header, payload, []telemetry.Secret{newSecret}, noon)
		if err == nil {
			if err := webhook.ValidatePayloadIgnoringTolerance(payload, header, newSecret); err != nil {
				t.Errorf("accepted %q, which Stripe's verifier refuses: %v", header, err)
			}
		} else if !fault.Is(err, fault.SignatureInvalid) {
			t.Errorf("refused %q with %v", header, err)
		}
		// A signature of the fuzzed body must pass whatever the body is.
		signed := stamp(noon) + ",v1=" + hex.EncodeToString(webhook.ComputeSignature(noon, payload, newSecret))
		if err := Verify(signed, payload, []telemetry.Secret{newSecret}, noon); err != nil {
			t.Errorf("a good signature of %q: %v", payload, err)
		}
	})
}
