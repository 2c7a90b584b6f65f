package providersim

import (
	"fmt"
)

// answerDays is how long the account has to answer a dispute.
const answerDays = 9

// dispute is what a cardholder's bank makes of their complaint.
type dispute struct {
	head
	charge *charge
	amount int64
	status string
	reason string
	moved  []*transaction // withdrawn, and reinstated
}

// The statuses of a dispute: https://docs.stripe.com/api/disputes/object
const (
	warningNeedsResponse = "warning_needs_response"
	warningClosed        = "warning_closed"
	needsResponse        = "needs_response"
)

// StripeDisputeFee is what Stripe charges for a dispute, whoever wins it.
// https://support.stripe.com/questions/dispute-fees
func StripeDisputeFee(string) int64 { return 1500 }

// taken reports whether Stripe has the disputed amount.
func (d *dispute) taken() bool {
	return d.status == needsResponse || d.status == DisputeLost
}

// Dispute has the cardholder of a captured PaymentIntent complain, and returns the
// dispute's identifier.
func (s *Stripe) Dispute(c Complaint) (id string, err error) {
	s.RunDue(s.sender.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.objects[c.Payment].(*intent)
	switch {
	case !ok:
		return "", fmt.Errorf("no such payment_intent: %q", c.Payment)
	case in.latest == nil || in.latest.captured == 0:
		return "", fmt.Errorf("payment_intent %s has not been captured", in.id)
	case c.AmountMinor < 0 || c.AmountMinor > in.latest.captured:
		return "", fmt.Errorf("of payment_intent %s %d was captured, not %d", in.id, in.latest.captured, c.AmountMinor)
	}
	return s.dispute(in.latest, c).id, nil
}

// dispute opens a dispute. The caller holds the lock.
func (s *Stripe) dispute(ch *charge, c Complaint) *dispute {
	d := &dispute{head: s.newHead("du_1"), charge: ch, amount: c.AmountMinor, reason: c.Reason, status: warningNeedsResponse}
	if d.amount == 0 {
		d.amount = ch.captured
	}
	if d.reason == "" {
		d.reason = "fraudulent"
	}
	s.objects[d.id] = d
	s.disputes = append(s.disputes, d)
	ch.disputes = append(ch.disputes, d)
	if c.Inquiry {
		s.emitDispute(d, "created")
		return d
	}
	s.withdraw(d)
	s.emitDispute(d, "created", "funds_withdrawn")
	return d
}

func (s *Stripe) withdraw(d *dispute) {
	in := d.charge.intent
	d.status = needsResponse
	s.effect(cause{}, EffectDispute, in, d.id, d.amount, nil)
	d.moved = append(d.moved, s.newTransaction(moveDispute, d.id, in, -d.amount, s.cfg.DisputeFee(in.currency), nil))
}

func (s *Stripe) reinstate(d *dispute) {
	in := d.charge.intent
	s.effect(cause{}, EffectDisputeWon, in, d.id, d.amount, nil)
	d.moved = append(d.moved, s.newTransaction(moveDisputeWon, d.id, in, d.amount, 0, nil))
}

// Decide is the bank's decision on a dispute. An inquiry can be closed (won) or become a
// dispute that takes the money (escalated).
func (s *Stripe) Decide(id, outcome string) error {
	s.RunDue(s.sender.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.objects[id].(*dispute)
	if !ok {
		return fmt.Errorf("no such dispute: %q", id)
	}
	was := d.status
	switch {
	case was == warningNeedsResponse && outcome == DisputeEscalated:
		s.withdraw(d)
		s.emitDispute(d, "updated", "funds_withdrawn")
		return nil
	case was == warningNeedsResponse && outcome == DisputeWon:
		d.status = warningClosed
		s.emitDispute(d, "closed")
		return nil
	case was == warningNeedsResponse || was == warningClosed || was == outcome:
		return fmt.Errorf("dispute %s is %s and can't be %q", d.id, was, outcome)
	case outcome == DisputeWon:
		s.reinstate(d)
		d.status = DisputeWon
		s.emitDispute(d, "funds_reinstated", "closed")
	case outcome == DisputeLost:
		if was == DisputeWon {
			s.withdraw(d)
		}
		d.status = DisputeLost
		s.emitDispute(d, "closed")
	default:
		return fmt.Errorf("outcome must be won, lost or escalated, not %q", outcome)
	}
	return nil
}

func (s *Stripe) emitDispute(d *dispute, names ...string) {
	for _, name := range names {
		s.emit(cause{}, d.charge.intent, "charge.dispute."+name, d.render())
	}
}

func (s *Stripe) listDisputes(c *call) (any, *stripeError) {
	intent, charge := c.form.str("payment_intent"), c.form.str("charge")
	return page(s, c, s.disputes, func(d *dispute) bool {
		return (intent == "" || d.charge.intent.id == intent) && (charge == "" || d.charge.id == charge)
	})
}

// contested reports whether Stripe has money of the charge for a dispute.
func (ch *charge) contested() bool {
	for _, d := range ch.disputes {
		if d.taken() {
			return true
		}
	}
	return false
}

func (d *dispute) render() any {
	moved := []any{}
	for _, t := range d.moved {
		moved = append(moved, t.render())
	}
	return object{
		"id": d.id, "object": "dispute", "created": d.created.Unix(), "livemode": false, "amount": d.amount,
		"currency": d.charge.intent.currency, "charge": d.charge.id, "payment_intent": d.charge.intent.id,
		"balance_transactions": moved, "reason": d.reason, "status": d.status, "metadata": object{}, "evidence": object{},
		"evidence_details": object{
			"due_by": d.created.AddDate(0, 0, answerDays).Unix(), "has_evidence": false, "past_due": false, "submission_count": 0,
		},
		"is_charge_refundable": !d.charge.contested(), "network_reason_code": "10.4",
		"payment_method_details": object{"type": "card", "card": object{"brand": d.charge.method.card.brand, "network_reason_code": "10.4"}},
	}
}
