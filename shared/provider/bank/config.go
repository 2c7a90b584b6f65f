package bank

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Config is what the adapter needs. Only functions that call GoCardless have it; what
// checks webhooks has WebhookConfig alone.
type Config struct {
	AccessToken telemetry.Secret `env:"GOCARDLESS_ACCESS_TOKEN,required" desc:"access token of the GoCardless account, with read and write access" who:"the operator, in Secret Manager"`
	APIBase     string           `env:"GOCARDLESS_API_BASE" envDefault:"https://api.gocardless.com" desc:"where GoCardless's API is; another address for the sandbox and simulators" who:"terraform"`
	Account     string           `env:"GOCARDLESS_ACCOUNT" desc:"name of the account, another one whenever the token is of another account; live or sandbox if not set" who:"the operator"`
}

// WebhookConfig is what the checking of GoCardless's webhooks needs.
type WebhookConfig struct {
	Secrets []telemetry.Secret `env:"GOCARDLESS_WEBHOOK_SECRETS,required" desc:"secrets of the webhook endpoint, several while one is replaced" who:"the operator, in Secret Manager"`
}

// CheckConfig says what is wrong with the values.
func (c Config) CheckConfig() []config.Mistake { return config.About(c.validate()) }

func (c Config) validate() error {
	token := c.AccessToken.Reveal()
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return errors.New("bank: GOCARDLESS_ACCESS_TOKEN is empty or contains white space")
	}
	base, err := url.Parse(c.APIBase)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" || strings.Trim(base.Path, "/") != "" {
		return errors.New("bank: GOCARDLESS_API_BASE must be an address such as https://api.gocardless.com, without a path")
	}
	// The token moves money, so it goes in the clear to this machine alone.
	if ip := net.ParseIP(base.Hostname()); base.Scheme == "http" && base.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("bank: GOCARDLESS_API_BASE must be https")
	}
	return nil
}

// The names of the account if the configuration has none, by environment: GoCardless has
// a live one and a sandbox.
const (
	liveMode    = "live"
	sandboxMode = "sandbox"
)

func modeOf(base string) string {
	if u, err := url.Parse(base); err == nil && u.Hostname() == "api.gocardless.com" {
		return liveMode
	}
	return sandboxMode
}
