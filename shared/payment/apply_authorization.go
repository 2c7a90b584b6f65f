package payment

import (
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/provider"
)

func (d *dossier) applyAuthorization(f provider.Fact, from string) string {
	if d.purposeless(from) {
		return d.applyPurposeless(f, from)
	}
	switch f.State {
	case provider.StateRequiresAction, provider.StatePending, provider.StateApproved:
		if d.Status != Pending {
			return effectConfirmed
		}
		d.learn(f)
		if f.State == provider.StateApproved {
			d.NextAction = nil
		}
		if f.State == provider.StateRequiresAction && f.NextAction != nil {
			d.NextAction = f.NextAction
			d.announce = append(d.announce, announcement{event: event.PaymentRequiresAction})
		}
		return effectApplied
	case provider.StateFailed:
		return d.applyAuthorizationFailed(f)
	case provider.StateAuthorized:
		return d.applyAuthorized(f)
	case provider.StateCanceled:
		return d.applyAuthorizationCanceled(f)
	}
	return effectConfirmed
}

// applyPurposeless merges a fact about an authorization that serves no payment: it is to
// be let go of, and nobody may bring it to life later.
func (d *dossier) applyPurposeless(f provider.Fact, from string) string {
	switch f.State {
	case provider.StateAuthorized:
		d.oblige(obligation{provider: from, kind: provider.Void, reference: f.Reference, reason: d.lost("authorized", from)})
		return effectObligation
	case provider.StateRequiresAction, provider.StatePending, provider.StateApproved:
		if from == d.Provider {
			return effectConfirmed // the payment's own end sees to it
		}
		d.oblige(obligation{provider: from, kind: provider.Void, reference: f.Reference, reason: d.lost(string(f.State), from)})
		return effectObligation
	case provider.StateCanceled:
		d.discharged = append(d.discharged, discharge{provider: from, reference: f.Reference, kind: provider.Void})
		return effectDischarged
	}
	return effectConfirmed
}

func (d *dossier) applyAuthorizationFailed(f provider.Fact) string {
	if d.Status != Pending {
		return effectConfirmed // an authorization that succeeded is lost by a cancellation, not by a failure
	}
	d.learn(f)
	r := f.Refusal
	if r == nil {
		r = &provider.Refusal{Code: "declined", Message: "The provider declined the payment."}
	}
	d.fail(r)
	d.become(Failed, event.PaymentFailed)
	if f.Reference != "" {
		// Cancel the provider's object, so that nobody can confirm it later.
		d.oblige(obligation{provider: d.Provider, kind: provider.Void, reference: f.Reference, reason: "declined"})
	}
	return effectApplied
}

func (d *dossier) applyAuthorized(f provider.Fact) string {
	if !d.units(f, d.AmountMinor) {
		d.learn(f)
		return effectMismatch
	}
	if d.Status == Pending {
		d.learn(f)
		d.AuthorizedMinor = d.AmountMinor
		d.become(Authorized, event.PaymentAuthorized)
		return effectApplied
	}
	d.learn(f)
	return effectConfirmed
}

func (d *dossier) applyAuthorizationCanceled(f provider.Fact) string {
	switch d.Status {
	case Pending, Authorized:
		d.learn(f)
		to, told := Canceled, event.PaymentCanceled
		if d.Status == Authorized && d.FailureCode != nil && !d.voiding() {
			// The capture was definitely refused before, and now the void is proven.
			to, told = Failed, event.PaymentFailed
		}
		d.become(to, told)
		return effectApplied
	}
	return effectConfirmed // the provider releases what a partial capture left
}

// voiding reports whether a void asked for by the merchant is open.
func (d *dossier) voiding() bool {
	s := d.exclusive()
	return s != nil && s.Kind == provider.Void
}
