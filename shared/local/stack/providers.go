package stack

import (
	"context"
	"errors"
	"fmt"
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

// site is a simulator at its address, where it may be away.
type site struct {
	name    string
	sim     simulator
	address string
	server  *http.Server // nil while it is away
}

func (p *site) url() string { return "http://" + p.address }

// open has the simulator answer. Opening twice is harmless.
func (p *site) open() error {
	if p.server != nil {
		return nil
	}
	l, err := listenReserved(p.address)
	if err != nil {
		return fmt.Errorf("stack: %s: %w", p.name, err)
	}
	server := &http.Server{Handler: p.sim, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // it ends with close, and its error is that it did
	p.server = server
	return nil
}

// close breaks off what is being answered, and has connections refused from now on.
func (p *site) close() {
	if p.server != nil {
		_ = p.server.Close()
		p.server = nil
	}
}

// startProviders starts the simulators, each at an address that stays its own while it is away.
func (s *Stack) startProviders(o Options) error {
	var ports reservation
	addresses, err := ports.reserve(len(Providers()))
	if err != nil {
		return err
	}
	s.defers(ports.release)
	s.Stripe = providersim.NewStripe(providersim.StripeConfig{
		Now: s.Clock.Now, Seed: o.Seed, SecretKeys: []string{stripeKey}, WebhookSecrets: []string{stripeWebhookSecret},
	})
	s.PayPal = providersim.NewPayPal(providersim.PayPalConfig{
		Now: s.Clock.Now, Seed: o.Seed, ClientID: paypalClientID, ClientSecret: paypalClientSecret, WebhookID: paypalWebhookID,
		Base: "http://" + addresses[1],
	})
	s.Bank = providersim.NewGoCardless(providersim.GoCardlessConfig{
		Now: s.Clock.Now, Seed: o.Seed, AccessTokens: []string{bankToken}, WebhookSecret: bankWebhookSecret,
		ConfirmDelay: o.BankDelay,
	})
	for i, sim := range []simulator{s.Stripe, s.PayPal, s.Bank} {
		p := &site{name: Providers()[i], sim: sim, address: addresses[i]}
		s.sites = append(s.sites, p)
		s.defers(func() {
			sim.Close()
			p.close()
		})
		if err := p.open(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) site(provider string) (*site, error) {
	for _, p := range s.sites {
		if p.name == provider {
			return p, nil
		}
	}
	return nil, errors.New("stack: no provider " + provider)
}

// TakeAway has a provider refuse all connections, and breaks off those there are, until BringBack. What it has to tell
// it still sends. Neither is for concurrent use.
func (s *Stack) TakeAway(provider string) error {
	p, err := s.site(provider)
	if err == nil {
		p.close()
	}
	return err
}

// BringBack has a provider answer again.
func (s *Stack) BringBack(provider string) error {
	p, err := s.site(provider)
	if err != nil {
		return err
	}
	return p.open()
}

// ProviderURL is where a provider's simulator answers, its pages for other processes included (see providersim);
// empty for a provider that there is not.
func (s *Stack) ProviderURL(provider string) string {
	p, err := s.site(provider)
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
