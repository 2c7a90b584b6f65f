package payment

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/saga"
)

// The authorization's reply is a sticky 500, the object waits for its payer, who never comes.
func TestAnUnknownThatWaitsForItsPayerComesToAnEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Manual)
	in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
	r.inject(providersim.Authorize, providersim.Error500After)
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), in)))
	r.pass(2*time.Hour, 5*time.Minute)
	t.Logf("after 2 h: %s, next_action %v, saga %v", r.get(p).Status, r.get(p).NextAction != nil, r.strings(`SELECT state FROM transaction_saga`))
	if _, err := r.cancel(p); err != nil {
		t.Errorf("a payment that is known to wait for its payer can't be cancelled: %v", err)
	}
	r.pass(10*24*time.Hour, time.Hour)
	if got := r.get(p); got.Status == Pending {
		t.Errorf("after 10 days: %s, sagas %v", got.Status, r.strings(`SELECT kind || ' ' || state || ' tries ' || tries FROM transaction_saga`))
	}
}

// The same by one crash of the worker that polls, after the key window.
func TestACrashWhilePollingThePayer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Manual)
	in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), in)))
	if err := r.clock.Advance(t.Context(), 23*time.Hour+55*time.Minute); err != nil {
		t.Fatal(err)
	}
	// The worker takes the lease and dies.
	if h, err := saga.Take(t.Context(), r.Pool, mustParse(t, r.strings(`SELECT id::text FROM transaction_saga`)[0]), r.NewID(), r.Now()); err != nil || h == nil {
		t.Fatal(h, err)
	}
	r.pass(5*24*time.Hour, time.Hour)
	if got := r.get(p); got.Status == Pending {
		_, err := r.cancel(p)
		t.Errorf("after 6 days: %s, sagas %v, cancel: %v", got.Status, r.strings(`SELECT kind || ' ' || state FROM transaction_saga`), err)
	}
}

// A cancel supersedes the authorization, and its void is refused: as long as the
// payment is pending, a saga owns it.
func TestARefusedVoidKeepsAPendingPaymentOwned(t *testing.T) {
	t.Parallel()
	for _, refusal := range []provider.Outcome{provider.Rejected, provider.Declined} {
		t.Run(string(refusal), func(t *testing.T) {
			r := newRig(t)
			in := r.params(Manual)
			in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
			req := r.key("/v1/payments")
			p := decode[View](t, r.must(r.Create(t.Context(), r.caller, req, in)))
			r.Providers["stripe"] = &hooked{Adapter: r.Providers["stripe"], before: func(c provider.Call) *provider.Result {
				if c.Attempt().Request.Step != provider.Void {
					return nil
				}
				// 401 while the key is rolled; or 400 payment_intent_unexpected_state while it is processing
				return &provider.Result{Outcome: refusal, Refusal: &provider.Refusal{Code: "provider_credentials"}}
			}}
			a := r.must(r.cancel(p))
			t.Logf("cancel: %d %.160s", a.Status, a.Body)
			if err := r.sim.CompleteAuthentication(*p.ProviderTransactionID, true); err != nil { // its webhook is lost
				t.Fatal(err)
			}
			r.pass(3*24*time.Hour, time.Hour)
			if open := r.count(`SELECT count(*) FROM transaction_saga WHERE state <> 'done'`); r.get(p).Status == Pending && open == 0 {
				again := r.must(r.Create(t.Context(), r.caller, req, in))
				t.Errorf("3 days later the payment is PENDING, no saga is open, the provider has %v, the create's key answers %d", r.effects(p), again.Status)
			}
		})
	}
}

// An attempt is a day old when it is first sent. That it is absent is not believed at once.
func TestAbsenceIsCountedFromTheFirstSending(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	r.inject(providersim.Refund, providersim.RateLimited) // provably not sent: scheduled
	req := r.key("/refund")
	a := r.must(r.Refund(t.Context(), r.caller, req, paymentID(t, p), RefundParams{}))
	if a.Status != 202 {
		t.Fatal(a.Status)
	}
	// The queue is paused for a day (or the resume function is broken).
	if err := r.clock.Advance(t.Context(), 25*time.Hour); err != nil {
		t.Fatal(err)
	}
	r.inject(providersim.Refund, providersim.LateDrop) // sent now for the first time; done 10 minutes later
	r.carryOn()
	sent := r.Now()
	r.pass(time.Minute, 10*time.Second)
	re := (*r.get(p).Refunds)[0]
	if re.Status == RefundFailed {
		t.Errorf("%v after the first byte left, the refund is FAILED: %+v, rule %v", r.Now().Sub(sent), re.Failure, r.strings(`SELECT rule FROM transaction_saga WHERE rule IS NOT NULL`))
	}
	// The merchant believes it and refunds again, in part.
	r.pass(20*time.Minute, time.Minute) // the provider does the first one; its webhook comes
	r.webhook(p)
	got := r.get(p)
	t.Logf("provider: %v, ours: %s refunded %d refundable %d refund %s", r.effects(p), got.Status, got.RefundedAmount, got.RefundableAmount, (*got.Refunds)[0].Status)
	if r.effects(p)[providersim.EffectRefund] == 1 && got.RefundedAmount == 0 {
		t.Errorf("the provider refunded 5000, we have 0 and let 5000 be refunded again; facts %v", r.strings(`SELECT object_id || ' ' || state || ' ' || effect FROM provider_facts WHERE kind = 'refund'`))
	}
}

// A worker dies between lease and send, and the payment expires: what provably never left
// is not sent any more.
func TestNothingIsSentAfterExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.RateLimited)
	u := decode[unavailable](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Automatic))))
	p := View{ID: u.PaymentID}
	if err := r.clock.Advance(t.Context(), 14*time.Minute+50*time.Second); err != nil {
		t.Fatal(err)
	}
	if h, err := saga.Take(t.Context(), r.Pool, mustParse(t, r.strings(`SELECT id::text FROM transaction_saga`)[0]), r.NewID(), r.Now()); err != nil || h == nil {
		t.Fatal(h, err) // this worker dies before Sending
	}
	r.pass(time.Hour, 10*time.Minute)
	unsent := r.strings(`SELECT unsent::text FROM saga_attempts`)
	if got := r.get(p); got.Status != Canceled {
		t.Errorf("expires_at %v; afterwards %s, effects %v, unsent %v", u.ExpiresAt, got.Status, r.effects(p), unsent)
	}
}

// What expires at 15 minutes is cancelled then, not when it would next be tried.
func TestExpiryIsOnTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.sim.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Authorize, Fault: providersim.Fault{Kind: providersim.RateLimited}}}}); err != nil {
		t.Fatal(err)
	}
	u := decode[unavailable](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	r.pass(17*time.Minute, 5*time.Second)
	if got := r.get(View{ID: u.PaymentID}); got.Status == Pending {
		t.Errorf("2 minutes after expires_at it is %s; due %v", got.Status, r.strings(`SELECT (due_at - $1::timestamptz)::text FROM transaction_saga`, epoch))
	}
}

// The error of a deferred constraint comes out of a pipelined transaction.
func TestDeferredConstraintsReachThroughAPipeline(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.pay(r.params(Manual))
	b := &pgx.Batch{}
	b.Queue(`UPDATE transactions SET version = version + 1`)
	err := postgres.Pipeline(t.Context(), r.Pool, b)
	if err == nil {
		t.Errorf("swallowed; version is %v", r.strings(`SELECT version::text FROM transactions`))
	}
}

// An event shows the payment as pending while it is confirmed; the next action that follows
// is kept.
func TestPendingDoesNotHideTheNextAction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Manual)
	in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
	inner := r.Providers["stripe"]
	r.Providers["stripe"] = &hooked{Adapter: inner, after: func(c provider.Call) {
		q := c.Attempt().Request // what a look-up or event shows while the confirmation runs: requires_payment_method without an error
		pi := inner.Find(t.Context(), provider.Query{PaymentID: q.PaymentID, Since: epoch}).Facts[0].ObjectID
		f := provider.Fact{Kind: provider.KindAuthorization, State: provider.StatePending, ObjectID: pi, Reference: pi, PaymentID: q.PaymentID, Amount: q.Amount, Units: 5000, UnitCurrency: "jpy"}
		if _, err := r.ApplyEvent(t.Context(), "stripe", provider.Event{ID: "evt_1", PaymentID: q.PaymentID, Facts: []provider.Fact{f}}, r.NewID()); err != nil {
			t.Error(err)
		}
	}}
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), in)))
	if p.NextAction == nil {
		t.Errorf("the provider asks for the payer, the merchant sees %s, next_action %v, facts %v", p.Status, p.NextAction, r.strings(`SELECT state || ' ' || effect FROM provider_facts`))
	}
}

func TestACraftedCursorIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, at := range []int64{-9223372036854775808, 9223372036854775807, -9e17} {
		c := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"t":%d,"i":"%s"}`, at, r.NewID())))
		if _, err := r.List(t.Context(), r.caller.MerchantID, Filter{Cursor: c}); !fault.Is(err, fault.InvalidRequest) {
			t.Errorf("%d: %v", at, err)
		}
	}
}

// A capture that provably never left, and is scheduled, gives way to a cancel.
func TestACancelSupersedesAScheduledCapture(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.inject(providersim.Capture, providersim.RateLimited)
	if a := r.must(r.capture(p, nil)); a.Status != 202 {
		t.Fatal(a.Status)
	}
	if _, err := r.cancel(p); err != nil {
		t.Errorf("the capture provably never left, and the cancel is refused: %v", err)
	}
}

// The webhook, which can't say capture_before, comes first; the reply completes it.
func TestCaptureBeforeIsLearntFromTheReply(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inner := r.Providers["stripe"]
	r.Providers["stripe"] = &hooked{Adapter: inner, after: func(c provider.Call) {
		q := c.Attempt().Request
		f := inner.Find(t.Context(), provider.Query{PaymentID: q.PaymentID, Since: epoch})
		f.Facts[0].CaptureBefore = time.Time{} // an event has latest_charge as a mere id
		if _, err := r.ApplyEvent(t.Context(), "stripe", provider.Event{ID: "evt_1", PaymentID: q.PaymentID, Facts: f.Facts}, r.NewID()); err != nil {
			t.Error(err)
		}
	}}
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	if p = r.get(p); p.CaptureBefore == nil {
		t.Errorf("status %s, capture_before is never known", p.Status)
	}
}

// What an absence was concluded from is stored, to be read by a human.
func TestAbsenceHasItsEvidence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.Error500Before)
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	r.pass(27*time.Hour, time.Hour)
	if got := r.get(p); got.Status != Failed {
		t.Fatal(got.Status)
	}
	if got := r.strings(`SELECT r.operation || ' ' || coalesce(r.body, 'NO BODY') || ' ' || coalesce(r.http_status::text, 'NO STATUS')
		FROM transaction_saga s JOIN provider_responses r ON r.id = s.evidence_id WHERE s.rule = 'absent'`); strings.Contains(got[0], "NO BODY") {
		t.Errorf("the stored proof of absence is: %v", got)
	}
}

func TestAttemptsEndWithTheirSaga(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.inject(providersim.Capture, providersim.Error500After)
	r.must(r.capture(p, nil))
	r.pass(time.Hour, 5*time.Minute)
	got := r.get(p)
	if got.Status != Captured {
		t.Fatal(got.Status)
	}
	for _, a := range *got.Attempts {
		if a.Outcome == nil || *a.Outcome == "unknown" {
			t.Errorf("the payment is %s, its %s attempt is %v", got.Status, a.Operation, deref(a.Outcome))
		}
	}
}

// One connection is enough: nothing takes a second one inside a transaction.
func TestOneConnectionIsEnough(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := r.Pool.Config()
	cfg.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	r.Pool = pool
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p := r.pay(r.params(Manual))
	_, err = r.Capture(ctx, r.caller, r.key("/c"), paymentID(t, p), CaptureParams{Amount: minor(9999)})
	t.Log(err)
	r.inject(providersim.Capture, providersim.DropAfter)
	r.must(r.capture(p, nil))
	r.must(r.refundOf(p, minor(10)))
	r.pass(time.Hour, time.Minute)
	r.must(r.refundOf(p, nil))
	r.webhook(p)
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
}

// Everything at once on one payment: no deadlock, no internal error.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.sim.SetPlan(providersim.Plan{Seed: 3, Rules: []providersim.Rule{
		{Probability: 0.2, Fault: providersim.Fault{Kind: providersim.DropAfter}},
		{Probability: 0.1, Fault: providersim.Fault{Kind: providersim.RateLimited}},
	}}); err != nil {
		t.Fatal(err)
	}
	for range 15 {
		a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
		if a.Status == 503 {
			continue
		}
		p := decode[View](t, a)
		var wg sync.WaitGroup
		do := func(name string, f func() error) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 4 {
					if err := f(); err != nil && fault.As(err).Kind() == fault.KindInternal {
						t.Errorf("%s: %v", name, err)
					}
				}
			}()
		}
		do("capture", func() error { _, err := r.capture(p, nil); return err })
		do("cancel", func() error { _, err := r.cancel(p); return err })
		do("refund", func() error { _, err := r.refundOf(p, minor(100)); return err })
		do("refund", func() error { _, err := r.refundOf(p, minor(100)); return err })
		do("webhook", func() error { r.webhook(p); return nil })
		do("resume", func() error {
			for _, s := range r.strings(`SELECT id::text FROM transaction_saga WHERE state <> 'done'`) {
				if err := r.Resume(t.Context(), Wake{SagaID: mustParse(t, s)}); err != nil {
					return err
				}
			}
			return nil
		})
		wg.Wait()
	}
	if err := r.sim.SetPlan(providersim.Plan{}); err != nil {
		t.Fatal(err)
	}
	r.pass(3*time.Hour, 5*time.Minute)
	t.Log(r.strings(`SELECT status || ' ' || count(*) FROM transactions GROUP BY status`), r.strings(`SELECT kind||' '||state||' '||coalesce(outcome,'') || ' ' || count(*) FROM transaction_saga GROUP BY kind,state,outcome`))
	r.fold()
	r.gapless()
}

// What was excess is counted when the reservation that stood in its way goes.
func TestExcessIsCountedWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	r.inject(providersim.Refund, providersim.RateLimited)
	r.must(r.refundOf(p, minor(2000))) // reserved, not sent
	r.stripePost("/v1/refunds", url.Values{"payment_intent": {*p.ProviderTransactionID}})
	r.webhook(p)
	r.pass(time.Hour, time.Minute) // ours is refused: already refunded
	got := r.get(p)
	t.Logf("status %s, refunded %d, refundable %d, recon %s", got.Status, got.RefundedAmount, got.RefundableAmount, got.ReconciliationStatus)
	if got.RefundableAmount != 0 {
		t.Errorf("the provider has refunded all 5000; we show refunded %d, refundable %d, status %s", got.RefundedAmount, got.RefundableAmount, got.Status)
	}
}

// A 503 that says "will retry" says when to ask again.
func TestUnavailableSaysWhenToAskAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.RateLimited)
	a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
	if a.Status != 503 || a.RetryAfter == 0 {
		t.Errorf("answered %d, Retry-After %v", a.Status, a.RetryAfter)
	}
}
