package ingestwebhook

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// paypalTimeout bounds what checking a signature of PayPal's may take: fetching the
// certificate, or asking PayPal. It stays within the function's own 10 s.
const paypalTimeout = 7 * time.Second

// sources are the ways in of the enabled providers.
type sources struct {
	enabled core.Enabled
	stripe  stripe.WebhookConfig
	paypal  paypal.WebhookConfig
	api     paypal.Config // when PayPal itself is to check the signatures
	bank    bank.WebhookConfig
}

// ReadConfig reads what the webhooks of the enabled providers are checked with.
func (s *sources) ReadConfig(lookup func(string) (string, bool)) []config.Mistake {
	mistakes := s.enabled.ReadConfig(lookup)
	if s.enabled.Has(stripe.Name) {
		mistakes = append(mistakes, config.Mistakes(config.Fill(lookup, "", &s.stripe))...)
	}
	if s.enabled.Has(paypal.Name) {
		mistakes = append(mistakes, config.Mistakes(config.Fill(lookup, "", &s.paypal))...)
		if s.paypal.AsksPayPal() {
			mistakes = append(mistakes, config.Mistakes(config.Fill(lookup, "", &s.api))...)
		}
	}
	if s.enabled.Has(bank.Name) {
		mistakes = append(mistakes, config.Mistakes(config.Fill(lookup, "", &s.bank))...)
	}
	return mistakes
}

func (s *sources) open(env api.Env) (map[string]inbox.Source, error) {
	opened := map[string]inbox.Source{}
	if s.enabled.Has(stripe.Name) {
		opened[stripe.Name] = inbox.Source{
			Verify: func(_ context.Context, h http.Header, body []byte, now time.Time) error {
				return stripe.Verify(h.Get(stripe.SignatureHeader), body, s.stripe.Secrets, now)
			},
			Parse: stripe.ParseEvent,
		}
	}
	if s.enabled.Has(paypal.Name) {
		verifier, err := s.verifier(env)
		if err != nil {
			return nil, err
		}
		opened[paypal.Name] = inbox.Source{
			Verify: func(ctx context.Context, h http.Header, body []byte, _ time.Time) error {
				ctx, cancel := context.WithTimeout(ctx, paypalTimeout)
				defer cancel()
				return verifier.Verify(ctx, h, body)
			},
			Parse: paypal.ParseEvent,
		}
	}
	if s.enabled.Has(bank.Name) {
		opened[bank.Name] = inbox.Source{
			Verify: func(_ context.Context, h http.Header, body []byte, _ time.Time) error {
				return bank.Verify(h.Get(bank.SignatureHeader), body, s.bank.Secrets)
			},
			Split: bank.Split,
			Parse: bank.ParseEvent,
		}
	}
	return opened, nil
}

func (s *sources) verifier(env api.Env) (*paypal.Verifier, error) {
	roots, err := s.paypal.Roots()
	if err != nil {
		return nil, err
	}
	opt := paypal.VerifierOptions{Now: env.Now, Roots: roots}
	if s.paypal.AsksPayPal() {
		if opt.API, err = paypal.New(s.api, paypal.Options{Now: env.Now, Log: env.Log}); err != nil {
			return nil, err
		}
	}
	return paypal.NewVerifier(s.paypal, opt)
}
