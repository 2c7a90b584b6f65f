package payment

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/saga"
)

// hooked lets a test stand between the provider's answer and the record, or answer
// in the provider's place.
type hooked struct {
	provider.Adapter
	before func(provider.Call) *provider.Result
	after  func(provider.Call)
}

func (h *hooked) Execute(ctx context.Context, call provider.Call) provider.Result {
	if h.before != nil {
		if r := h.before(call); r != nil {
			return *r
		}
	}
	res := h.Adapter.Execute(ctx, call)
	if h.after != nil {
		h.after(call)
	}
	return res
}

// traced is the service on a pool of its own, whose statements a test sees before they run.
type tracer struct {
	query func(sql string)
	batch func(sqls []string)
}

func (t *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if t.query != nil {
		t.query(d.SQL)
	}
	return ctx
}
func (t *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (t *tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	if t.batch != nil {
		var s []string
		for _, q := range d.Batch.QueuedQueries {
			s = append(s, q.SQL)
		}
		t.batch(s)
	}
	return ctx
}
func (t *tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (t *tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

func (r *rig) traced(tr *tracer) *Service {
	r.t.Helper()
	cfg := r.Pool.Config()
	cfg.ConnConfig.Tracer = tr
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(pool.Close)
	s := *r.Service
	s.Pool = pool
	return &s
}

// A webhook closes the saga while the reply is on its way: the merchant is told 422.
func TestAWebhookBeforeTheReplyIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, step := range []provider.Step{provider.Capture, provider.Void} {
		t.Run(string(step), func(t *testing.T) {
			r := newRig(t)
			p := r.pay(r.params(Manual))
			r.Providers["stripe"] = &hooked{Adapter: r.Providers["stripe"], after: func(c provider.Call) {
				if c.Attempt().Request.Step == step {
					r.webhook(p)
				}
			}}
			req := r.key("/op")
			do := func() idempotency.Answer {
				if step == provider.Capture {
					return r.must(r.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
				}
				return r.must(r.Cancel(t.Context(), r.caller, req, paymentID(t, p)))
			}
			first, again := do(), do()
			t.Logf("first %d %.120s", first.Status, first.Body)
			t.Logf("again %d %.120s", again.Status, again.Body)
			if first.Status != http.StatusOK || !bytes.Equal(first.Body, again.Body) {
				t.Errorf("first answer %d, repeat %d", first.Status, again.Status)
			}
		})
	}
}

// Same for a create, when the payment has moved on: bytes differ from the stored ones.
func TestALateReplyGetsTheStoredAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inner := r.Providers["stripe"]
	r.Providers["stripe"] = &hooked{Adapter: inner, after: func(c provider.Call) {
		if c.Attempt().Request.Step == provider.Authorize {
			p := View{ID: id.Payment.External(c.Attempt().Request.PaymentID)}
			r.webhook(p)
			r.must(r.refundOf(p, minor(1000)))
		}
	}}
	req := r.key("/v1/payments")
	first := r.must(r.Create(t.Context(), r.caller, req, r.params(Automatic)))
	again := r.must(r.Create(t.Context(), r.caller, req, r.params(Automatic)))
	if first.Status == 201 && !bytes.Equal(first.Body, again.Body) {
		t.Errorf("the first final answer differs from its repeat:\n%s\n%s", first.Body, again.Body)
	}
}

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

// A cancel supersedes the authorization, and its void is refused: nobody owns the payment.
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

// "Absent" is believed by the age of the attempt's row, not of its first sending.
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

// A success of a refund that was FAILED (by an attempt's refusal) is dropped.
func TestARefundThatSucceedsAfterItFailedIsBooked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	inner := r.Providers["stripe"]
	r.Providers["stripe"] = &hooked{Adapter: inner, before: func(c provider.Call) *provider.Result {
		q := c.Attempt().Request
		if q.Step != provider.Refund {
			return nil
		}
		inner.Execute(t.Context(), c) // done, whatever was concluded from the reply
		rf := &provider.Refusal{Code: "x", Message: "x"}
		return &provider.Result{Outcome: provider.Declined, Refusal: rf, Facts: []provider.Fact{{
			Kind: provider.KindRefund, State: provider.StateFailed, ObjectID: provider.AttemptObject + c.Attempt().Key, PaymentID: q.PaymentID, RefundID: q.RefundID, Refusal: rf,
		}}}
	}}
	r.must(r.refundOf(p, minor(2000)))
	r.webhook(p)
	got := r.get(p)
	if got.RefundedAmount != 2000 {
		t.Errorf("the provider proves a refund of 2000; we book %d, refundable %d, reconciliation %s, facts %v", got.RefundedAmount, got.RefundableAmount,
			got.ReconciliationStatus, r.strings(`SELECT object_id || ' ' || state || ' ' || effect FROM provider_facts WHERE kind = 'refund'`))
	}
}

func (r *rig) stripePost(path string, form url.Values) {
	r.t.Helper()
	req := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	req.Header.Set("Authorization", "Bearer sk_test_sim")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	r.sim.ServeHTTP(w, req)
	if w.Code != 200 {
		r.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
}

// Any refund on a dead payment discharges the whole obligation.
func TestAPartialRefundDischargesNoObligation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	r.rewind(Failed)
	r.webhook(p)
	r.stripePost("/v1/refunds", url.Values{"payment_intent": {*p.ProviderTransactionID}, "amount": {"1000"}}) // support, in the dashboard
	r.webhook(p)
	if got := r.strings(`SELECT kind || ' ' || amount_minor || ' ' || state FROM obligations WHERE kind = 'refund'`); got[0] != "refund 5000 open" {
		t.Errorf("a refund of 1000 discharged the obligation to refund 5000: %v", got)
	}
}

// An obligation's refund that succeeds and then fails stays "done".
func TestAnObligationOpensAgainWhenItsRefundFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.PaymentMethod = "pm_card_refundFail"
	p := r.pay(in)
	r.rewind(Failed)
	r.webhook(p)
	r.carryOn()
	r.pass(3*time.Hour, 30*time.Minute)
	r.webhook(p)
	if r.effects(p)[providersim.EffectRefundReversed] == 0 {
		t.Fatal("the refund did not fail")
	}
	if got := r.strings(`SELECT kind || ' ' || state FROM obligations WHERE kind = 'refund'`); got[0] != "refund open" {
		t.Errorf("the refund failed at the provider, the payer's money is still there, and the obligation is: %v; effects %v", got, r.effects(p))
	}
}

// A repeat reads the payment and the saga at two times.
func TestARepeatIsOfOneMoment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.inject(providersim.Capture, providersim.DropAfter)
	req := r.key("/capture")
	r.must(r.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	var once sync.Once
	s := r.traced(&tracer{query: func(sql string) {
		if strings.Contains(sql, "FROM transaction_saga WHERE id = $1") && !strings.Contains(sql, "UPDATE") {
			once.Do(func() { r.webhook(p) }) // between peek and saga.Find
		}
	}})
	mixed := r.must(s.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	again := r.must(r.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	if mixed.Status == 200 && !bytes.Equal(mixed.Body, again.Body) {
		t.Errorf("a final 200 (replayed: %t) that is not the stored answer:\n%.200s\n%.200s", mixed.Replayed, mixed.Body, again.Body)
	}
}

// A cancel reads "scheduled", a task sends, the cancel says "unsent".
func TestACancelDoesNotOvertakeASending(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.RateLimited)
	a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Automatic)))
	u := decode[unavailable](t, a)
	p := View{ID: u.PaymentID}
	sagaID := mustParse(t, r.strings(`SELECT id::text FROM transaction_saga`)[0])
	called := make(chan struct{})
	r.Providers["stripe"] = &hooked{Adapter: r.Providers["stripe"], after: func(provider.Call) { close(called) }}
	resumed := make(chan error, 1)
	var once sync.Once
	s := r.traced(&tracer{query: func(sql string) {
		if strings.Contains(sql, "FROM idempotency_keys WHERE merchant_id") {
			once.Do(func() {
				go func() { resumed <- r.Resume(t.Context(), Wake{SagaID: sagaID}) }()
				select {
				case <-called:
				case <-time.After(3 * time.Second): // it waits for the lock, as it should
				}
			})
		}
	}})
	req := r.key("/cancel")
	a = r.must(s.Cancel(t.Context(), r.caller, req, paymentID(t, p)))
	if err := <-resumed; err != nil {
		t.Log("resume:", err)
	}
	if n := r.effects(p)[providersim.EffectCapture]; n != 0 && a.Status == 200 {
		t.Errorf("cancel answered %d with action %v, and the provider has %v; obligations %v", a.Status,
			r.strings(`SELECT action FROM transaction_audit_log WHERE action LIKE '%unsent%'`), r.effects(p), r.strings(`SELECT kind || ' ' || reason FROM obligations`))
	}
}

// A crash between lease and send makes an expired, provably unsent authorization be sent.
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

func (r *rig) withTasks(queues ...string) *cloudtasks.Server {
	r.t.Helper()
	server, err := cloudtasks.New(cloudtasks.Options{Now: r.clock.Now, Wake: r.clock.Wake, Token: func(string, string) string { return "x" }})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(server.Close)
	const location = "projects/test/locations/asia-northeast1"
	for _, q := range queues {
		if _, err = server.CreateQueue(r.t.Context(), &cloudtaskspb.CreateQueueRequest{
			Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/" + outbox.ResumeQueue(q)},
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	worker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var w Wake
		if err := json.Unmarshal(body, &w); err != nil {
			r.t.Error(err)
		}
		r.keys.Add(1)
		if err := r.Resume(context.Background(), w); err != nil {
			r.t.Error(err)
		}
	}))
	r.t.Cleanup(worker.Close)
	r.Tasks, err = outbox.OpenTasks(r.t.Context(), outbox.TasksConfig{Location: location, ServiceAccount: "tasks@test", ResumeURL: worker.URL}, server.ClientOptions()...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = r.Tasks.Close() })
	return server
}

// Each resumption that retries a guarded step leaves two tasks behind: they double.
func TestAStickyErrorCostsFewTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.clock.Register(r.withTasks("stripe"))
	p := r.pay(r.params(Manual))
	if err := r.sim.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Capture, Fault: providersim.Fault{Kind: providersim.Error500Before}}}}); err != nil {
		t.Fatal(err)
	}
	r.must(r.capture(p, nil))
	var per []int64
	for range 7 {
		before := r.keys.Load()
		if err := r.clock.Advance(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		per = append(per, r.keys.Load()-before)
	}
	if per[6] > 4 {
		t.Errorf("tasks run for one operation, hour by hour: %v; attempts %d", per, r.count(`SELECT count(*) FROM saga_attempts WHERE step = 'capture'`))
	}
}

// A late task resumes what is not due, and leaves a task of its own: chains never merge.
func TestTasksForOneSagaMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := r.withTasks("stripe")
	in := r.params(Manual)
	in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
	r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), in))
	for range 20 { // the queue is away for twenty minutes, the sweep makes its task each minute
		if err := r.clock.Advance(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := r.EnqueueDue(t.Context(), 500); err != nil {
			t.Fatal(err)
		}
	}
	r.clock.Register(server) // and is back
	var per []int64
	for range 6 {
		before := r.keys.Load()
		if err := r.clock.Advance(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		per = append(per, r.keys.Load()-before)
	}
	if per[5] > 4 {
		t.Errorf("tasks run for one waiting payment, hour by hour: %v", per)
	}
}

// One saga whose queue is missing keeps the sweep from all the others.
func TestOneMissingQueueStopsNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.DropAfter)
	r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
	if _, err := r.Pool.Exec(t.Context(), `UPDATE transaction_saga SET provider = 'paypal'`); err != nil {
		t.Fatal(err)
	}
	if err := r.clock.Advance(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	r.inject(providersim.Authorize, providersim.DropAfter)
	r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
	if err := r.clock.Advance(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	r.withTasks("stripe")
	n, err := r.EnqueueDue(t.Context(), 500)
	if n == 0 {
		t.Errorf("the stripe saga was not enqueued: %d, %v", n, err)
	}
}

// What expires at 15 minutes is cancelled at 21.
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

// Do errors of deferred constraints come out of a pipelined transaction?
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

// "pending" seen during the confirmation hides the next action that follows.
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

// A crafted cursor.
func TestACraftedCursorIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, at := range []int64{-9223372036854775808, 9223372036854775807, -9e17} {
		c := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"t":%d,"i":"%s"}`, at, r.NewID())))
		if _, err := r.List(t.Context(), r.caller.MerchantID, Filter{Cursor: c}); err != nil && !fault.Is(err, fault.InvalidRequest) {
			t.Errorf("%d: %v", at, err)
		}
	}
}

// DESIGN: "A cancel supersedes scheduled".
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

// capture_before is lost when the webhook, which can't say it, comes first.
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

// The evidence of "absent" is an empty row; attempts stay without an outcome.
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

// What was excess is not counted when the reservation that stood in its way goes.
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

// A 503 that says "will retry" says when to ask again?
func TestUnavailableSaysWhenToAskAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.RateLimited)
	a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
	if a.Status == 503 && a.RetryAfter == 0 {
		t.Error("no Retry-After")
	}
}

// As F1, and the reply itself never came: a capture that timed out is called refused.
func TestATimedOutCaptureThatAWebhookProvedIsAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.inject(providersim.Capture, providersim.DropAfter)
	r.Providers["stripe"] = &hooked{Adapter: r.Providers["stripe"], after: func(provider.Call) { r.webhook(p) }}
	a := r.must(r.capture(p, nil))
	if a.Status >= 400 {
		t.Errorf("the capture is done, we answer %d %s", a.Status, a.Body)
	}
}

// A refund that is pending at the provider is "undone", so a new key asks for another.
func TestAPendingReleaseIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	c := clock.NewFrozen(epoch)
	sim := providersim.NewStripe(providersim.StripeConfig{Now: c.Now, SecretKeys: []string{"sk_test_sim"}, RefundDelay: 5 * 24 * time.Hour})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	t.Cleanup(sim.Close)
	r := newRigOn(t, c, sim, server.URL, pgtest.Pool(t))
	in := r.params(Automatic)
	in.PaymentMethod = "pm_card_pendingRefund"
	p := r.pay(in)
	r.rewind(Failed)
	r.webhook(p)
	r.carryOn()
	r.pass(36*time.Hour, time.Hour)
	if n := r.count(`SELECT count(DISTINCT provider_key) FROM provider_responses WHERE operation = 'refund'`); n > 1 {
		t.Errorf("while one refund is pending, %d different keys asked for it; answers %v", n, r.strings(`SELECT outcome || ' ' || count(*) FROM provider_responses WHERE operation = 'refund' GROUP BY outcome`))
	}
}

// A merchant who asks again as told pushes the resolution away.
func TestAskingAgainDoesNotPutTheResolutionOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.sim.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Fault: providersim.Fault{Kind: providersim.DropBefore}}}}); err != nil {
		t.Fatal(err)
	}
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	for range 12 {
		if err := r.clock.Advance(t.Context(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := r.cancel(p); fault.As(err).Retry != 5*time.Second {
			t.Fatal(err)
		}
	}
	var due time.Time
	if err := r.Pool.QueryRow(t.Context(), `SELECT due_at FROM transaction_saga`).Scan(&due); err != nil {
		t.Fatal(err)
	}
	if d := due.Sub(r.Now()); d > 10*time.Minute {
		t.Errorf("a minute after the create its resolution is due in %v", d)
	}
}
