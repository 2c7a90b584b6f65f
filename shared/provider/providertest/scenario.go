package providertest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/guard"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Scenarios are what goes wrong in ways that have names, beyond what befalls one request.
func Scenarios() []Life {
	return []Life{
		{"the session expires in mid-flight", forgets, sessionExpires, false},
		{"the credentials are revoked in mid-flight", always, credentialsRevoked, false},
		{"a deployment with another API key replays", always, deployed, false},
		{"a deployment to another account replays", always, elsewhere, false},
		{"an authorization expires before its capture", expires, expiry, false},
		{"the event of the payer's approval is lost", always, approvalLost, false},
		{"every event comes twice", always, func(b *Bench) { b.disturbed(providersim.WebhookDuplicate) }, false},
		{"events come out of order", always, func(b *Bench) { b.disturbed(providersim.WebhookReorder) }, false},
		{"the answer is lost, the success is late", always, lateSuccess, false},
		{"a refund succeeds, then fails", always, refundFails, false},
		{"refunds side by side", always, refundsSideBySide, false},
		{"one attempt by two at once", always, sameAttemptTwice, false},
		{"a void against what takes the money", always, voidAgainst, false},
		{"payments side by side through random faults", always, storm, false},
	}
}

func forgets(b *Bench) string {
	if b.Forget == nil {
		return "it has no sessions"
	}
	return ""
}

func expires(b *Bench) string {
	if b.Expires == 0 {
		return "nothing is authorized before it is captured"
	}
	return ""
}

// mainSpots are the requests that do what a step is for: one of each kind.
func (b *Bench) mainSpots() (spots []Spot) {
	for _, s := range b.subject.Spots {
		if s.Step != "" && s.Skip == 0 && s.Age == 0 && !s.Stale && s.Operation != providersim.Retrieve {
			spots = append(spots, s)
		}
	}
	return spots
}

// went says that the outcome is what comes of a step when all goes well.
func (b *Bench) went(spot Spot, got provider.Result) {
	b.t.Helper()
	switch got.Outcome {
	case provider.Approved, provider.Pending, provider.RequiresAction:
	default:
		b.t.Errorf("%s: %s (%d, %q, %+v)", spot.Name, got.Outcome, got.Evidence.Status, got.Evidence.Error, got.Refusal)
	}
}

// times holds that a step was done n times.
func (b *Bench) times(spot Spot, r provider.Request, n int) {
	b.t.Helper()
	if kind := b.Moves[spot.Step]; kind != "" && spot.Operation != providersim.Authorize {
		if got := counted(b.Did(r), kind); got != n {
			b.t.Errorf("%s: done %d times, want %d", spot.Name, got, n)
		}
	}
}

// sessionExpires: a session that has run out is renewed in the middle of a step, which a
// provider's refusal of it proves not to have happened.
func sessionExpires(b *Bench) {
	for _, spot := range b.mainSpots() {
		r := b.upTo(spot)
		b.Forget()
		b.went(spot, b.First(b.Attempt(r)))
		b.times(spot, r, 1)
	}
}

// credentialsRevoked: a refusal of our credentials is our mistake at a first call, and
// proves nothing of what was sent before; with good ones the attempt comes to its end.
func credentialsRevoked(b *Bench) {
	shut := func() {
		b.SetCredentials()
		if b.Forget != nil {
			b.Forget()
		}
	}
	for _, spot := range b.mainSpots() {
		r := b.upTo(spot)
		shut()
		refused := b.First(b.Attempt(r))
		if refused.Outcome != provider.Rejected || refused.Refusal.Code != "provider_credentials" {
			b.t.Errorf("%s without credentials: %s, %+v", spot.Name, refused.Outcome, refused.Refusal)
		}
		if look := b.Look(r, r.Reference); look.Complete && r.Reference != "" {
			b.t.Errorf("%s: a look-up without credentials is complete", spot.Name)
		}
		b.times(spot, r, 0)
		b.SetCredentials(b.Credential)

		a := b.Attempt(r)
		b.Inject(spot.Operation, 0, "drop_after")
		b.Expect(spot.Name+", cut off", b.First(a), provider.Unknown)
		shut()
		b.Expect(spot.Name+", replayed without credentials", b.Replay(a), provider.Unknown)
		b.SetCredentials(b.Credential)
		b.went(spot, b.Replay(a))
		b.times(spot, r, 1)
	}
}

// deployed: what a later instance replays, with another key for the same account, is byte
// for byte what the first one sent, as it was stored.
func deployed(b *Bench) {
	credential := b.Credential
	for i, spot := range b.mainSpots() {
		next := b.Credential + "_rolled" + strings.Repeat("x", i)
		for _, fault := range []string{"drop_before", "drop_after"} {
			r := b.upTo(spot)
			a := b.Attempt(r)
			began := len(b.Sent())
			b.Inject(spot.Operation, 0, fault)
			b.Expect(spot.Name+", cut off", b.First(a), provider.Unknown)
			sent := b.Sent()[began:]

			b.Advance(5 * time.Minute)
			b.SetCredentials(next)
			if b.Forget != nil {
				b.Forget()
			}
			later := b.Deploy(next, "")
			began = len(b.Sent())
			b.went(spot, b.ReplayBy(later, stored(b, a)))
			b.times(spot, r, 1)
			b.same(spot, sent, b.Sent()[began:], fault == "drop_before")
			b.SetCredentials(credential)
		}
	}
}

// stored is an attempt as it comes back from the database.
func stored(b *Bench, a provider.Attempt) provider.Attempt {
	raw, err := json.Marshal(a.Request)
	if err != nil {
		b.t.Fatal(err)
	}
	a.Request, a.Unsent = provider.Request{}, false
	if err := json.Unmarshal(raw, &a.Request); err != nil {
		b.t.Fatal(err)
	}
	return a
}

// same compares the changes that a replay asked for with those that the first call did.
// What is missing must have been asked for again.
func (b *Bench) same(spot Spot, first, replay []Sent, missing bool) {
	b.t.Helper()
	byKey := map[string]Sent{}
	for _, s := range first {
		if s.Key != "" {
			byKey[s.Key] = s
		}
	}
	if len(byKey) == 0 {
		b.t.Errorf("%s was sent without a key", spot.Name)
	}
	again := 0
	for _, s := range replay {
		was, known := byKey[s.Key]
		if s.Key == "" || !known {
			continue // a read, or the step's next request
		}
		again++
		if s.Line != was.Line || s.Body != was.Body {
			b.t.Errorf("%s was sent as\n%s\n%s\nand replayed as\n%s\n%s", spot.Name, was.Line, was.Body, s.Line, s.Body)
		}
	}
	if missing && again == 0 {
		b.t.Errorf("%s was replayed under no key of the first call's", spot.Name)
	}
}

// elsewhere: another account would not know the key, and do it again. An attempt names the
// account that it was made for, and the guard that stands before every adapter sends it
// nowhere else; nor does it look there.
func elsewhere(b *Bench) {
	other := guard.New(b.Deploy(b.Credential, "another"), guard.Options{
		Now: b.Now, Limits: guard.Limits{Concurrency: 1, Timeouts: guard.Timeouts{
			Connect: patience, Authorize: patience, Capture: patience, Void: patience, Refund: patience, LookUp: patience,
		}},
	})
	for _, spot := range b.mainSpots() {
		r := b.upTo(spot)
		a := b.Attempt(r)
		began := len(b.Sent())
		b.Expect(spot.Name+", to another account", b.FirstBy(b.t.Context(), other, a), provider.NotSent)
		b.Expect(spot.Name+", replayed to another account", b.ReplayBy(other, a), provider.Unknown)
		if found := other.Find(b.t.Context(), provider.Query{Account: r.Account, PaymentID: r.PaymentID, Reference: r.Reference, Since: b.Now()}); found.Complete {
			b.t.Errorf("%s: a look-up of another account is complete", spot.Name)
		}
		if n := len(b.Sent()) - began; n > 0 {
			b.t.Errorf("%s: %d requests went to another account", spot.Name, n)
		}
		b.went(spot, b.First(a))
		b.times(spot, r, 1)
	}
}

// expiry: an authorization that nobody captured in time is canceled, as a capture is told,
// the look-up shows and an event tells.
func expiry(b *Bench) {
	r, reference := b.Paid(Plain, false)
	b.heardOf(r, "the expiry", func() { b.Advance(b.Expires + time.Second) })
	got := b.Do(b.Follow(r, reference, provider.Capture, r.Amount.Minor), provider.Declined)
	if Summary(got.Facts) != "canceled" || got.Refusal == nil {
		b.t.Errorf("a capture: %s, %+v", Facts(got.Facts), got.Refusal)
	}
	if got := Summary(b.Agree(r, reference)); got != "canceled" {
		b.t.Errorf("the look-up shows it %s", got)
	}
}

// approvalLost: nobody tells us that the payer has approved; the look-up does.
func approvalLost(b *Bench) {
	r := b.Payment(ByPayer, false)
	made := b.Do(r, provider.RequiresAction)
	if next := made.Facts[0].NextAction; next == nil || next.Type != "redirect_to_url" {
		b.t.Fatalf("the next action is %+v", next)
	}
	if err := b.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Webhook, Fault: providersim.Fault{Kind: providersim.WebhookLose}}}}); err != nil {
		b.t.Fatal(err)
	}
	before := len(b.Heard(r.PaymentID))
	b.Answer(made.Reference, ByPayer)
	if n := len(b.Heard(r.PaymentID)) - before; n > 0 {
		b.t.Errorf("%d events came", n)
	}
	shown := Summary(b.Find(r, made.Reference))
	if shown == "requires action" {
		b.t.Errorf("the look-up shows it waiting for its payer")
	}
	if b.Adapter.Capabilities().PayerFirst {
		if shown != "approved" {
			b.t.Errorf("the look-up shows it %s", shown)
		}
		next := r
		next.Reference = made.Reference
		b.Do(next, provider.Approved)
	}
	b.Advance(time.Hour)
	want := "authorized"
	if r.AutoCapture {
		want = "captured"
	}
	if got := Summary(b.Find(r, made.Reference)); got != want {
		b.t.Errorf("at last it is %s", got)
	}
}

// disturbed has a webhook fault befall every event of a payment; what is heard agrees with
// the look-up all the same.
func (b *Bench) disturbed(fault providersim.FaultKind) {
	h := b.hearing(fault, 0)
	if h.Later == 0 || fault == providersim.WebhookDuplicate && h.Later != 2*h.Distinct {
		b.t.Errorf("heard %d events, %d of them distinct", h.Later, h.Distinct)
	}
}

// lateSuccess: the answer never came, the provider acts ten minutes later, and events and
// the look-up tell of a success that no replay has brought about.
func lateSuccess(b *Bench) {
	for _, spot := range b.mainSpots() {
		r := b.upTo(spot)
		a := b.Attempt(r)
		b.Inject(spot.Operation, 0, "late_drop")
		b.Expect(spot.Name, b.First(a), provider.Unknown)
		b.times(spot, r, 0)
		b.Advance(11 * time.Minute)
		b.times(spot, r, 1)
		if r.Reference != "" {
			b.Agree(r, r.Reference)
		}
		b.went(spot, b.Replay(a))
		b.times(spot, r, 1)
	}
}

// refundFails: success is not the end of a refund.
func refundFails(b *Bench) {
	r, reference := b.Paid(RefundFails, true)
	a := b.Attempt(b.Follow(r, reference, provider.Refund, r.Amount.Minor))
	made := b.First(a)
	b.went(Spot{Name: "refund"}, made)
	var succeeded, failed provider.Fact
	for range 3 {
		for _, f := range append(made.Facts, b.Find(r, reference)...) {
			if f.Kind == provider.KindRefund && f.State == provider.StateSucceeded {
				succeeded = f
			}
			if f.Kind == provider.KindRefund && f.State == provider.StateFailed {
				failed = f
			}
		}
		b.Advance(10 * time.Minute)
	}
	if succeeded.ObjectID == "" || failed.ObjectID != succeeded.ObjectID || failed.Rank() <= succeeded.Rank() ||
		failed.Refusal == nil || failed.RefundID != a.Request.RefundID {
		b.t.Errorf("it succeeded as %+v\nand failed as %+v", succeeded, failed)
	}
	b.Agree(r, reference)
	events := b.Heard(r.PaymentID)
	i := slices.IndexFunc(events, func(e provider.Event) bool {
		return e.LookUp && e.ObjectID == failed.ObjectID || slices.ContainsFunc(e.Facts, func(f provider.Fact) bool {
			return f.ObjectID == failed.ObjectID && f.State == provider.StateFailed
		})
	})
	if i < 0 {
		b.t.Error("no event told of the failure")
	}
	if got := counted(b.Did(r), providersim.EffectRefundReversed); got != 1 {
		b.t.Errorf("%d refunds were reversed", got)
	}
}
