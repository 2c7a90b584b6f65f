package providersim

import "fmt"

// Dispute has the payer's bank charge a confirmed payment back, all of it and at once:
// there is nothing to answer. The dispute is known by the payment's identifier.
func (s *GoCardless) Dispute(c Complaint) (id string, err error) {
	s.RunDue(s.sender.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	br, ok := s.objects[c.Payment].(*gcRequest)
	switch {
	case !ok || br.payment == nil:
		return "", fmt.Errorf("no such billing_request with a payment: %q", c.Payment)
	case c.Inquiry:
		return "", fmt.Errorf("GoCardless has no inquiries")
	case c.AmountMinor != 0 && c.AmountMinor != br.amount:
		return "", fmt.Errorf("GoCardless charges back the whole payment, %d", br.amount)
	case br.payment.status != "confirmed" && br.payment.status != "paid_out":
		return "", fmt.Errorf("payment %s is %s", br.payment.id, br.payment.status)
	}
	why := c.Reason
	if why == "" {
		why = "authorisation_disputed"
	}
	s.chargeBack(br.payment, why)
	return br.payment.id, nil
}

// Decide has the bank cancel a chargeback (won), which puts the payment back to where it
// was. It can't be anything else.
func (s *GoCardless) Decide(id, outcome string) error {
	s.RunDue(s.sender.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.objects[id].(*gcPayment)
	if !ok || p.status != "charged_back" {
		return fmt.Errorf("no such payment that was charged back: %q", id)
	}
	if outcome != DisputeWon {
		return fmt.Errorf("a chargeback is cancelled (won) or stays, and can't be %q", outcome)
	}
	s.cancelChargeback(p)
	return nil
}

func (s *GoCardless) chargeBack(p *gcPayment, why string) {
	p.before, p.status = p.status, "charged_back"
	s.takeBack(moveDispute, p)
	s.effect(cause{}, EffectDispute, p.request, p.id, p.request.amount, nil)
	s.tell(p.request, p.news("charged_back", why))
}

func (s *GoCardless) cancelChargeback(p *gcPayment) {
	p.status = p.before
	s.giveBack(moveDisputeWon, p)
	s.effect(cause{}, EffectDisputeWon, p.request, p.id, p.request.amount, nil)
	s.tell(p.request, p.news("chargeback_cancelled", "payment_chargeback_cancelled"))
}
