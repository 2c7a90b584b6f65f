package apitest

import (
	"net/http/httptest"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// What PayPal's and GoCardless's accounts are known by.
const (
	PayPalWebhookID   = "WH-SIM"
	BankWebhookSecret = "hush"
	payPalSecret      = "paypal-secret"
	bankToken         = "sandbox_sim"
)

// AllProviders puts PayPal and GoCardless into the world, beside Stripe, and enables
// them. Call it before building.
func (w *World) AllProviders() {
	w.t.Helper()
	w.PayPal = providersim.NewPayPal(providersim.PayPalConfig{
		Now: w.Clock.Now, ClientID: "app", ClientSecret: payPalSecret, WebhookID: PayPalWebhookID,
	})
	w.Bank = providersim.NewGoCardless(providersim.GoCardlessConfig{
		Now: w.Clock.Now, AccessTokens: []string{bankToken}, WebhookSecret: BankWebhookSecret,
	})
	paypalServer, bankServer := httptest.NewServer(w.PayPal), httptest.NewServer(w.Bank)
	for _, end := range []func(){paypalServer.Close, w.PayPal.Close, bankServer.Close, w.Bank.Close} {
		w.t.Cleanup(end)
	}
	for name, value := range map[string]string{
		"PROVIDERS":        "stripe,paypal,bank",
		"PAYPAL_CLIENT_ID": "app", "PAYPAL_CLIENT_SECRET": payPalSecret, "PAYPAL_API_BASE": paypalServer.URL,
		"PAYPAL_WEBHOOK_ID": PayPalWebhookID, "PAYPAL_WEBHOOK_CERT_BASE": paypalServer.URL, "PAYPAL_WEBHOOK_CA": string(w.PayPal.CA()),
		"GOCARDLESS_ACCESS_TOKEN": bankToken, "GOCARDLESS_API_BASE": bankServer.URL, "GOCARDLESS_WEBHOOK_SECRETS": BankWebhookSecret,
	} {
		w.Config[name] = value
	}
}

// Adapters are the providers of the world, without anything before them.
func (w *World) Adapters() map[string]provider.Adapter {
	w.t.Helper()
	s, err := stripe.New(stripe.Config{
		SecretKey: telemetry.Secret(w.Config["STRIPE_SECRET_KEY"]), APIBase: w.Config["STRIPE_API_BASE"],
	}, stripe.Options{Now: w.Clock.Now})
	check(w.t, err)
	w.t.Cleanup(s.Close)
	adapters := map[string]provider.Adapter{stripe.Name: s}
	if w.PayPal != nil {
		p, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: payPalSecret, APIBase: w.Config["PAYPAL_API_BASE"]},
			paypal.Options{Now: w.Clock.Now})
		check(w.t, err)
		w.t.Cleanup(p.Close)
		adapters[paypal.Name] = p
	}
	if w.Bank != nil {
		b, err := bank.New(bank.Config{AccessToken: bankToken, APIBase: w.Config["GOCARDLESS_API_BASE"]}, bank.Options{Now: w.Clock.Now})
		check(w.t, err)
		w.t.Cleanup(b.Close)
		adapters[bank.Name] = b
	}
	return adapters
}
