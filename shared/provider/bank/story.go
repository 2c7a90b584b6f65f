package bank

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// The statuses of a billing request.
const (
	pending       = "pending"
	readyToFulfil = "ready_to_fulfil"
	fulfilling    = "fulfilling"
	fulfilled     = "fulfilled"
	cancelled     = "cancelled"
)

// billingRequest is what counts of one:
// https://developer.gocardless.com/api-reference/#billing-requests-billing-requests
type billingRequest struct {
	ID             string            `json:"id"`
	CreatedAt      time.Time         `json:"created_at"`
	Status         string            `json:"status"`
	Metadata       map[string]string `json:"metadata"`
	PaymentRequest *struct {
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	} `json:"payment_request"`
	Links struct {
		Payment string `json:"payment_request_payment"`
	} `json:"links"`
}

func decodeBillingRequest(raw json.RawMessage) (*billingRequest, error) {
	var br billingRequest
	if err := json.Unmarshal(raw, &br); err != nil {
		return nil, fmt.Errorf("not a billing request: %w", err)
	}
	if br.ID == "" || br.Status == "" || br.PaymentRequest == nil {
		return nil, fmt.Errorf("not a billing request with a payment request: %.40q", br.ID)
	}
	return &br, nil
}

// open says that the payer is still to authorize.
func (br *billingRequest) open() bool { return br.Status == pending || br.Status == readyToFulfil }

// transfer is GoCardless's payment: https://developer.gocardless.com/api-reference/#core-endpoints-payments
type transfer struct {
	ID       string            `json:"id"`
	Status   string            `json:"status"`
	Amount   int64             `json:"amount"`
	Refunded int64             `json:"amount_refunded"`
	Currency string            `json:"currency"`
	Metadata map[string]string `json:"metadata"`
}

// transferOf retrieves the payment that a billing request was fulfilled with.
func (d *dialogue) transferOf(br *billingRequest) (*transfer, *trouble) {
	raw, t := d.get("payments", br.Links.Payment)
	if t != nil {
		return nil, t
	}
	var p transfer
	err := json.Unmarshal(raw, &p)
	switch {
	case err != nil:
		err = fmt.Errorf("not a payment: %w", err)
	case p.ID != br.Links.Payment || p.Status == "":
		err = fmt.Errorf("not payment %.40q but %.40q", br.Links.Payment, p.ID)
	case p.Metadata[metaPayment] != "" && p.Metadata[metaPayment] != br.Metadata[metaPayment]:
		err = fmt.Errorf("payment %s: %w", p.ID, errForeign)
	case p.Amount != br.PaymentRequest.Amount || p.Currency != br.PaymentRequest.Currency:
		err = fmt.Errorf("echo: payment %s of %d %.8q, billing request of %d %.8q", p.ID, p.Amount, p.Currency, br.PaymentRequest.Amount, br.PaymentRequest.Currency)
	case p.Refunded < 0:
		err = fmt.Errorf("payment %s refunded %d", p.ID, p.Refunded)
	}
	if err != nil {
		return nil, &trouble{err: err}
	}
	return &p, nil
}

// story is a billing request and what became of it.
type story struct {
	request  *billingRequest
	transfer *transfer // nil until it is fulfilled

	// What only the events of the transfer tell, once they are read.
	read       bool
	taken      bool   // it had been confirmed
	cause      string // why it failed
	chargeback chargeback
}

// chargeback is what became of one. A bank takes the money back at once; nobody can
// contest that, but the bank may cancel it.
type chargeback struct {
	state      provider.State // lost, or won when it was cancelled; empty: there is none
	reason     string
	opened, at time.Time
}

// learn takes an event of the transfer, of which the newest comes first.
func (c *chargeback) learn(e event) {
	state := provider.StateWon
	if e.Action == "charged_back" {
		state = provider.StateLost
		if c.opened.IsZero() {
			c.reason, c.opened = wire.Clip(e.Details.Cause, maxReason), e.CreatedAt.UTC()
		}
	}
	if c.state == "" {
		c.state, c.at = state, e.CreatedAt.UTC()
	}
}

// maxReason bounds what is kept of GoCardless's words.
const maxReason = 100

// storyOf reads what belongs to a billing request.
func (d *dialogue) storyOf(br *billingRequest) (story, error) {
	s := story{request: br}
	if br.Status != fulfilled {
		return s, nil
	}
	if br.Links.Payment == "" {
		return s, fmt.Errorf("billing request %s is fulfilled but names no payment", br.ID)
	}
	var t *trouble
	if s.transfer, t = d.transferOf(br); t != nil {
		return s, t.err
	}
	if s.transfer.Status == "failed" || s.transfer.Status == "charged_back" {
		return s, d.history(&s)
	}
	return s, nil
}

// history reads the events of a transfer: why it failed, whether it had been confirmed
// before, and what became of a chargeback, which its status forgets when it is cancelled.
func (d *dialogue) history(s *story) error {
	s.read, s.taken = true, s.transfer.Status == "charged_back"
	failed := false
	listed, err := d.list("events", url.Values{"payment": {s.transfer.ID}, "resource_type": {"payments"}}, func(raw json.RawMessage) (bool, error) {
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			return false, fmt.Errorf("not an event: %w", err)
		}
		switch e.Action {
		case "confirmed", "paid_out":
			s.taken = true
		case "failed":
			failed = true
			if s.cause == "" { // the newest comes first
				s.cause = e.Details.Cause
			}
		case "charged_back", "chargeback_cancelled":
			s.chargeback.learn(e)
		}
		return false, nil
	})
	d.note("events of %s: listed %d, confirmed before %t, cause %.60q, chargeback %q %.60q", s.transfer.ID, listed, s.taken, s.cause,
		s.chargeback.state, s.chargeback.reason)
	silent := s.transfer.Status == "failed" && !failed || s.transfer.Status == "charged_back" && s.chargeback.state == ""
	if err == nil && silent {
		err = fmt.Errorf("payment %s is %s, but no event of it says so", s.transfer.ID, s.transfer.Status)
	}
	return err
}

// over says that nothing was taken and nothing will be.
func (s story) over() bool {
	if s.request.Status == cancelled {
		return true
	}
	if s.transfer == nil {
		return false
	}
	switch s.transfer.Status {
	case "failed":
		return !s.taken
	case "cancelled", "customer_approval_denied":
		return true
	}
	return false
}

// outcome is what the story says of the authorize that began it.
func (s story) outcome() provider.Outcome {
	switch {
	case s.over():
		return provider.Declined
	case s.captured():
		return provider.Approved
	case s.request.open():
		return provider.RequiresAction
	}
	return provider.Pending
}

// captured says that the money was there, perhaps to be lost again.
func (s story) captured() bool {
	return s.transfer != nil && (s.transfer.Status == "confirmed" || s.transfer.Status == "paid_out" || s.taken)
}

// transferStates are what a payment's status says of the authorization.
// https://developer.gocardless.com/api-reference/#core-endpoints-payments
var transferStates = map[string]provider.State{
	"pending_customer_approval": provider.StateApproved, "pending_submission": provider.StateApproved, "submitted": provider.StateApproved,
	"confirmed": provider.StateAuthorized, "paid_out": provider.StateAuthorized, "charged_back": provider.StateAuthorized,
	"failed": provider.StateFailed, "customer_approval_denied": provider.StateFailed, "cancelled": provider.StateCanceled,
}

// facts are what the story proves: the state of the authorization, of the capture if the
// money was ever there, and of a chargeback. A capture that failed after all is two facts.
func (s story) facts(at time.Time) ([]provider.Fact, error) {
	f, err := authorizationFact(s.request, at)
	if err != nil || s.transfer == nil {
		return []provider.Fact{f}, err
	}
	var known bool
	if f.State, known = transferStates[s.transfer.Status]; !known {
		return nil, fmt.Errorf("payment %s has the unknown status %.40q", s.transfer.ID, s.transfer.Status)
	}
	if !s.captured() {
		switch s.transfer.Status {
		case "failed":
			f.Refusal = failure(s.cause)
		case "customer_approval_denied":
			f.Refusal = failure(s.transfer.Status)
		}
		return []provider.Fact{f}, nil
	}
	f.State = provider.StateAuthorized
	c := f
	c.Kind, c.State, c.ObjectID = provider.KindCapture, provider.StateSucceeded, s.transfer.ID
	facts := []provider.Fact{f, c}
	if s.transfer.Status == "failed" {
		c.State, c.Refusal = provider.StateFailed, failure(s.cause)
		return append(facts, c), nil
	}
	if b := s.chargeback; b.state != "" {
		// It has no object of its own: the transfer's name, which has one at most.
		c.Kind, c.State, c.Reason, c.OpenedAt, c.OccurredAt = provider.KindDispute, b.state, b.reason, b.opened, b.at
		facts = append(facts, c)
	}
	return facts, nil
}

var requestStates = map[string]provider.State{
	pending: provider.StateRequiresAction, readyToFulfil: provider.StateRequiresAction, fulfilling: provider.StateApproved,
	fulfilled: provider.StateApproved, cancelled: provider.StateCanceled,
}

// authorizationFact is what a billing request alone proves.
func authorizationFact(br *billingRequest, at time.Time) (provider.Fact, error) {
	f := provider.Fact{
		Kind: provider.KindAuthorization, State: requestStates[br.Status], ObjectID: br.ID, Reference: br.ID,
		PaymentID: paymentOf(br.Metadata), OccurredAt: at,
	}
	if f.State == "" {
		return f, fmt.Errorf("billing request %s has the unknown status %.40q", br.ID, br.Status)
	}
	if err := setAmount(&f, br.PaymentRequest.Amount, br.PaymentRequest.Currency); err != nil {
		return f, fmt.Errorf("billing request %s: %w", br.ID, err)
	}
	return f, nil
}

// attemptFacts state a refusal that left no object at GoCardless, under a name of our
// own. A void that is refused changes nothing, so there are none.
func attemptFacts(o order, refusal *provider.Refusal, at time.Time) []provider.Fact {
	kinds := map[provider.Step]provider.Kind{provider.Authorize: provider.KindAuthorization, provider.Refund: provider.KindRefund}
	if kinds[o.Step] == "" {
		return nil
	}
	return []provider.Fact{{
		Kind: kinds[o.Step], State: provider.StateFailed, ObjectID: "attempt/" + o.key, Reference: o.Reference,
		PaymentID: o.PaymentID, RefundID: o.RefundID, ObligationID: o.ObligationID,
		Amount: o.Amount, Units: o.units, UnitCurrency: o.currency,
		Refusal: refusal, OccurredAt: at,
	}}
}

func setAmount(f *provider.Fact, units int64, currency string) error {
	amount, err := amountOf(units, currency)
	if err != nil {
		return err
	}
	f.Amount, f.Units, f.UnitCurrency = amount, units, currency
	return nil
}

// paymentOf reads our id out of an object's metadata; zero if it is not there.
func paymentOf(metadata map[string]string) id.ID {
	u, err := id.Payment.Parse(metadata[metaPayment])
	if err != nil {
		return id.ID{}
	}
	return u
}
