package payment

// EventData is the data of the events about a payment, its refunds and its disputes, as the
// catalogue (shared/event) has them. It is rendered with the change: what happens later does not show.
type EventData struct {
	Payment View         `json:"payment"`
	Refund  *RefundView  `json:"refund,omitempty"`  // of refund.* events
	Dispute *DisputeView `json:"dispute,omitempty"` // of dispute.* events
}
