package isolation

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
)

// quick is a plan that takes seconds: it shows that what is measured happens, and measures nothing.
func quick(sick string) plan {
	return plan{Sick: sick, Warm: time.Second, Hold: 500 * time.Millisecond, Alone: 2 * time.Second}
}

// impatience are timeouts with which a circuit opens within seconds, and with which no probe fails on a busy machine.
func impatience() map[string]string {
	few := map[string]string{}
	for _, p := range []string{"PAYPAL_", "BANK_"} {
		few[p+"CONNECT_TIMEOUT"], few[p+"AUTHORIZE_TIMEOUT"] = "500ms", "2s"
	}
	return few
}

// skipped is most of the minute in which a circuit is open. When it ends, payments are under way.
const skipped = 57 * time.Second

// rehearse does once what is measured, with a few payments. The minute in which the circuit is open is skipped: the
// clock is moved on while no payments are made.
func (p plan) rehearse(ctx context.Context, o worldOptions) (r *Report, err error) {
	r = newReport(p)
	o.Jumps, o.Calls = true, impatience()
	w, err := openWorld(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = w.close(err) }()
	one, err := p.hurry(ctx, w)
	if err != nil {
		return nil, err
	}
	r.Runs = []run{one}
	out, err := p.withoutFirestore(ctx, w)
	if err != nil {
		return nil, err
	}
	r.Outage = &out
	r.judge(false)
	return r, nil
}

// hurry is beside, without a minute to wait for.
func (p plan) hurry(ctx context.Context, w *world) (run, error) {
	l, sick := newLoad(w), w.lines[p.Sick]
	stop := p.pay(ctx, l)
	measure.Pause(ctx, p.Warm)
	sick.die()
	from := time.Now()
	err := w.circuits.await(ctx, soon, p.Sick, opened, from)
	stop()
	if err != nil {
		return run{}, err
	}
	sick.mend(p.Hold)
	if err := w.stack.Advance(ctx, skipped); err != nil {
		return run{}, err
	}
	stop = p.pay(ctx, l)
	err = w.circuits.await(ctx, soon, p.Sick, closed, from)
	stop()
	ill := p.diagnose(w, from)
	ill.Hung, ill.Probes = sick.seen()
	return run{Name: "rehearsal", Healthy: spreadOf(l.of(healthy, from, time.Now())), Sick: &ill}, err
}
