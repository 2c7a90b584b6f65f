package bank

import (
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// The metadata by which GoCardless's objects name ours, in requests and echoes. An
// object may have three.
const (
	metaPayment    = "tollgate_payment"
	metaMerchant   = "tollgate_merchant"
	metaRefund     = "tollgate_refund"
	metaObligation = "tollgate_obligation"
	metaReason     = "tollgate_reason"
)

// GoCardless's limits: https://developer.gocardless.com/api-reference/#billing-requests-create-a-billing-request
const (
	maxMetadataKeys  = 3
	maxMetadataValue = 500
	maxDescription   = 255
)

// schemes are the payment methods that a request may name; each takes one currency.
// Without one, GoCardless takes the instant scheme of the currency.
var schemes = map[string]string{
	"faster_payments": "GBP", "sepa_instant_credit_transfer": "EUR", "sepa_credit_transfer": "EUR",
}

// order is a request put into GoCardless's terms: what is sent, and what its echo must
// say.
type order struct {
	provider.Request
	key      string
	units    int64  // 0 for a void that does not say how much it releases
	currency string // upper case, as GoCardless writes it
}

// newOrder refuses a request that GoCardless could not be asked for.
func newOrder(at provider.Attempt) (order, error) {
	o := order{Request: at.Request, key: at.Key, currency: at.Request.Amount.Currency.Code()}
	if o.Step != provider.Void || !o.Amount.IsZero() {
		var err error
		if o.units, err = Units(o.Amount); err != nil {
			return o, err
		}
	}
	switch o.Step {
	case provider.Authorize:
		if err := o.authorizable(); err != nil {
			return o, err
		}
	case provider.Void, provider.Refund:
		if o.Reference == "" {
			return o, fmt.Errorf("%s without a reference to a billing request", o.Step)
		}
	case provider.Capture:
		return o, fault.New(fault.InvalidRequest, "A bank transfer is captured by itself, when it is confirmed.")
	default:
		return o, fmt.Errorf("unknown step %q", o.Step)
	}
	if o.key == "" || o.PaymentID.IsZero() {
		return o, errors.New("an attempt needs a key and a payment")
	}
	if o.Step == provider.Refund && o.RefundID.IsZero() && o.ObligationID.IsZero() {
		return o, errors.New("a refund needs the id of a refund or an obligation, or its echo proves nothing")
	}
	return o, nil
}

func (o order) authorizable() error {
	if !o.AutoCapture {
		return fault.New(fault.InvalidRequest, "A bank transfer can't be captured later; use capture_method automatic.")
	}
	if currency, ok := schemes[o.PaymentMethod]; ok && currency == o.currency || o.PaymentMethod == "" || o.PaymentMethod == PaymentMethod {
		return nil
	}
	return fault.New(fault.InvalidRequest, "The payment_method of a bank transfer in %s is bank_transfer, or the name of a scheme for it.", o.currency)
}

type links map[string]string

type billingRequestParams struct {
	Metadata       map[string]string `json:"metadata"`
	PaymentRequest struct {
		Amount      int64             `json:"amount"`
		Currency    string            `json:"currency"`
		Description string            `json:"description,omitempty"`
		Scheme      string            `json:"scheme,omitempty"`
		Metadata    map[string]string `json:"metadata"` // becomes that of the payment
	} `json:"payment_request"`
}

func (o order) billingRequest() billingRequestParams {
	var p billingRequestParams
	p.Metadata = map[string]string{metaPayment: id.Payment.External(o.PaymentID), metaMerchant: id.Merchant.External(o.MerchantID)}
	p.PaymentRequest.Amount, p.PaymentRequest.Currency = o.units, o.currency
	p.PaymentRequest.Description = wire.Clip(o.Description, maxDescription)
	p.PaymentRequest.Metadata = p.Metadata
	if schemes[o.PaymentMethod] != "" {
		p.PaymentRequest.Scheme = o.PaymentMethod
	}
	return p
}

type flowParams struct {
	RedirectURI string `json:"redirect_uri,omitempty"`
	ExitURI     string `json:"exit_uri,omitempty"`
	Links       links  `json:"links"`
}

// flow is the page for the payer, who comes back to the same place with the deed done
// and without.
func (o order) flow(reference string) flowParams {
	return flowParams{RedirectURI: o.ReturnURL, ExitURI: o.ReturnURL, Links: links{"billing_request": reference}}
}

type refundParams struct {
	Amount   int64             `json:"amount"`
	Total    int64             `json:"total_amount_confirmation"`
	Metadata map[string]string `json:"metadata"`
	Links    links             `json:"links"`
}

func (o order) refundOf(p *transfer) refundParams {
	return refundParams{
		Amount: o.units, Total: p.Refunded + o.units, Metadata: o.refundMetadata(), Links: links{"payment": p.ID},
	}
}

func (o order) refundMetadata() map[string]string {
	m := map[string]string{metaPayment: id.Payment.External(o.PaymentID)}
	if !o.RefundID.IsZero() {
		m[metaRefund] = id.Refund.External(o.RefundID)
	}
	if !o.ObligationID.IsZero() {
		m[metaObligation] = o.ObligationID.String()
	}
	if o.Reason != "" && len(m) < maxMetadataKeys {
		m[metaReason] = wire.Clip(o.Reason, maxMetadataValue)
	}
	return m
}
