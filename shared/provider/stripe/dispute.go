package stripe

import (
	"encoding/json"
	"fmt"
	"time"

	stripego "github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// maxReason bounds what is kept of a provider's words.
const maxReason = 100

// disputeStates are the statuses of disputes that have taken money:
// https://docs.stripe.com/api/disputes/object#dispute_object-status
//
// The others take none: warning_* is an inquiry, which becomes one of these if it is
// escalated; a dispute that was prevented is a refund; charge_refunded is what versions
// before this one called that.
var disputeStates = map[stripego.DisputeStatus]provider.State{
	stripego.DisputeStatusNeedsResponse: provider.StateOpen,
	stripego.DisputeStatusUnderReview:   provider.StateOpen,
	stripego.DisputeStatusWon:           provider.StateWon,
	stripego.DisputeStatusLost:          provider.StateLost,
}

var withoutMoney = map[stripego.DisputeStatus]bool{
	stripego.DisputeStatusWarningNeedsResponse: true, stripego.DisputeStatusWarningUnderReview: true,
	stripego.DisputeStatusWarningClosed: true, "prevented": true, "charge_refunded": true,
}

func decodeDispute(raw []byte) (*stripego.Dispute, error) {
	var d stripego.Dispute
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("not a dispute: %w", err)
	}
	if d.Object != "dispute" || d.ID == "" || d.Status == "" {
		return nil, fmt.Errorf("not a dispute but %.40q", d.Object)
	}
	return &d, nil
}

// disputeFacts are what a dispute proves of itself at a time. There are none when it took
// no money. It bears no metadata of ours; the PaymentIntent says whose it is.
func disputeFacts(d *stripego.Dispute, at time.Time) ([]provider.Fact, error) {
	if d.PaymentIntent == nil || withoutMoney[d.Status] {
		return nil, nil
	}
	state, known := disputeStates[d.Status]
	if !known {
		return nil, fmt.Errorf("dispute %s has the unknown status %.40q", d.ID, d.Status)
	}
	f := provider.Fact{
		Kind: provider.KindDispute, State: state, ObjectID: d.ID, Reference: d.PaymentIntent.ID, OccurredAt: at,
		Reason: wire.Clip(string(d.Reason), maxReason),
	}
	f.OpenedAt, _ = instant(d.Created)
	if state == provider.StateOpen && d.EvidenceDetails != nil {
		f.RespondBy, _ = instant(d.EvidenceDetails.DueBy)
	}
	if err := setAmount(&f, d.Amount, d.Currency); err != nil {
		return nil, fmt.Errorf("dispute %s: %w", d.ID, err)
	}
	return []provider.Fact{f}, nil
}

// readDispute reads an event of the family charge.dispute.*. All of them carry the dispute
// as it was then, so that each tells its state, in whatever order they come.
func readDispute(e *provider.Event, raw json.RawMessage, at time.Time) error {
	d, err := decodeDispute(raw)
	if err != nil {
		return err
	}
	e.ObjectID = d.ID
	if d.PaymentIntent == nil {
		return nil // of a charge without a PaymentIntent: none of ours
	}
	e.Reference = d.PaymentIntent.ID
	e.Facts, err = disputeFacts(d, at)
	return err
}

// disputes lists the disputes of one PaymentIntent and takes their facts.
func (s *search) disputes(reference string) error {
	listed, err := s.pages(func(page stripego.ListParams) error {
		return s.adapter.disputes.List(&stripego.DisputeListParams{ListParams: page, PaymentIntent: stripego.String(reference)}).Err()
	}, func(raw json.RawMessage) (string, error) {
		s.note("%s", kept.Reply(raw))
		d, err := decodeDispute(raw)
		if err != nil {
			return "", err
		}
		if d.PaymentIntent == nil || d.PaymentIntent.ID != reference {
			return "", fmt.Errorf("dispute %s is not of %s", d.ID, reference)
		}
		facts, err := disputeFacts(d, s.adapter.now())
		if err != nil {
			return "", err
		}
		for i := range facts {
			facts[i].PaymentID = s.query.PaymentID // which the PaymentIntent names
		}
		s.facts = append(s.facts, facts...)
		return d.ID, nil
	})
	s.note("disputes of %s: listed %d, complete %t", reference, listed, err == nil)
	return err
}
