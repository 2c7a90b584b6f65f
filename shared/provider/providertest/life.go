package providertest

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// Life is a payment's life, or something else that happens to one, as far as the provider
// has it.
type Life struct {
	Name string
	// Lacks says why the provider has no such thing; "" if it has.
	Lacks func(b *Bench) string
	Live  func(b *Bench)

	// Sandbox says that it needs neither payer, nor faults, nor time.
	Sandbox bool
}

// always says that every provider has it.
func always(*Bench) string { return "" }

func manualOnly(b *Bench) string {
	if !b.Adapter.Capabilities().ManualCapture {
		return "it captures by itself"
	}
	return ""
}

// Lives are those of payments of which nothing goes wrong that is not meant to.
func Lives() []Life {
	return []Life{
		{"authorized, captured in part, refunded in parts", manualOnly, captureInPart, true},
		{"sold and refunded", always, sell, true},
		{"voided", always, void, true},
		{"refused", always, refuse, true},
		{"slow to be decided", always, slow, false},
		{"asked for what the provider can't do", always, unable, false},
		{"replayed after the key window", always, outOfWindow, false},
	}
}

func captureInPart(b *Bench) {
	caps := b.Adapter.Capabilities()
	r := b.Payment(Plain, false)
	reference, made := b.Pay(r, Plain)
	b.Expect("authorize", made, provider.Approved)
	if before := made.Facts[0].CaptureBefore; b.Expires > 0 && !before.Equal(b.Now().Add(b.Expires)) {
		b.t.Errorf("capture before %v", before)
	}
	b.Agree(r, reference)
	part := r.Amount.Minor
	if caps.PartialCapture {
		part = r.Amount.Minor / 5 * 3
	}
	capture := b.Follow(r, reference, provider.Capture, part)
	b.heardOf(r, "the capture", func() { b.Do(capture, provider.Approved) })
	b.Agree(r, reference)

	// Another attempt of the same capture, and one of more: there is one capture.
	if caps.Guarded[provider.Capture] {
		b.Do(capture, provider.Approved)
	}
	if !caps.MultipleCaptures {
		more := b.First(b.Attempt(b.Follow(r, reference, provider.Capture, r.Amount.Minor-part)))
		b.undone("a second capture", more)
	}
	if got := told(b.Agree(r, reference)); got.captures != 1 {
		b.t.Errorf("%d captures", got.captures)
	}

	left := part
	for _, minor := range []int64{part / 3, part / 6} {
		b.refunded(r, reference, b.Follow(r, reference, provider.Refund, minor))
		left -= minor
	}
	tooMuch := b.First(b.Attempt(b.Follow(r, reference, provider.Refund, left+1)))
	b.undone("a refund of more than there is", tooMuch)
	obliged := b.Follow(r, reference, provider.Refund, left)
	obliged.RefundID, obliged.ObligationID = obliged.ObligationID, b.NewID()
	b.refunded(r, reference, obliged)
	if got := told(b.Agree(r, reference)); got.refunded != got.captured || got.refunds != 3 {
		b.t.Errorf("%d refunds of %d in all, of %d", got.refunds, got.refunded, got.captured)
	}
}

// refunded makes a refund and sees it through.
func (b *Bench) refunded(r provider.Request, reference string, refund provider.Request) {
	b.t.Helper()
	var got provider.Result
	b.heardOf(r, "the refund", func() { got = b.First(b.Attempt(refund)) })
	if got.Outcome != provider.Approved && got.Outcome != provider.Pending {
		b.Expect("refund", got, provider.Approved)
	}
	f := got.Facts[0]
	if len(got.Facts) != 1 || f.Kind != provider.KindRefund || f.Amount != refund.Amount ||
		f.RefundID != refund.RefundID || f.ObligationID != refund.ObligationID || f.PaymentID != r.PaymentID {
		b.t.Errorf("a refund of %s (%s, %s) yields %+v", refund.Amount, refund.RefundID, refund.ObligationID, got.Facts)
	}
	if got.Outcome == provider.Pending {
		b.heardOf(r, "the end of the refund", func() { b.Advance(time.Hour) })
	}
	b.Agree(r, reference)
}

// undone holds an outcome to be a refusal, or at least no success.
func (b *Bench) undone(what string, got provider.Result) {
	b.t.Helper()
	switch got.Outcome {
	case provider.Declined, provider.Rejected:
		if got.Refusal == nil || got.Refusal.Code == "" || got.Refusal.Message == "" {
			b.t.Errorf("%s is %s without saying why", what, got.Outcome)
		}
	case provider.Unknown:
	default:
		b.t.Errorf("%s is %s", what, got.Outcome)
	}
}

func sell(b *Bench) {
	r, reference := b.Paid(Plain, true)
	b.Agree(r, reference)
	tooLate := b.First(b.Attempt(b.Follow(r, reference, provider.Void, r.Amount.Minor)))
	b.Expect("void of what was captured", tooLate, provider.Declined)
	b.undone("void of what was captured", tooLate)
	b.Agree(r, reference)
	b.refunded(r, reference, b.Follow(r, reference, provider.Refund, r.Amount.Minor))
	more := b.First(b.Attempt(b.Follow(r, reference, provider.Refund, 1)))
	if b.undone("a refund of what was refunded", more); more.Outcome == provider.Unknown {
		b.t.Error("a refund of what was refunded is unknown")
	}
	b.Agree(r, reference)
}

func void(b *Bench) {
	r := b.Payment(Plain, false)
	caps := b.Adapter.Capabilities()
	var reference string
	if caps.ManualCapture {
		reference, _ = b.Pay(r, Plain)
	} else { // only what its payer has not paid can be voided
		reference = b.Start(r).Reference
	}
	b.heardOf(r, "the void", func() { b.Do(b.Follow(r, reference, provider.Void, r.Amount.Minor), provider.Approved) })
	again := b.Do(b.Follow(r, reference, provider.Void, 0), provider.Approved) // as an obligation does
	for what, facts := range map[string][]provider.Fact{"void": again.Facts, "look-up": b.Agree(r, reference)} {
		if got := Summary(facts); got != "canceled" {
			b.t.Errorf("%s: %s", what, got)
		}
	}
	if caps.ManualCapture {
		b.Do(b.Follow(r, reference, provider.Capture, r.Amount.Minor), provider.Declined)
	}
	nothing := b.First(b.Attempt(b.Follow(r, reference, provider.Refund, r.Amount.Minor)))
	if b.undone("a refund of nothing", nothing); len(nothing.Facts) != 1 || nothing.Facts[0].State != provider.StateFailed {
		b.t.Errorf("a refund of nothing: %s", Facts(nothing.Facts))
	}
	if got := Summary(b.Agree(r, reference)); got != "canceled" {
		b.t.Errorf("at last: %s", got)
	}
}

func refuse(b *Bench) {
	r := b.Payment(Refused, false)
	reference, last := b.Pay(r, Refused)
	facts := b.Find(r, reference)
	b.echoes(r, reference, facts)
	if got := Summary(facts); got != "failed" || facts[0].Refusal.Code == "" {
		b.t.Errorf("%s: %+v", got, facts)
	}
	if last.Outcome == provider.Declined && (last.Refusal == nil || last.Facts[0].State != provider.StateFailed || last.Facts[0].ObjectID != reference) {
		b.t.Errorf("declined: %+v, %+v", last.Refusal, last.Facts)
	}
	// What a decline leaves is canceled, so that nobody can bring it back.
	b.Do(b.Follow(r, reference, provider.Void, 0), provider.Approved)
	if b.real == nil {
		if got := happened(b.Did(r)); got.captures != 0 {
			b.t.Errorf("captured %d", got.captured)
		}
		if worth(b.Heard(r.PaymentID)) == 0 {
			b.t.Error("no event told of the refusal")
		}
	}
}

// slow is a payment that succeeds late: what is pending is no failure, and a look-up and an
// event tell the end.
func slow(b *Bench) {
	r := b.Payment(Slow, false)
	made := b.First(b.Attempt(r))
	b.heardOf(r, "the late success", func() {
		if made.Outcome == provider.RequiresAction {
			b.Answer(made.Reference, Slow)
			if b.Adapter.Capabilities().PayerFirst {
				next := r
				next.Reference = made.Reference
				b.Do(next, provider.Pending)
			}
		} else {
			b.Expect("authorize", made, provider.Pending)
		}
		if got := Summary(b.Find(r, made.Reference)); got != "pending" && got != "approved" {
			b.t.Errorf("meanwhile it is %s", got)
		}
		b.Advance(time.Hour)
	})
	want := "authorized"
	if r.AutoCapture {
		want = "captured"
	}
	if got := Summary(b.Agree(r, made.Reference)); got != want {
		b.t.Errorf("at last it is %s", got)
	}
}

// unable asks for what must be refused without asking the provider: steps and currencies
// that it does not have, and amounts that it can't represent.
func unable(b *Bench) {
	caps := b.Adapter.Capabilities()
	plain := b.Payment(Plain, true)
	var requests []provider.Request
	authorize := func(m money.Money) {
		r := plain
		r.Amount = m
		requests = append(requests, r)
	}
	if !caps.ManualCapture {
		later := plain
		later.AutoCapture = false
		requests = append(requests, later, b.Follow(plain, "anything", provider.Capture, 1))
	}
	for _, step := range []provider.Step{provider.Capture, provider.Void, provider.Refund} {
		requests = append(requests, b.Follow(plain, "", step, plain.Amount.Minor))
	}
	unnamed := b.Follow(plain, "anything", provider.Refund, 1)
	unnamed.RefundID = unnamed.ObligationID
	requests = append(requests, unnamed)
	for _, c := range money.Currencies() {
		i := slices.IndexFunc(caps.Currencies, func(taken provider.Currency) bool { return taken.Code == c.Code() })
		if i < 0 || caps.Currencies[i].Refused != "" {
			authorize(money.New(100_000, c))
		}
	}
	authorize(money.New(caps.MaxAmount*1000, plain.Amount.Currency))
	authorize(money.New(0, plain.Amount.Currency))
	authorize(money.New(-5000, plain.Amount.Currency))

	before := len(b.Sent())
	for _, r := range requests {
		a := b.Attempt(r)
		got := b.First(a)
		b.undone("what can't be done", got)
		if got.Outcome != provider.Rejected {
			b.t.Errorf("%s of %s: %s", r.Step, r.Amount, got.Outcome)
		}
		if call, ok := provider.Replay(a, caps, b.Now()); ok {
			// A deployment may have changed what is refused: what was sent before is not undone.
			if again := b.adapter().Execute(b.t.Context(), call); again.Outcome != provider.Unknown || len(again.Facts) > 0 {
				b.t.Errorf("%s of %s, replayed: %s", r.Step, r.Amount, again.Outcome)
			}
		}
	}
	if n := len(b.Sent()) - before; n > 0 {
		b.t.Errorf("%d requests were sent all the same", n)
	}
}

// outOfWindow shows that there is no way to replay an attempt whose key may be forgotten.
func outOfWindow(b *Bench) {
	caps := b.Adapter.Capabilities()
	for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund} {
		window, has := caps.KeyWindow[step]
		if has != (step != provider.Capture || caps.ManualCapture) {
			b.t.Errorf("%s has a key window: %t", step, has)
		}
		a := b.Attempt(b.Follow(b.Payment(Plain, true), "any", step, 1))
		for at, want := range map[time.Duration]bool{window / 2: has, window - 2*time.Hour + time.Second: false, window: false, 10 * window: false} {
			if _, ok := provider.Replay(a, caps, a.SentAt.Add(at)); ok != want && (has || ok) {
				b.t.Errorf("%s can be replayed after %v: %t", step, at, ok)
			}
		}
	}
}
