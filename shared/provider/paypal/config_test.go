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
func TestCapabilities(t *testing.T) {
	t.Parallel()
	caps := capabilities()
	for step, want := range map[string]time.Duration{
		"authorize": 6 * time.Hour, "capture": 45 * 24 * time.Hour, "void": 45 * 24 * time.Hour, "refund": 45 * 24 * time.Hour,
	} {
		found := false
		for s, window := range caps.KeyWindow {
			found = found || string(s) == step && window == want
		}
		if !found {
			t.Errorf("the key window of %s is not %s", step, want)
		}
	}
	if len(caps.Guarded) != 2 || !caps.PartialCapture || caps.MultipleCaptures || caps.MaxAmount != 999_999_999 {
		t.Errorf("%+v", caps)
	}
}
