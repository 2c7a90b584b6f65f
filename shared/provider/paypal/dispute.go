package paypal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// maxReason bounds what is kept of PayPal's words.
const maxReason = 100

// dispute is what counts of one:
// https://developer.paypal.com/docs/api/customer-disputes/v1/#disputes_get
type dispute struct {
	ID           string `json:"dispute_id"`
	Status       string `json:"status"`
	Stage        string `json:"dispute_life_cycle_stage"`
	Reason       string `json:"reason"`
	Amount       amount `json:"dispute_amount"`
	CreateTime   string `json:"create_time"`
	UpdateTime   string `json:"update_time"`
	RespondBy    string `json:"seller_response_due_date"`
	Transactions []struct {
		Capture string `json:"seller_transaction_id"`
		Custom  string `json:"custom"`
	} `json:"disputed_transactions"`
	Outcome struct {
		Code string `json:"outcome_code"`
	} `json:"dispute_outcome"`
	Movements []struct {
		Party  string `json:"affected_party"`
		Type   string `json:"type"`
		Reason string `json:"reason"`
		Amount amount `json:"amount"`
	} `json:"money_movements"`
}

func decodeDispute(raw []byte) (*dispute, error) {
	var d dispute
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("not a dispute: %w", err)
	}
	if d.ID == "" || d.Status == "" {
		return nil, errors.New("not a dispute with an id and a status")
	}
	return &d, nil
}

// outcomes are the ends of a case, as the seller sees them. PayPal's protection of a seller
// (RESOLVED_WITH_PAYOUT) pays the buyer and leaves the seller the money.
var outcomes = map[string]provider.State{
	"RESOLVED_BUYER_FAVOUR": provider.StateLost, "ACCEPTED": provider.StateLost,
	"RESOLVED_SELLER_FAVOUR": provider.StateWon, "RESOLVED_WITH_PAYOUT": provider.StateWon, "CANCELED_BY_BUYER": provider.StateWon,
	"DENIED": provider.StateWon, "NONE": provider.StateWon,
}

// facts are what a dispute proves of itself. There are none of an inquiry, which is between
// the buyer and the seller: it takes no money, and what the seller gives back is a refund.
func (d *dispute) facts(reference string, now time.Time) ([]provider.Fact, error) {
	if d.Stage == "INQUIRY" {
		return nil, nil
	}
	f := provider.Fact{
		Kind: provider.KindDispute, State: provider.StateOpen, ObjectID: d.ID, Reference: reference,
		OccurredAt: timeOf(d.UpdateTime, d.CreateTime, now), Reason: wire.Clip(d.Reason, maxReason), OpenedAt: instant(d.CreateTime),
	}
	sum := d.Amount
	if d.Status == "RESOLVED" {
		var known bool
		if f.State, known = outcomes[d.Outcome.Code]; !known {
			return nil, fmt.Errorf("dispute %s has the unknown outcome %.40q", d.ID, d.Outcome.Code)
		}
		if debited, ok := d.debited(); ok && f.State == provider.StateLost {
			sum = debited
		}
	} else {
		f.RespondBy = instant(d.RespondBy)
	}
	if err := setAmount(&f, sum); err != nil {
		return nil, fmt.Errorf("dispute %s: %w", d.ID, err)
	}
	return []provider.Fact{f}, nil
}

// debited is what the decision took from the seller, which may be a part of what was
// disputed. Fees are none of it.
func (d *dispute) debited() (amount, bool) {
	for _, m := range d.Movements {
		if m.Party == "SELLER" && m.Type == "DEBIT" && m.Reason == "DISPUTE_SETTLEMENT" {
			return m.Amount, true
		}
	}
	return amount{}, false
}

// readDispute reads an event about a dispute. It names the capture, by whose fact the
// payment is known.
func readDispute(e *provider.Event, raw json.RawMessage, at time.Time) error {
	d, err := decodeDispute(raw)
	if err != nil {
		return err
	}
	e.ObjectID = d.ID
	if len(d.Transactions) == 0 {
		return nil
	}
	e.Reference = d.Transactions[0].Capture
	e.PaymentID, _, _ = parseCustomID(d.Transactions[0].Custom)
	e.Facts, err = d.facts("", at)
	for i := range e.Facts {
		e.Facts[i].PaymentID = e.PaymentID
	}
	return err
}

// disputes are the facts of the disputes of a capture.
func (r *run) disputes(capture string) (facts []provider.Fact, err error) {
	x := r.get("/v1/customer/disputes?page_size=50&disputed_transaction_id=" + url.QueryEscape(capture))
	if x.Answered() && x.Status == http.StatusForbidden {
		// An app sees disputes only if that feature is switched on for it. If it is not,
		// they show in the report of the account alone.
		r.seen = append(r.seen, "disputes are not shown to this app")
		return nil, nil
	}
	if err := x.Failed(); err != nil {
		return nil, err
	}
	var list struct {
		Items *[]struct {
			ID string `json:"dispute_id"`
		} `json:"items"`
		Links []link `json:"links"`
	}
	if err := json.Unmarshal(x.Body, &list); err != nil {
		return nil, fmt.Errorf("not a list of disputes: %w", err)
	}
	for _, l := range list.Links {
		if l.Rel == "next" {
			return nil, errors.New("the list of a capture's disputes has more than one page")
		}
	}
	if list.Items == nil {
		return nil, errors.New("not a list of disputes: it has no items")
	}
	for _, item := range *list.Items {
		told, err := r.dispute(item.ID, capture)
		if err != nil {
			return nil, err
		}
		facts = append(facts, told...)
	}
	return facts, nil
}

func (r *run) dispute(id, capture string) ([]provider.Fact, error) {
	x := r.get("/v1/customer/disputes/" + url.PathEscape(id))
	if err := x.Failed(); err != nil {
		return nil, err
	}
	d, err := decodeDispute(x.Body)
	if err != nil {
		return nil, err
	}
	if d.ID != id || len(d.Transactions) == 0 || d.Transactions[0].Capture != capture {
		return nil, fmt.Errorf("dispute %.40s is not of capture %s", d.ID, capture)
	}
	facts, err := d.facts(r.reference(), r.adapter.now())
	for i := range facts {
		facts[i].PaymentID = r.job.Request.PaymentID // which the order names
	}
	return facts, err
}
