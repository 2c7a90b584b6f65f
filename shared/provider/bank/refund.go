package bank

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// refund gives money back. GoCardless wants to hear how much of the payment will have
// been refunded in total, so the payment is read first; and a replay looks whether the
// refund is there already.
func (d *dialogue) refund(o order) verdict {
	p, v := d.refundable(o)
	if v != nil {
		return *v
	}
	if !d.first {
		// An earlier try that went through has changed the total. To confirm the new one
		// would take GoCardless's own guard against a second refund away, and leave the key
		// alone to prevent it.
		made, err := d.refundMade(o, p)
		if err != nil {
			return unknown(o.Reference, err)
		}
		if made != nil {
			d.replayed = true
			return d.refunded(o, p, made)
		}
	}
	raw, t := d.create("refunds", o.key, o.refundOf(p))
	if t != nil {
		return d.judge(o, t)
	}
	re, err := decodeRefund(raw)
	if err != nil {
		return unknown(o.Reference, err)
	}
	return d.refunded(o, p, re)
}

// refundMade finds the order's refund among those of the transfer; nil if there is none.
func (d *dialogue) refundMade(o order, p *transfer) (found *refundObject, err error) {
	sent := o.refundMetadata()
	listed, err := d.list("refunds", url.Values{"payment": {p.ID}}, func(raw json.RawMessage) (bool, error) {
		re, err := decodeRefund(raw)
		if err != nil {
			return false, err
		}
		if re.Metadata[metaRefund] == sent[metaRefund] && re.Metadata[metaObligation] == sent[metaObligation] {
			d.note("refunds: %s", kept.Reply(raw))
			found = re
		}
		return found != nil, nil
	})
	d.note("refunds of %s: listed %d, ours among them %t, complete %t", p.ID, listed, found != nil, err == nil)
	return found, err
}

// refunded judges a refund that GoCardless shows.
func (d *dialogue) refunded(o order, p *transfer, re *refundObject) verdict {
	if err := o.echoedByRefund(re, p.ID); err != nil {
		return unknown(o.Reference, err)
	}
	f, err := re.fact(o.Reference, d.adapter.now())
	if err != nil {
		return unknown(o.Reference, err)
	}
	made := verdict{outcome: provider.Pending, facts: []provider.Fact{f}, refusal: f.Refusal, reference: o.Reference}
	switch f.State {
	case provider.StateSucceeded:
		made.outcome = provider.Approved
	case provider.StateFailed, provider.StateCanceled:
		made.outcome = provider.Declined
	}
	return made
}

// refundable reads the transfer of an order's billing request. It moves nothing, so
// that what goes wrong here leaves a first call undone.
func (d *dialogue) refundable(o order) (*transfer, *verdict) {
	stop := func(v verdict) (*transfer, *verdict) { return nil, &v }
	raw, t := d.get("billing_requests", o.Reference)
	if t != nil {
		return stop(d.judgeReading(o, t))
	}
	br, err := decodeBillingRequest(raw)
	if err == nil {
		_, err = o.echoedBy(br)
	}
	if err != nil {
		return stop(d.judgeReading(o, &trouble{err: err}))
	}
	if br.Links.Payment == "" {
		if !d.first {
			return stop(unknown(o.Reference, fmt.Errorf("billing request %s has no payment", br.ID)))
		}
		return stop(verdict{
			outcome: provider.Declined, refusal: &nothingToRefund, reference: br.ID,
			facts: attemptFacts(o, &nothingToRefund, d.adapter.now()),
		})
	}
	p, t := d.transferOf(br)
	if t != nil {
		return stop(d.judgeReading(o, t))
	}
	return p, nil
}

// refundObject is GoCardless's refund: https://developer.gocardless.com/api-reference/#core-endpoints-refunds
type refundObject struct {
	ID       string            `json:"id"`
	Status   string            `json:"status"`
	Amount   int64             `json:"amount"`
	Currency string            `json:"currency"`
	Metadata map[string]string `json:"metadata"`
	Links    struct {
		Payment string `json:"payment"`
	} `json:"links"`
}

func decodeRefund(raw json.RawMessage) (*refundObject, error) {
	var re refundObject
	if err := json.Unmarshal(raw, &re); err != nil {
		return nil, fmt.Errorf("not a refund: %w", err)
	}
	if re.ID == "" || re.Status == "" || re.Links.Payment == "" {
		return nil, fmt.Errorf("not a refund of a payment: %.40q", re.ID)
	}
	return &re, nil
}

func (o order) echoedByRefund(re *refundObject, payment string) error {
	sent := o.refundMetadata()
	for _, name := range []string{metaPayment, metaRefund, metaObligation} {
		if re.Metadata[name] != sent[name] {
			return fmt.Errorf("echo: refund %s: %w", re.ID, errForeign)
		}
	}
	if re.Links.Payment != payment {
		return fmt.Errorf("echo: refund %s is not of %s", re.ID, payment)
	}
	if re.Amount != o.units || re.Currency != o.currency {
		return fmt.Errorf("echo: refund of %d %.8q, sent %d %q", re.Amount, re.Currency, o.units, o.currency)
	}
	return nil
}

// refundStates is GoCardless's list of statuses.
var refundStates = map[string]provider.State{
	"created": provider.StatePending, "pending_submission": provider.StatePending, "submitted": provider.StatePending,
	"paid": provider.StateSucceeded, "cancelled": provider.StateCanceled,
	"bounced": provider.StateFailed, "failed": provider.StateFailed, "funds_returned": provider.StateFailed,
}

// fact is what a refund proves of itself.
func (re *refundObject) fact(reference string, at time.Time) (provider.Fact, error) {
	state, ok := refundStates[re.Status]
	if !ok {
		return provider.Fact{}, fmt.Errorf("refund %s has the unknown status %.40q", re.ID, re.Status)
	}
	f := provider.Fact{
		Kind: provider.KindRefund, State: state, ObjectID: re.ID, Reference: reference, PaymentID: paymentOf(re.Metadata), OccurredAt: at,
	}
	// What is not ours to parse is not ours: the zero ID.
	f.RefundID, _ = id.Refund.Parse(re.Metadata[metaRefund])
	f.ObligationID, _ = id.Parse(re.Metadata[metaObligation])
	switch state {
	case provider.StateFailed:
		f.Refusal = &refundFailed
	case provider.StateCanceled:
		f.Refusal = &refundCanceled
	}
	if err := setAmount(&f, re.Amount, re.Currency); err != nil {
		return f, fmt.Errorf("refund %s: %w", re.ID, err)
	}
	return f, nil
}
