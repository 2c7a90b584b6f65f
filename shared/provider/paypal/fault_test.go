package paypal_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Whatever happens to one request, what it yields is what is proven, replaying it within
// the window never does it twice, and a look-up shows what was done.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  string
		want   provider.Outcome
		replay provider.Outcome // Approved, or RequiresAction of an order
		done   int              // what the simulator did by then
	}{
		{fault: "drop_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_before; silent", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "drop_after; silent", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "500_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "500_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "409", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "429", want: provider.NotSent, replay: provider.Approved, done: 1},
		{fault: "html_before", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "html_after", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "html_after; status=404", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "bad_json", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "wrong_amount", want: provider.Unknown, replay: provider.Approved, done: 1},
		{fault: "delay_before; for=1ms", want: provider.Approved, replay: provider.Approved, done: 1},
		{fault: "delay_after; for=1ms", want: provider.Approved, replay: provider.Approved, done: 1},
		{fault: "late_drop", want: provider.Unknown, replay: provider.Unknown, done: 0},
		{fault: "late_500", want: provider.Unknown, replay: provider.Unknown, done: 0},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.strikeCreate(c.fault, c.want, c.replay)
			for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund} {
				r, op := b.authorization(), providersim.Operation(step)
				r.AutoCapture = step == provider.Refund
				switch step {
				case provider.Authorize:
					r.Reference, op = b.approved(r, providersim.PayPalApproves), providersim.Confirm
				case provider.Refund:
					r = b.refundOf(r, b.authorized(r, providersim.PayPalApproves), 5000)
				default:
					r = follow(r, b.authorized(r, providersim.PayPalApproves), step, 5000)
				}
				b.strike(r, op, c.fault, c.want, c.replay, c.done)
			}
			sale := b.authorization()
			sale.AutoCapture = true
			sale.Reference = b.approved(sale, providersim.PayPalApproves)
			b.strike(sale, providersim.Confirm, c.fault, c.want, c.replay, c.done)
		})
	}
}

// strike makes a request that a fault befalls, replays it, and counts.
func (b *bench) strike(r provider.Request, op providersim.Operation, fault string, want, again provider.Outcome, done int) {
	b.t.Helper()
	b.inject(op, fault)
	a := b.attempt(r)
	got := b.first(a)
	b.expect(string(r.Step)+" under "+fault, got, want)
	if want != provider.Approved && len(got.Facts) > 0 {
		b.t.Errorf("%s: %s, but with facts %s", r.Step, got.Outcome, summary(got.Facts))
	}
	b.expect(string(r.Step)+", replayed", b.replay(a), again)
	b.count(r, done)
	if strings.HasPrefix(fault, "late_") {
		b.advance(10 * time.Minute)
		b.count(r, 1)
		b.expect(string(r.Step)+", replayed later", b.replay(a), provider.Approved)
		b.count(r, 1)
	}
}

// strikeCreate does the same to the making of an order, which moves nothing.
func (b *bench) strikeCreate(fault string, want, again provider.Outcome) {
	b.t.Helper()
	b.inject(providersim.Authorize, fault)
	asWaiting := map[provider.Outcome]provider.Outcome{provider.Approved: provider.RequiresAction}
	toOrder := func(o provider.Outcome) provider.Outcome {
		if other, ok := asWaiting[o]; ok {
			return other
		}
		return o
	}
	r := b.authorization()
	a := b.attempt(r)
	b.expect("create under "+fault, b.first(a), toOrder(want))
	got := b.replay(a)
	b.expect("create, replayed", got, toOrder(again))
	if strings.HasPrefix(fault, "late_") {
		b.advance(10 * time.Minute)
		got = b.replay(a)
		b.expect("create, replayed later", got, provider.RequiresAction)
	}
	if second := b.replay(a); second.Reference != got.Reference {
		b.t.Errorf("a replay made a second order: %s, %s", got.Reference, second.Reference)
	}
	if err := b.sim.Approve(got.Reference, providersim.PayPalApproves); err != nil {
		b.t.Fatal(err)
	}
	b.expect("authorize", b.replay(a), provider.Approved)
	b.expect("authorize again", b.replay(a), provider.Approved)
	b.count(r, 1)
}

// count compares the simulator's effects with their number and with the look-up.
func (b *bench) count(r provider.Request, want int) {
	b.t.Helper()
	did, order := 0, r.Reference
	for _, e := range b.sim.EffectsFor("invoice_id", id.Payment.External(r.PaymentID)) {
		order = e.Payment
		if string(e.Kind) == string(r.Step) {
			did++
		}
	}
	if did != want {
		b.t.Errorf("the simulator did %d times what was asked once (%s), want %d", did, r.Step, want)
	}
	shows := map[provider.Step]string{
		provider.Authorize: "authorization.authorized", provider.Capture: "capture.succeeded",
		provider.Void: "authorization.canceled", provider.Refund: "refund.succeeded",
	}[r.Step]
	if seen := strings.Count(summary(b.find(r, order)), shows); seen != want {
		b.t.Errorf("the look-up shows %s %d times, want %d", shows, seen, want)
	}
}

// What befalls the reading of the order before a first call leaves it unsent.
func TestFaultsOfTheLookBeforehand(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"drop_before", "500_before", "429", "html_after", "html_before", "bad_json"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := b.authorization()
			capture := follow(r, b.authorized(r, providersim.PayPalApproves), provider.Capture, 5000)
			a := b.attempt(capture)
			b.inject(providersim.Retrieve, fault)
			b.expect("a first call", b.first(a), provider.NotSent)
			b.inject(providersim.Retrieve, fault)
			b.expect("a replay", b.replay(a), provider.Unknown)
			b.inject(providersim.Retrieve, fault)
			if got := b.adapter.Find(t.Context(), provider.Query{PaymentID: r.PaymentID, Reference: capture.Reference}); got.Complete {
				t.Errorf("the look-up is complete: %s", summary(got.Facts))
			}
			b.count(capture, 0)
			b.expect("at last", b.first(a), provider.Approved)
			b.count(capture, 1)
		})
	}
}

func TestHangingRequestsTimeOut(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, kind := range []string{"hang_before", "hang_after", "late_hang; for=1ms"} {
		r := b.authorization()
		capture := follow(r, b.authorized(r, providersim.PayPalApproves), provider.Capture, 5000)
		a := b.attempt(capture)
		call, err := provider.FirstCall(a)
		if err != nil {
			t.Fatal(err)
		}
		b.inject(providersim.Capture, kind)
		quick := b.newAdapter(500 * time.Millisecond)
		got := quick.Execute(t.Context(), call)
		for tries := 0; got.Outcome == provider.NotSent && tries < 20; tries++ { // a busy machine, at the look beforehand
			got = quick.Execute(t.Context(), call)
		}
		b.expect(kind, got, provider.Unknown)
		if !got.TimedOut {
			t.Errorf("%s: not timed out: %q", kind, got.Evidence.Error)
		}
		b.advance(time.Second)
		b.expect(kind+", replayed", b.replay(a), provider.Approved)
		b.count(capture, 1)
	}
}

// A token is used until it is about to expire, and one that PayPal no longer takes is
// replaced in mid-flight.
func TestTokens(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	ref := b.authorized(r, providersim.PayPalApproves)
	asked := func() int64 { return b.sim.Counters()["token.requests"] }
	if asked() != 1 {
		t.Errorf("%d tokens for three steps", asked())
	}
	b.advance(9*time.Hour - time.Minute)
	b.find(r, ref)
	if asked() != 2 {
		t.Errorf("%d tokens after one ran out", asked())
	}
	b.sim.ExpireTokens()
	b.do(follow(r, ref, provider.Capture, 5000), provider.Approved, captured)
	if asked() != 3 {
		t.Errorf("%d tokens after they were revoked", asked())
	}
	b.sim.ExpireTokens()
	b.inject(providersim.Token, "500_before")
	refund := b.attempt(b.refundOf(r, ref, 5000))
	b.expect("without a token", b.first(refund), provider.NotSent)
	b.inject(providersim.Token, "drop_before")
	b.expect("without a token, replayed", b.replay(refund), provider.Unknown)
	b.expect("with one", b.replay(refund), provider.Approved)

	wrong, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: "other", APIBase: b.server.URL}, paypal.Options{
		Now: b.now, ConnectTimeout: time.Minute, ReadTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wrong.Close)
	call, err := provider.FirstCall(b.attempt(b.authorization()))
	if err != nil {
		t.Fatal(err)
	}
	got := wrong.Execute(t.Context(), call)
	b.expect("with the wrong secret", got, provider.Rejected)
	if got.Refusal.Code != "provider_credentials" || len(got.Facts) != 1 {
		t.Errorf("refusal %+v, facts %s", got.Refusal, summary(got.Facts))
	}
}

// A second payment under an invoice_id that was paid is no decline.
func TestDuplicateInvoiceIsNoDecline(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	b.authorized(r, providersim.PayPalApproves)
	b.do(r, provider.Unknown, "") // another attempt of the same payment
}

func TestVerifyByAPI(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	byAPI := b.newVerifier("api")
	checked := make(chan error, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		checked <- byAPI.Verify(r.Context(), r.Header, body)
		checked <- byAPI.Verify(r.Context(), r.Header, bytes.Replace(body, []byte(`"1.0"`), []byte(`"1.1"`), 1))
	}))
	t.Cleanup(receiver.Close)
	b.sim.SetWebhook(receiver.URL)
	b.approved(b.authorization(), providersim.PayPalApproves)
	if err := <-checked; err != nil {
		t.Errorf("a true webhook: %v", err)
	}
	if err := <-checked; err == nil {
		t.Error("a webhook with another byte in it is taken for true")
	}
}

// Payments side by side through random faults: each step is replayed until it is decided,
// and everything is done once.
func TestStorm(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	plan := providersim.Plan{Seed: 7}
	for _, fault := range []string{
		"drop_before", "drop_after", "500_before", "500_after", "409", "429", "html_after", "bad_json", "wrong_amount",
	} {
		f, err := providersim.ParseFault(fault)
		if err != nil {
			t.Fatal(err)
		}
		plan.Rules = append(plan.Rules, providersim.Rule{Operation: "*", Probability: 0.05, Fault: f})
	}
	if err := b.sim.SetPlan(plan); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		r := b.authorization()
		refund := b.refundOf(r, "", 2000)
		creating, capturing, refunding := b.newID(), b.newID(), b.newID()
		wg.Go(func() {
			made := b.persist(provider.NewAttempt(creating, 1, r, b.now()), provider.RequiresAction)
			if err := b.sim.Approve(made.Reference, providersim.PayPalApproves); err != nil {
				t.Error(err)
				return
			}
			again := provider.NewAttempt(creating, 1, r, b.now())
			again.Unsent = false
			b.persist(again, provider.Approved)
			b.persist(provider.NewAttempt(capturing, 1, follow(r, made.Reference, provider.Capture, 4000), b.now()), provider.Approved)
			refund.Reference = made.Reference
			b.persist(provider.NewAttempt(refunding, 1, refund, b.now()), provider.Approved)
			var did []string
			for _, e := range b.sim.EffectsFor("invoice_id", id.Payment.External(r.PaymentID)) {
				did = append(did, string(e.Kind))
			}
			if got := strings.Join(did, " "); got != "authorize capture refund" {
				t.Errorf("the simulator did %q", got)
			}
		})
	}
	wg.Wait()
}

// persist makes a first call of what was not sent, and replays it until it has the outcome
// that it must come to.
func (b *bench) persist(a provider.Attempt, want provider.Outcome) provider.Result {
	for range 100 {
		call, ok := provider.Replay(a, b.adapter.Capabilities(), b.now())
		if a.Unsent {
			var err error
			call, err = provider.FirstCall(a)
			ok = err == nil
		}
		if !ok {
			break
		}
		got := b.adapter.Execute(b.t.Context(), call)
		switch got.Outcome {
		case want:
			return got
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
