package payment

import (
	"slices"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/provider"
)

// post lets the ledger have what a fact moved, with all that the fact changes and in the
// same transaction. It fills in whose it is: who calls it says what happened, with the
// entries, and where. The whole amount that moved is posted, within the payment's bounds
// or not: the ledger has to agree with the provider's account, and tells of the excess.
func (d *dossier) post(p ledger.Posting) {
	if len(p.Entries) == 0 {
		return
	}
	p.ID, p.MerchantID, p.PaymentID, p.At = d.newID(), d.MerchantID, d.ID, d.now
	if p.Provider == "" {
		p.Provider = d.Provider
	}
	if p.Currency.IsZero() {
		p.Currency = d.Currency
	}
	d.postings = append(d.postings, p)
}

// moved posts the fact's amount by the rules of a kind.
func (d *dossier) moved(k ledger.Kind, subject id.ID, f provider.Fact, from string) {
	d.post(ledger.Posting{
		Kind: k, SubjectID: subject, Provider: from, Currency: f.Amount.Currency, ObjectID: f.ObjectID,
		Entries: ledger.Entries(k, f.Amount.Minor),
	})
}

// postCapture posts a capture that serves the payment, and what it costs the merchant.
func (d *dossier) postCapture(f provider.Fact, from string) {
	d.moved(ledger.Capture, id.ID{}, f, from)
	fee, err := d.schedules[from].Fee(f.Amount.Minor)
	if err != nil {
		d.ReconciliationStatus = ManualReview // an amount that nothing can be computed of
		return
	}
	d.post(ledger.Posting{
		Kind: ledger.Fee, Provider: from, Currency: f.Amount.Currency, ObjectID: f.ObjectID, Entries: ledger.Entries(ledger.Fee, fee),
	})
}

// postRefund posts a refund of the payment, and the part of the fees that it gives back.
func (d *dossier) postRefund(r *Refund, f provider.Fact, from string) {
	d.moved(ledger.Refund, r.ID, f, from)
	at := func(kinds ...ledger.Kind) func(ledger.Posting) bool {
		return func(p ledger.Posting) bool { return p.Provider == from && slices.Contains(kinds, p.Kind) }
	}
	fees := d.posted(ledger.Payable, func(p ledger.Posting) bool { return at(ledger.Fee)(p) && p.SubjectID.IsZero() })
	returned := -d.posted(ledger.Payable, at(ledger.FeeReturned))
	refunded := -d.posted(ledger.Receivable, at(ledger.Refund, ledger.RefundFailed))
	due, err := d.schedules[from].Returned(fees, refunded, d.posted(ledger.Receivable, at(ledger.Capture)))
	if err != nil {
		d.ReconciliationStatus = ManualReview
		return
	}
	d.post(ledger.Posting{
		Kind: ledger.FeeReturned, SubjectID: r.ID, Provider: from, Currency: f.Amount.Currency, ObjectID: f.ObjectID,
		Entries: ledger.Entries(ledger.FeeReturned, max(0, due-returned)),
	})
}

// postRefundFailed takes back what was posted of a refund, and what it gave back of the
// fees. There is nothing to take back of one that never succeeded.
func (d *dossier) postRefundFailed(r *Refund, f provider.Fact, from string) {
	of := func(kinds ...ledger.Kind) func(ledger.Posting) bool {
		return func(p ledger.Posting) bool { return p.SubjectID == r.ID && slices.Contains(kinds, p.Kind) }
	}
	back := ledger.Posting{Kind: ledger.RefundFailed, SubjectID: r.ID, Provider: from, Currency: f.Amount.Currency, ObjectID: f.ObjectID}
	back.Entries = ledger.Entries(back.Kind, d.posted(ledger.Payable, of(ledger.Refund, ledger.RefundFailed)))
	d.post(back)
	back.Kind = ledger.FeeReturned
	back.Entries = ledger.Entries(back.Kind, d.posted(ledger.Payable, of(ledger.FeeReturned)))
	d.post(back)
}

// postRelease posts a refund of money that has no purpose, or that such a refund, which
// had succeeded, has failed after all.
func (d *dossier) postRelease(f provider.Fact, from string) {
	switch f.State {
	case provider.StateSucceeded:
		d.moved(ledger.ObligationRefund, f.ObligationID, f, from)
	case provider.StateFailed, provider.StateCanceled:
		given := d.posted(ledger.Obligations, func(p ledger.Posting) bool { return p.Provider == from && p.ObjectID == f.ObjectID })
		d.post(ledger.Posting{
			Kind: ledger.ObligationRefundFailed, SubjectID: f.ObligationID, Provider: from, Currency: f.Amount.Currency, ObjectID: f.ObjectID,
			Entries: ledger.Entries(ledger.ObligationRefundFailed, given),
		})
	}
}

// postDisputeFee posts what a dispute costs the merchant, whoever wins it.
func (d *dossier) postDisputeFee(dispute id.ID, object, from string) {
	d.post(ledger.Posting{
		Kind: ledger.Fee, SubjectID: dispute, Provider: from, ObjectID: object,
		Entries: ledger.Entries(ledger.Fee, d.schedules[from].DisputeFeeMinor),
	})
}

// posted is what the payment's postings so far, these among them, debit an account in
// sum, less what they credit it.
func (d *dossier) posted(a ledger.Account, these func(ledger.Posting) bool) int64 {
	var sum int64
	for _, p := range slices.Concat(d.past, d.postings) {
		if these(p) {
			sum += p.On(a)
		}
	}
	return sum
}
