package payment

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
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

// tracer shows a test the statements of a service before they run.
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

// traced is the service on a pool of its own, whose statements the tracer sees.
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

// A webhook closes the saga while the reply is on its way. The merchant is told that it
// worked, and so is whoever asks again.
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

// The same for a create, when the payment has moved on: both get the bytes that are stored.
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
	if first.Status != 201 || !bytes.Equal(first.Body, again.Body) {
		t.Errorf("the first final answer differs from its repeat:\n%s\n%s", first.Body, again.Body)
	}
}

// A webhook comes between the repeat's reading of the payment and of its answer: it waits, and the repeat tells of one
// moment, before or after.
func TestARepeatIsOfOneMoment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.inject(providersim.Capture, providersim.DropAfter)
	req := r.key("/capture")
	r.must(r.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	told := make(chan struct{})
	var once sync.Once
	s := r.traced(&tracer{query: func(sql string) {
		if strings.Contains(sql, "FROM idempotency_keys WHERE saga_id = $1") {
			once.Do(func() {
				go func() {
					defer close(told)
					r.webhook(p)
				}()
				r.waitsForALock(told)
			})
		}
	}})
	mixed := r.must(s.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	<-told
	again := r.must(r.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	before := mixed.Status == 202 && decode[View](t, mixed).PendingOperation != nil
	if after := mixed.Status == 200 && bytes.Equal(mixed.Body, again.Body); !before && !after {
		t.Errorf("%d is of two moments:\n%.300s\n%.300s", mixed.Status, mixed.Body, again.Body)
	}
	if again.Status != 200 || !again.Replayed {
		t.Errorf("in the end: %d, replayed %t", again.Status, again.Replayed)
	}
}

// waitsForALock returns when a transaction waits for another's lock, or done is closed.
func (r *rig) waitsForALock(done <-chan struct{}) {
	for r.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 0 {
		select {
		case <-done:
			return
		default:
		}
	}
}

// A task sends what a cancel under way is about to call unsent: one waits for the other.
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
				r.waitsForALock(called)
			})
		}
	}})
	req := r.key("/cancel")
	a = r.must(s.Cancel(t.Context(), r.caller, req, paymentID(t, p)))
	if err := <-resumed; err != nil {
		t.Log("resume:", err)
	}
	if n := r.effects(p)[providersim.EffectCapture]; n != 0 || a.Status != 200 {
		t.Errorf("cancel answered %d with action %v, and the provider has %v; obligations %v", a.Status,
			r.strings(`SELECT action FROM transaction_audit_log WHERE action LIKE '%unsent%'`), r.effects(p), r.strings(`SELECT kind || ' ' || reason FROM obligations`))
	}
}

// A webhook closes the saga, and the reply itself never comes.
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
