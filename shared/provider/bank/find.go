package bank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// listMargin widens a listing into the past, because GoCardless stamps objects with
// its own clock.
const listMargin = 5 * time.Minute

// Find reads the present state of a payment's objects: the billing request of the
// reference, or without one every billing request since shortly before q.Since whose
// metadata names the payment; what each was fulfilled with, its events, and its refunds.
// A billing request's page can't be looked up, so an authorization that requires the
// payer's action comes without the address.
//
// Anything that could not be read, or was not what was asked for, makes the finding
// incomplete; what was read until then is still in it.
func (a *Adapter) Find(ctx context.Context, q provider.Query) provider.Finding {
	d := a.begin(ctx)
	facts, err := d.find(q)
	return provider.Finding{Complete: err == nil, Facts: facts, Evidence: d.evidence(err)}
}

func (d *dialogue) find(q provider.Query) (facts []provider.Fact, err error) {
	if q.PaymentID.IsZero() && q.Reference == "" {
		return nil, errors.New("a look-up needs the payment's id, or the reference of a billing request without one")
	}
	requests, err := d.requestsOf(q)
	if err != nil {
		return nil, err
	}
	for _, br := range requests {
		s, err := d.storyOf(br)
		if err != nil {
			return facts, err
		}
		if s.captured() && !s.read {
			if err := d.history(&s); err != nil {
				return facts, err
			}
		}
		told, err := s.facts(d.adapter.now())
		if err != nil {
			return facts, err
		}
		facts = append(facts, told...)
		if s.transfer == nil {
			continue
		}
		returned, err := d.refundsOf(s)
		facts = append(facts, returned...)
		if err != nil {
			return facts, err
		}
	}
	return facts, nil
}

func (d *dialogue) requestsOf(q provider.Query) ([]*billingRequest, error) {
	if q.Reference == "" {
		return d.search(q)
	}
	raw, t := d.get("billing_requests", q.Reference)
	if t != nil {
		return nil, t.err
	}
	br, err := decodeBillingRequest(raw)
	if err != nil {
		return nil, err
	}
	if br.ID != q.Reference || paymentOf(br.Metadata) != q.PaymentID {
		return nil, fmt.Errorf("billing request %s: %w", br.ID, errForeign)
	}
	return []*billingRequest{br}, nil
}

// search lists billing requests, which come newest first, back to the first that is
// too old: https://developer.gocardless.com/api-reference/#api-usage-cursor-pagination
func (d *dialogue) search(q provider.Query) (found []*billingRequest, err error) {
	if q.Since.IsZero() {
		return nil, errors.New("a look-up without a reference needs a time since when")
	}
	since := q.Since.Add(-listMargin)
	listed, err := d.list("billing_requests", url.Values{}, func(raw json.RawMessage) (bool, error) {
		var each struct {
			ID        string            `json:"id"`
			CreatedAt time.Time         `json:"created_at"`
			Metadata  map[string]string `json:"metadata"`
		}
		if err := json.Unmarshal(raw, &each); err != nil {
			return false, fmt.Errorf("not a billing request: %w", err)
		}
		if each.ID == "" || each.CreatedAt.IsZero() {
			return false, errors.New("a billing request without id or time")
		}
		if each.CreatedAt.Before(since) {
			return true, nil
		}
		if paymentOf(each.Metadata) != q.PaymentID {
			return false, nil // somebody else's, perhaps without a payment request
		}
		br, err := decodeBillingRequest(raw)
		if err == nil {
			d.note("billing_requests: %s", kept.Reply(raw))
			found = append(found, br)
		}
		return false, err
	})
	d.note("billing_requests created since %s: listed %d, matching %d, complete %t", since.UTC().Format(time.RFC3339), listed, len(found), err == nil)
	return found, err
}

// refundsOf lists the refunds of a transfer and takes their facts.
func (d *dialogue) refundsOf(s story) (facts []provider.Fact, err error) {
	listed, err := d.list("refunds", url.Values{"payment": {s.transfer.ID}}, func(raw json.RawMessage) (bool, error) {
		d.note("refunds: %s", kept.Reply(raw))
		re, err := decodeRefund(raw)
		if err != nil {
			return false, err
		}
		if re.Links.Payment != s.transfer.ID {
			return false, fmt.Errorf("refund %s is not of %s", re.ID, s.transfer.ID)
		}
		f, err := re.fact(s.request.ID, d.adapter.now())
		if err == nil {
			facts = append(facts, f)
		}
		return false, err
	})
	d.note("refunds of %s: listed %d, complete %t", s.transfer.ID, listed, err == nil)
	return facts, err
}
