package payment

import (
	"encoding/json"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// The types of the events that a merchant is told about a payment.
const (
	EventRequiresAction  = "payment.requires_action"
	EventAuthorized      = "payment.authorized"
	EventCaptured        = "payment.captured"
	EventCaptureFailed   = "payment.capture_failed"
	EventFailed          = "payment.failed"
	EventCanceled        = "payment.canceled"
	EventRefunded        = "payment.refunded" // in full
	EventDisputed        = "payment.disputed" // money was taken back from the merchant: a chargeback, a late failure
	EventRefundCreated   = "refund.created"
	EventRefundSucceeded = "refund.succeeded"
	EventRefundFailed    = "refund.failed"
)

// EventTypes lists every type.
func EventTypes() []string {
	return []string{
		EventRequiresAction, EventAuthorized, EventCaptured, EventCaptureFailed, EventFailed, EventCanceled,
		EventRefunded, EventDisputed, EventRefundCreated, EventRefundSucceeded, EventRefundFailed,
	}
}

// Event is what a merchant's endpoint receives. Its bytes are made once, with the
// change, so every delivery of it is the same.
type Event struct {
	ID        id.ID
	Type      string
	Timestamp time.Time
	Sequence  int64 // per payment, from 1, without gaps
	Data      struct {
		Payment View        `json:"payment"`
		Refund  *RefundView `json:"refund,omitempty"` // of refund.* events
	}
}

// MarshalJSON spells the event as Standard Webhooks recommends: type, timestamp, data.
func (e Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID        string    `json:"id"`
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Sequence  int64     `json:"sequence"`
		Data      any       `json:"data"`
	}{id.Event.External(e.ID), e.Type, e.Timestamp.UTC(), e.Sequence, e.Data})
}
