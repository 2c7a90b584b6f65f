package stripe

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
		Stripe   Config
		Webhooks WebhookConfig
	}
	got, err := config.Load[settings](config.Map(map[string]string{
		"STRIPE_SECRET_KEY": testKey, "STRIPE_WEBHOOK_SECRETS": oldSecret + ", " + newSecret + ",",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got.Stripe.SecretKey.Reveal() != testKey || got.Stripe.APIBase != "https://api.stripe.com" {
		t.Errorf("config %q, %q", got.Stripe.SecretKey.Reveal(), got.Stripe.APIBase)
	}
	for _, secret := range []string{oldSecret, newSecret} {
		if err := Verify(stamp(noon)+","+sign(secret, noon), body, got.Webhooks.Secrets, noon); err != nil {
			t.Errorf("signed with %s: %v", secret, err)
		}
	}
	if err := Verify(stamp(noon)+","+sign("", noon), body, got.Webhooks.Secrets, noon); err == nil {
		t.Error("the empty end of the list is a secret")
	}
	_, err = config.Load[settings](config.Map(nil))
	if err == nil || !strings.Contains(err.Error(), "STRIPE_SECRET_KEY") || !strings.Contains(err.Error(), "STRIPE_WEBHOOK_SECRETS") {
		t.Errorf("nothing set: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Config{SecretKey: testKey, APIBase: "https://api.stripe.com/"}
	if _, err := New(good, Options{Now: time.Now}); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	for name, c := range map[string]Config{
		"no key":              {APIBase: good.APIBase},
		"a key with a break":  {SecretKey: testKey + "\n", APIBase: good.APIBase},
		"no address":          {SecretKey: testKey},
		"no scheme":           {SecretKey: testKey, APIBase: "api.stripe.com"},
		"another scheme":      {SecretKey: testKey, APIBase: "ftp://api.stripe.com"},
		"a path":              {SecretKey: testKey, APIBase: "https://api.stripe.com/v1"},
		"a password":          {SecretKey: testKey, APIBase: "https://a:b@api.stripe.com"},
		"a live key in clear": {SecretKey: telemetry.Secret("sk_" + "live_1234"), APIBase: "http://api.stripe.com"},
	} {
		if _, err := New(c, Options{Now: time.Now}); err == nil || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(good, Options{}); err == nil {
		t.Error("no clock: accepted")
	}
}

func TestTheAccountHasTheConfiguredName(t *testing.T) {
	t.Parallel()
	a, err := New(Config{SecretKey: testKey, APIBase: "http://127.0.0.1:1", Account: "shop-eu"}, Options{Now: func() time.Time { return noon }})
	if err != nil || a.Account() != "shop-eu" {
		t.Fatalf("%v, %v", a, err)
	}
	for account, want := range map[string]string{"": "shop-eu", "acct_1": "acct_1/test"} {
		e, err := a.ParseEvent([]byte(`{"id":"evt_1","object":"event","type":"customer.created","created":1,"livemode":false,"account":"` + account +
			`","api_version":"2023-10-16","data":{"object":{"id":"cus_1","object":"customer"}}}`))
		if err != nil || e.Account != want {
			t.Errorf("an event of %q, %v", e.Account, err)
		}
	}
}
