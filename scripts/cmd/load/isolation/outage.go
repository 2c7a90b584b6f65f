package isolation

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
)

// An outage is how payments went after Firestore was killed. Times are seconds from the beginning of the hang.
type outage struct {
	Healthy spread             `json:"healthy"` // all the time
	Before  spread             `json:"before"`  // the sick provider's, until it hung
	Opened  map[string]float64 `json:"opened"`  // by instance
	Openers int                `json:"openers"` // instances that opened the circuit by themselves
	Closed  map[string]float64 `json:"closed"`  // by instance; none if that was not waited for
	After   spread             `json:"after"`   // the sick provider's, once the circuit was closed everywhere
}

// soon bounds how long instances may take to see what there is to be seen.
const soon = 2 * time.Minute

// withoutFirestore kills Firestore, and has the sick provider hang until each instance has noticed for itself.
func (p plan) withoutFirestore(ctx context.Context, w *world) (o outage, err error) {
	w.firestore.Kill()
	l, sick := newLoad(w), w.lines[p.Sick]
	began := time.Now()
	stop := p.pay(ctx, l)
	measure.Pause(ctx, p.Alone)
	sick.die()
	hung := time.Now()
	err = w.circuits.await(ctx, soon, p.Sick, opened, hung)
	sick.mend(0)
	if err == nil && p.Recovery > 0 {
		err = w.circuits.await(ctx, p.Recovery, p.Sick, closed, hung)
		recovered := time.Now()
		measure.Pause(ctx, p.Alone)
		o.After = spreadOf(l.of(p.Sick, recovered, time.Now()))
	}
	stop()
	ill := p.diagnose(w, hung)
	o.Healthy = spreadOf(l.of(healthy, began, time.Now()))
	o.Before = spreadOf(l.of(p.Sick, began, hung.Add(-time.Second))) // without what was under way then
	o.Opened, o.Openers, o.Closed = ill.Opened, ill.Openers, ill.Closed
	return o, errors.Join(err, ctx.Err())
}
