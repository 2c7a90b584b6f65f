package payment

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestAHundredCreatesWithOneKeyAuthorizeOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	req, in := r.key("/v1/payments", `{"amount":5000}`), r.params(Manual)
	answers := make([]idempotency.Answer, 100)
	var g errgroup.Group
	for i := range answers {
		g.Go(func() (err error) {
			answers[i], err = r.Create(t.Context(), r.caller, req, in)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	final := r.must(r.Create(t.Context(), r.caller, req, in))
	p := decode[View](t, final)
	for _, a := range answers {
		switch a.Status {
		case http.StatusCreated:
			if !bytes.Equal(a.Body, final.Body) {
				t.Errorf("a final answer differs:\n%s\n%s", a.Body, final.Body)
			}
		case http.StatusAccepted:
			if decode[View](t, a).ID != p.ID || a.RetryAfter == 0 {
				t.Errorf("a 202 that does not name the payment, or when to retry: %s", a.Body)
			}
		default:
			t.Errorf("answer %d %s", a.Status, a.Body)
		}
	}
	if !final.Replayed || p.Status != Authorized {
		t.Errorf("afterwards: %d %s", final.Status, final.Body)
	}
	if got := len(r.sim.Effects()); got != 1 {
		t.Errorf("%d effects at the provider, want one authorization", got)
	}
	if n := r.count(`SELECT count(*) FROM transactions`); n != 1 {
		t.Errorf("%d payments", n)
	}
	other := req
	other.Body = []byte(`{"amount":5001}`)
	if _, err := r.Create(t.Context(), r.caller, other, in); !fault.Is(err, fault.IdempotencyKeyReused) {
		t.Errorf("the key with another body: %v", err)
	}
	r.fold()
}

// P3, at any moment: a watcher reads the row while refunds run.
func TestAThousandRefundsNeverExceedTheCapture(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.Amount = 500
	p := r.pay(in)

	// A watcher looks each time that a refund was asked for, but for those during which it is looking.
	looks, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for range looks {
			var over bool
			err := r.Pool.QueryRow(t.Context(), `SELECT bool_or(refunded_minor + refund_reserved_minor > captured_minor) FROM transactions`).Scan(&over)
			if err != nil || over {
				t.Errorf("refunds exceed the capture: %v %v", over, err)
			}
		}
	}()

	var mu sync.Mutex
	refunded, refused := 0, 0
	g := errgroup.Group{}
	g.SetLimit(40)
	for range 1000 {
		req := r.key("/refund")
		g.Go(func() error {
			select {
			case looks <- struct{}{}:
			default:
			}
			a, err := r.Refund(t.Context(), r.caller, req, paymentID(t, p), RefundParams{Amount: minor(1)})
			for fault.Is(err, fault.OperationInProgress) || a.Status == http.StatusAccepted { // retried while told to
				a, err = r.Refund(t.Context(), r.caller, req, paymentID(t, p), RefundParams{Amount: minor(1)})
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && a.Status == http.StatusCreated && decode[RefundView](t, a).Status == RefundSucceeded:
				refunded++
			case fault.Is(err, fault.AmountExceeds) || fault.Is(err, fault.InvalidState):
				refused++
			default:
				t.Errorf("a refund was answered %d %s, %v", a.Status, a.Body, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	close(looks)
	<-watched
	if refunded != 500 || refused != 500 {
		t.Errorf("%d refunded and %d refused, want 500 and 500", refunded, refused)
	}
	if got := r.effects(p)[providersim.EffectRefund]; got != 500 {
		t.Errorf("%d refunds at the provider, want 500", got)
	}
	if p = r.get(p); p.Status != Refunded || p.RefundedAmount != 500 {
		t.Errorf("in the end: %s, refunded %d", p.Status, p.RefundedAmount)
	}
	r.fold()
	r.gapless()
}

func TestCaptureAgainstCancelNeverDoesBoth(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 40 {
		p := r.pay(r.params(Manual))
		var captured, canceled idempotency.Answer
		var captureErr, cancelErr error
		var g errgroup.Group
		g.Go(func() error { captured, captureErr = r.capture(p, nil); return nil })
		g.Go(func() error { canceled, cancelErr = r.cancel(p); return nil })
		_ = g.Wait()
		did := 0
		for _, o := range []struct {
			a   idempotency.Answer
			err error
		}{{captured, captureErr}, {canceled, cancelErr}} {
			switch {
			case o.err == nil && o.a.Status == http.StatusOK:
				did++
			case fault.Is(o.err, fault.InvalidState), fault.Is(o.err, fault.OperationInProgress):
			default:
				t.Errorf("answered %d %s, %v", o.a.Status, o.a.Body, o.err)
			}
		}
		got := r.effects(p)
		if did != 1 || got[providersim.EffectCapture]+got[providersim.EffectVoid] != 1 {
			t.Fatalf("%d of the two succeeded, and the provider did %v", did, got)
		}
	}
	r.fold()
}

// The three together: the capture's reply is lost, the webhook comes first, then
// the replay; one capture is posted.
func TestCaptureReplyLostWebhookFirstThenReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.inject(providersim.Capture, providersim.DropAfter)
	req := r.key("/capture")
	a := r.must(r.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	if v := decode[View](t, a); a.Status != http.StatusAccepted || v.Status != Authorized || deref(v.PendingOperation) != "capture" {
		t.Fatalf("with its reply lost: %d %s", a.Status, a.Body)
	}
	r.webhook(p)
	if got := r.get(p); got.Status != Captured || got.PendingOperation != nil {
		t.Fatalf("after the webhook: %+v", got)
	}
	if err := r.clock.Advance(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	r.carryOn()
	r.webhook(p) // and once more
	again := r.must(r.Capture(t.Context(), r.caller, req, paymentID(t, p), CaptureParams{}))
	if again.Status != http.StatusOK || !again.Replayed || decode[View](t, again).CapturedAmount != 5000 {
		t.Errorf("the capture again: %d %s", again.Status, again.Body)
	}
	r.wantEvents(p, event.PaymentAuthorized, event.PaymentCaptured)
	if n := r.count(`SELECT count(*) FROM provider_facts WHERE kind = 'capture'`); n != 1 {
		t.Errorf("%d captures posted", n)
	}
	r.fold()
}

func TestRepliesRaceWebhooks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 30 {
		p := r.pay(r.params(Manual))
		var g errgroup.Group
		g.Go(func() error { _, err := r.capture(p, nil); return err })
		for range 3 {
			g.Go(func() error { r.webhook(p); return nil })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		r.webhook(p)
		if got := r.get(p); got.Status != Captured || got.CapturedAmount != 5000 {
			t.Fatalf("in the end: %+v", got)
		}
		r.wantEvents(p, event.PaymentAuthorized, event.PaymentCaptured)
	}
	r.fold()
	r.gapless()
}
