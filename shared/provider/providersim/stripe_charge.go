package providersim

import (
	"maps"
	"time"
)

// charge is one attempt of an intent.
type charge struct {
	head
	intent                     *intent
	method                     *method
	amount, captured, refunded int64
	status                     string
	decline                    *decline
	captureBefore              time.Time // zero unless capturing was left to the caller
	metadata                   map[string]string
	transaction                *transaction
	refunds                    []*refund
	disputes                   []*dispute
}

// newCharge makes the intent's next attempt.
func (s *Stripe) newCharge(in *intent) *charge {
	ch := &charge{
		head: s.newHead("ch_3"), intent: in, method: in.method, amount: in.amount,
		metadata: maps.Clone(in.metadata),
	}
	in.latest = ch
	s.objects[ch.id] = ch
	s.charges = append(s.charges, ch)
	return ch
}

// refundable is what has not been refunded or released yet.
func (ch *charge) refundable() int64 { return ch.amount - ch.refunded }

func (s *Stripe) listCharges(c *call) (any, *stripeError) {
	id := c.form.str("payment_intent")
	return page(s, c, s.charges, func(ch *charge) bool { return id == "" || ch.intent.id == id })
}

func (ch *charge) render() any {
	paid := ch.status == succeeded
	o := object{
		"id": ch.id, "object": "charge", "created": ch.created.Unix(), "livemode": false,
		"amount": ch.amount, "amount_captured": ch.captured, "amount_refunded": ch.refunded, "currency": ch.intent.currency,
		"application": nil, "application_fee": nil, "application_fee_amount": nil, "balance_transaction": nil,
		"billing_details": billingDetails(), "calculated_statement_descriptor": "SIMULATED", "captured": ch.captured > 0,
		"customer": nil, "description": orNil(ch.intent.texts["description"]), "destination": nil, "dispute": nil, "disputed": len(ch.disputes) > 0,
		"failure_balance_transaction": nil, "failure_code": nil, "failure_message": nil, "fraud_details": object{},
		"invoice": nil, "metadata": maps.Clone(ch.metadata), "on_behalf_of": nil, "order": nil,
		"outcome": object{
			"network_status": "approved_by_network", "reason": nil, "risk_level": "normal", "risk_score": 20,
			"seller_message": "Payment complete.", "type": "authorized",
		},
		"paid": paid, "payment_intent": ch.intent.id, "payment_method": ch.method.id, "payment_method_details": ch.details(),
		"receipt_email": orNil(ch.intent.texts["receipt_email"]), "receipt_number": nil, "receipt_url": nil,
		"refunded": paid && ch.refunded == ch.amount, "review": nil, "shipping": nil, "source": nil, "source_transfer": nil,
		"statement_descriptor": nil, "statement_descriptor_suffix": nil, "status": ch.status, "transfer_data": nil, "transfer_group": nil,
	}
	if ch.transaction != nil {
		o["balance_transaction"] = ch.transaction.id
	}
	if n := len(ch.disputes); n > 0 {
		o["dispute"] = ch.disputes[n-1].id
	}
	if ch.decline != nil {
		o["failure_code"], o["failure_message"] = ch.decline.code, ch.decline.message
		o["outcome"] = object{
			"network_status": "declined_by_network", "reason": ch.decline.declineCode, "risk_level": "normal", "risk_score": 20,
			"seller_message": "The bank did not approve the payment.", "type": "issuer_declined",
		}
	}
	return o
}

func (ch *charge) details() object {
	c := ch.method.card
	details := object{
		"amount_authorized": ch.amount, "brand": c.brand, "country": c.country, "last4": c.last4,
		"checks":                    object{"address_line1_check": nil, "address_postal_code_check": nil, "cvc_check": "pass"},
		"exp_month":                 12,
		"exp_year":                  2034,
		"extended_authorization":    object{"status": "disabled"},
		"fingerprint":               "sim" + c.last4,
		"funding":                   "credit",
		"incremental_authorization": object{"status": "unavailable"},
		"installments":              nil,
		"mandate":                   nil,
		"multicapture":              object{"status": "unavailable"},
		"network":                   c.brand,
		"network_token":             object{"used": false},
		"overcapture":               object{"maximum_amount_capturable": ch.amount, "status": "unavailable"},
		"three_d_secure":            nil,
		"wallet":                    nil,
	}
	if c.authenticate && ch.status == succeeded {
		details["three_d_secure"] = object{
			"authentication_flow": "challenge", "electronic_commerce_indicator": "05", "result": "authenticated",
			"result_reason": nil, "version": "2.2.0",
		}
	}
	if !ch.captureBefore.IsZero() {
		details["capture_before"] = ch.captureBefore.Unix()
	}
	return object{"type": "card", "card": details}
}

// renderRefunds is the list that expanding a charge's refunds gives.
func (ch *charge) renderRefunds() object {
	const most = 10
	data := []any{}
	for i := len(ch.refunds) - 1; i >= 0 && len(data) < most; i-- {
		data = append(data, ch.refunds[i].render())
	}
	return object{
		"object": "list", "url": "/v1/charges/" + ch.id + "/refunds",
		"has_more": len(ch.refunds) > most, "data": data,
	}
}
