package payment

import (
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/provider"
)

// applyDispute merges a fact about a dispute. The provider has moved the money, so it is
// booked whatever it does to the amounts: what does not fit within the money that is left
// is not counted, and is for a human to explain.
func (d *dossier) applyDispute(f provider.Fact, from string) (effect string, err error) {
	switch {
	case d.purposeless(from):
		return d.applyStrandedDispute(f, from), nil
	case d.Status == Pending || d.Status == Authorized:
		// Its capture has not been heard of yet: too early to book.
		return "", fault.New(fault.NotFound, "a dispute of payment %s arrived before its capture", d.ID)
	case f.Amount.Currency != d.Currency || f.Amount.Minor <= 0:
		return effectMismatch, nil
	}
	p := d.dispute(f.ObjectID, from)
	if p == nil {
		p = d.openDispute(f, from)
	}
	p.describe(f)
	switch f.State {
	case provider.StateWon:
		d.disputeWon(p, f)
	case provider.StateLost:
		d.disputeLost(p, f)
	}
	return effectApplied, nil
}

func (d *dossier) dispute(object, from string) *Dispute {
	for _, p := range d.disputes {
		if p.ProviderDisputeID == object && p.Provider == from {
			return p
		}
	}
	return nil
}

// openDispute books a dispute that was not known before, as open, and tells its merchant.
func (d *dossier) openDispute(f provider.Fact, from string) *Dispute {
	p := &Dispute{
		ID: d.newID(), TransactionID: d.ID, MerchantID: d.MerchantID, Status: DisputeOpen, Provider: from,
		ProviderDisputeID: f.ObjectID, Currency: d.Currency, AmountMinor: f.Amount.Minor, OpenedAt: d.timeOf(f), CreatedAt: d.now,
	}
	if !f.OpenedAt.IsZero() {
		p.OpenedAt = f.OpenedAt.Truncate(time.Microsecond)
	}
	d.disputes = append(d.disputes, p)
	d.announce = append(d.announce, announcement{event: event.DisputeOpened, dispute: p})
	d.take(p)
	d.postDisputeFee(p.ID, p.ProviderDisputeID, from)
	return p
}

// take counts what the provider took for a dispute, and books it.
func (d *dossier) take(p *Dispute) {
	d.countDispute(p)
	d.reviewDispute(p)
	d.bookDispute(p, ledger.DisputeOpened, ledger.Entries(ledger.DisputeOpened, p.AmountMinor))
	d.announce = append(d.announce, announcement{event: event.PaymentDisputed})
}

// countDispute counts as much of a dispute as fits within what was captured and is not
// refunded, being refunded, or disputed otherwise.
func (d *dossier) countDispute(p *Dispute) {
	if !p.taken() {
		return
	}
	fits := max(0, min(p.AmountMinor-p.CountedMinor, d.Refundable()))
	p.CountedMinor += fits
	d.DisputedMinor += fits
}

func (d *dossier) uncountDispute(p *Dispute) {
	d.DisputedMinor -= p.CountedMinor
	p.CountedMinor = 0
}

func (d *dossier) reviewDispute(p *Dispute) {
	if p.CountedMinor < p.AmountMinor {
		d.ReconciliationStatus = ManualReview
	}
}

func (d *dossier) disputeWon(p *Dispute, f provider.Fact) {
	entries := ledger.Entries(ledger.DisputeWon, p.AmountMinor)
	if p.Status == DisputeLost {
		entries = overturned(p.AmountMinor)
	}
	d.bookDispute(p, ledger.DisputeWon, entries)
	d.uncountDispute(p)
	p.close(DisputeWon, d.timeOf(f))
	d.announce = append(d.announce, announcement{event: event.DisputeWon, dispute: p})
	d.rebook()
}

// disputeLost ends a dispute for the payer. What is lost may be another amount than was
// taken at first: a part was given back, or more was taken.
func (d *dossier) disputeLost(p *Dispute, f provider.Fact) {
	more := f.Amount.Minor - p.AmountMinor
	if p.AmountMinor = f.Amount.Minor; p.Status == DisputeWon {
		p.move(DisputeOpen)
		d.take(p)
	} else {
		d.amendDispute(p, more)
	}
	d.bookDispute(p, ledger.DisputeLost, ledger.Entries(ledger.DisputeLost, p.AmountMinor))
	p.close(DisputeLost, d.timeOf(f))
	d.announce = append(d.announce, announcement{event: event.DisputeLost, dispute: p})
	d.rebook()
}

func (d *dossier) amendDispute(p *Dispute, more int64) {
	if more == 0 {
		return
	}
	d.uncountDispute(p)
	d.countDispute(p)
	d.reviewDispute(p)
	switch {
	case more > 0:
		d.bookDispute(p, ledger.DisputeOpened, ledger.Entries(ledger.DisputeOpened, more))
	case more < 0:
		d.bookDispute(p, ledger.DisputeWon, ledger.Entries(ledger.DisputeWon, -more))
	}
}

func (d *dossier) bookDispute(p *Dispute, kind ledger.Kind, entries []ledger.Entry) {
	d.post(ledger.Posting{Kind: kind, SubjectID: p.ID, Provider: p.Provider, ObjectID: p.ProviderDisputeID, Entries: entries})
}

// overturned gives back what was lost: nothing is contested or held back any more.
func overturned(amount int64) []ledger.Entry {
	return ledger.Move(ledger.Receivable, ledger.Payable, amount)
}

// applyStrandedDispute merges a dispute of money that serves no payment. Its payer has it
// back then, so there is nothing to refund, unless the dispute is won.
func (d *dossier) applyStrandedDispute(f provider.Fact, from string) string {
	d.bookStrandedDispute(f, from)
	held := d.held(from, &f)
	switch {
	case f.State != provider.StateWon && held <= 0:
		d.discharged = append(d.discharged, discharge{provider: from, reference: f.Reference, kind: provider.Refund})
		return effectDischarged
	case f.State == provider.StateWon && held > 0:
		d.oblige(obligation{provider: from, kind: provider.Refund, reference: f.Reference, amount: held, reason: "dispute_won"})
		return effectObligation
	}
	return effectApplied
}

// bookStrandedDispute posts such a dispute, which is at the expense of what is owed to
// payers, not to the merchant.
func (d *dossier) bookStrandedDispute(f provider.Fact, from string) {
	post := func(kind ledger.Kind, entries []ledger.Entry) {
		for i := range entries {
			if entries[i].Account == ledger.Payable {
				entries[i].Account = ledger.Obligations
			}
		}
		d.post(ledger.Posting{Kind: kind, Provider: from, Currency: f.Amount.Currency, ObjectID: f.ObjectID, Entries: entries})
	}
	was, amount := d.latest(from, provider.KindDispute, f.ObjectID).State, f.Amount.Minor
	if was == "" || was == provider.StateWon {
		post(ledger.DisputeOpened, ledger.Entries(ledger.DisputeOpened, amount))
	}
	switch {
	case f.State == provider.StateLost:
		post(ledger.DisputeLost, ledger.Entries(ledger.DisputeLost, amount))
	case f.State == provider.StateWon && was == provider.StateLost:
		post(ledger.DisputeWon, overturned(amount))
	case f.State == provider.StateWon:
		post(ledger.DisputeWon, ledger.Entries(ledger.DisputeWon, amount))
	}
}

// asDispute is the dispute that a capture which failed after all is to its merchant: one
// that nobody can contest.
func asDispute(f provider.Fact) provider.Fact {
	f.Kind, f.State, f.Reason = provider.KindDispute, provider.StateLost, "reversed"
	if f.Refusal != nil {
		f.Reason = f.Refusal.Code
	}
	return f
}
