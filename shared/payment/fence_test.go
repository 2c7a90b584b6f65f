package payment

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/saga"
)

// The lease fence: a worker that overstayed its lease must not write about the saga
// after another has resolved it.
func TestAWorkerThatOverstayedItsLeaseIsFencedOff(t *testing.T) {
	t.Parallel()
	r, online := offline(t)
	stuck, resume := make(chan id.ID), make(chan struct{})
	r.Providers["stripe"] = &stalled{Adapter: r.Providers["stripe"], stuck: stuck, resume: resume}
	answered := make(chan int)
	go func() {
		a, err := r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))
		if err != nil {
			t.Error(err)
		}
		answered <- a.Status
	}()
	payment := <-stuck // the first worker has called, in vain, and does not know yet
	online()
	if err := r.clock.Advance(t.Context(), saga.Lease+time.Second); err != nil {
		t.Fatal(err)
	}
	r.carryOn() // the second takes over, and authorizes
	p := View{ID: id.Payment.External(payment)}
	if got := r.get(p); got.Status != Authorized {
		t.Fatalf("after the take-over: %+v", got)
	}
	close(resume) // now the first learns that its request never left, and would schedule it anew
	if status := <-answered; status != http.StatusCreated {
		t.Errorf("the first worker answered %d, want what the second found out", status)
	}
	if got := r.get(p); got.Status != Authorized || got.PendingOperation != nil {
		t.Errorf("the first worker wrote over the second: %+v", got)
	}
	if n := r.count(`SELECT count(*) FROM transaction_saga WHERE state <> 'done'`); n != 0 {
		t.Errorf("%d sagas were opened again", n)
	}
	if n := r.count(`SELECT count(*) FROM saga_attempts WHERE unsent`); n != 0 {
		t.Error("an attempt that was sent is marked unsent")
	}
}

// The same, while the second worker could not find out either: the first may not
// call unsent what the second has sent.
func TestAnOverstayedWorkerCanNotCallUnsentWhatAnotherSent(t *testing.T) {
	t.Parallel()
	r, online := offline(t)
	stuck, resume := make(chan id.ID), make(chan struct{})
	r.Providers["stripe"] = &stalled{Adapter: r.Providers["stripe"], stuck: stuck, resume: resume}
	answered := make(chan int)
	go func() {
		a, err := r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))
		if err != nil {
			t.Error(err)
		}
		answered <- a.Status
	}()
	payment := <-stuck
	online()
	if err := r.sim.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Fault: providersim.Fault{Kind: providersim.DropAfter}}}}); err != nil {
		t.Fatal(err)
	}
	if err := r.clock.Advance(t.Context(), saga.Lease+time.Second); err != nil {
		t.Fatal(err)
	}
	r.carryOn() // the second sends it, and gets no answer
	close(resume)
	if status := <-answered; status != http.StatusAccepted {
		t.Errorf("the first worker answered %d", status)
	}
	if got := r.strings(`SELECT state FROM transaction_saga`); got[0] != "unknown" {
		t.Errorf("the saga is %s, want unknown", got[0])
	}
	if n := r.count(`SELECT count(*) FROM saga_attempts WHERE unsent`); n != 0 {
		t.Error("an attempt that was sent is marked unsent")
	}
	if err := r.sim.SetPlan(providersim.Plan{}); err != nil {
		t.Fatal(err)
	}
	r.pass(time.Minute, 10*time.Second)
	if got := r.get(View{ID: id.Payment.External(payment)}); got.Status != Authorized || r.effects(got)[providersim.EffectAuthorize] != 1 {
		t.Errorf("in the end: %+v", got)
	}
}

// stalled holds its first caller back until told.
type stalled struct {
	provider.Adapter
	called atomic.Bool
	stuck  chan id.ID
	resume chan struct{}
}

func (s *stalled) Execute(ctx context.Context, call provider.Call) provider.Result {
	res := s.Adapter.Execute(ctx, call)
	if s.called.CompareAndSwap(false, true) {
		s.stuck <- call.Attempt().Request.PaymentID
		<-s.resume
	}
	return res
}
