package providertest

import (
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Hearing is what came of one fault at the sending of a payment's events.
type Hearing struct {
	Provider, Fault string
	Sent            int // events that the payment has
	AtOnce, Later   int // heard by then
	Distinct        int // event ids among them
	Agree           bool
}

// hearing has a fault befall every event of a payment that is sold and refunded in part.
// Whatever is heard, in whatever order, tells nothing but the truth; only what is never
// sent is missed, which is what look-ups are for.
func (b *Bench) hearing(fault providersim.FaultKind, undisturbed int) Hearing {
	b.t.Helper()
	h := Hearing{Provider: b.subject.Name, Fault: string(fault), Sent: undisturbed}
	r, reference := b.sellAndRefund(fault)
	h.AtOnce = len(b.Heard(r.PaymentID))
	b.Advance(2 * time.Hour)
	events := b.Heard(r.PaymentID)
	h.Later = len(events)
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.ID] = true
	}
	h.Distinct = len(ids)
	wrong := eventDisagreements(events, b.Find(r, reference))
	h.Agree = len(wrong) == 0
	for _, each := range wrong {
		b.t.Error(each)
	}
	return h
}

// sellAndRefund makes a payment whose every event suffers a fault, if there is one.
func (b *Bench) sellAndRefund(fault providersim.FaultKind) (r provider.Request, reference string) {
	b.t.Helper()
	if fault != "" {
		plan := providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Webhook, Fault: providersim.Fault{Kind: fault}}}}
		if err := b.SetPlan(plan); err != nil {
			b.t.Fatal(err)
		}
	}
	r, reference = b.Paid(Plain, true)
	b.First(b.Attempt(b.Follow(r, reference, provider.Refund, r.Amount.Minor/5)))
	return r, reference
}

// undisturbed counts the events of a payment that nothing befalls.
func (b *Bench) undisturbed() int {
	b.t.Helper()
	r, _ := b.sellAndRefund("")
	b.Advance(2 * time.Hour)
	return len(b.Heard(r.PaymentID))
}

// webhookFaults has "", for none, and every fault that befalls events.
func webhookFaults() []providersim.FaultKind {
	all := []providersim.FaultKind{""}
	for _, kind := range providersim.FaultKinds() {
		if kind.AboutWebhooks() {
			all = append(all, kind)
		}
	}
	return all
}
