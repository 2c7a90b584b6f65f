package payment

import (
	"context"
	"net/http"
	"testing"
	"time"

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
