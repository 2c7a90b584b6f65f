package payment

import (
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/provider"
)

func (d *dossier) applyCapture(f provider.Fact, from string) (effect string, err error) {
	switch {
	case f.State == provider.StateFailed && d.counted(f, from):
		return d.applyReversal(f, from)
	case f.State != provider.StateSucceeded:
		return effectConfirmed, nil
	case d.purposeless(from):
		d.oblige(obligation{provider: from, kind: provider.Refund, reference: f.Reference, amount: f.Amount.Minor, reason: d.lost("captured", from)})
		d.supersedeVoid(from, f.Reference)
		d.moved(ledger.Obligation, id.ID{}, f, from)
		return effectObligation, nil
	}
	d.learn(f)
	d.postCapture(f, from)
	if d.AuthorizedMinor == 0 {
		d.AuthorizedMinor = d.AmountMinor // a capture proves its authorization
	}
	effect = effectApplied
	if s := d.exclusive(); s != nil && (s.Kind == provider.Capture || s.Kind == provider.Authorize) && !d.units(f, s.AmountMinor) {
		effect = effectMismatch // recorded all the same: the money has moved
	}
	// Facts are recorded even where they break the bounds: what is beyond them is
	// kept apart, for reconciliation to explain.
	within := min(f.Amount.Minor, d.AuthorizedMinor-d.CapturedMinor)
	d.CapturedMinor += within
	if over := f.Amount.Minor - within; over > 0 {
		d.CaptureExcessMinor += over
		effect = effectMismatch
	}
	if d.Status == Pending || d.Status == Authorized {
		if d.oldPayment.Status == Pending && d.Status == Authorized {
			d.unannounce(event.PaymentAuthorized) // one version, one announcement: the capture
			pending := Pending
			d.move(Captured)
			d.PreviousStatus = &pending
			d.announce = append(d.announce, announcement{event: event.PaymentCaptured})
		} else {
			d.become(Captured, event.PaymentCaptured)
		}
		d.NextAction = nil
	} else {
		d.announce = append(d.announce, announcement{event: event.PaymentCaptured})
	}
	d.FailureCode, d.FailureMessage, d.FailureProviderCode = nil, nil, nil // of a capture that was refused before
	d.rebook()
	return effect, nil
}

// counted reports whether the capture is known to have succeeded before.
func (d *dossier) counted(f provider.Fact, from string) bool {
	for _, k := range d.known {
		if k.Provider == from && k.ObjectID == f.ObjectID && k.Kind == f.Kind && k.State == provider.StateSucceeded {
			return true
		}
	}
	return false
}

// applyReversal merges a capture that succeeded and failed after all, such as a late failure
// of a bank transfer. To the merchant it is a dispute that is lost at once: the money is
// gone, and there is one way to hear of that.
func (d *dossier) applyReversal(f provider.Fact, from string) (effect string, err error) {
	if d.purposeless(from) {
		d.bookStrandedDispute(asDispute(f), from)
		if d.held(from, &f) <= 0 { // nothing of the payer's is left to give back
			d.discharged = append(d.discharged, discharge{provider: from, reference: f.Reference, kind: provider.Refund})
		}
		return effectReversed, nil
	}
	if effect, err = d.applyDispute(asDispute(f), from); effect == effectApplied {
		effect = effectReversed
	}
	return effect, err
}
