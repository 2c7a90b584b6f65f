package providersim

import (
	"encoding/json"
	"strings"
	"time"
)

// paypalOrder is an order of one purchase unit.
type paypalOrder struct {
	id, intent, status   string
	answer               string // the payer's
	currency             string
	units                int64
	customID, invoiceID  string
	description          string
	returnURL, cancelURL string
	created, updated     time.Time
	payments             []*paypalObject
}

// paypalObject is an authorization, a capture or a refund.
type paypalObject struct {
	kind, id, status, reason     string
	order                        *paypalOrder
	of                           *paypalObject // the authorization of a capture, the capture of a refund
	units                        int64
	customID, invoiceID          string
	created, updated, expiration time.Time
	expiry                       *dueItem
	anew                         bool // an authorization that was made anew, once
}

func (p *PayPal) createOrder(c *paypalCall) (paypalResult, *paypalError) {
	var in struct {
		Intent        string `json:"intent"`
		PurchaseUnits []struct {
			Amount      paypalAmount `json:"amount"`
			CustomID    string       `json:"custom_id"`
			InvoiceID   string       `json:"invoice_id"`
			Description string       `json:"description"`
		} `json:"purchase_units"`
		PaymentSource struct {
			PayPal *struct {
				ExperienceContext struct {
					UserAction         string `json:"user_action"`
					ShippingPreference string `json:"shipping_preference"`
					ReturnURL          string `json:"return_url"`
					CancelURL          string `json:"cancel_url"`
				} `json:"experience_context"`
			} `json:"paypal"`
		} `json:"payment_source"`
	}
	if problem := c.read(&in); problem != nil {
		return paypalResult{}, problem
	}
	if in.Intent != "AUTHORIZE" && in.Intent != "CAPTURE" || len(in.PurchaseUnits) != 1 || in.PaymentSource.PayPal == nil {
		return paypalResult{}, malformed("an order needs an intent, one purchase unit, and paypal as its source")
	}
	u, source := in.PurchaseUnits[0], in.PaymentSource.PayPal.ExperienceContext
	if len(u.CustomID) > 127 || len(u.InvoiceID) > 127 || len(u.Description) > 4*127 {
		return paypalResult{}, malformed("INVALID_STRING_LENGTH")
	}
	units, ok := paypalUnits(u.Amount.Value, u.Amount.CurrencyCode)
	if !ok || units == 0 {
		return paypalResult{}, unprocessable("DECIMAL_PRECISION", "The value of the field should not be more than the currency's decimal places.")
	}
	if _, taken := p.paid[u.InvoiceID]; taken && u.InvoiceID != "" {
		return paypalResult{}, duplicateInvoice()
	}
	now := p.now()
	o := &paypalOrder{
		id: strings.ToUpper(p.ids.next("SIM")), intent: in.Intent, status: "PAYER_ACTION_REQUIRED", currency: u.Amount.CurrencyCode, units: units,
		customID: u.CustomID, invoiceID: u.InvoiceID, description: u.Description, returnURL: source.ReturnURL, cancelURL: source.CancelURL,
		created: now, updated: now,
	}
	p.orders[o.id] = o
	p.schedule(now.Add(p.cfg.OrderValid), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if o.status != "COMPLETED" {
			o.status = "VOIDED"
			delete(p.orders, o.id)
		}
	})
	return paypalResult{201, func() any { return p.renderOrder(o) }}, nil
}

func duplicateInvoice() *paypalError {
	return unprocessable("DUPLICATE_INVOICE_ID", "Duplicate Invoice ID detected. To avoid a potential duplicate transaction your account setting requires that Invoice Id be unique for each transaction.")
}

func (p *PayPal) retrieveOrder(c *paypalCall) (paypalResult, *paypalError) {
	o := p.orders[c.id]
	if o == nil {
		return paypalResult{}, paypalMissing()
	}
	return paypalResult{200, func() any { return p.renderOrder(o) }}, nil
}

func retrievePayPal(kind string) func(*PayPal, *paypalCall) (paypalResult, *paypalError) {
	return func(p *PayPal, c *paypalCall) (paypalResult, *paypalError) {
		b, problem := p.find(kind, c.id)
		if problem != nil {
			return paypalResult{}, problem
		}
		return paypalResult{200, func() any { return p.renderPayment(b) }}, nil
	}
}

func (p *PayPal) find(kind, id string) (*paypalObject, *paypalError) {
	if b := p.objects[id]; b != nil && b.kind == kind {
		return b, nil
	}
	return nil, paypalMissing()
}

// completeOrder authorizes or captures an order that its payer has approved.
func (p *PayPal) completeOrder(c *paypalCall) (paypalResult, *paypalError) {
	o := p.orders[c.id]
	kind := "authorization"
	if strings.HasSuffix(c.path, "/capture") {
		kind = "capture"
	}
	switch {
	case o == nil:
		return paypalResult{}, paypalMissing()
	case (o.intent == "CAPTURE") != (kind == "capture"):
		return paypalResult{}, unprocessable("ACTION_DOES_NOT_MATCH_INTENT", "Order was created with another intent.")
	case o.status == "COMPLETED" && kind == "capture":
		return paypalResult{}, unprocessable("ORDER_ALREADY_CAPTURED", "Order already captured.")
	case o.status == "COMPLETED":
		return paypalResult{}, unprocessable("ORDER_ALREADY_AUTHORIZED", "Order already authorized.")
	case o.status != "APPROVED":
		return paypalResult{}, unprocessable("ORDER_NOT_APPROVED", "Payer has not yet approved the Order for payment.")
	case p.paid[o.invoiceID] != "":
		return paypalResult{}, duplicateInvoice()
	case o.answer == PayPalDeclined:
		return paypalResult{}, unprocessable("INSTRUMENT_DECLINED", "The instrument presented was either declined by the processor or bank, or it can't be used for this payment.")
	}
	o.status, o.updated = "COMPLETED", p.now()
	if o.invoiceID != "" {
		p.paid[o.invoiceID] = o.id
	}
	b := p.newPayment(o, kind, o.units)
	p.decide(c.cause, b)
	return paypalResult{201, func() any { return p.renderOrder(o) }}, nil
}

// newPayment makes an authorization or a capture of an order.
func (p *PayPal) newPayment(o *paypalOrder, kind string, units int64) *paypalObject {
	now := p.now()
	b := &paypalObject{
		kind: kind, id: strings.ToUpper(p.ids.next("SIM")), order: o, units: units, customID: o.customID, invoiceID: o.invoiceID,
		created: now, updated: now,
	}
	p.objects[b.id] = b
	o.payments = append(o.payments, b)
	return b
}

// decide settles a new authorization, or the capture of a sale, as the payer's answer
// has it.
func (p *PayPal) decide(by cause, b *paypalObject) {
	switch b.order.answer {
	case PayPalDenied:
		p.deny(b)
	case PayPalReview, PayPalReviewDenied:
		b.status, b.reason = "PENDING", "PENDING_REVIEW"
		p.emitPayment(b, map[string]string{"authorization": "PAYMENT.AUTHORIZATION.CREATED", "capture": "PAYMENT.CAPTURE.PENDING"}[b.kind])
		p.schedule(p.now().Add(p.cfg.Delay), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if b.status != "PENDING" {
				return
			}
			b.reason, b.updated = "", p.now()
			if b.order.answer == PayPalReviewDenied {
				p.deny(b)
				return
			}
			p.grant(cause{}, b)
		})
	default:
		p.grant(by, b)
	}
}

func (p *PayPal) deny(b *paypalObject) {
	if b.kind == "authorization" {
		b.status, b.reason = "DENIED", "DECLINED_BY_RISK_FRAUD_FILTERS"
		p.emitPayment(b, "PAYMENT.AUTHORIZATION.DENIED")
		return
	}
	b.status, b.reason = "DECLINED", "DECLINED_BY_RISK_FRAUD_FILTERS"
	p.emitPayment(b, "PAYMENT.CAPTURE.DENIED")
}

func (p *PayPal) grant(by cause, b *paypalObject) {
	if b.kind == "capture" {
		b.status = "COMPLETED"
		if b.of == nil {
			p.note(by, EffectAuthorize, b, b.units)
		}
		p.note(by, EffectCapture, b, b.units)
		p.move(moveCharge, b, b.units, p.cfg.Fee(b.units, strings.ToLower(b.order.currency)))
		p.emitPayment(b, "PAYMENT.CAPTURE.COMPLETED")
		return
	}
	b.status = "CREATED"
	if b.expiration.IsZero() {
		b.expiration = b.created.Add(p.cfg.AuthorizationValid)
	}
	b.expiry = p.schedule(b.expiration, func() { p.expire(b) })
	if !b.anew {
		p.note(by, EffectAuthorize, b, b.units)
	}
	p.emitPayment(b, "PAYMENT.AUTHORIZATION.CREATED")
}

func (p *PayPal) expire(b *paypalObject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.status != "CREATED" {
		return
	}
	b.status, b.updated = "VOIDED", p.now()
	p.note(cause{}, EffectExpire, b, b.units)
	p.emitPayment(b, "PAYMENT.AUTHORIZATION.VOIDED")
}

func (p *PayPal) renderOrder(o *paypalOrder) any {
	payments := object{}
	for _, b := range o.payments {
		list, _ := payments[b.kind+"s"].([]any)
		payments[b.kind+"s"] = append(list, p.renderPayment(b))
	}
	unit := object{
		"reference_id": "default", "amount": paypalAmount{o.currency, paypalValue(o.units, o.currency)},
		"custom_id": o.customID, "invoice_id": o.invoiceID, "description": o.description,
	}
	if len(o.payments) > 0 {
		unit["payments"] = payments
	}
	links := []any{object{"href": p.base + "/v2/checkout/orders/" + o.id, "rel": "self", "method": "GET"}}
	if o.status == "PAYER_ACTION_REQUIRED" {
		links = append(links, object{"href": p.base + "/_sim/approve/" + o.id, "rel": "payer-action", "method": "GET"})
	}
	rendered := object{
		"id": o.id, "intent": o.intent, "status": o.status, "create_time": o.created.UTC().Format(time.RFC3339),
		"update_time": o.updated.UTC().Format(time.RFC3339), "purchase_units": []any{unit}, "links": links,
	}
	if o.answer != "" {
		rendered["payer"] = object{"email_address": "payer@example.com", "name": object{"given_name": "Pay", "surname": "Er"}}
	}
	return rendered
}

func (p *PayPal) renderPayment(b *paypalObject) any {
	o := object{
		"id": b.id, "status": b.status, "amount": paypalAmount{b.order.currency, paypalValue(b.units, b.order.currency)},
		"custom_id": b.customID, "invoice_id": b.invoiceID,
		"create_time": b.created.UTC().Format(time.RFC3339), "update_time": b.updated.UTC().Format(time.RFC3339),
		"links": []any{object{"href": p.base + "/v2/payments/" + b.kind + "s/" + b.id, "rel": "self", "method": "GET"}},
	}
	if b.reason != "" {
		o["status_details"] = object{"reason": b.reason}
	}
	if !b.expiration.IsZero() {
		o["expiration_time"] = b.expiration.UTC().Format(time.RFC3339)
	}
	up := p.base + "/v2/checkout/orders/" + b.order.id
	if b.of != nil {
		up = p.base + "/v2/payments/" + b.of.kind + "s/" + b.of.id
	}
	o["links"] = append(o["links"].([]any), object{"href": up, "rel": "up", "method": "GET"})
	if b.kind != "refund" {
		o["supplementary_data"] = object{"related_ids": object{"order_id": b.order.id}}
	}
	return o
}

// metadata of a payment, for effects and fault rules.
func (o *paypalOrder) metadata() map[string]string {
	return map[string]string{"invoice_id": o.invoiceID, "custom_id": o.customID}
}

// metadata of an object, over that of its payment.
func (b *paypalObject) metadata() map[string]string {
	metadata := b.order.metadata()
	if b.kind == "refund" {
		metadata["custom_id"], metadata["refund_invoice_id"] = b.customID, b.invoiceID
	}
	return metadata
}

func (p *PayPal) metadataOf(c *paypalCall) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.orders[c.id]; o != nil {
		return o.metadata()
	}
	if b := p.objects[c.id]; b != nil {
		return b.order.metadata()
	}
	var in struct {
		PurchaseUnits []struct {
			CustomID  string `json:"custom_id"`
			InvoiceID string `json:"invoice_id"`
		} `json:"purchase_units"`
	}
	if json.Unmarshal(c.body, &in) != nil || len(in.PurchaseUnits) == 0 {
		return nil
	}
	return map[string]string{"invoice_id": in.PurchaseUnits[0].InvoiceID, "custom_id": in.PurchaseUnits[0].CustomID}
}
