// Package event is the catalogue of what merchants are told by webhooks: the types of
// events, the form of their bodies, and what an endpoint can choose of both.
//
// The catalogue is the one source. What is sent takes its type from the constants here,
// filters are checked against it, functions/openapi.yaml and the generated EVENTS.md,
// beside this file, are held to it by tests, and so is every event that a test produces.
// It has only what is sent: a type comes with the change that sends it. The objects in an
// event are made by the packages that own them; schema.json describes them, and those
// packages' tests hold them to it, so that this package imports none of them.
//
// A body is made once, in the transaction of the change that it tells of, in the current
// version and in full. It is kept, and Render makes of it what an endpoint asked for: the
// same bytes for each attempt, whenever that is.
//
// Within a version members may be added, and types of events; nothing is taken away,
// renamed, or given another type or meaning. What has to do that is a new version, to
// which Render translates back for the endpoints that are pinned to an older one.
package event

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// Version is the current version of what is sent. Endpoints are pinned to it when they
// are made.
const Version = "2026-11-01"

// Versions lists the versions that an endpoint can be pinned to, the oldest first.
func Versions() []string { return []string{Version} }

// The types of events.
const (
	PaymentRequiresAction = "payment.requires_action"
	PaymentAuthorized     = "payment.authorized"
	PaymentCaptured       = "payment.captured"
	PaymentCaptureFailed  = "payment.capture_failed"
	PaymentSettled        = "payment.settled"
	PaymentFailed         = "payment.failed"
	PaymentCanceled       = "payment.canceled"
	PaymentRefunded       = "payment.refunded"
	PaymentDisputed       = "payment.disputed"
	RefundCreated         = "refund.created"
	RefundSucceeded       = "refund.succeeded"
	RefundFailed          = "refund.failed"
	DisputeOpened         = "dispute.opened"
	DisputeWon            = "dispute.won"
	DisputeLost           = "dispute.lost"
	SettlementCompleted   = "settlement.completed"
	EndpointDisabled      = "endpoint.disabled"
	EndpointTest          = "endpoint.test"
)

// Event is an event in the current version, to be encoded once.
type Event struct {
	ID        id.ID
	Type      string
	Timestamp time.Time
	Sequence  int64 // per payment, settlement or endpoint, from 1, without gaps
	Data      any   // the objects that the type's schema asks for
}

// Encode makes the event's body: in full, and in the current version. It panics if Data
// can't be marshalled, which is a mistake in the code that made it.
func (e Event) Encode() []byte {
	body, err := json.Marshal(struct {
		ID         string    `json:"id"`
		Type       string    `json:"type"`
		APIVersion string    `json:"api_version"`
		Timestamp  time.Time `json:"timestamp"`
		Sequence   int64     `json:"sequence"`
		Data       any       `json:"data"`
	}{id.Event.External(e.ID), e.Type, Version, e.Timestamp.UTC(), e.Sequence, e.Data})
	if err != nil {
		panic("event: " + err.Error())
	}
	return body
}

// Type is an entry of the catalogue.
type Type struct {
	Name    string          `json:"name"`
	Object  string          `json:"object"`  // what it is about: payment, refund, dispute, settlement or endpoint
	Summary string          `json:"summary"` // when it is sent
	Schema  json.RawMessage `json:"schema"`  // of the whole body, in full: JSON Schema 2020-12
	Example json.RawMessage `json:"example"` // a body
}

// Types lists every type, in the order of a payment's life. The list is the caller's.
func Types() []Type { return slices.Clone(catalogue()) }

// Lookup finds a type by its name.
func Lookup(name string) (Type, bool) {
	for _, t := range catalogue() {
		if t.Name == name {
			return t, true
		}
	}
	return Type{}, false
}
