package stack

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// Providers lists the providers that a stack has, all enabled, by the names that configuration has for them.
func Providers() []string { return []string{stripe.Name, paypal.Name, bank.Name} }

// The accounts.
const (
	stripeKey           = "sk_test_local"
	stripeWebhookSecret = "whsec_local"
	paypalClientID      = "paypal-client-local"
	paypalClientSecret  = "paypal-secret-local"
	paypalWebhookID     = "WH-LOCAL"
	bankToken           = "bank-token-local"
	bankWebhookSecret   = "bank-webhook-secret-local"
)

// simulator is what all simulators can do, whatever API they speak.
type simulator interface {
	http.Handler
	SetWebhook(url string)
	NextDue() (time.Time, bool)
	RunDue(context.Context) int
	Quiesce(context.Context) error
	Close()
}

// startProviders starts the simulators.
func (s *Stack) startProviders(o Options) error {
	places, err := s.reserve(Providers()...)
	if err != nil {
		return err
	}
	s.Stripe = providersim.NewStripe(providersim.StripeConfig{
		Now: s.Clock.Now, Seed: o.Seed, SecretKeys: []string{stripeKey}, WebhookSecrets: []string{stripeWebhookSecret},
	})
	s.PayPal = providersim.NewPayPal(providersim.PayPalConfig{
		Now: s.Clock.Now, Seed: o.Seed, ClientID: paypalClientID, ClientSecret: paypalClientSecret, WebhookID: paypalWebhookID,
		Base: s.ProviderURL(paypal.Name),
	})
	s.Bank = providersim.NewGoCardless(providersim.GoCardlessConfig{
		Now: s.Clock.Now, Seed: o.Seed, AccessTokens: []string{bankToken}, WebhookSecret: bankWebhookSecret,
		ConfirmDelay: o.BankDelay,
	})
	s.simulators = []simulator{s.Stripe, s.PayPal, s.Bank}
	for i, sim := range s.simulators {
		if err := places[i].open(sim); err != nil {
			return err
		}
		s.defers(sim.Close) // before its place is closed, which waits for nobody
	}
	return nil
}

// ProviderURL is where a provider's simulator answers, its pages for other processes included (see providersim);
// empty for a provider that there is not.
func (s *Stack) ProviderURL(provider string) string {
	p, err := s.place(provider)
	if err != nil {
		return ""
	}
	return p.url()
}

// EffectsOf lists what the providers really did about a payment, whatever they answered: of each in order.
func (s *Stack) EffectsOf(paymentID string) []providersim.Effect {
	return slices.Concat(
		s.Stripe.EffectsFor("tollgate_payment", paymentID),
		s.PayPal.EffectsFor("invoice_id", paymentID),
		s.Bank.EffectsFor("tollgate_payment", paymentID),
	)
}

// accounts are the variables by which functions reach the providers.
func (s *Stack) accounts() map[string]string {
	return map[string]string{
		"PROVIDERS":               strings.Join(Providers(), ","),
		"STRIPE_SECRET_KEY":       stripeKey,
		"STRIPE_API_BASE":         s.ProviderURL(stripe.Name),
		"PAYPAL_CLIENT_ID":        paypalClientID,
		"PAYPAL_CLIENT_SECRET":    paypalClientSecret,
		"PAYPAL_API_BASE":         s.ProviderURL(paypal.Name),
		"GOCARDLESS_ACCESS_TOKEN": bankToken,
		"GOCARDLESS_API_BASE":     s.ProviderURL(bank.Name),
	}
}

// signatures are the variables by which functions check what the providers send.
func (s *Stack) signatures() map[string]string {
	return map[string]string{
		"PROVIDERS":                  strings.Join(Providers(), ","),
		"STRIPE_WEBHOOK_SECRETS":     stripeWebhookSecret,
		"PAYPAL_WEBHOOK_ID":          paypalWebhookID,
		"PAYPAL_WEBHOOK_CERT_BASE":   s.ProviderURL(paypal.Name),
		"PAYPAL_WEBHOOK_CA":          string(s.PayPal.CA()),
		"GOCARDLESS_WEBHOOK_SECRETS": bankWebhookSecret,
	}
}
