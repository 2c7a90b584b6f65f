package providersim

import (
	"strings"
)

// refundFate is what becomes of refunds to a card.
type refundFate int

const (
	refundSucceeds refundFate = iota
	refundPends               // pending, and succeeds later
	refundFails               // succeeds, and fails later
)

// card is how a test card behaves.
type card struct {
	brand, last4, country string

	decline      *decline
	authenticate bool // 3-D Secure is asked for
	processing   bool // decided later
	refunds      refundFate
	complaint    *Complaint // of its holder, some time after the capture
}

type decline struct{ code, declineCode, message string }

var declines = map[string]decline{
	"chargeDeclined":                      {"card_declined", "generic_decline", "Your card was declined."},
	"chargeDeclinedInsufficientFunds":     {"card_declined", "insufficient_funds", "Your card has insufficient funds."},
	"chargeDeclinedLostCard":              {"card_declined", "lost_card", "Your card was declined."},
	"chargeDeclinedStolenCard":            {"card_declined", "stolen_card", "Your card was declined."},
	"chargeDeclinedFraudulent":            {"card_declined", "fraudulent", "Your card was declined."},
	"chargeDeclinedVelocityLimitExceeded": {"card_declined", "card_velocity_exceeded", "Your card was declined for making repeated attempts too frequently or exceeding its amount limit."},
	"chargeDeclinedExpiredCard":           {"expired_card", "expired_card", "Your card has expired."},
	"chargeDeclinedIncorrectCvc":          {"incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."},
	"chargeDeclinedProcessingError":       {"processing_error", "processing_error", "An error occurred while processing your card. Try again in a little bit."},
}

// authenticationRequired is the decline of a card that wants 3-D Secure when
// nobody is there to answer it.
var authenticationRequired = decline{
	"authentication_required", "authentication_required",
	"Your card was declined. This transaction requires authentication.",
}

// cards are the test cards by token. Declines have two spellings: Stripe's older
// pages leave out "visa".
var cards = func() map[string]card {
	visa := card{brand: "visa", last4: "4242", country: "US"}
	with := func(c card, change func(*card)) card { change(&c); return c }
	all := map[string]card{
		"pm_card_visa":       visa,
		"pm_card_visa_debit": with(visa, func(c *card) { c.last4 = "5556" }),
		"pm_card_mastercard": {brand: "mastercard", last4: "4444", country: "US"},
		"pm_card_amex":       {brand: "amex", last4: "8431", country: "US"},
		"pm_card_jcb":        {brand: "jcb", last4: "0505", country: "JP"},

		"pm_card_authenticationRequired": with(visa, func(c *card) { c.last4, c.authenticate = "3184", true }),
		"pm_card_threeDSecure2Required":  with(visa, func(c *card) { c.last4, c.authenticate = "3220", true }),
		"pm_card_threeDSecureRequired":   with(visa, func(c *card) { c.last4, c.authenticate = "3063", true }),
		"pm_card_pendingRefund":          with(visa, func(c *card) { c.last4, c.refunds = "7726", refundPends }),
		"pm_card_refundFail":             with(visa, func(c *card) { c.last4, c.refunds = "5126", refundFails }),
		"pm_card_createDispute":          with(visa, func(c *card) { c.last4, c.complaint = "0259", &Complaint{Reason: "fraudulent"} }),
		"pm_card_createDisputeProductNotReceived": with(visa, func(c *card) {
			c.last4, c.complaint = "2685", &Complaint{Reason: "product_not_received"}
		}),
		"pm_card_createDisputeInquiry": with(visa, func(c *card) {
			c.last4, c.complaint = "1976", &Complaint{Reason: "product_not_received", Inquiry: true}
		}),
		"pm_sim_processing":               with(visa, func(c *card) { c.processing = true }),
		"pm_sim_processingChargeDeclined": with(visa, func(c *card) { c.processing, c.decline = true, declineOf("chargeDeclined") }),
		"pm_card_threeDSecureRequiredChargeDeclined": with(visa, func(c *card) {
			c.last4, c.authenticate, c.decline = "3178", true, declineOf("chargeDeclined")
		}),
		"pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": with(visa, func(c *card) {
			c.last4, c.authenticate, c.decline = "8260", true, declineOf("chargeDeclinedInsufficientFunds")
		}),
	}
	for name := range declines {
		refuses := with(visa, func(c *card) { c.last4, c.decline = "0002", declineOf(name) })
		all["pm_card_"+name], all["pm_card_visa_"+name] = refuses, refuses
	}
	return all
}()

func declineOf(name string) *decline {
	d := declines[name]
	return &d
}

// StripeTestCards returns the payment method tokens that the simulator knows,
// each with what it does in a few words.
func StripeTestCards() map[string]string {
	all := map[string]string{}
	for token, c := range cards {
		var does []string
		if c.authenticate {
			does = append(does, "asks for 3-D Secure")
		}
		if c.processing {
			does = append(does, "stays in processing for a while")
		}
		switch {
		case c.decline != nil:
			does = append(does, "is declined: "+c.decline.declineCode)
		case c.complaint != nil && c.complaint.Inquiry:
			does = append(does, "succeeds, then has an inquiry")
		case c.complaint != nil:
			does = append(does, "succeeds, then is disputed: "+c.complaint.Reason)
		case c.refunds == refundPends:
			does = append(does, "succeeds; refunds are pending, then succeed")
		case c.refunds == refundFails:
			does = append(does, "succeeds; refunds succeed, then fail")
		default:
			does = append(does, "succeeds")
		}
		all[token] = strings.Join(does, ", then ")
	}
	return all
}

// method is a payment method made from a test token.
type method struct {
	head
	card card
}

// useCard finds the payment method that a request names: a test token, of which
// each use makes a new object, or one made before.
func (s *Stripe) useCard(name string) (*method, *stripeError) {
	if old, ok := s.objects[name].(*method); ok {
		return old, nil
	}
	c, ok := cards[name]
	if !ok {
		return nil, missing(400, "payment_method", "PaymentMethod", name)
	}
	return &method{head: s.newHead("pm_1"), card: c}, nil
}

func (m *method) render() any {
	return object{
		"id": m.id, "object": "payment_method", "type": "card", "created": m.created.Unix(),
		"livemode": false, "customer": nil, "metadata": object{}, "billing_details": billingDetails(),
		"card": object{
			"brand": m.card.brand, "last4": m.card.last4, "country": m.card.country,
			"exp_month": 12, "exp_year": 2034, "funding": "credit", "fingerprint": "sim" + m.card.last4,
			"checks":               object{"address_line1_check": nil, "address_postal_code_check": nil, "cvc_check": "pass"},
			"three_d_secure_usage": object{"supported": true}, "wallet": nil,
		},
	}
}

func billingDetails() object {
	return object{
		"address": object{"city": nil, "country": nil, "line1": nil, "line2": nil, "postal_code": nil, "state": nil},
		"email":   nil, "name": nil, "phone": nil,
	}
}
