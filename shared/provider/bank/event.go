package bank

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// event is one of a webhook's events:
// https://developer.gocardless.com/api-reference/#core-endpoints-events
type event struct {
	ID           string    `json:"id"`
	CreatedAt    time.Time `json:"created_at"`
	ResourceType string    `json:"resource_type"`
	Action       string    `json:"action"`
	Details      struct {
		Cause string `json:"cause"`
	} `json:"details"`
	Links struct {
		BillingRequest string `json:"billing_request"`
		Payment        string `json:"payment"`
		Refund         string `json:"refund"`
	} `json:"links"`
	ResourceMetadata map[string]any `json:"resource_metadata"`
}

// ParseEvent is the package's, for this account.
func (a *Adapter) ParseEvent(body []byte) (provider.Event, error) {
	e, err := ParseEvent(body)
	if err == nil {
		e.Account = a.account
	}
	return e, err
}

// ParseEvents reads the events of a webhook whose signature was verified, in the order
// in which they stand there, which is no promise of the order in which things
// happened. An error means that the webhook, or one event in it, could not be
// understood.
func ParseEvents(body []byte) ([]provider.Event, error) {
	split, err := Split(body)
	if err != nil {
		return nil, err
	}
	events := make([]provider.Event, 0, len(split))
	for _, raw := range split {
		e, err := ParseEvent(raw)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

// Split takes a webhook apart, so that each event can be stored by itself; ParseEvent
// reads what it returns.
func Split(body []byte) ([]json.RawMessage, error) {
	var hook struct {
		Events *[]json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &hook); err != nil {
		return nil, fmt.Errorf("bank: the webhook is not JSON of the expected shape: %w", err)
	}
	if hook.Events == nil {
		return nil, errors.New("bank: the webhook has no events")
	}
	return *hook.Events, nil
}

// ParseEvent reads one event. It has no facts: GoCardless's events name an object and
// say that something happened to it, but neither amount nor status. LookUp is true where
// that may be worth knowing of a payment of ours.
//
// PaymentID is zero if the object bears no metadata of ours, and Reference is empty
// for events that don't name the billing request; either may be known where the other
// is not. Account is left to whoever knows whose secret the webhook was signed with.
func ParseEvent(body []byte) (provider.Event, error) {
	var in event
	if err := json.Unmarshal(body, &in); err != nil {
		return provider.Event{}, fmt.Errorf("bank: the event is not JSON of the expected shape: %w", err)
	}
	switch {
	case in.ID == "" || in.ResourceType == "" || in.Action == "":
		return provider.Event{}, errors.New("bank: the event lacks its id, resource_type or action")
	case in.CreatedAt.IsZero() || in.CreatedAt.Year() < 1970:
		return provider.Event{}, fmt.Errorf("bank: event %.60q has no possible time", in.ID)
	}
	e := provider.Event{
		ID: in.ID, Type: in.ResourceType + "." + in.Action, Reference: in.Links.BillingRequest, OccurredAt: in.CreatedAt.UTC(),
	}
	if text, ok := in.ResourceMetadata[metaPayment].(string); ok {
		e.PaymentID = paymentOf(map[string]string{metaPayment: text})
	}
	switch in.ResourceType {
	case "billing_requests":
		e.ObjectID = in.Links.BillingRequest
	case "payments":
		e.ObjectID = in.Links.Payment
	case "refunds":
		e.ObjectID = in.Links.Refund
	}
	e.LookUp = changing[e.Type] && (!e.PaymentID.IsZero() || e.Reference != "")
	return e, nil
}

// changing are the events after which a payment's objects may look otherwise. The
// creation of a billing request is none: its own call tells more of it.
var changing = map[string]bool{
	"billing_requests.fulfilled": true, "billing_requests.failed": true, "billing_requests.cancelled": true,
	"payments.created": true, "payments.submitted": true, "payments.confirmed": true, "payments.paid_out": true,
	"payments.failed": true, "payments.cancelled": true, "payments.charged_back": true, "payments.chargeback_cancelled": true,
	"payments.late_failure_settled": true, "payments.chargeback_settled": true, "payments.customer_approval_denied": true,
	"refunds.created": true, "refunds.paid": true, "refunds.failed": true, "refunds.bounced": true,
	"refunds.funds_returned": true, "refunds.cancelled": true,
}
