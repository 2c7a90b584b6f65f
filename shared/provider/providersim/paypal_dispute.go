package providersim

import (
	"fmt"
	"slices"
	"time"
)

// paypalDispute is a case of PayPal's Resolution Center.
type paypalDispute struct {
	id, status, stage, reason, outcome string
	capture                            *paypalObject
	units                              int64
	created, updated                   time.Time
	debited                            bool // the seller, for good
}

// The stages of a case: https://developer.paypal.com/docs/disputes/disputes-reference
const (
	paypalInquiry     = "INQUIRY"
	paypalChargeback  = "CHARGEBACK" // a claim, to be decided by PayPal
	paypalArbitration = "PRE_ARBITRATION"
)

// The outcomes of a case.
const (
	paypalSellerWins = "RESOLVED_SELLER_FAVOUR"
	paypalBuyerWins  = "RESOLVED_BUYER_FAVOUR"
	paypalWithdrawn  = "CANCELED_BY_BUYER"
)

// Dispute has the payer of a captured order complain, and returns the identifier of the
// case. An inquiry is between the payer and the account, and takes no money; a claim
// does, until PayPal has decided it.
func (p *PayPal) Dispute(c Complaint) (id string, err error) {
	p.RunDue(p.sender.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.orders[c.Payment]
	if o == nil {
		return "", fmt.Errorf("no such order: %q", c.Payment)
	}
	i := slices.IndexFunc(o.payments, func(b *paypalObject) bool {
		return b.kind == "capture" && b.status != "PENDING" && b.status != "DECLINED"
	})
	if i < 0 {
		return "", fmt.Errorf("order %s has not been captured", o.id)
	}
	b := o.payments[i]
	if c.AmountMinor < 0 || c.AmountMinor > b.units {
		return "", fmt.Errorf("of order %s %d was captured, not %d", o.id, b.units, c.AmountMinor)
	}
	now := p.now()
	d := &paypalDispute{
		id: "PP-R-" + p.ids.next("SIM")[:12], capture: b, units: c.AmountMinor, reason: c.Reason, created: now, updated: now,
		status: "OPEN", stage: paypalInquiry,
	}
	if d.units == 0 {
		d.units = b.units
	}
	if d.reason == "" {
		d.reason = "MERCHANDISE_OR_SERVICE_NOT_RECEIVED"
	}
	p.disputes = append(p.disputes, d)
	if !c.Inquiry {
		p.claim(d, paypalChargeback)
	}
	p.emitDispute(d, "CREATED")
	return d.id, nil
}

// claim takes the money of a case. The caller holds the lock.
func (p *PayPal) claim(d *paypalDispute, stage string) {
	d.status, d.stage = "WAITING_FOR_SELLER_RESPONSE", stage
	p.noteDispute(d, EffectDispute)
	p.move(moveDispute, d.capture, -d.units, 0)
}

func (p *PayPal) noteDispute(d *paypalDispute, kind EffectKind) {
	e := *d.capture // the effect is the case's
	e.id = d.id
	p.note(cause{}, kind, &e, d.units)
}

// Decide is PayPal's decision on a case, or, of an inquiry, what the payer does: gives it
// up (won), or asks PayPal (escalated). Either side may appeal.
func (p *PayPal) Decide(id, outcome string) error {
	p.RunDue(p.sender.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.disputes, func(d *paypalDispute) bool { return d.id == id })
	if i < 0 {
		return fmt.Errorf("no such dispute: %q", id)
	}
	d := p.disputes[i]
	d.updated = p.now()
	inquiry := d.stage == paypalInquiry
	switch {
	case inquiry && d.outcome == "" && outcome == DisputeEscalated:
		p.claim(d, paypalChargeback)
		p.emitDispute(d, "UPDATED")
		return nil
	case inquiry && d.outcome == "" && outcome == DisputeWon:
		d.outcome = paypalWithdrawn
	case inquiry:
		return fmt.Errorf("the inquiry %s can't be %q", d.id, outcome)
	case outcome == DisputeWon && d.outcome != paypalSellerWins:
		if d.outcome == paypalBuyerWins {
			d.stage = paypalArbitration
		}
		p.noteDispute(d, EffectDisputeWon)
		p.move(moveDisputeWon, d.capture, d.units, 0)
		d.outcome, d.debited = paypalSellerWins, false
	case outcome == DisputeLost && d.outcome != paypalBuyerWins:
		if d.outcome == paypalSellerWins {
			p.claim(d, paypalArbitration)
		}
		d.outcome, d.debited = paypalBuyerWins, true
	default:
		return fmt.Errorf("the outcome of %s is %q and can't be %q", d.id, d.outcome, outcome)
	}
	d.status = "RESOLVED"
	p.emitDispute(d, "RESOLVED")
	return nil
}

// emitDispute sends an event, which does not have all that the look-up of the case has.
func (p *PayPal) emitDispute(d *paypalDispute, what string) {
	o := p.renderDispute(d)
	o["disputed_transactions"] = []any{object{"seller_transaction_id": d.capture.id, "seller_protection_eligible": true}}
	p.emit("CUSTOMER.DISPUTE."+what, "dispute", d.capture.order, o)
}

// contested reports whether PayPal has money of the capture for a case.
func (p *PayPal) contested(b *paypalObject) bool {
	return slices.ContainsFunc(p.disputes, func(d *paypalDispute) bool {
		return d.capture == b && d.stage != paypalInquiry && d.outcome != paypalSellerWins
	})
}

// listDisputes is GET /v1/customer/disputes, which shows a summary of each.
func (p *PayPal) listDisputes(c *paypalCall) (paypalResult, *paypalError) {
	transaction := c.query.Get("disputed_transaction_id")
	items := []any{}
	for _, d := range slices.Backward(p.disputes) {
		if transaction == "" || d.capture.id == transaction {
			items = append(items, object{
				"dispute_id": d.id, "create_time": d.created.UTC().Format(time.RFC3339), "update_time": d.updated.UTC().Format(time.RFC3339),
				"reason": d.reason, "status": d.status, "dispute_life_cycle_stage": d.stage, "dispute_channel": "INTERNAL",
				"dispute_amount": paypalMoney(d.units, d.capture.order.currency),
			})
		}
	}
	return paypalResult{200, func() any { return object{"items": items, "links": []any{}} }}, nil
}

func (p *PayPal) retrieveDispute(c *paypalCall) (paypalResult, *paypalError) {
	for _, d := range p.disputes {
		if d.id == c.id {
			return paypalResult{200, func() any { return p.renderDispute(d) }}, nil
		}
	}
	return paypalResult{}, paypalMissing()
}

func paypalMoney(units int64, code string) object {
	return object{"currency_code": code, "value": paypalValue(units, code)}
}

func (p *PayPal) renderDispute(d *paypalDispute) object {
	b := d.capture
	o := object{
		"dispute_id": d.id, "create_time": d.created.UTC().Format(time.RFC3339), "update_time": d.updated.UTC().Format(time.RFC3339),
		"disputed_transactions": []any{object{
			"seller_transaction_id": b.id, "create_time": b.created.UTC().Format(time.RFC3339), "transaction_status": b.status,
			"gross_amount": paypalMoney(b.units, b.order.currency), "custom": b.order.customID, "invoice_number": b.order.invoiceID,
			"seller": object{"merchant_id": "SIM", "name": "Simulated shop"}, "buyer": object{"name": "Sim Payer"},
		}},
		"reason": d.reason, "status": d.status, "dispute_amount": paypalMoney(d.units, b.order.currency),
		"dispute_life_cycle_stage": d.stage, "dispute_channel": "INTERNAL", "links": []any{},
	}
	if d.status == "WAITING_FOR_SELLER_RESPONSE" {
		o["seller_response_due_date"] = d.updated.AddDate(0, 0, 10).UTC().Format(time.RFC3339)
	}
	if d.outcome != "" {
		o["dispute_outcome"] = object{"outcome_code": d.outcome}
	}
	if d.debited {
		o["money_movements"] = []any{
			object{"affected_party": "SELLER", "type": "DEBIT", "reason": "DISPUTE_SETTLEMENT", "amount": paypalMoney(d.units, b.order.currency)},
			object{"affected_party": "BUYER", "type": "CREDIT", "reason": "DISPUTE_SETTLEMENT", "amount": paypalMoney(d.units, b.order.currency)},
		}
	}
	return o
}
