package books

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// days is for how long payments are made.
const days = 72 * time.Hour

// An action is something that is done about a payment once it has come that far.
type action string

const (
	create   action = "create"
	pay      action = "pay" // by the payer, at the provider's page
	capture  action = "capture"
	cancel   action = "cancel"
	refund   action = "refund"
	complain action = "complain" // the payer, at the bank or the provider: a dispute
	decide   action = "decide"   // the dispute
)

// step is an action with its details.
type step struct {
	do      action
	percent int64         // of the amount; 0: what is left of it
	outcome string        // of the payer's visit, or of the dispute
	after   time.Duration // the step before
}

// life is what becomes of a payment.
type life struct {
	method string // of payment
	sale   bool   // captured at once
	amount int64  // 0: any
	early  bool   // it takes days
	steps  []step
}

// order is a payment of the traffic.
type order struct {
	life
	shop               int
	provider, currency string
	due                time.Time // of its next step
	plant              *providersim.Plant

	// As it goes on.
	key     string
	id      string // of the payment
	dispute string // the provider's
}

const back = "https://shop.example/back"

// card is a life of a card payment by Stripe's test tokens.
func card(method string, sale bool, steps ...step) life {
	return life{method: method, sale: sale, steps: steps}
}

// wallet is a life at PayPal, where the payer approves first.
func wallet(outcome string, sale bool, steps ...step) life {
	return life{method: "paypal", sale: sale, steps: append([]step{{do: pay, outcome: outcome}}, steps...)}
}

// transfer is a life of a bank transfer, some of which end badly by their amount.
func transfer(amount int64, steps ...step) life {
	return life{method: "bank_transfer", sale: true, amount: amount, early: amount != 0, steps: append([]step{{do: pay, outcome: "authorise"}}, steps...)}
}

var lives = map[string][]life{
	stripe.Name: {
		card("pm_card_visa", true),
		card("pm_card_visa", false, step{do: capture}),
		card("pm_card_mastercard", false, step{do: capture, percent: 60}),
		card("pm_card_visa", false, step{do: capture, percent: 80}, step{do: refund, percent: 30}, step{do: refund}),
		card("pm_card_visa", true, step{do: refund, after: 30 * time.Hour}),
		card("pm_card_visa", true, step{do: refund, percent: 10}, step{do: refund, percent: 20}),
		card("pm_card_refundFail", true, step{do: refund, percent: 50}),
		card("pm_card_pendingRefund", true, step{do: refund, percent: 40}),
		card("pm_card_visa", false, step{do: cancel}),
		card("pm_card_visa_chargeDeclined", false),
		card("pm_card_threeDSecureRequired", false, step{do: pay, outcome: "success"}, step{do: capture}),
		card("pm_card_visa", true, step{do: complain}),
		card("pm_card_visa", true, step{do: complain}, step{do: decide, outcome: providersim.DisputeWon, after: 10 * time.Hour}),
		card("pm_card_visa", false, step{do: capture}, step{do: complain, percent: 50}, step{do: decide, outcome: providersim.DisputeLost}),
		card("pm_card_visa", true, step{do: refund, percent: 20}, step{do: complain, percent: 30, after: 26 * time.Hour}),
		card("pm_card_visa", false), // and left at that
	},
	paypal.Name: {
		wallet(providersim.PayPalApproves, true),
		wallet(providersim.PayPalReview, false, step{do: capture}),
		wallet(providersim.PayPalApproves, false, step{do: capture, percent: 70}),
		wallet(providersim.PayPalApproves, false, step{do: capture}, step{do: refund, percent: 30}, step{do: refund}),
		wallet(providersim.PayPalApproves, true, step{do: refund, percent: 10, after: 28 * time.Hour}),
		wallet(providersim.PayPalRefundPending, true, step{do: refund, percent: 20}),
		wallet(providersim.PayPalRefundFails, true, step{do: refund, percent: 30}),
		wallet(providersim.PayPalApproves, false, step{do: cancel}),
		wallet(providersim.PayPalDeclined, true),
		wallet(providersim.PayPalApproves, true, step{do: complain}),
		wallet(providersim.PayPalApproves, true, step{do: complain}, step{do: decide, outcome: providersim.DisputeWon}),
		wallet(providersim.PayPalApproves, false, step{do: capture}, step{do: complain, percent: 40}, step{do: decide, outcome: providersim.DisputeLost}),
		{method: "paypal", sale: true}, // the payer stays away
	},
	bank.Name: {
		transfer(0),
		transfer(0, step{do: refund, percent: 30}),
		transfer(0, step{do: refund, percent: 10}, step{do: refund, percent: 20}),
		transfer(providersim.GoCardlessFails),
		transfer(providersim.GoCardlessFailsLate),
		transfer(providersim.GoCardlessChargedBack),
		transfer(providersim.GoCardlessSlow),
		transfer(providersim.GoCardlessRefundBounces, step{do: refund}),
		transfer(0, step{do: complain}),
		transfer(0, step{do: complain}, step{do: decide, outcome: providersim.DisputeWon}),
		{method: "bank_transfer", sale: true}, // the payer stays away
	},
}

// currencies are those that the traffic has at each provider: none takes them all.
var currencies = map[string][]string{
	stripe.Name: {"JPY", "USD", "EUR", "KWD"},
	paypal.Name: {"JPY", "USD", "EUR"},
	bank.Name:   {"EUR", "GBP"},
}

var providers = []string{stripe.Name, paypal.Name, bank.Name}

// sale is the life of a payment of which the provider's report is made wrong.
func sale(provider string, steps ...step) life {
	switch provider {
	case stripe.Name:
		return card("pm_card_visa", true, steps...)
	case paypal.Name:
		return wallet(providersim.PayPalApproves, true, steps...)
	}
	return transfer(0, steps...)
}

// flaw is something wrong in a report, and the life of the payment that it is about.
type flaw struct {
	providersim.Plant
	life
}

// flaws are what is made wrong at a provider in a currency. What it does to amounts
// differs from one to the next, so that no two together look like a third.
func flaws(provider, currency string) []flaw {
	refunded, disputed := step{do: refund, percent: 30}, step{do: complain}
	all := []flaw{
		{providersim.Plant{What: providersim.PlantMissing}, sale(provider)},
		{providersim.Plant{What: providersim.PlantDoubled}, sale(provider)},
		{providersim.Plant{What: providersim.PlantFee, By: 7}, sale(provider)},
		{providersim.Plant{What: providersim.PlantAmount, By: 110}, sale(provider)},
		{providersim.Plant{What: providersim.PlantMissing, Kind: "refund"}, sale(provider, refunded)},
		{providersim.Plant{What: providersim.PlantDoubled, Kind: "refund"}, sale(provider, refunded)},
	}
	switch {
	case provider == bank.Name: // whose report has no currencies
	case currency == "EUR":
		all = append(all, flaw{providersim.Plant{What: providersim.PlantMissing, Kind: "dispute"}, sale(provider, disputed)})
	default:
		all = append(all, flaw{providersim.Plant{What: providersim.PlantCurrency, Currency: "gbp"}, sale(provider)})
	}
	return all
}

// traffic is all that is going to be asked for, by a seed.
// flawed says whether what is to be wrong in reports is among it.
func traffic(seed uint64, flawed bool) []*order {
	r := rand.New(rand.NewPCG(seed, 0x626f6f6b73))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(r.Int64N(int64(most-least))).Truncate(time.Second)
	}
	var all []*order
	add := func(provider, currency string, l life, at time.Duration) *order {
		o := &order{life: l, shop: r.IntN(2), provider: provider, currency: currency, due: stack.Epoch.Add(at), key: fmt.Sprintf("order-%d-%024d", len(all), r.Uint64())}
		o.steps = slices.Concat([]step{{do: create}}, l.steps)
		for i := range o.steps {
			if o.steps[i].do == pay {
				o.steps[i].after = between(time.Minute, time.Hour)
			} else if o.steps[i].after == 0 {
				o.steps[i].after = between(time.Minute, 9*time.Hour)
			}
		}
		if o.amount == 0 {
			o.amount = 10 * (100 + r.Int64N(3600)) // some currencies and fees are of whole tens
		}
		all = append(all, o)
		return o
	}
	for _, provider := range providers {
		for c, currency := range currencies[provider] {
			for i, l := range lives[provider] {
				if (i+c)%len(currencies[provider]) > 0 {
					continue // each life in one currency, and each currency in its turn
				}
				most := 60 * time.Hour
				if l.early || provider == bank.Name && len(l.steps) > 1 {
					most = 12 * time.Hour // it takes days to come to its end
				}
				add(provider, currency, l, between(0, most))
			}
			if flawed {
				for i, f := range flaws(provider, currency) {
					if (i+c)%2 > 0 {
						continue // each flaw in every other currency
					}
					add(provider, currency, f.life, between(0, 40*time.Hour)).plant = &f.Plant
				}
			}
			if provider == bank.Name {
				// It pays nothing out, and so reports nothing, while more went back than came in.
				for range 3 {
					add(provider, currency, sale(provider), between(64*time.Hour, days)).amount = 38_000
				}
			}
		}
	}
	return all
}
