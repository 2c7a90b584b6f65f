package paypal

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Config is what the adapter needs.
type Config struct {
	ClientID     string           `env:"PAYPAL_CLIENT_ID,required" desc:"client id of the PayPal app" who:"the operator"`
	ClientSecret telemetry.Secret `env:"PAYPAL_CLIENT_SECRET,required" desc:"secret of the PayPal app" who:"the operator, in Secret Manager"`
	APIBase      string           `env:"PAYPAL_API_BASE" envDefault:"https://api-m.paypal.com" desc:"where PayPal's API is: https://api-m.sandbox.paypal.com for the sandbox, another address only for simulators" who:"terraform"`
	Account      string           `env:"PAYPAL_ACCOUNT" desc:"name of the account, another one whenever the app is of another account; live or sandbox if not set" who:"the operator"`
}

// WebhookConfig is what the checking of PayPal's webhooks needs.
type WebhookConfig struct {
	WebhookID string `env:"PAYPAL_WEBHOOK_ID,required" desc:"id of the webhook, as PayPal's dashboard shows it: part of what is signed" who:"the operator"`
	Verify    string `env:"PAYPAL_WEBHOOK_VERIFY" envDefault:"offline" desc:"offline checks signatures here, api asks PayPal" who:"terraform"`
	CertBase  string `env:"PAYPAL_WEBHOOK_CERT_BASE" envDefault:"https://api.paypal.com" desc:"the one origin that signing certificates may come from: https://api.sandbox.paypal.com for the sandbox, a loopback address only for simulators" who:"terraform"`
	CA        string `env:"PAYPAL_WEBHOOK_CA" desc:"PEM of the authority behind a simulator's signing certificates; never set for PayPal itself" who:"the local stack"`
}

// Modes of an account, which are also the names it is known by if the configuration has
// none: PayPal's events and objects don't name it.
const (
	liveMode    = "live"
	sandboxMode = "sandbox"
)

// certHosts are the hosts from which PayPal hands out signing certificates.
var certHosts = map[string]bool{
	"api.paypal.com": true, "api-m.paypal.com": true, "api.sandbox.paypal.com": true, "api-m.sandbox.paypal.com": true,
}

// Ways to check a webhook.
const (
	verifyOffline = "offline"
	verifyByAPI   = "api"
)

// AsksPayPal reports whether PayPal checks the signatures, which takes its credentials.
func (c WebhookConfig) AsksPayPal() bool { return c.Verify == verifyByAPI }

// Roots are the authorities that signing certificates are checked against; nil is the
// system's.
func (c WebhookConfig) Roots() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil
	}
	base, err := origin(c.CertBase)
	if err != nil || !isLoopback(base) {
		return nil, errors.New("paypal: PAYPAL_WEBHOOK_CA is for simulators alone, with a loopback PAYPAL_WEBHOOK_CERT_BASE")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(c.CA)) {
		return nil, errors.New("paypal: PAYPAL_WEBHOOK_CA is not a certificate in PEM")
	}
	return roots, nil
}

// CheckConfig says what is wrong with the values.
func (c Config) CheckConfig() []config.Mistake { return config.About(c.validate()) }

func (c Config) validate() error {
	for name, value := range map[string]string{"PAYPAL_CLIENT_ID": c.ClientID, "PAYPAL_CLIENT_SECRET": c.ClientSecret.Reveal()} {
		if value == "" || strings.ContainsAny(value, " \t\r\n") {
			return fmt.Errorf("paypal: %s is empty or contains white space", name)
		}
	}
	base, err := origin(c.APIBase)
	if err != nil {
		return fmt.Errorf("paypal: PAYPAL_API_BASE %w", err)
	}
	if base.Scheme == "http" && !isLoopback(base) {
		return errors.New("paypal: PAYPAL_API_BASE must be https")
	}
	return nil
}

// CheckConfig says what is wrong with the values.
func (c WebhookConfig) CheckConfig() []config.Mistake { return config.About(c.validate()) }

func (c WebhookConfig) validate() error {
	if c.WebhookID == "" || strings.ContainsAny(c.WebhookID, "| \t\r\n") {
		return errors.New("paypal: PAYPAL_WEBHOOK_ID is empty or no id")
	}
	if c.Verify != verifyOffline && c.Verify != verifyByAPI {
		return errors.New("paypal: PAYPAL_WEBHOOK_VERIFY must be offline or api")
	}
	base, err := origin(c.CertBase)
	if err != nil {
		return fmt.Errorf("paypal: PAYPAL_WEBHOOK_CERT_BASE %w", err)
	}
	if (base.Scheme != "https" || !certHosts[base.Host]) && !isLoopback(base) {
		return errors.New("paypal: PAYPAL_WEBHOOK_CERT_BASE must be https and one of PayPal's hosts")
	}
	return nil
}

// origin reads a scheme and a host with nothing behind them.
func origin(s string) (*url.URL, error) {
	base, err := url.Parse(s)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" || strings.Trim(base.Path, "/") != "" {
		return nil, errors.New("must be an address such as https://api-m.paypal.com, without a path")
	}
	return base, nil
}

func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func modeOf(base string) string {
	u, err := origin(base)
	if err == nil && (u.Hostname() == "api-m.paypal.com" || u.Hostname() == "api.paypal.com") {
		return liveMode
	}
	return sandboxMode
}
