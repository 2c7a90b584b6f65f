package payment

import (
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

func lower(s Status) string { return strings.ToLower(string(s)) }

// applyRefund merges a fact about a refund: one that a merchant asked for, one
// that discharges an obligation, or one made outside Tollgate.
func (d *dossier) applyRefund(f provider.Fact) (effect string, refund id.ID, err error) {
	if !f.ObligationID.IsZero() || d.Status == Failed || d.Status == Canceled {
		if f.State != provider.StateSucceeded {
			return effectConfirmed, id.ID{}, nil
		}
		d.discharged = append(d.discharged, discharge{provider: d.Provider, reference: f.Reference, kind: provider.Refund})
		return effectDischarged, id.ID{}, nil
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
	if !strings.HasPrefix(f.ObjectID, attemptObject) && r.ProviderRefundID == nil {
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

// attemptObject begins the object id of a fact about an attempt that made no object.
const attemptObject = "attempt/"

// foreignRefund books a refund that was made outside Tollgate. What does not fit
// within the captured amount is kept as excess.
func (d *dossier) foreignRefund(f provider.Fact) *Refund {
	fits := max(0, min(f.Amount.Minor, d.Refundable()))
	r := &Refund{
		ID: d.newID(), TransactionID: d.ID, MerchantID: d.MerchantID, Status: RefundPending, Origin: "provider",
		Currency: d.Currency, AmountMinor: f.Amount.Minor, CountedMinor: fits, Provider: d.Provider, CreatedAt: d.now,
	}
	d.RefundReservedMinor += fits
	if over := f.Amount.Minor - fits; over > 0 {
		d.RefundExcessMinor += over
		d.ReconciliationStatus = ManualReview
	}
	d.refunds = append(d.refunds, r)
	d.announce = append(d.announce, announcement{event: EventRefundCreated, refund: r})
	return r
}

func (d *dossier) refundSucceeded(r *Refund, f provider.Fact) string {
	if r.Status != RefundPending {
		return effectConfirmed
	}
	if !d.units(f, r.AmountMinor) {
		return effectMismatch // it keeps its reservation until a human has looked
	}
	d.RefundReservedMinor -= r.CountedMinor
	d.RefundedMinor += r.CountedMinor
	r.move(RefundSucceeded)
	d.announce = append(d.announce, announcement{event: EventRefundSucceeded, refund: r})
	if d.RefundedMinor == d.CapturedMinor && d.Status.CanBecome(Refunded) {
		d.become(Refunded, EventRefunded)
	}
	return effectApplied
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
	d.RefundExcessMinor -= r.AmountMinor - r.CountedMinor
	r.fail(f.Refusal)
	r.move(to)
	d.announce = append(d.announce, announcement{event: EventRefundFailed, refund: r})
	return effectApplied
}

// beforeRefunded is the status that a failed refund gives back.
func (d *dossier) beforeRefunded() Status {
	if deref(d.PreviousStatus) == Settled {
		return Settled
	}
	return Captured
}
