package paypal

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// facts are what an order proves of itself and of its payments. now is when it was
// read, for what PayPal states no time of.
func (o *order) facts(now time.Time) ([]provider.Fact, error) {
	a, err := o.authorizationFact(now)
	if err != nil {
		return nil, err
	}
	all := []provider.Fact{a}
	for i := range o.unit().Payments.Captures {
		f, err := o.captureFact(&o.unit().Payments.Captures[i], now)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	for i := range o.unit().Payments.Refunds {
		f, err := refundFact(&o.unit().Payments.Refunds[i], o.ID, now)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// authorizationFact is the state of the order as a whole.
func (o *order) authorizationFact(now time.Time) (provider.Fact, error) {
	payment, _, _ := parseCustomID(o.unit().CustomID)
	f := provider.Fact{
		Kind: provider.KindAuthorization, ObjectID: o.ID, Reference: o.ID, PaymentID: payment,
		OccurredAt: timeOf(o.UpdateTime, o.CreateTime, now),
	}
	if err := setAmount(&f, o.unit().Amount); err != nil {
		return f, fmt.Errorf("order %s: %w", o.ID, err)
	}
	if a := o.authorization(); a != nil {
		// The payment's amount, in case it is not the order's.
		if err := setAmount(&f, a.Amount); err != nil {
			return f, fmt.Errorf("authorization %s: %w", a.ID, err)
		}
		f.OccurredAt = timeOf(a.UpdateTime, a.CreateTime, now)
		return f, authorizationState(&f, a)
	}
	if c := o.capture(); c != nil {
		return f, saleState(&f, c)
	}
	switch o.Status {
	case "CREATED", "SAVED", "PAYER_ACTION_REQUIRED":
		f.State = provider.StateRequiresAction
		if page := o.approvePage(); page != "" {
			f.NextAction = &provider.NextAction{Type: "redirect_to_url", RedirectURL: page}
		}
	case "APPROVED":
		f.State = provider.StateApproved
	case "VOIDED":
		f.State = provider.StateCanceled
	default:
		return f, fmt.Errorf("order %s has the status %.40q without a payment", o.ID, o.Status)
	}
	return f, nil
}

func authorizationState(f *provider.Fact, a *object) error {
	switch a.Status {
	case "CREATED", "CAPTURED", "PARTIALLY_CAPTURED":
		f.State, f.CaptureBefore = provider.StateAuthorized, instant(a.ExpirationTime)
	case "PENDING":
		f.State = provider.StatePending
	case "DENIED":
		f.State, f.Refusal = provider.StateFailed, deniedRefusal(a.StatusDetails.Reason)
	case "VOIDED", "EXPIRED":
		f.State = provider.StateCanceled
	default:
		return fmt.Errorf("authorization %s has the unknown status %.40q", a.ID, a.Status)
	}
	return nil
}

// saleState reads the authorization that a capture without one implies.
func saleState(f *provider.Fact, c *object) error {
	state, err := captureState(c)
	switch state {
	case provider.StateSucceeded:
		f.State = provider.StateAuthorized
	case provider.StatePending:
		f.State = provider.StatePending
	case provider.StateFailed:
		f.State, f.Refusal = provider.StateFailed, deniedRefusal(c.StatusDetails.Reason)
	}
	return err
}

func captureState(c *object) (provider.State, error) {
	switch c.Status {
	case "COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED":
		return provider.StateSucceeded, nil
	case "PENDING":
		return provider.StatePending, nil
	case "DECLINED", "FAILED":
		return provider.StateFailed, nil
	}
	return "", fmt.Errorf("capture %s has the unknown status %.40q", c.ID, c.Status)
}

func (o *order) captureFact(c *object, now time.Time) (provider.Fact, error) {
	payment, _, _ := parseCustomID(o.unit().CustomID)
	return captureFact(c, o.ID, now, provider.Fact{PaymentID: payment})
}

func captureFact(c *object, reference string, now time.Time, f provider.Fact) (provider.Fact, error) {
	f.Kind, f.ObjectID, f.Reference = provider.KindCapture, c.ID, reference
	f.OccurredAt = timeOf(c.CreateTime, c.UpdateTime, now)
	var err error
	if f.State, err = captureState(c); err != nil {
		return f, err
	}
	if f.State == provider.StateFailed {
		f.Refusal = deniedRefusal(c.StatusDetails.Reason)
	}
	if err := setAmount(&f, c.Amount); err != nil {
		return f, fmt.Errorf("capture %s: %w", c.ID, err)
	}
	return f, nil
}

var refundStates = map[string]provider.State{
	"PENDING": provider.StatePending, "COMPLETED": provider.StateSucceeded,
	"FAILED": provider.StateFailed, "CANCELLED": provider.StateCanceled,
}

func refundFact(re *object, reference string, now time.Time) (provider.Fact, error) {
	state, ok := refundStates[re.Status]
	if !ok {
		return provider.Fact{}, fmt.Errorf("refund %s has the unknown status %.40q", re.ID, re.Status)
	}
	f := provider.Fact{
		Kind: provider.KindRefund, State: state, ObjectID: re.ID, Reference: reference,
		OccurredAt: timeOf(re.UpdateTime, re.CreateTime, now),
	}
	f.PaymentID, f.RefundID, f.ObligationID = parseCustomID(re.CustomID)
	switch state {
	case provider.StateFailed:
		f.Refusal = &provider.Refusal{Code: "refund_failed", Message: "The refund failed.", ProviderCode: re.StatusDetails.Reason}
	case provider.StateCanceled:
		f.Refusal = &provider.Refusal{Code: "refund_canceled", Message: "The refund was canceled.", ProviderCode: re.StatusDetails.Reason}
	}
	if err := setAmount(&f, re.Amount); err != nil {
		return f, fmt.Errorf("refund %s: %w", re.ID, err)
	}
	return f, nil
}

// refusedFacts state a refusal that left no object at PayPal, under a name of our own.
// A capture or void that is refused leaves the payment as it was.
func (j job) refusedFacts(refusal *provider.Refusal, at time.Time) []provider.Fact {
	kind := provider.KindAuthorization
	switch j.Request.Step {
	case provider.Authorize:
	case provider.Refund:
		kind = provider.KindRefund
	default:
		return nil
	}
	return []provider.Fact{{
		Kind: kind, State: provider.StateFailed, ObjectID: "attempt/" + j.Key, Reference: j.Request.Reference,
		PaymentID: j.Request.PaymentID, RefundID: j.Request.RefundID, ObligationID: j.Request.ObligationID,
		Amount: j.Request.Amount, Units: j.units, UnitCurrency: j.currency, Refusal: refusal, OccurredAt: at,
	}}
}

func setAmount(f *provider.Fact, a amount) error {
	units, err := unitsOf(a.Value, a.CurrencyCode)
	if err != nil {
		return err
	}
	m, err := amountOf(units, a.CurrencyCode)
	if err != nil {
		return err
	}
	f.Amount, f.Units, f.UnitCurrency = m, units, a.CurrencyCode
	return nil
}

// timeOf is the first of two times of PayPal's that there is, or else now.
func timeOf(first, second string, now time.Time) time.Time {
	for _, s := range []string{first, second} {
		if t := instant(s); !t.IsZero() {
			return t
		}
	}
	return now
}
