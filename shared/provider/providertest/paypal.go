package providertest

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// pastHonor is the age at which an authorization is made anew before its capture.
const pastHonor = 73 * time.Hour

// PayPalWebhook is the id of the simulated account's webhook.
const PayPalWebhook = "WH-CONFORMANCE"

// PayPal is the adapter of payments from PayPal accounts.
func PayPal() Subject {
	return Subject{
		Name: paypal.Name,
		Spots: []Spot{
			{Name: "authorize: creating the order", Step: provider.Authorize, Operation: providersim.Authorize},
			{Name: "authorize: the approved order", Step: provider.Authorize, Operation: providersim.Confirm, Answered: true},
			{Name: "authorize and capture: the approved order", Step: provider.Authorize, Sale: true, Operation: providersim.Confirm, Answered: true},
			{Name: "authorize: reading the approved order", Step: provider.Authorize, Operation: providersim.Retrieve, Answered: true},
			{Name: "capture", Step: provider.Capture, Operation: providersim.Capture},
			{Name: "capture: reading the order", Step: provider.Capture, Operation: providersim.Retrieve},
			{Name: "capture: getting a token", Step: provider.Capture, Operation: providersim.Token, Stale: true},
			{Name: "capture, past the honor period", Step: provider.Capture, Operation: providersim.Capture, Age: pastHonor},
			{Name: "capture, past the honor period: authorizing anew", Step: provider.Capture, Operation: providersim.Reauthorize, Age: pastHonor},
			{Name: "void", Step: provider.Void, Operation: providersim.Void},
			{Name: "void: reading the order", Step: provider.Void, Operation: providersim.Retrieve},
			{Name: "refund", Step: provider.Refund, Operation: providersim.Refund},
			{Name: "refund: reading the order", Step: provider.Refund, Operation: providersim.Retrieve},
			{Name: "look-up: the order", Operation: providersim.Retrieve},
			{Name: "look-up: the list of disputes", Operation: providersim.List},
			{Name: "look-up: a dispute", Operation: providersim.Retrieve, Skip: 1, Disputed: true},
			{Name: "look-up: getting a token", Operation: providersim.Token, Stale: true},
		},
		Reports: []Spot{
			{Name: reportSpot + "the transactions", Operation: providersim.Report},
			{Name: reportSpot + "getting a token", Operation: providersim.Token, Stale: true},
		},
		Open: openPayPal,
	}
}

func openPayPal(now func() time.Time) *Account {
	const app, credential = "app", "paypal_conformance"
	sim := providersim.NewPayPal(providersim.PayPalConfig{Now: now, ClientID: app, ClientSecret: credential, WebhookID: PayPalWebhook})
	answers := map[Way]string{
		Refused: providersim.PayPalDenied, Slow: providersim.PayPalReview, RefundFails: providersim.PayPalRefundFails,
	}
	return &Account{
		Simulator: sim, PaymentKey: "invoice_id", Moves: everyStep, Credential: credential,
		Approval: "CHECKOUT.ORDER.APPROVED", Expires: 29 * 24 * time.Hour, Contested: true, ReportNames: true, CasesUnnamed: true,
		ReportFee: func(minor int64) int64 { return providersim.PayPalFee(minor, "jpy") },
		Adapter: func(base, credential, account string) (provider.Adapter, error) {
			return paypal.New(paypal.Config{ClientID: app, ClientSecret: telemetry.Secret(credential), APIBase: base, Account: account}, paypal.Options{
				Now: now, ConnectTimeout: patience, ReadTimeout: patience,
			})
		},
		Receiver: func(base string, a provider.Adapter) (Receiver, error) {
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(sim.CA()) {
				return nil, errors.New("the simulator's CA is no PEM")
			}
			verifier, err := paypal.NewVerifier(paypal.WebhookConfig{WebhookID: PayPalWebhook, Verify: "offline", CertBase: base}, paypal.VerifierOptions{
				Now: now, Roots: roots, ConnectTimeout: patience, ReadTimeout: patience,
			})
			if err != nil {
				return nil, err
			}
			return func(h http.Header, body []byte) ([]provider.Event, error) {
				defer verifier.Close() // its idle connections
				if err := verifier.Verify(context.Background(), h, body); err != nil {
					return nil, err
				}
				return parsed(a, body)
			}, nil
		},
		Payment: func(Way) (string, money.Money) {
			return paypal.PaymentMethod, money.New(5000, money.MustParseCurrency("JPY"))
		},
		Word: func(way Way) string {
			if word, ok := answers[way]; ok {
				return word
			}
			return providersim.PayPalApproves
		},
		Forget: sim.ExpireTokens,
	}
}
