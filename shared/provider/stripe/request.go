package stripe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	stripego "github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// The metadata by which Stripe's objects name ours, in requests and echoes.
const (
	metaPayment    = "tollgate_payment"
	metaMerchant   = "tollgate_merchant"
	metaRefund     = "tollgate_refund"
	metaObligation = "tollgate_obligation"
	metaReason     = "tollgate_reason"
)

// maxMetadataValue is Stripe's limit: https://docs.stripe.com/api/metadata
const maxMetadataValue = 500

// refundReasons are the ones that Stripe has a word for. Any other goes into the
// metadata.
var refundReasons = map[string]bool{"duplicate": true, "fraudulent": true, "requested_by_customer": true}

// order is a request put into Stripe's terms: what is sent, and what its echo must
// say.
type order struct {
	provider.Request
	key      string
	units    int64  // 0 for a void that does not say how much it releases
	currency string // lower case, as Stripe writes it
}

// newOrder refuses a request that Stripe could not be asked for.
func newOrder(at provider.Attempt) (order, error) {
	o := order{Request: at.Request, key: at.Key}
	if o.Step != provider.Void || !o.Amount.IsZero() {
		var err error
		if o.units, err = Units(o.Amount); err != nil {
			return o, err
		}
	}
	o.currency = strings.ToLower(o.Amount.Currency.Code())
	switch o.Step {
	case provider.Authorize:
	case provider.Capture, provider.Void, provider.Refund:
		if o.Reference == "" {
			return o, fmt.Errorf("%s without a reference to a PaymentIntent", o.Step)
		}
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

// send performs the order. What came of it is in the exchange of ctx; the error tells
// only what stripe-go made of it.
func (a *Adapter) send(ctx context.Context, o order) error {
	var err error
	switch o.Step {
	case provider.Authorize:
		_, err = a.intents.New(o.authorize(ctx))
	case provider.Capture:
		_, err = a.intents.Capture(o.Reference, o.capture(ctx))
	case provider.Void:
		_, err = a.intents.Cancel(o.Reference, o.void(ctx))
	case provider.Refund:
		_, err = a.refunds.New(o.refund(ctx))
	}
	return err
}

func (o order) params(ctx context.Context) stripego.Params {
	return stripego.Params{Context: ctx, IdempotencyKey: stripego.String(o.key)}
}

// latestCharge has the charge sent along, which states capture_before.
func latestCharge() []*string { return stripego.StringSlice([]string{"latest_charge"}) }

// authorize creates and confirms a PaymentIntent in one request.
func (o order) authorize(ctx context.Context) *stripego.PaymentIntentParams {
	p := &stripego.PaymentIntentParams{
		Params:                o.params(ctx),
		Amount:                stripego.Int64(o.units),
		Currency:              stripego.String(o.currency),
		CaptureMethod:         stripego.String(o.captureMethod()),
		Confirm:               stripego.Bool(true),
		PaymentMethod:         text(o.PaymentMethod),
		Description:           text(o.Description),
		ErrorOnRequiresAction: stripego.Bool(false),
		Expand:                latestCharge(),
		Metadata: map[string]string{
			metaPayment:  id.Payment.External(o.PaymentID),
			metaMerchant: id.Merchant.External(o.MerchantID),
		},
		AutomaticPaymentMethods: &stripego.PaymentIntentAutomaticPaymentMethodsParams{Enabled: stripego.Bool(true)},
	}
	if o.ReturnURL != "" {
		p.ReturnURL = stripego.String(o.ReturnURL)
	} else {
		p.AutomaticPaymentMethods.AllowRedirects = stripego.String("never") // there is nowhere to come back to
	}
	return p
}

func (o order) captureMethod() string {
	if o.AutoCapture {
		return string(stripego.PaymentIntentCaptureMethodAutomatic)
	}
	return string(stripego.PaymentIntentCaptureMethodManual)
}

// capture is the only one of its payment: what it leaves, Stripe releases.
func (o order) capture(ctx context.Context) *stripego.PaymentIntentCaptureParams {
	return &stripego.PaymentIntentCaptureParams{
		Params:          o.params(ctx),
		AmountToCapture: stripego.Int64(o.units),
		Expand:          latestCharge(),
	}
}

func (o order) void(ctx context.Context) *stripego.PaymentIntentCancelParams {
	return &stripego.PaymentIntentCancelParams{Params: o.params(ctx), Expand: latestCharge()}
}

func (o order) refund(ctx context.Context) *stripego.RefundParams {
	p := &stripego.RefundParams{
		Params:        o.params(ctx),
		PaymentIntent: stripego.String(o.Reference),
		Amount:        stripego.Int64(o.units),
		Metadata:      o.refundMetadata(),
	}
	if refundReasons[o.Reason] {
		p.Reason = stripego.String(o.Reason)
	}
	return p
}

func (o order) refundMetadata() map[string]string {
	m := map[string]string{metaPayment: id.Payment.External(o.PaymentID)}
	if !o.RefundID.IsZero() {
		m[metaRefund] = id.Refund.External(o.RefundID)
	}
	if !o.ObligationID.IsZero() {
		m[metaObligation] = o.ObligationID.String()
	}
	if o.Reason != "" && !refundReasons[o.Reason] {
		m[metaReason] = wire.Clip(o.Reason, maxMetadataValue)
	}
	return m
}

// text leaves an empty parameter out: Stripe takes an empty string for an order to
// unset.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return stripego.String(s)
}
