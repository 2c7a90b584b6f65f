package payment

import (
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
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
