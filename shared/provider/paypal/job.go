package paypal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// Intents of an order.
const (
	intentAuthorize = "AUTHORIZE"
	intentCapture   = "CAPTURE"
)

// PaymentMethod is the one payment method: the payer's PayPal account, with which the
// payer approves each order on PayPal's page.
const PaymentMethod = "paypal"

// Limits of texts: https://developer.paypal.com/docs/api/orders/v2 and payments/v2.
const (
	maxDescription = 127
	maxNote        = 255
)

// job is a request put into PayPal's terms: what is sent, and what its echo must say.
type job struct {
	provider.Attempt
	units    int64 // 0 for a void that does not say how much it releases
	currency string
}

// newJob refuses a request that PayPal could not be asked for.
func newJob(at provider.Attempt) (job, error) {
	j := job{Attempt: at, currency: at.Request.Amount.Currency.Code()}
	r := at.Request
	if r.Step != provider.Void || !r.Amount.IsZero() {
		var err error
		if j.units, err = Units(r.Amount); err != nil {
			return j, err
		}
	}
	switch r.Step {
	case provider.Authorize:
		if r.PaymentMethod != "" && r.PaymentMethod != PaymentMethod {
			return j, fault.New(fault.InvalidRequest, "PayPal takes the payment_method %q alone.", PaymentMethod)
		}
	case provider.Capture, provider.Void, provider.Refund:
		if r.Reference == "" {
			return j, fmt.Errorf("%s without a reference to an order", r.Step)
		}
	default:
		return j, fmt.Errorf("unknown step %q", r.Step)
	}
	if strings.ContainsAny(r.Reference, "/?#%. ") {
		return j, errors.New("the reference is not the id of an order")
	}
	if j.Key == "" || r.PaymentID.IsZero() {
		return j, errors.New("an attempt needs a key and a payment")
	}
	if r.Step == provider.Refund && r.RefundID.IsZero() && r.ObligationID.IsZero() {
		return j, errors.New("a refund needs the id of a refund or an obligation, or its echo proves nothing")
	}
	return j, nil
}

func (j job) intent() string {
	if j.Request.AutoCapture {
		return intentCapture
	}
	return intentAuthorize
}

// name is the payment's id as orders, authorizations and captures bear it.
func (j job) name() string { return id.Payment.External(j.Request.PaymentID) }

// refundName is the invoice_id of a refund: the refund's id or the obligation's.
func (j job) refundName() string {
	if !j.Request.RefundID.IsZero() {
		return id.Refund.External(j.Request.RefundID)
	}
	return j.Request.ObligationID.String()
}

// refundCustomID names the payment too, since a refund's event does not name the order.
func (j job) refundCustomID() string { return j.name() + "/" + j.refundName() }

// parseCustomID reads our ids out of what objects bear; what is not ours is zero.
func parseCustomID(s string) (payment, refund, obligation id.ID) {
	name, of, _ := strings.Cut(s, "/")
	payment, err := id.Payment.Parse(name)
	if err != nil {
		return id.ID{}, id.ID{}, id.ID{}
	}
	if refund, err = id.Refund.Parse(of); err != nil {
		refund = id.ID{}
		if obligation, err = id.Parse(of); err != nil {
			obligation = id.ID{}
		}
	}
	return payment, refund, obligation
}

type fields = map[string]any

func (j job) amount() fields {
	return fields{"currency_code": j.currency, "value": decimal(j.units, j.currency)}
}

// orderBody asks for an order that the payer approves on PayPal's page. The same
// request gives the same bytes, as PayPal-Request-Id wants it.
func (j job) orderBody() []byte {
	r := j.Request
	unit := fields{"amount": j.amount(), "custom_id": j.name(), "invoice_id": j.name()}
	if r.Description != "" {
		unit["description"] = wire.Clip(r.Description, maxDescription)
	}
	experience := fields{"user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING"}
	if r.ReturnURL != "" {
		experience["return_url"], experience["cancel_url"] = r.ReturnURL, r.ReturnURL
	}
	return encode(fields{
		"intent": j.intent(), "purchase_units": []fields{unit},
		"payment_source": fields{"paypal": fields{"experience_context": experience}},
	})
}

// captureBody asks for the only capture of an authorization: what it leaves, PayPal
// releases.
func (j job) captureBody() []byte {
	return encode(fields{"amount": j.amount(), "invoice_id": j.name(), "final_capture": true})
}

func (j job) refundBody() []byte {
	body := fields{"amount": j.amount(), "custom_id": j.refundCustomID(), "invoice_id": j.refundName()}
	if j.Request.Reason != "" {
		body["note_to_payer"] = wire.Clip(j.Request.Reason, maxNote)
	}
	return encode(body)
}

func encode(f fields) []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic("paypal: " + err.Error()) // strings and booleans marshal
	}
	return b
}
