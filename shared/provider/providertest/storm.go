package providertest

import (
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// storm leads payments side by side through random faults of every request: each step is
// replayed until it is decided, and everything happens once. The faults are those after
// which a replay can come to an end: not the 500 that Stripe keeps under the key.
func storm(b *Bench) {
	const payments = 12
	plan := providersim.Plan{Seed: 7}
	for _, kind := range []providersim.FaultKind{
		providersim.DropBefore, providersim.DropAfter, providersim.Conflict, providersim.RateLimited, providersim.HTMLBefore,
		providersim.HTMLAfter, providersim.BadJSON, providersim.WrongAmount,
	} {
		plan.Rules = append(plan.Rules, providersim.Rule{Operation: "*", Probability: 0.05, Fault: providersim.Fault{Kind: kind}})
	}
	if err := b.SetPlan(plan); err != nil {
		b.t.Fatal(err)
	}
	var all [payments]provider.Request
	var references [payments]string
	var wg sync.WaitGroup
	for i := range all {
		all[i] = b.Payment(Plain, true)
		wg.Go(func() { references[i] = b.pass(all[i]) })
	}
	wg.Wait()
	b.Advance(time.Hour) // what its payer has paid is captured by then
	for i := range all {
		wg.Go(func() {
			refund := b.Follow(all[i], references[i], provider.Refund, all[i].Amount.Minor/5)
			b.persist(b.Attempt(refund), provider.Approved, provider.Pending)
		})
	}
	wg.Wait()
	b.calm()
	b.Advance(time.Hour)
	for i, r := range all {
		if got := did(b.Did(r)); got != "authorize, capture, refund" {
			b.t.Errorf("what happened to a payment: %s", got)
		}
		b.Agree(r, references[i])
	}
}

// calm ends the faults.
func (b *Bench) calm() {
	b.t.Helper()
	if err := b.SetPlan(providersim.Plan{}); err != nil {
		b.t.Fatal(err)
	}
}

// pass brings a payment past its payer, if there is one.
func (b *Bench) pass(r provider.Request) (reference string) {
	a := b.Attempt(r)
	got := b.persist(a, provider.Approved, provider.RequiresAction)
	if got.Outcome == provider.RequiresAction {
		if err := b.Visit(got.Reference, b.Word(Plain)); err != nil {
			b.t.Error(err)
		}
		if b.Adapter.Capabilities().PayerFirst {
			a.Unsent = false
			b.persist(a, provider.Approved)
		}
	}
	return got.Reference
}

// persist makes first calls of what was not sent, and replays what may have been, until
// the outcome is one that the step must come to.
func (b *Bench) persist(a provider.Attempt, ends ...provider.Outcome) provider.Result {
	for range 200 {
		call, ok := provider.Replay(a, b.Adapter.Capabilities(), b.Now())
		if a.Unsent {
			var err error
			call, err = provider.FirstCall(a)
			ok = err == nil
		}
		if !ok {
			break
		}
		got := b.know(b.Adapter.Execute(b.t.Context(), call))
		for _, end := range ends {
			if got.Outcome == end {
				return got
			}
		}
		switch got.Outcome {
		case provider.NotSent:
		case provider.Unknown, provider.RequiresAction:
			a.Unsent = false
		default:
			b.t.Errorf("%s: %s, %v, %s", a.Request.Step, got.Outcome, got.Refusal, got.Evidence.Error)
			return got
		}
	}
	b.t.Errorf("%s came to no end", a.Request.Step)
	return provider.Result{}
}
