package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	const value = "hunter2hunter2"
	secret := Secret(value)
	type config struct {
		Key  Secret
		Keys []Secret
		Ptr  *Secret
	}
	in := config{secret, []Secret{secret}, &secret}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%20.3s"} {
		shown = append(shown, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, in), fmt.Sprintf(verb, map[Secret]Secret{secret: secret}))
	}
	shown = append(shown, fmt.Sprint(secret), secret.String(), secret.GoString(), fmt.Errorf("key %s", secret).Error())
	for _, x := range []any{secret, in, map[string]Secret{"key": secret}, &in} {
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(text))
		var logs bytes.Buffer
		NewLogger(&logs, slog.LevelInfo, "test").Info("x", "secret", x)
		slog.New(slog.NewTextHandler(&logs, nil)).Info("x", "secret", x)
		shown = append(shown, logs.String())
	}
	for _, s := range shown {
		if strings.Contains(s, value) || strings.Contains(s, fmt.Sprintf("%x", value)) {
			t.Errorf("shown in %s", s)
		}
	}
	if v, err := secret.Value(); err == nil {
		t.Errorf("stored as %v", v)
	}
	if secret.Reveal() != value {
		t.Errorf("revealed as %q", secret.Reveal())
	}
}
