package paypal

import (
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return noon }
	good := Config{ClientID: "app", ClientSecret: "hush", APIBase: "https://api-m.paypal.com"}
	for account, base := range map[string]string{
		"live": "https://api-m.paypal.com", "sandbox": "https://api-m.sandbox.paypal.com/",
	} {
		cfg := good
		cfg.APIBase = base
		if a, err := New(cfg, Options{Now: now}); err != nil || a.Account() != account || a.Name() != "paypal" {
			t.Errorf("%s: %v", base, err)
		}
	}
	for name, spoil := range map[string]func(*Config){
		"PAYPAL_CLIENT_ID":         func(c *Config) { c.ClientID = "" },
		"PAYPAL_CLIENT_SECRET":     func(c *Config) { c.ClientSecret = "hush\n" },
		"must be an address":       func(c *Config) { c.APIBase = "https://api-m.paypal.com/v2" },
		"PAYPAL_API_BASE must be":  func(c *Config) { c.APIBase = "ftp://api-m.paypal.com" },
		"PAYPAL_API_BASE must be ": func(c *Config) { c.APIBase = "http://api-m.paypal.com" },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg, Options{Now: now}); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(good, Options{}); err == nil {
		t.Error("no clock, no error")
	}
}

func TestWebhookConfig(t *testing.T) {
	t.Parallel()
	opt := VerifierOptions{Now: func() time.Time { return noon }}
	good := WebhookConfig{WebhookID: ourWebhook, Verify: "offline", CertBase: "https://api.paypal.com"}
	if _, err := NewVerifier(good, opt); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*WebhookConfig){
		"PAYPAL_WEBHOOK_ID":             func(c *WebhookConfig) { c.WebhookID = "a|b" },
		"PAYPAL_WEBHOOK_VERIFY":         func(c *WebhookConfig) { c.Verify = "no" },
		"VerifierOptions.API":           func(c *WebhookConfig) { c.Verify = "api" },
		"PAYPAL_WEBHOOK_CERT_BASE":      func(c *WebhookConfig) { c.CertBase = "https://paypal.example" },
		"PAYPAL_WEBHOOK_CERT_BASE must": func(c *WebhookConfig) { c.CertBase = "http://api.paypal.com" },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewVerifier(cfg, opt); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Steps whose state PayPal guards, and windows as its OpenAPI files state them.
func TestTheAccountHasTheConfiguredName(t *testing.T) {
	t.Parallel()
	a, err := New(Config{ClientID: "app", ClientSecret: "hush", APIBase: "https://api-m.paypal.com", Account: "shop-eu"},
		Options{Now: func() time.Time { return noon }})
	if err != nil || a.Account() != "shop-eu" {
		t.Fatalf("%v, %v", a, err)
	}
	e, err := a.ParseEvent([]byte(`{"id":"WH1","event_type":"BILLING.PLAN.CREATED","create_time":"2026-11-23T12:00:00Z","resource":{}}`))
	if err != nil || e.Account != "shop-eu" {
		t.Errorf("an event of %q, %v", e.Account, err)
	}
}

func TestASimulatorsAuthority(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		base, ca, says string
	}{
		"none":             {"https://api.paypal.com", "", ""},
		"of PayPal itself": {"https://api.paypal.com", "-----BEGIN CERTIFICATE-----", "for simulators alone"},
		"no certificate":   {"http://127.0.0.1:1", "hush", "not a certificate"},
	} {
		roots, err := WebhookConfig{CertBase: c.base, CA: c.ca}.Roots()
		if roots != nil || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, roots, err)
		}
	}
}
