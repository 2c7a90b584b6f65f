package stripe

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Config is what the adapter needs. Only functions that call Stripe have it; what
// checks webhooks has WebhookConfig alone.
type Config struct {
	SecretKey telemetry.Secret `env:"STRIPE_SECRET_KEY,required" desc:"API key of the Stripe account, sk_… or rk_…" who:"the operator, in Secret Manager"`
	APIBase   string           `env:"STRIPE_API_BASE" envDefault:"https://api.stripe.com" desc:"where Stripe's API is; another address only for simulators" who:"terraform"`
	Account   string           `env:"STRIPE_ACCOUNT" desc:"name of the account, another one whenever the key is of another account; live or test if not set" who:"the operator"`
}

// WebhookConfig is what the checking of Stripe's webhooks needs.
type WebhookConfig struct {
	Secrets []telemetry.Secret `env:"STRIPE_WEBHOOK_SECRETS,required" desc:"signing secrets of the webhook endpoint, whsec_…, several while one is rolled" who:"the operator, in Secret Manager"`
}

// CheckConfig says what is wrong with the values.
func (c Config) CheckConfig() []config.Mistake { return config.About(c.validate()) }

func (c Config) validate() error {
	key := c.SecretKey.Reveal()
	if strings.TrimSpace(key) == "" || strings.ContainsAny(key, " \t\r\n") {
		return errors.New("stripe: STRIPE_SECRET_KEY is empty or contains white space")
	}
	base, err := url.Parse(c.APIBase)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" || strings.Trim(base.Path, "/") != "" {
		return fmt.Errorf("stripe: STRIPE_API_BASE must be an address such as https://api.stripe.com, without a path")
	}
	if base.Scheme == "http" && modeOf(c.SecretKey) == liveMode {
		return errors.New("stripe: STRIPE_API_BASE must be https with a live key")
	}
	return nil
}

// Modes of a Stripe account, and the names under which an account is known when neither
// Stripe nor the configuration names it.
const (
	liveMode = "live"
	testMode = "test"
)

// modeOf reads the mode from the key: https://docs.stripe.com/keys
func modeOf(key telemetry.Secret) string {
	for _, kind := range []string{"sk", "rk"} {
		if strings.HasPrefix(key.Reveal(), kind+"_live_") {
			return liveMode
		}
	}
	return testMode
}
