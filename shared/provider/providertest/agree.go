package providertest

import (
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/shared/provider"
)

// Agree compares everything that tells of a payment: the look-up by reference, the one
// without if the adapter has such, the events, and what really happened. It returns what
// the look-up shows.
func (b *Bench) Agree(r provider.Request, reference string) []provider.Fact {
	b.t.Helper()
	facts := b.Find(r, reference)
	b.echoes(r, reference, facts)
	if b.subject.Lists {
		if listed := b.Find(r, ""); Facts(listed) != Facts(facts) {
			b.t.Errorf("by reference %s\nwithout one %s", Facts(facts), Facts(listed))
		}
	}
	if b.real == nil {
		for _, each := range disagreements(facts, b.Did(r)) {
			b.t.Error(each)
		}
		heard := b.Heard(r.PaymentID)
		for _, each := range eventDisagreements(heard, facts) {
			b.t.Error(each)
		}
		for _, e := range heard {
			if e.Account != b.Adapter.Account() {
				b.t.Errorf("event %s is of the account %q, the adapter's is %q", e.Type, e.Account, b.Adapter.Account())
			}
		}
	}
	return facts
}

// echoes holds facts to the payment that they are of.
func (b *Bench) echoes(r provider.Request, reference string, facts []provider.Fact) {
	b.t.Helper()
	caps := b.Adapter.Capabilities()
	for _, f := range facts {
		units, err := caps.Units(f.Amount)
		if err != nil || units != f.Units {
			b.t.Errorf("%s is %d units by the capabilities and %d in the fact (%v)", f.Amount, units, f.Units, err)
		}
		if f.PaymentID != r.PaymentID || f.Reference != reference || f.Amount.Currency != r.Amount.Currency || f.Rank() == 0 || f.ObjectID == "" {
			b.t.Errorf("a fact of payment %s, reference %s, in %s: %+v", r.PaymentID, reference, r.Amount.Currency, f)
		}
		if (f.State == provider.StateFailed) != (f.Refusal != nil) && f.State != provider.StateCanceled {
			b.t.Errorf("%s.%s with the refusal %+v", f.Kind, f.State, f.Refusal)
		}
	}
}

// eventDisagreements compares what events told with what a look-up shows after all of
// them: in whatever order they came and however often, the highest state of each object is
// the one that the look-up shows. Events that are hints need only be true of some time.
func eventDisagreements(events []provider.Event, facts []provider.Fact) (all []string) {
	known := map[string]provider.Fact{}
	for _, f := range Merge(facts) {
		known[string(f.Kind)+f.ObjectID] = f
	}
	var claimed, hinted []provider.Fact
	for _, e := range events {
		if e.ID == "" || e.Type == "" || e.Account == "" || e.OccurredAt.IsZero() {
			all = append(all, fmt.Sprintf("an event without its id, type, account or time: %+v", e))
		}
		if e.LookUp {
			hinted = append(hinted, e.Facts...)
		} else {
			claimed = append(claimed, e.Facts...)
		}
	}
	backward := slices.Clone(claimed)
	slices.Reverse(backward)
	for _, order := range [][]provider.Fact{claimed, backward} {
		for _, f := range Merge(order) {
			if k := known[string(f.Kind)+f.ObjectID]; k.State != f.State || k.Units != f.Units || k.RefundID != f.RefundID || k.PaymentID != f.PaymentID && !f.PaymentID.IsZero() {
				all = append(all, fmt.Sprintf("events told %+v, the look-up shows %+v", f, k))
			}
		}
	}
	for _, f := range hinted {
		if k, ok := known[string(f.Kind)+f.ObjectID]; !ok || k.Rank() < f.Rank() || k.RefundID != f.RefundID {
			all = append(all, fmt.Sprintf("an event claimed %+v, the look-up shows %+v", f, k))
		}
	}
	return all
}

// worth counts the events from which something is to be learned.
func worth(events []provider.Event) (n int) {
	for _, e := range events {
		if e.LookUp || len(e.Facts) > 0 {
			n++
		}
	}
	return n
}

// heardOf holds that an event tells of what happens to a payment.
func (b *Bench) heardOf(r provider.Request, what string, happen func()) {
	b.t.Helper()
	if b.real != nil {
		happen()
		return
	}
	before := worth(b.Heard(r.PaymentID))
	happen()
	if worth(b.Heard(r.PaymentID)) == before {
		b.t.Errorf("no event told of %s", what)
	}
}
