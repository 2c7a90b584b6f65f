package providertest

import (
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Bank is the adapter of bank transfers. An authorize moves nothing there: the payer
// does, on the page. A void lets go of what nobody has paid yet, so that it moves nothing
// either.
func Bank() Subject {
	return Subject{
		Name: bank.Name, Lists: true,
		Spots: []Spot{
			{Name: "authorize: the billing request", Step: provider.Authorize, Operation: providersim.Authorize},
			{Name: "authorize: the payer's page", Step: provider.Authorize, Operation: providersim.Confirm},
			{Name: "void", Step: provider.Void, Operation: providersim.Void},
			{Name: "refund", Step: provider.Refund, Operation: providersim.Refund},
			{Name: "refund: reading the billing request", Step: provider.Refund, Operation: providersim.Retrieve},
			{Name: "refund: reading the payment", Step: provider.Refund, Operation: providersim.Retrieve, Skip: 1},
			{Name: "look-up: the billing request", Operation: providersim.Retrieve},
			{Name: "look-up: the payment", Operation: providersim.Retrieve, Skip: 1},
			{Name: "look-up: the events of the payment", Operation: providersim.List},
			{Name: "look-up: the list of refunds", Operation: providersim.List, Skip: 1},
			{Name: "look-up: the list of billing requests", Operation: providersim.List, Unnamed: true},
		},
		Reports: []Spot{
			{Name: reportSpot + "the payouts", Operation: providersim.Report},
			{Name: reportSpot + "the items of a payout", Operation: providersim.Report, Skip: 1},
		},
		Open: func(now func() time.Time) *Account {
			const credential, secret = "sandbox_conformance", "hush_conformance"
			return &Account{
				Simulator: providersim.NewGoCardless(providersim.GoCardlessConfig{
					Now: now, AccessTokens: []string{credential}, WebhookSecret: secret,
				}),
				PaymentKey: "tollgate_payment", Credential: credential, Approval: "billing_requests.fulfilled",
				Moves:         map[provider.Step]providersim.EffectKind{provider.Refund: providersim.EffectRefund},
				PayoutMembers: true, ReportFee: func(minor int64) int64 { return (providersim.GoCardlessFee(minor, "gbp") + 5) / 10 },
				Adapter: func(base, credential, account string) (provider.Adapter, error) {
					return bank.New(bank.Config{AccessToken: telemetry.Secret(credential), APIBase: base, Account: account}, bank.Options{
						Now: now, ConnectTimeout: patience, ReadTimeout: patience,
					})
				},
				Receiver: func(_ string, a provider.Adapter) (Receiver, error) {
					return func(h http.Header, body []byte) ([]provider.Event, error) {
						if err := bank.Verify(h.Get(bank.SignatureHeader), body, []telemetry.Secret{secret}); err != nil {
							return nil, err
						}
						split, err := bank.Split(body)
						if err != nil {
							return nil, err
						}
						var events []provider.Event
						for _, raw := range split {
							e, err := a.ParseEvent(raw)
							if err != nil {
								return nil, err
							}
							events = append(events, e)
						}
						return events, nil
					}, nil
				},
				Payment: func(way Way) (string, money.Money) {
					pence := map[Way]int64{Refused: providersim.GoCardlessFails, RefundFails: providersim.GoCardlessRefundBounces}[way]
					if pence == 0 {
						pence = 5000
					}
					return bank.PaymentMethod, money.New(pence, money.MustParseCurrency("GBP"))
				},
				Word: func(Way) string { return "authorise" },
			}
		},
	}
}
