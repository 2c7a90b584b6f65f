package paypal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// ParseEvent reads a webhook event whose signature was verified. Facts come from
// CHECKOUT.ORDER.*, PAYMENT.AUTHORIZATION.*, PAYMENT.CAPTURE.*, PAYMENT.REFUND.* and
// CUSTOMER.DISPUTE.*; other events, and those about somebody else's payments on the account, have nothing
// for us: no facts and no error. An error means that the event could not be understood.
//
// The facts are what the event claims, and LookUp says that they are to be asked for.
func (a *Adapter) ParseEvent(body []byte) (provider.Event, error) {
	e, err := ParseEvent(body)
	if err == nil {
		e.Account = a.account
	}
	return e, err
}

// ParseEvent is Adapter.ParseEvent without an account: PayPal's events don't name it.
func ParseEvent(body []byte) (provider.Event, error) {
	var in struct {
		ID         string          `json:"id"`
		EventType  string          `json:"event_type"`
		CreateTime string          `json:"create_time"`
		Resource   json.RawMessage `json:"resource"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return provider.Event{}, fmt.Errorf("paypal: the event is not JSON of the expected shape: %w", err)
	}
	at := instant(in.CreateTime)
	switch {
	case in.ID == "" || in.EventType == "":
		return provider.Event{}, errors.New("paypal: the event lacks its id or type")
	case at.IsZero():
		return provider.Event{}, fmt.Errorf("paypal: the event's time %.40q is none", in.CreateTime)
	}
	e := provider.Event{ID: in.ID, Type: in.EventType, OccurredAt: at}
	if err := readResource(&e, in.Resource, at); err != nil {
		return provider.Event{}, fmt.Errorf("paypal: event %.60q (%.60q): %w", in.ID, in.EventType, err)
	}
	e.LookUp = len(e.Facts) > 0 // a signature covers no more of the body than its CRC-32
	return e, nil
}

func readResource(e *provider.Event, raw json.RawMessage, at time.Time) error {
	switch {
	case strings.HasPrefix(e.Type, "CHECKOUT.ORDER."):
		return readOrder(e, raw, at)
	case strings.HasPrefix(e.Type, "PAYMENT.AUTHORIZATION."):
		return readPayment(e, raw, func(p *object, f provider.Fact) (provider.Fact, error) {
			f.Kind, f.ObjectID = provider.KindAuthorization, f.Reference // as everywhere, the order's
			f.OccurredAt = timeOf(p.UpdateTime, p.CreateTime, at)
			if err := setAmount(&f, p.Amount); err != nil {
				return f, err
			}
			return f, authorizationState(&f, p)
		})
	case e.Type == "PAYMENT.CAPTURE.REFUNDED" || e.Type == "PAYMENT.CAPTURE.REVERSED" || strings.HasPrefix(e.Type, "PAYMENT.REFUND."):
		return readPayment(e, raw, func(p *object, f provider.Fact) (provider.Fact, error) {
			return refundFact(p, f.Reference, at)
		})
	case strings.HasPrefix(e.Type, "CUSTOMER.DISPUTE."):
		return readDispute(e, raw, at)
	case strings.HasPrefix(e.Type, "PAYMENT.CAPTURE."):
		return readPayment(e, raw, func(p *object, f provider.Fact) (provider.Fact, error) {
			return captureFact(p, f.Reference, at, f)
		})
	}
	var any struct {
		ID string `json:"id"`
	}
	// What is of no interest may have any shape.
	_ = json.Unmarshal(raw, &any)
	e.ObjectID = any.ID
	return nil
}

func readOrder(e *provider.Event, raw json.RawMessage, at time.Time) error {
	o, err := decodeOrder(raw)
	if err != nil {
		return err
	}
	payment, _, _ := parseCustomID(o.unit().CustomID)
	e.ObjectID, e.Reference, e.PaymentID = o.ID, o.ID, payment
	if payment.IsZero() || o.Status == "COMPLETED" && o.authorization() == nil && o.capture() == nil {
		return nil
	}
	e.Facts, err = o.facts(at)
	return err
}

// readPayment reads an authorization, a capture or a refund. A payment of ours states
// its facts; one of an order that the event does not name needs Event.Reference set by
// whoever knows the payment.
func readPayment(e *provider.Event, raw json.RawMessage, fact func(*object, provider.Fact) (provider.Fact, error)) error {
	p, err := decodeObject(raw)
	if err != nil {
		return err
	}
	e.ObjectID, e.Reference = p.ID, p.SupplementaryData.RelatedIDs.OrderID
	if e.PaymentID, _, _ = parseCustomID(p.CustomID); e.PaymentID.IsZero() {
		return nil
	}
	f, err := fact(p, provider.Fact{Reference: e.Reference, PaymentID: e.PaymentID})
	if err != nil {
		return err
	}
	if f.ObjectID != "" { // an authorization of an order that is not named has no history to belong to
		e.Facts = []provider.Fact{f}
	}
	return nil
}
