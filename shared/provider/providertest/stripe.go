package providertest

import (
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// everyStep has the effect that has a step's own name.
var everyStep = map[provider.Step]providersim.EffectKind{
	provider.Authorize: providersim.EffectAuthorize, provider.Capture: providersim.EffectCapture,
	provider.Void: providersim.EffectVoid, provider.Refund: providersim.EffectRefund,
}

// Stripe is the adapter of card payments.
func Stripe() Subject {
	return Subject{
		Name: stripe.Name, Lists: true,
		Spots: []Spot{
			{Name: "authorize", Step: provider.Authorize, Operation: providersim.Authorize},
			{Name: "authorize and capture", Step: provider.Authorize, Sale: true, Operation: providersim.Authorize},
			{Name: "capture", Step: provider.Capture, Operation: providersim.Capture},
			{Name: "void", Step: provider.Void, Operation: providersim.Void},
			{Name: "refund", Step: provider.Refund, Operation: providersim.Refund},
			{Name: "look-up: the PaymentIntent", Operation: providersim.Retrieve},
			{Name: "look-up: the list of refunds", Operation: providersim.List},
			{Name: "look-up: the list of disputes", Operation: providersim.List, Skip: 1, Disputed: true},
			{Name: "look-up: the list of PaymentIntents", Operation: providersim.List, Unnamed: true},
		},
		Reports: []Spot{
			{Name: reportSpot + "the balance transactions", Operation: providersim.Report},
			{Name: reportSpot + "the payouts", Operation: providersim.Report, Skip: 1},
			{Name: reportSpot + "the balance transactions of a payout", Operation: providersim.Report, Skip: 2},
		},
		Open: func(now func() time.Time) *Account {
			const credential, secret = "sk_test_conformance", "whsec_conformance"
			return &Account{
				Simulator: providersim.NewStripe(providersim.StripeConfig{
					Now: now, SecretKeys: []string{credential}, WebhookSecrets: []string{secret},
				}),
				PaymentKey: "tollgate_payment", Moves: everyStep, Credential: credential,
				Approval: "payment_intent.amount_capturable_updated", Expires: 7 * 24 * time.Hour, Contested: true,
				PayoutMembers: true, ReportNames: true,
				ReportFee: func(minor int64) int64 { return providersim.StripeFee(minor, "jpy") },
				Adapter: func(base, credential, account string) (provider.Adapter, error) {
					return stripe.New(stripe.Config{SecretKey: telemetry.Secret(credential), APIBase: base, Account: account}, stripe.Options{
						Now: now, ConnectTimeout: patience, ReadTimeout: patience,
					})
				},
				Receiver: func(_ string, a provider.Adapter) (Receiver, error) {
					return func(h http.Header, body []byte) ([]provider.Event, error) {
						if err := stripe.Verify(h.Get(stripe.SignatureHeader), body, []telemetry.Secret{secret}, now()); err != nil {
							return nil, err
						}
						return parsed(a, body)
					}, nil
				},
				Payment: func(way Way) (string, money.Money) {
					return map[Way]string{
						Plain: "pm_card_visa", ByPayer: "pm_card_authenticationRequired", Refused: "pm_card_visa_chargeDeclined",
						Slow: "pm_sim_processing", RefundFails: "pm_card_refundFail",
					}[way], money.New(5000, money.MustParseCurrency("JPY"))
				},
				Word: func(Way) string { return "success" },
			}
		},
	}
}

// parsed reads a webhook that is one event.
func parsed(a provider.Adapter, body []byte) ([]provider.Event, error) {
	e, err := a.ParseEvent(body)
	return []provider.Event{e}, err
}
