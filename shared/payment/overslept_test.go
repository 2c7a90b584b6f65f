package payment

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/saga"
)

// A worker that was frozen between its claim and its call must not send what others may
// have sent since, under a key that the provider may have forgotten.
func TestAWorkerThatOversleptSendsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Hook = func(ctx context.Context, point string) {
		if point != PointClaimed {
			return
		}
		r.Hook = nil
		if err := r.clock.Advance(ctx, saga.Lease+time.Second); err != nil {
			t.Error(err)
		}
	}
	a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
	p := decode[View](t, a)
	if n := r.effects(p)[providersim.EffectAuthorize]; a.Status != http.StatusAccepted || n != 0 {
		t.Fatalf("the worker that overslept: %d %s, authorized %d times", a.Status, a.Body, n)
	}
	r.pass(time.Minute, 10*time.Second)
	if got := r.get(p); got.Status != Authorized || r.effects(p)[providersim.EffectAuthorize] != 1 {
		t.Errorf("in the end: %+v, effects %v", got, r.effects(p))
	}
}

// The reply to a worker that overstayed is the proof of what others are in doubt about, and
// is stored as one, while another of them is at it, too.
func TestALateReplyIsTheProofWhileAnotherWorkerAsks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Hook = func(ctx context.Context, point string) {
		if point != PointCalled {
			return
		}
		r.Hook = nil
		if err := r.clock.Advance(ctx, saga.Lease+time.Second); err != nil {
			t.Error(err)
		}
		var open id.ID
		if err := r.Pool.QueryRow(ctx, `SELECT id FROM transaction_saga`).Scan(&open); err != nil {
			t.Fatal(err)
		}
		if held, err := saga.Take(ctx, r.Pool, open, r.NewID(), r.Now()); err != nil || held == nil {
			t.Errorf("another worker takes it: %+v, %v", held, err)
		}
	}
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	if got := r.get(p); got.Status != Authorized {
		t.Fatalf("it is %s", got.Status)
	}
	if rules := r.strings(`SELECT state || ' ' || coalesce(rule, 'by no rule') FROM transaction_saga`); len(rules) != 1 || rules[0] != "done "+RuleReply {
		t.Errorf("the operation is %v", rules)
	}
}
