package providersim

import (
	"maps"
)

// refund gives money of a charge back, or shows that an authorization was let go.
type refund struct {
	head
	charge      *charge
	amount      int64
	status      string // pending, succeeded, failed
	reason      string
	metadata    map[string]string
	transaction *transaction // nil for the release of an authorization
	failure     *transaction
	cause       cause
}

// createRefund is POST /v1/refunds. The refunds of a charge never exceed it.
func (s *Stripe) createRefund(c *call) (any, *stripeError) {
	amount, given, problem := c.form.integer("amount")
	if problem != nil {
		return nil, problem
	}
	reason, problem := c.form.choice("reason", "", "duplicate", "fraudulent", "requested_by_customer")
	if problem != nil {
		return nil, problem
	}
	metadata, problem := c.form.metadata()
	if problem != nil {
		return nil, problem
	}
	ch, problem := s.chargeToRefund(c)
	if problem != nil {
		return nil, problem
	}
	if given {
		if problem := checkStripeAmount("amount", amount, ch.intent.currency); problem != nil {
			return nil, problem
		}
	}
	if ch.captured == 0 {
		return nil, refused("", "", "This uncaptured Charge was created by a PaymentIntent (%s). You must cancel the PaymentIntent to reverse "+
			"the authorization instead of refunding the Charge directly.", ch.intent.id)
	}
	if ch.contested() {
		return nil, refused("", "charge_disputed", "Charge %s has been charged back; cannot issue a refund.", ch.id)
	}
	if ch.refundable() == 0 {
		return nil, refused("", "charge_already_refunded", "Charge %s has already been refunded.", ch.id)
	}
	if !given {
		amount = ch.refundable()
	}
	if amount > ch.refundable() {
		return nil, refused("amount", "amount_too_large", "Refund amount (%d) is greater than unrefunded amount on charge (%d)", amount, ch.refundable())
	}

	re := &refund{
		head: s.newHead("re_3"), charge: ch, amount: amount, status: succeeded, reason: reason, metadata: metadata, cause: c.cause(),
	}
	s.keepRefund(re)
	s.effect(re.cause, EffectRefund, ch.intent, re.id, amount, metadata)
	re.transaction = s.newTransaction(moveRefund, re.id, ch.intent, -amount, 0, metadata)
	switch ch.method.card.refunds {
	case refundPends:
		re.status = "pending"
		s.schedule(s.now().Add(s.cfg.RefundDelay), func() { s.settleRefund(re) })
	case refundFails:
		s.schedule(s.now().Add(s.cfg.RefundDelay), func() { s.failRefund(re) })
	}
	s.emit(re.cause, ch.intent, "charge.refunded", ch.render())
	s.emit(re.cause, ch.intent, "refund.created", re.render())
	return re.render(), nil
}

// chargeToRefund finds the charge that a refund is about.
func (s *Stripe) chargeToRefund(c *call) (*charge, *stripeError) {
	intentID, chargeID := c.form.str("payment_intent"), c.form.str("charge")
	switch {
	case intentID == "" && chargeID == "":
		return nil, invalid("", "parameter_missing", "One of the following params should be provided for this request: payment_intent or charge.")
	case chargeID != "":
		ch, problem := lookUp[*charge](s, 400, "charge", "charge", chargeID)
		if problem == nil && intentID != "" && ch.intent.id != intentID {
			problem = invalid("charge", "", "The charge %s is not one of the PaymentIntent %s.", chargeID, intentID)
		}
		return ch, problem
	}
	in, problem := lookUp[*intent](s, 400, "payment_intent", "payment_intent", intentID)
	if problem != nil {
		return nil, problem
	}
	if in.latest == nil || in.latest.status != succeeded {
		return nil, refused("payment_intent", "", "This PaymentIntent (%s) does not have a successful charge to refund.", intentID)
	}
	return in.latest, nil
}

func (s *Stripe) keepRefund(re *refund) {
	re.charge.refunded += re.amount
	re.charge.refunds = append(re.charge.refunds, re)
	s.objects[re.id] = re
	s.refunds = append(s.refunds, re)
}

// release shows that part of an authorization, or all of it, was let go. Stripe
// does so by a refund, which has none of the caller's metadata.
func (s *Stripe) release(ch *charge, amount int64) {
	s.keepRefund(&refund{
		head: s.newHead("re_3"), charge: ch, amount: amount, status: succeeded, metadata: map[string]string{},
	})
}

func (s *Stripe) settleRefund(re *refund) {
	s.mu.Lock()
	defer s.mu.Unlock()
	re.status = succeeded
	s.emitRefund(re, "charge.refund.updated", "refund.updated")
}

// failRefund takes back a refund that had succeeded: the money is with the
// account again, and the charge can be refunded again.
func (s *Stripe) failRefund(re *refund) {
	s.mu.Lock()
	defer s.mu.Unlock()
	re.status = "failed"
	re.charge.refunded -= re.amount
	re.failure = s.newTransaction(moveRefundFailed, re.id, re.charge.intent, re.amount, 0, re.metadata)
	s.effect(cause{}, EffectRefundReversed, re.charge.intent, re.id, re.amount, re.metadata)
	s.emitRefund(re, "charge.refund.updated", "refund.updated", "refund.failed")
}

func (s *Stripe) emitRefund(re *refund, names ...string) {
	for _, name := range names {
		s.emit(cause{}, re.charge.intent, name, re.render())
	}
}

func (s *Stripe) listRefunds(c *call) (any, *stripeError) {
	all, keep := s.refunds, func(*refund) bool { return true }
	if id := c.form.str("charge"); id != "" {
		ch, problem := lookUp[*charge](s, 404, "charge", "charge", id)
		if problem != nil {
			return nil, problem
		}
		all = ch.refunds
	}
	if id := c.form.str("payment_intent"); id != "" {
		in, problem := lookUp[*intent](s, 404, "payment_intent", "payment_intent", id)
		if problem != nil {
			return nil, problem
		}
		switch {
		case c.form.has("charge"):
			keep = func(re *refund) bool { return re.charge.intent == in }
		case in.latest == nil:
			all = nil
		default: // earlier charges of an intent were declined, so have no refunds
			all = in.latest.refunds
		}
	}
	return page(s, c, all, keep)
}

func (re *refund) render() any {
	o := object{
		"id": re.id, "object": "refund", "created": re.created.Unix(),
		"amount": re.amount, "currency": re.charge.intent.currency, "charge": re.charge.id, "payment_intent": re.charge.intent.id,
		"balance_transaction": nil, "destination_details": object{"type": "card", "card": object{"type": "refund", "reference_status": "pending", "reference_type": "acquirer_reference_number"}},
		"metadata": maps.Clone(re.metadata), "reason": orNil(re.reason), "receipt_number": nil, "source_transfer_reversal": nil,
		"status": re.status, "transfer_reversal": nil,
	}
	if re.transaction != nil {
		o["balance_transaction"] = re.transaction.id
	}
	switch re.status {
	case "pending":
		o["pending_reason"] = "processing"
	case "failed":
		o["failure_reason"], o["failure_balance_transaction"] = "expired_or_canceled_card", re.failure.id
	}
	return o
}
