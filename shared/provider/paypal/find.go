package paypal

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// Find reads the present state of the order of the reference, with its authorizations,
// captures and refunds, and the disputes of what was captured. Reading an order is
// strongly consistent.
//
// Without a reference there is nothing to read, and nothing to find: see the package
// comment. An order that PayPal knows no more is found as nothing too, for PayPal forgets
// those that were never authorized; but only while the payment is younger than any key
// window. How long PayPal remembers the others is not documented, and by then its silence
// could be taken for the absence of a refund.
func (a *Adapter) Find(ctx context.Context, q provider.Query) provider.Finding {
	if q.PaymentID.IsZero() && q.Reference == "" {
		return provider.Finding{Evidence: provider.Evidence{Error: "a look-up needs the payment's id, or the reference of an order without one"}}
	}
	if q.Reference == "" {
		return provider.Finding{Complete: true, Evidence: provider.Evidence{
			Body: "no order of this payment was ever made known, so none can be approved or authorized",
		}}
	}
	j := job{Attempt: provider.Attempt{Request: provider.Request{PaymentID: q.PaymentID, Reference: q.Reference}}}
	r := &run{adapter: a, ctx: ctx, job: j}
	began := a.now()
	facts, err := r.find(q)
	return provider.Finding{Complete: err == nil, Facts: facts, Evidence: r.evidence(err, a.now().Sub(began))}
}

func (r *run) find(q provider.Query) ([]provider.Fact, error) {
	x := r.get("/v2/checkout/orders/" + r.reference())
	if gone(x) && r.adapter.now().Before(q.Since.Add(paymentsKeyWindow)) {
		return nil, nil
	}
	if err := x.Failed(); err != nil {
		return nil, err
	}
	o, err := decodeOrder(x.Body)
	if err != nil {
		return nil, err
	}
	payment, _, _ := parseCustomID(o.unit().CustomID)
	if o.ID != r.reference() || payment != q.PaymentID || !payment.IsZero() && o.unit().CustomID != r.job.name() {
		return nil, fmt.Errorf("order %.40s: %w", o.ID, errForeign)
	}
	facts, err := o.facts(r.adapter.now())
	if err != nil {
		return nil, err
	}
	if err := sameCurrency(facts); err != nil {
		return nil, err
	}
	if c := o.capture(); c != nil && !failedCapture(c) && c.Status != "PENDING" {
		told, err := r.disputes(c.ID)
		return append(facts, told...), err
	}
	return facts, nil
}

func sameCurrency(facts []provider.Fact) error {
	var c money.Currency
	for i, f := range facts {
		if i > 0 && f.Amount.Currency != c {
			return errors.New("the order's payments are in several currencies")
		}
		c = f.Amount.Currency
	}
	return nil
}
