package providertest

import (
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// rounds is how often a race is run: which of two is first is for the machine to say.
const rounds = 8

// refundsSideBySide: several at once all succeed, or are not sent and then do.
func refundsSideBySide(b *Bench) {
	r, reference := b.Paid(Plain, true)
	const n = 5
	var attempts [n]provider.Attempt
	var results [n]provider.Result
	var wg sync.WaitGroup
	for i := range attempts {
		attempts[i] = b.Attempt(b.Follow(r, reference, provider.Refund, r.Amount.Minor/n))
		wg.Go(func() { results[i] = b.First(attempts[i]) })
	}
	wg.Wait()
	for i, got := range results {
		if got.Outcome == provider.NotSent {
			got = b.First(attempts[i]) // now it is alone
		}
		b.went(Spot{Name: "refund"}, got)
	}
	if got := counted(b.Did(r), providersim.EffectRefund); got != n {
		b.t.Errorf("%d refunds", got)
	}
	b.Advance(time.Hour)
	b.Agree(r, reference)
}

// sameAttemptTwice: two workers have one attempt at once, because a lease ran out. It
// happens once, and neither is told that it did not.
func sameAttemptTwice(b *Bench) {
	for _, spot := range b.mainSpots() {
		for range rounds {
			r := b.upTo(spot)
			a := b.Attempt(r)
			var first, second provider.Result
			var wg sync.WaitGroup
			wg.Go(func() { first = b.First(a) })
			wg.Go(func() { second = b.Replay(a) })
			wg.Wait()
			for _, got := range []provider.Result{first, second} {
				switch got.Outcome {
				case provider.Declined, provider.Rejected:
					b.t.Errorf("%s: %s, %+v", spot.Name, got.Outcome, got.Refusal)
				}
			}
			b.went(spot, b.Replay(a))
			b.times(spot, r, 1)
			if first.Reference != "" && second.Reference != "" && first.Reference != second.Reference {
				b.t.Errorf("%s: two payment objects: %s and %s", spot.Name, first.Reference, second.Reference)
			}
		}
	}
}

// voidAgainst: a void and what takes the money come at the same moment. One of them is
// what happened, and both are told the same.
func voidAgainst(b *Bench) {
	caps := b.Adapter.Capabilities()
	for range rounds {
		r := b.Payment(Plain, false)
		var reference string
		if caps.ManualCapture {
			reference, _ = b.Pay(r, Plain)
		} else {
			reference = b.Start(r).Reference
		}
		voiding := b.Attempt(b.Follow(r, reference, provider.Void, r.Amount.Minor))
		taking := b.Attempt(b.Follow(r, reference, provider.Capture, r.Amount.Minor))
		var voided, taken provider.Result
		var wg sync.WaitGroup
		wg.Go(func() { voided = b.First(voiding) })
		if caps.ManualCapture {
			wg.Go(func() { taken = b.First(taking) })
		} else {
			wg.Go(func() { _ = b.Visit(reference, b.Word(Plain)) }) // the page is gone if the void was first
		}
		wg.Wait()
		if voided.Outcome == provider.Unknown {
			voided = b.Replay(voiding)
		}
		if taken.Outcome == provider.Unknown {
			taken = b.Replay(taking)
		}
		b.Advance(time.Hour)
		captured := strings.HasPrefix(Summary(b.Agree(r, reference)), "captured")
		if voided.Outcome == provider.Approved && captured || voided.Outcome == provider.Declined && !captured {
			b.t.Errorf("it is captured: %t, and the void is %s", captured, voided.Outcome)
		}
		if caps.ManualCapture && (taken.Outcome == provider.Approved) != captured {
			b.t.Errorf("it is captured: %t, and the capture is %s (%s)", captured, taken.Outcome, taken.Evidence.Error)
		}
	}
}
