package providertest

import (
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Disputes are what becomes of money that its payer contests.
func Disputes() []Life {
	return []Life{
		{"a dispute is won, and the money is refunded then", always, disputeWon, false},
		{"a dispute is lost", always, disputeLost, false},
		{"a dispute after a full refund", always, disputeAfterRefund, false},
		{"the decision of a dispute is overturned", always, disputeOverturned, false},
		{"an inquiry takes no money until it is escalated", inquiries, inquiry, false},
		{"the events of a dispute come twice", always, func(b *Bench) { b.disputeDisturbed(providersim.WebhookDuplicate) }, false},
		{"the events of a dispute come out of order", always, func(b *Bench) { b.disputeDisturbed(providersim.WebhookReorder) }, false},
	}
}

func inquiries(b *Bench) string {
	if !b.Contested {
		return "it has no inquiries"
	}
	return ""
}

// complain has the payer of a captured payment contest some of it, or all where the
// provider knows nothing else, and returns what the dispute is known by.
func (b *Bench) complain(r provider.Request, c providersim.Complaint) (id string) {
	b.t.Helper()
	b.heardOf(r, "the dispute", func() {
		var err error
		if id, err = b.Dispute(c); err != nil {
			b.t.Fatal(err)
		}
	})
	return id
}

func (b *Bench) decide(r provider.Request, id, outcome string) {
	b.t.Helper()
	b.Advance(time.Hour)
	b.heardOf(r, "the decision", func() {
		if err := b.Decide(id, outcome); err != nil {
			b.t.Fatal(err)
		}
	})
}

// disputed holds that the look-up shows one dispute, in a state.
func (b *Bench) disputed(r provider.Request, reference, id string, minor int64, want provider.State) {
	b.t.Helper()
	var found []provider.Fact
	for _, f := range Merge(b.Agree(r, reference)) {
		if f.Kind == provider.KindDispute {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		b.t.Fatalf("the look-up shows %d disputes: %s", len(found), Facts(found))
	}
	f := found[0]
	if f.State != want || f.ObjectID != id || f.Amount.Minor != minor {
		b.t.Errorf("it is %s.%s of %s, want %s of %d, %s", f.ObjectID, f.State, f.Amount, id, minor, want)
	}
	if f.Reason == "" || f.OpenedAt.IsZero() || f.OccurredAt.Before(f.OpenedAt) {
		b.t.Errorf("a dispute for the reason %q, opened at %v, as of %v", f.Reason, f.OpenedAt, f.OccurredAt)
	}
	if f.RespondBy.IsZero() == (want == provider.StateOpen) {
		b.t.Errorf("it is %s, and to be answered by %v", f.State, f.RespondBy)
	}
}

// opened is how a dispute begins.
func (b *Bench) opened() provider.State {
	if b.Contested {
		return provider.StateOpen
	}
	return provider.StateLost
}

// contest complains about half of a payment where that can be.
func (b *Bench) contest(r provider.Request, reference string) (id string, minor int64) {
	b.t.Helper()
	c := providersim.Complaint{Payment: reference}
	minor = r.Amount.Minor
	if b.Contested {
		minor /= 2
		c.AmountMinor = minor // a unit is a minor unit in every subject's currency
	}
	id = b.complain(r, c)
	b.disputed(r, reference, id, minor, b.opened())
	return id, minor
}

func disputeWon(b *Bench) {
	r, reference := b.Paid(Plain, true)
	id, minor := b.contest(r, reference)
	b.decide(r, id, providersim.DisputeWon)
	b.disputed(r, reference, id, minor, provider.StateWon)
	b.refunded(r, reference, b.Follow(r, reference, provider.Refund, r.Amount.Minor))
	b.disputed(r, reference, id, minor, provider.StateWon)
}

func disputeLost(b *Bench) {
	r, reference := b.Paid(Plain, true)
	id, minor := b.contest(r, reference)
	if b.Contested {
		b.decide(r, id, providersim.DisputeLost)
	}
	b.disputed(r, reference, id, minor, provider.StateLost)
	if got := told(b.Agree(r, reference)); got.captures != 1 || got.refunds != 0 {
		b.t.Errorf("%d captures and %d refunds", got.captures, got.refunds)
	}
}

func disputeAfterRefund(b *Bench) {
	r, reference := b.Paid(Plain, true)
	b.refunded(r, reference, b.Follow(r, reference, provider.Refund, r.Amount.Minor))
	id := b.complain(r, providersim.Complaint{Payment: reference})
	b.disputed(r, reference, id, r.Amount.Minor, b.opened())
	if got := told(b.Agree(r, reference)); got.captured != got.refunded || got.captured != got.disputed {
		b.t.Errorf("of %d, %d are refunded and %d disputed", got.captured, got.refunded, got.disputed)
	}
}

// disputeOverturned: the decision that was taken last counts, whichever it is.
func disputeOverturned(b *Bench) {
	r, reference := b.Paid(Plain, true)
	id, minor := b.contest(r, reference)
	if b.Contested {
		b.decide(r, id, providersim.DisputeLost)
	}
	b.disputed(r, reference, id, minor, provider.StateLost)
	b.decide(r, id, providersim.DisputeWon)
	b.disputed(r, reference, id, minor, provider.StateWon)

	if !b.Contested {
		return
	}
	r, reference = b.Paid(Plain, true)
	id, minor = b.contest(r, reference)
	b.decide(r, id, providersim.DisputeWon)
	b.decide(r, id, providersim.DisputeLost)
	b.disputed(r, reference, id, minor, provider.StateLost)
}

// inquiry: a question that takes no money is not told of.
func inquiry(b *Bench) {
	r, reference := b.Paid(Plain, true)
	ask := func() (id string) {
		before := worth(b.Heard(r.PaymentID))
		id, err := b.Dispute(providersim.Complaint{Payment: reference, Inquiry: true})
		if err != nil {
			b.t.Fatal(err)
		}
		if n := worth(b.Heard(r.PaymentID)) - before; n > 0 {
			b.t.Errorf("%d events told of an inquiry", n)
		}
		return id
	}
	if err := b.Decide(ask(), providersim.DisputeWon); err != nil {
		b.t.Fatal(err)
	}
	id := ask()
	if got := Summary(b.Agree(r, reference)); got != "captured" {
		b.t.Errorf("after inquiries it is %s", got)
	}
	b.decide(r, id, providersim.DisputeEscalated)
	b.disputed(r, reference, id, r.Amount.Minor, provider.StateOpen)
}

// disputeDisturbed has a webhook fault befall every event of a dispute; what is heard
// agrees with the look-up all the same.
func (b *Bench) disputeDisturbed(fault providersim.FaultKind) {
	r, reference := b.Paid(Plain, true)
	plan := providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Webhook, Fault: providersim.Fault{Kind: fault}}}}
	if err := b.SetPlan(plan); err != nil {
		b.t.Fatal(err)
	}
	before := worth(b.Heard(r.PaymentID))
	id, err := b.Dispute(providersim.Complaint{Payment: reference})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Advance(10 * time.Second)
	if err := b.Decide(id, providersim.DisputeWon); err != nil {
		b.t.Fatal(err)
	}
	b.calm()
	b.Advance(2 * time.Hour)
	if heard := worth(b.Heard(r.PaymentID)) - before; heard < 2 || fault == providersim.WebhookDuplicate && heard < 4 {
		b.t.Errorf("heard %d events", heard)
	}
	b.disputed(r, reference, id, r.Amount.Minor, provider.StateWon)
}
