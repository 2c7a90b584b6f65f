package payment

import (
	"strings"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

func lower(s Status) string { return strings.ToLower(string(s)) }

// applyRefund merges a fact about a refund: one that a merchant asked for, one
// that discharges an obligation, or one made outside Tollgate.
func (d *dossier) applyRefund(f provider.Fact, from string) (effect string, refund id.ID, err error) {
	if !f.ObligationID.IsZero() || d.purposeless(from) {
		return d.applyRelease(f, from), id.ID{}, nil
	}
	r := d.refund(f.RefundID)
	for i := 0; r == nil && i < len(d.refunds); i++ {
		if deref(d.refunds[i].ProviderRefundID) == f.ObjectID {
			r = d.refunds[i]
		}
	}
	if r == nil {
		if d.Status == Pending || d.Status == Authorized {
			// Its capture has not been heard of yet: too early to book.
			return "", id.ID{}, fault.New(fault.NotFound, "a refund of payment %s arrived before its capture", d.ID)
		}
		r = d.foreignRefund(f)
	}
	if !strings.HasPrefix(f.ObjectID, provider.AttemptObject) && r.ProviderRefundID == nil {
		r.ProviderRefundID = &f.ObjectID
	}
	switch f.State {
	case provider.StateSucceeded:
		return d.refundSucceeded(r, f), r.ID, nil
	case provider.StateFailed:
		return d.refundEnded(r, f, RefundFailed), r.ID, nil
	case provider.StateCanceled:
		return d.refundEnded(r, f, RefundCanceled), r.ID, nil
	}
	return effectApplied, r.ID, nil
}

// applyRelease merges a refund of money that has no purpose: on a payment that has
// ended without it. The obligation is done when all of it is back with the payer, and
// opens again when a refund that had succeeded fails after all.
func (d *dossier) applyRelease(f provider.Fact, from string) string {
	d.postRelease(f, from)
	held := d.held(from, &f)
	switch {
	case f.State == provider.StateSucceeded && held <= 0:
		d.discharged = append(d.discharged, discharge{provider: from, reference: f.Reference, kind: provider.Refund})
		return effectDischarged
	case (f.State == provider.StateFailed || f.State == provider.StateCanceled) && held > 0:
		d.oblige(obligation{provider: from, kind: provider.Refund, reference: f.Reference, amount: held, reason: "refund_" + string(f.State)})
		return effectObligation
	}
	return effectApplied
}

// held is how much of the payer's money is at a provider, by what is known of its
// objects: captured, less what refunds and disputes have given back. fresh is a fact still
// to be recorded, or nil.
func (d *dossier) held(at string, fresh *provider.Fact) int64 {
	type object struct {
		kind provider.Kind
		id   string
	}
	latest := map[object]knownFact{}
	see := func(k knownFact) {
		o := object{k.Kind, k.ObjectID}
		if old, ok := latest[o]; !ok || k.supersedes(old) {
			latest[o] = k
		}
	}
	for _, k := range d.known {
		if k.Provider == at {
			see(k)
		}
	}
	if fresh != nil {
		see(d.knownAs(*fresh, at))
	}
	var held int64
	for o, k := range latest {
		switch {
		case o.kind == provider.KindCapture && k.State == provider.StateSucceeded:
			held += k.Amount
		case o.kind == provider.KindRefund && k.State == provider.StateSucceeded:
			held -= k.Amount
		case o.kind == provider.KindDispute && k.State != provider.StateWon:
			held -= k.Amount
		}
	}
	return held
}

// foreignRefund books a refund that was made outside Tollgate. What does not fit
// within the captured amount is kept as excess.
func (d *dossier) foreignRefund(f provider.Fact) *Refund {
	r := &Refund{
		ID: d.newID(), TransactionID: d.ID, MerchantID: d.MerchantID, Status: RefundPending, Origin: "provider",
		Currency: d.Currency, AmountMinor: f.Amount.Minor, Provider: d.Provider, CreatedAt: d.now,
	}
	d.reserve(r)
	d.refunds = append(d.refunds, r)
	d.announce = append(d.announce, announcement{event: event.RefundCreated, refund: r})
	return r
}

// reserve counts a refund that the provider reports, whether or not there is room for
// it: what does not fit is kept as excess, for a human to explain.
func (d *dossier) reserve(r *Refund) {
	r.CountedMinor = max(0, min(r.AmountMinor, d.Refundable()))
	d.RefundReservedMinor += r.CountedMinor
	if over := r.AmountMinor - r.CountedMinor; over > 0 {
		d.RefundExcessMinor += over
		d.ReconciliationStatus = ManualReview
	}
}

func (d *dossier) refundSucceeded(r *Refund, f provider.Fact) string {
	if r.Status == RefundSucceeded {
		return effectConfirmed
	}
	d.postRefund(r, f, d.Provider)
	if !d.units(f, r.AmountMinor) {
		return effectMismatch // what is reserved stays so until a human has looked
	}
	if r.Status != RefundPending {
		// It was held to have failed, and the money has moved all the same.
		d.reserve(r)
		d.ReconciliationStatus = ManualReview
		r.FailureCode, r.FailureMessage, r.FailureProviderCode = nil, nil, nil
	}
	d.RefundReservedMinor -= r.CountedMinor
	d.RefundedMinor += r.CountedMinor
	r.move(RefundSucceeded)
	d.announce = append(d.announce, announcement{event: event.RefundSucceeded, refund: r})
	d.refundedInFull()
	return effectApplied
}

func (d *dossier) refundedInFull() {
	if d.CapturedMinor > 0 && d.RefundedMinor == d.CapturedMinor && d.Status.CanBecome(Refunded) {
		d.become(Refunded, event.PaymentRefunded)
	}
}

// refundEnded takes a refund back: one that was refused, or one that the provider
// proves to have failed after it had succeeded.
func (d *dossier) refundEnded(r *Refund, f provider.Fact, to RefundStatus) string {
	switch r.Status {
	case RefundPending:
		d.RefundReservedMinor -= r.CountedMinor
	case RefundSucceeded:
		d.RefundedMinor -= r.CountedMinor
		if d.Status == Refunded {
			d.move(d.beforeRefunded())
		}
	default:
		return effectConfirmed
	}
	d.postRefundFailed(r, f, d.Provider)
	d.RefundExcessMinor -= r.AmountMinor - r.CountedMinor
	r.fail(f.Refusal)
	r.move(to)
	d.announce = append(d.announce, announcement{event: event.RefundFailed, refund: r})
	d.rebook()
	return effectApplied
}

// rebook counts what had no room before, when there is room again.
func (d *dossier) rebook() {
	for _, p := range d.disputes {
		d.countDispute(p)
	}
	for _, r := range d.refunds {
		over := r.AmountMinor - r.CountedMinor
		if over <= 0 || r.Status != RefundSucceeded && r.Status != RefundPending {
			continue
		}
		fits := max(0, min(over, d.Refundable()))
		r.CountedMinor += fits
		d.RefundExcessMinor -= fits
		if r.Status == RefundSucceeded {
			d.RefundedMinor += fits
		} else {
			d.RefundReservedMinor += fits
		}
	}
	d.refundedInFull()
}

// beforeRefunded is the status that a failed refund gives back.
func (d *dossier) beforeRefunded() Status {
	if deref(d.PreviousStatus) == Settled {
		return Settled
	}
	return Captured
}
