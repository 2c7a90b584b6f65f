package providersim

import "time"

// paypalHonorPeriod is how long an authorization can't be made anew.
const paypalHonorPeriod = 3 * 24 * time.Hour

// amount reads the amount of a request, which may leave it out for all there is.
func (c *paypalCall) amount(a *paypalAmount, o *paypalOrder, all int64) (int64, *paypalError) {
	if a == nil {
		return all, nil
	}
	units, ok := paypalUnits(a.Value, a.CurrencyCode)
	switch {
	case !ok:
		return 0, unprocessable("DECIMAL_PRECISION", "The value of the field should not be more than the currency's decimal places.")
	case a.CurrencyCode != o.currency:
		return 0, unprocessable("CURRENCY_MISMATCH", "The currency must be that of the payment.")
	case units == 0:
		return 0, unprocessable("CANNOT_BE_ZERO_OR_NEGATIVE", "Must be greater than zero.")
	}
	return units, nil
}

// usable refuses what can't be done with an authorization in its state.
func (b *paypalObject) usable() *paypalError {
	switch b.status {
	case "CREATED":
		return nil
	case "CAPTURED", "PARTIALLY_CAPTURED":
		return unprocessable("AUTHORIZATION_ALREADY_CAPTURED", "Authorization has already been captured.")
	case "VOIDED":
		return unprocessable("AUTHORIZATION_VOIDED", "A voided authorization cannot be captured or reauthorized.")
	}
	return unprocessable("AUTHORIZATION_DENIED", "A denied authorization cannot be captured.")
}

func (p *PayPal) captureAuthorization(c *paypalCall) (paypalResult, *paypalError) {
	var in struct {
		Amount       *paypalAmount `json:"amount"`
		InvoiceID    string        `json:"invoice_id"`
		FinalCapture bool          `json:"final_capture"`
		NoteToPayer  string        `json:"note_to_payer"`
	}
	if problem := c.read(&in); problem != nil {
		return paypalResult{}, problem
	}
	a, problem := p.find("authorization", c.id)
	if problem == nil {
		problem = a.usable()
	}
	if problem != nil {
		return paypalResult{}, problem
	}
	if !in.FinalCapture {
		return paypalResult{}, malformed("the simulator has only final captures")
	}
	units, problem := c.amount(in.Amount, a.order, a.units)
	if problem != nil {
		return paypalResult{}, problem
	}
	if units > a.units {
		return paypalResult{}, unprocessable("MAX_CAPTURE_AMOUNT_EXCEEDED", "Capture amount exceeds allowable limit.")
	}
	p.cancel(a.expiry)
	a.status, a.updated = "CAPTURED", p.now()
	if units < a.units {
		a.status = "PARTIALLY_CAPTURED"
	}
	b := p.newPayment(a.order, "capture", units)
	b.of = a
	p.grant(c.cause, b)
	return paypalResult{201, func() any { return p.renderPayment(b) }}, nil
}

func (p *PayPal) voidAuthorization(c *paypalCall) (paypalResult, *paypalError) {
	a, problem := p.find("authorization", c.id)
	switch {
	case problem != nil:
		return paypalResult{}, problem
	case a.status == "VOIDED":
		return paypalResult{}, unprocessable("PREVIOUSLY_VOIDED", "Authorization has been previously voided and hence cannot be voided again.")
	case a.status == "CAPTURED" || a.status == "PARTIALLY_CAPTURED":
		return paypalResult{}, unprocessable("PREVIOUSLY_CAPTURED", "Authorization has been previously captured and hence cannot be voided.")
	case a.status == "DENIED":
		return paypalResult{}, unprocessable("CANNOT_BE_VOIDED", "A denied authorization cannot be voided.")
	}
	p.cancel(a.expiry)
	held := a.status == "CREATED"
	a.status, a.reason, a.updated = "VOIDED", "", p.now()
	if held {
		p.note(c.cause, EffectVoid, a, a.units)
	}
	p.emitPayment(a, "PAYMENT.AUTHORIZATION.VOIDED")
	return paypalResult{200, func() any { return p.renderPayment(a) }}, nil
}

func (p *PayPal) reauthorize(c *paypalCall) (paypalResult, *paypalError) {
	var in struct {
		Amount *paypalAmount `json:"amount"`
	}
	if problem := c.read(&in); problem != nil {
		return paypalResult{}, problem
	}
	a, problem := p.find("authorization", c.id)
	if problem == nil {
		problem = a.usable()
	}
	if problem != nil {
		return paypalResult{}, problem
	}
	units, problem := c.amount(in.Amount, a.order, a.units)
	switch {
	case problem != nil:
		return paypalResult{}, problem
	case units != a.units:
		return paypalResult{}, malformed("the simulator makes authorizations anew only in full")
	case a.anew:
		return paypalResult{}, unprocessable("MAX_AUTHORIZATION_COUNT_EXCEEDED", "The maximum number of authorizations allowed is reached.")
	case p.now().Before(a.created.Add(paypalHonorPeriod)):
		return paypalResult{}, unprocessable("REAUTHORIZATION_TOO_SOON", "A reauthorization is not allowed within the honor period.")
	}
	p.cancel(a.expiry)
	a.status, a.updated = "VOIDED", p.now()
	b := p.newPayment(a.order, "authorization", units)
	b.anew, b.expiration = true, a.expiration // the 29 days are of the first one
	p.grant(c.cause, b)
	return paypalResult{201, func() any { return p.renderPayment(b) }}, nil
}

func (p *PayPal) refundCapture(c *paypalCall) (paypalResult, *paypalError) {
	var in struct {
		Amount      *paypalAmount `json:"amount"`
		CustomID    string        `json:"custom_id"`
		InvoiceID   string        `json:"invoice_id"`
		NoteToPayer string        `json:"note_to_payer"`
	}
	if problem := c.read(&in); problem != nil {
		return paypalResult{}, problem
	}
	b, problem := p.find("capture", c.id)
	if problem != nil {
		return paypalResult{}, problem
	}
	left := b.units - b.refunded()
	units, problem := c.amount(in.Amount, b.order, left)
	switch {
	case problem != nil:
		return paypalResult{}, problem
	case b.status == "PENDING":
		return paypalResult{}, unprocessable("PENDING_CAPTURE", "Cannot initiate a refund as the capture is pending.")
	case b.status == "REFUNDED":
		return paypalResult{}, unprocessable("CAPTURE_FULLY_REFUNDED", "The capture has already been fully refunded.")
	case b.status == "DECLINED":
		return paypalResult{}, unprocessable("REFUND_NOT_ALLOWED", "A declined capture can't be refunded.")
	case units < left && p.contested(b):
		return paypalResult{}, unprocessable("CAPTURE_DISPUTED_PARTIAL_REFUND_NOT_ALLOWED", "Refund for an amount less than the remaining "+
			"transaction amount cannot be processed at this time because of an open dispute on the capture.")
	case units > left:
		return paypalResult{}, unprocessable("REFUND_AMOUNT_EXCEEDED", "The refund amount must be less than or equal to the capture amount that has not yet been refunded.")
	case in.InvoiceID != "" && p.paid[in.InvoiceID] != "":
		return paypalResult{}, duplicateInvoice()
	}
	re := p.newPayment(b.order, "refund", units)
	re.of, re.status, re.customID, re.invoiceID = b, "COMPLETED", in.CustomID, in.InvoiceID
	if in.InvoiceID != "" {
		p.paid[in.InvoiceID] = b.order.id
	}
	if b.order.answer == PayPalRefundPending {
		re.status, re.reason = "PENDING", "ECHECK"
	} else {
		p.move(moveRefund, re, -units, 0)
	}
	b.showRefunds(p.now())
	p.note(c.cause, EffectRefund, re, units)
	p.announceRefund(re)
	if b.order.answer == PayPalRefundPending || b.order.answer == PayPalRefundFails {
		p.schedule(p.now().Add(p.cfg.Delay), func() { p.settleRefund(re) })
	}
	return paypalResult{201, func() any { return p.renderPayment(re) }}, nil
}

func (p *PayPal) announceRefund(re *paypalObject) {
	name := map[string]string{
		"COMPLETED": "PAYMENT.CAPTURE.REFUNDED", "PENDING": "PAYMENT.REFUND.PENDING", "FAILED": "PAYMENT.REFUND.FAILED",
	}[re.status]
	p.emitPayment(re, name)
}

// settleRefund ends a refund that was pending, or fails one that had succeeded.
func (p *PayPal) settleRefund(re *paypalObject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	re.updated = p.now()
	if re.status == "PENDING" {
		re.status, re.reason = "COMPLETED", ""
		p.move(moveRefund, re, -re.units, 0)
	} else {
		re.status, re.reason = "FAILED", "ECHECK"
		p.note(cause{}, EffectRefundReversed, re, re.units)
		p.move(moveRefundFailed, re, re.units, 0)
	}
	re.of.showRefunds(p.now())
	p.announceRefund(re)
}

// refunded is what of a capture was refunded, or is about to be.
func (b *paypalObject) refunded() (units int64) {
	for _, re := range b.order.payments {
		if re.kind == "refund" && re.of == b && re.status != "FAILED" {
			units += re.units
		}
	}
	return units
}

func (b *paypalObject) showRefunds(now time.Time) {
	b.updated = now
	switch refunded := b.refunded(); refunded {
	case 0:
		b.status = "COMPLETED"
	case b.units:
		b.status = "REFUNDED"
	default:
		b.status = "PARTIALLY_REFUNDED"
	}
}
