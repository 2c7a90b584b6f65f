package payment

import (
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// The effects a fact can have, as provider_facts keeps them.
const (
	effectApplied    = "applied"
	effectConfirmed  = "confirmed"   // nothing new: the payment was there already
	effectStale      = "stale"       // a newer state of the object is known
	effectMismatch   = "mismatch"    // it echoes another amount or currency than was sent: a human must look
	effectObligation = "obligation"  // it came too late, and is to be undone
	effectDischarged = "discharged"  // it proves an obligation done
	effectReversed   = "reversed"    // money that was captured has been taken back
	effectFailedOver = "failed_over" // the payment goes on at another provider
	effectRepeated   = "repeated"    // this very fact was recorded before
)

// apply merges one fact into the payment. It is the one way by which a provider's
// word changes a payment, whoever brought it: the API's call, a webhook, a look-up.
// A fact applied twice changes nothing, and an object's older fact never
// overwrites a newer one. The effect says what came of it.
//
// from is the provider that states it. One that the payment has left for another
// changes nothing about the payment any more: what turns up there lost its purpose.
func (d *dossier) apply(f provider.Fact, from string) (effect string, err error) {
	if !f.PaymentID.IsZero() && f.PaymentID != d.ID {
		return "", fault.New(fault.Internal, "a fact about payment %s was brought to payment %s", f.PaymentID, d.ID)
	}
	if old := d.recall(f, from); old != "" {
		if from == d.Provider {
			d.complete(f)
		}
		if old == effectStale {
			d.record(f, from, id.ID{}, effectStale)
		}
		return old, nil
	}
	var refund id.ID
	switch f.Kind {
	case provider.KindAuthorization:
		effect = d.applyAuthorization(f, from)
	case provider.KindCapture:
		if effect, err = d.applyCapture(f, from); err != nil {
			return "", err
		}
	case provider.KindRefund:
		if effect, refund, err = d.applyRefund(f, from); err != nil {
			return "", err
		}
	case provider.KindDispute:
		if effect, err = d.applyDispute(f, from); err != nil {
			return "", err
		}
	default:
		return "", fault.New(fault.Internal, "a fact of the unknown kind %q", f.Kind)
	}
	if effect == effectMismatch {
		d.ReconciliationStatus = ManualReview
	}
	return d.record(f, from, refund, effect), nil
}

// recall says whether the fact is old: this very one, or of a state that the object
// has left behind.
func (d *dossier) recall(f provider.Fact, from string) (effect string) {
	fresh := d.knownAs(f, from)
	for _, k := range d.known {
		if k.Provider != from || k.ObjectID != f.ObjectID || k.Kind != f.Kind {
			continue
		}
		if k.State == f.State {
			return effectRepeated
		}
		if !fresh.supersedes(k) {
			effect = effectStale
		}
	}
	return effect
}

// knownAs is the fact as it is remembered.
func (d *dossier) knownAs(f provider.Fact, from string) knownFact {
	return knownFact{
		Provider: from, ObjectID: f.ObjectID, State: f.State, Kind: f.Kind, Rank: f.Rank(), Amount: f.Amount.Minor, OccurredAt: d.timeOf(f),
	}
}

// latest is the newest known state of an object; the zero fact if there is none.
func (d *dossier) latest(from string, kind provider.Kind, object string) (newest knownFact) {
	for _, k := range d.known {
		if k.Provider == from && k.Kind == kind && k.ObjectID == object && (newest.State == "" || k.supersedes(newest)) {
			newest = k
		}
	}
	return newest
}

func (d *dossier) record(f provider.Fact, from string, refund id.ID, effect string) string {
	d.facts = append(d.facts, recordedFact{Fact: f, from: from, refundID: refund, effect: effect})
	d.known = append(d.known, d.knownAs(f, from))
	if effect != effectStale && effect != effectConfirmed {
		d.note("%s.%s", f.Kind, f.State)
	}
	return effect
}

// complete takes from a fact that is known what its first telling may have left out: an
// event does not say all that a reply does, and a look-up knows no page for the payer.
func (d *dossier) complete(f provider.Fact) {
	switch {
	case f.Kind == provider.KindDispute:
		if p := d.dispute(f.ObjectID, d.Provider); p != nil {
			p.describe(f)
		}
	case f.Kind != provider.KindAuthorization:
	case f.State == provider.StateAuthorized:
		d.learn(f)
	case f.State == provider.StateRequiresAction && f.NextAction != nil && d.NextAction == nil && d.Status == Pending && !d.payerDone(f):
		d.NextAction = f.NextAction
		d.note("next_action")
		d.announce = append(d.announce, announcement{event: event.PaymentRequiresAction})
	}
}

// payerDone reports whether the object of the fact is known to have moved on from the
// payer's action.
func (d *dossier) payerDone(f provider.Fact) bool {
	for _, k := range d.known {
		if k.ObjectID == f.ObjectID && k.Kind == f.Kind && k.Rank > f.Rank() {
			return true
		}
	}
	return false
}

// purposeless reports whether what happens at a provider serves the payment no more: it
// has ended, or has gone on at another provider.
func (d *dossier) purposeless(from string) bool {
	return from != d.Provider || d.Status == Failed || d.Status == Canceled
}

// lost says why something at a provider lost its purpose.
func (d *dossier) lost(what, from string) string {
	if from != d.Provider {
		return what + "_after_failover"
	}
	return what + "_after_" + lower(d.Status)
}

// learn keeps the provider's identifier of the payment object.
func (d *dossier) learn(f provider.Fact) {
	if d.ProviderTransactionID == nil {
		d.ProviderTransactionID = optional(f.Reference)
	}
	if !f.CaptureBefore.IsZero() && (d.CaptureBefore == nil || !d.CaptureBefore.Equal(f.CaptureBefore)) {
		at := f.CaptureBefore
		d.CaptureBefore = &at
	}
}

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

func (d *dossier) unannounce(told string) {
	kept := d.announce[:0]
	for _, a := range d.announce {
		if a.event != told {
			kept = append(kept, a)
		}
	}
	d.announce = kept
}

// settle closes the sagas whose outcome the facts have decided.
func (d *dossier) settle() {
	for _, s := range d.open() {
		if outcome := d.decided(s); outcome != "" {
			d.close(s, outcome, nil)
		}
	}
}

// decided says how the payment's present state settles an open saga; "" if it does not.
func (d *dossier) decided(s *saga.Saga) string {
	switch s.Kind {
	case provider.Authorize:
		switch {
		case d.Status == Pending || d.CaptureMethod == Automatic && d.Status == Authorized:
			return ""
		case d.Status == Failed:
			return string(provider.Declined)
		case d.Status == Canceled:
			return "canceled"
		}
		return string(provider.Approved)
	case provider.Capture:
		switch {
		case d.CapturedMinor+d.CaptureExcessMinor > d.oldPayment.CapturedMinor+d.oldPayment.CaptureExcessMinor:
			return string(provider.Approved)
		case d.Status == Canceled || d.Status == Failed:
			return string(provider.Declined) // the authorization expired under it
		}
	case provider.Void:
		switch d.Status {
		case Canceled, Failed:
			return string(provider.Approved)
		case Captured, Settled, Refunded:
			return string(provider.Declined) // a capture came first
		}
	case provider.Refund:
		r := d.refund(s.RefundID)
		switch r.Status {
		case RefundSucceeded:
			return string(provider.Approved)
		case RefundFailed, RefundCanceled:
			return string(provider.Declined)
		}
	}
	return ""
}
