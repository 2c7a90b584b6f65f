package bank

import (
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/telemetry"
)

func TestConfigFromTheEnvironment(t *testing.T) {
	t.Parallel()
	type settings struct {
		Bank     Config
		Webhooks WebhookConfig
	}
	got, err := config.Load[settings](config.Map(map[string]string{
		"GOCARDLESS_ACCESS_TOKEN": testToken, "GOCARDLESS_WEBHOOK_SECRETS": oldSecret + ", " + newSecret + ",",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got.Bank.AccessToken.Reveal() != testToken || got.Bank.APIBase != "https://api.gocardless.com" {
		t.Errorf("config %q, %q", got.Bank.AccessToken.Reveal(), got.Bank.APIBase)
	}
	for _, secret := range []string{oldSecret, newSecret} {
		if err := Verify(sign(secret, nil), nil, got.Webhooks.Secrets); err != nil {
			t.Errorf("signed with %s: %v", secret, err)
		}
	}
	_, err = config.Load[settings](config.Map(nil))
	if err == nil || !strings.Contains(err.Error(), "GOCARDLESS_ACCESS_TOKEN") || !strings.Contains(err.Error(), "GOCARDLESS_WEBHOOK_SECRETS") {
		t.Errorf("nothing set: %v", err)
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return noon }
	for _, c := range []struct {
		token telemetry.Secret
		base  string
		now   func() time.Time
		says  string
	}{
		{"", "https://api.gocardless.com", now, "GOCARDLESS_ACCESS_TOKEN"},
		{"a b", "https://api.gocardless.com", now, "GOCARDLESS_ACCESS_TOKEN"},
		{testToken, "", now, "GOCARDLESS_API_BASE"},
		{testToken, "ftp://api.gocardless.com", now, "GOCARDLESS_API_BASE"},
		{testToken, "https://api.gocardless.com/v1", now, "GOCARDLESS_API_BASE"},
		{testToken, "https://me@api.gocardless.com", now, "GOCARDLESS_API_BASE"},
		{testToken, "http://api.gocardless.com", now, "must be https"},
		{testToken, "http://10.0.0.1", now, "must be https"},
		{testToken, "https://api.gocardless.com", nil, "Now"},
	} {
		_, err := New(Config{AccessToken: c.token, APIBase: c.base}, Options{Now: c.now})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.base, err)
		}
	}
	for base, mode := range map[string]string{
		"https://api.gocardless.com/": liveMode, "https://api-sandbox.gocardless.com": sandboxMode,
		"http://127.0.0.1:1": sandboxMode, "http://localhost:1": sandboxMode, "http://[::1]:1": sandboxMode,
	} {
		if got := newAdapter(t, base, Options{}).Account(); got != mode {
			t.Errorf("%s: %s", base, got)
		}
	}
}

func TestTheAccountHasTheConfiguredName(t *testing.T) {
	t.Parallel()
	a, err := New(Config{AccessToken: testToken, APIBase: "http://127.0.0.1:1", Account: "shop-eu"}, Options{Now: func() time.Time { return noon }})
	if err != nil || a.Account() != "shop-eu" {
		t.Fatalf("%v, %v", a, err)
	}
	e, err := a.ParseEvent([]byte(`{"id":"EV1","created_at":"2026-11-23T12:00:00Z","resource_type":"payments","action":"created","links":{"payment":"PM1"}}`))
	if err != nil || e.Account != "shop-eu" {
		t.Errorf("an event of %q, %v", e.Account, err)
	}
}
