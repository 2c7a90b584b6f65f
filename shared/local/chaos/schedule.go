package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/saga"
)

// Outcome is what came of a schedule.
type Outcome struct {
	Seed     uint64
	Merchant id.ID
	Steps    []string       // what was done, with the time since the world began
	Broken   []string       // what must not have happened
	Seen     map[string]int // how often what happened, to know what the schedules reach
}

// Pools are connections to one database: a superuser's, to look with, and each function's as itself.
type Pools struct {
	Superuser *pgxpool.Pool
	Functions map[string]*pgxpool.Pool
}

// Functions are those that there are pools for.
var Functions = []string{
	"createpayment", "capturepayment", "cancelpayment", "refundpayment", "resumepayment", "ingestwebhook", "applywebhook",
}

// Run makes the world of a seed, and takes it through its schedule.
func Run(ctx context.Context, pools Pools, seed uint64) (*Outcome, error) {
	w, err := newWorld(ctx, pools, seed)
	if err != nil {
		return nil, fmt.Errorf("chaos: make the world of seed %d: %w", seed, err)
	}
	defer w.close()
	for range leastSteps + w.rand.IntN(mostSteps-leastSteps) {
		w.step()
	}
	w.settle()
	seen := w.judge()
	return &Outcome{Seed: seed, Merchant: w.caller.MerchantID, Steps: w.steps, Broken: w.broken, Seen: seen}, nil
}

const (
	leastSteps = 15
	mostSteps  = 80
	mostAsked  = 5 // payments in one schedule
)

// thing is something that may happen next, and how likely it is.
type thing struct {
	weight int
	do     func(*world)
}

func things() []thing {
	return []thing{
		{7, (*world).askSome},
		{9, (*world).shop},
		{9, (*world).doubt},
		{26, (*world).operate},
		{8, (*world).repeat},
		{12, (*world).payer},
		{16, (*world).handIn},
		{14, (*world).carryOn},
		{14, (*world).timePasses},
		{3, (*world).windowCloses},
		{16, (*world).fault},
		{6, (*world).plan},
		{7, (*world).outage},
		{3, (*world).slowness},
		{2, (*world).shut},
		{3, (*world).release},
		{2, (*world).operator},
	}
}

// step does one thing, drawn by its weight.
func (w *world) step() {
	if len(w.requests) == 0 {
		w.ask()
		return
	}
	total := 0
	for _, t := range things() {
		total += t.weight
	}
	n := w.rand.IntN(total)
	for _, t := range things() {
		if n -= t.weight; n < 0 {
			t.do(w)
			return
		}
	}
}

func (w *world) askSome() {
	asked := 0
	for _, r := range w.requests {
		if r.what == "create" {
			asked++
		}
	}
	if asked < mostAsked {
		w.ask()
	}
}

// shop takes a new payment some of the way that payments are meant to go, through whatever
// trouble there is.
func (w *world) shop() {
	before := len(w.requests)
	w.askSome()
	if len(w.requests) == before {
		return
	}
	if w.chance(0.2) {
		w.fault()
	}
	for range 1 + w.rand.IntN(4) {
		p := w.latest()
		switch {
		case p == nil:
			return
		case p.Status == payment.Pending && p.Page != nil:
			w.answerPage(*p.Page, true)
		case p.Status == payment.Authorized || p.Status == payment.Captured:
			w.operateOn(*p)
		}
		if w.chance(0.7) {
			w.elapse(w.between(time.Second, 20*time.Minute), true)
		}
		for w.chance(0.7) {
			w.handIn()
		}
	}
}

// doubt has an operation go wrong so that nobody can know what came of it, and then mostly
// leaves it alone until its key's window closes, or long after.
func (w *world) doubt() {
	p := w.latest()
	moving := p != nil && (p.Status == payment.Authorized || p.Status == payment.Captured) && w.chance(0.7)
	for _, h := range w.hosts {
		h.away = false
		r := providersim.Rule{
			Operation: pick(w, []providersim.Operation{providersim.Authorize, providersim.Confirm}),
			Fault:     providersim.Fault{Kind: pick(w, doubtful)},
		}
		if moving {
			r.Operation = "*"
		}
		w.harden(&r.Fault)
		w.did("fault at %s: %s %s", h.name, r.Operation, r.Fault.Kind)
		if err := h.Inject(r); err != nil {
			panic(err)
		}
	}
	if moving {
		w.operateOn(*p)
	} else {
		w.askSome()
		if p := w.latest(); p != nil && p.Status == payment.Pending && p.Page != nil {
			w.answerPage(*p.Page, true)
			w.carryOn()
		}
	}
	switch w.rand.IntN(4) {
	case 0:
		w.elapse(w.between(time.Second, time.Hour), true)
	case 1:
		w.elapse(w.between(2*time.Hour, 40*time.Hour), w.chance(0.3))
	default:
		w.windowCloses()
	}
	w.carryOn()
}

func (w *world) latest() *paid {
	all := w.payments()
	if len(all) == 0 {
		return nil
	}
	return &all[len(all)-1]
}

// carryOn has workers do what is due, as the sweep and its tasks would, until nothing is,
// or for some rounds.
func (w *world) carryOn() {
	for range 4 {
		if !w.round() {
			return
		}
	}
}

// due are the sagas, obligations and events whose time has come.
const due = `
	SELECT 'saga' AS what, id, kind || ' ' || state AS type, created_at AS at FROM transaction_saga
		WHERE merchant_id = $1 AND state <> 'done' AND coalesce(lease_until, due_at) <= $2
	UNION ALL SELECT 'obligation', id, kind || ' ' || provider, opened_at FROM obligations
		WHERE merchant_id = $1 AND state = 'open' AND due_at <= $2
	UNION ALL SELECT 'event', id, type, received_at FROM webhook_events
		WHERE request_id = $3 AND state IN ('stored', 'parked') AND due_at <= $2
	ORDER BY what DESC, at, id`

// round does what is due now, and reports whether anything was.
func (w *world) round() bool {
	type row struct {
		What string    `db:"what"`
		ID   id.ID     `db:"id"`
		Type string    `db:"type"`
		At   time.Time `db:"at"`
	}
	all := query[row](w, due, w.caller.MerchantID, w.now(), w.tag)
	for _, d := range all {
		switch d.What {
		case "saga":
			w.did("resume %s", d.Type)
			_, err := w.work(func() error { return w.as("resumepayment").Resume(w.ctx, payment.Wake{SagaID: d.ID, Try: -1}) })
			if err != nil && !lostLease(err) {
				w.breaks("resuming %s: %v", d.Type, err)
			}
		case "obligation":
			w.did("discharge %s", d.Type)
			if _, err := w.work(func() error { return w.as("resumepayment").Discharge(w.ctx, d.ID) }); err != nil {
				w.breaks("discharging %s: %v", d.Type, err)
			}
		default:
			w.apply(event{d.ID, d.Type})
		}
	}
	return len(all) > 0
}

// lostLease reports whether a worker came back to find that another has its saga: that is
// told as an error, so that its task is tried again.
func lostLease(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if saga.LeaseLost(err) {
			return true
		}
	}
	return false
}

// timePasses lets seconds or days go by, with workers at it or not.
func (w *world) timePasses() {
	d := w.between(time.Second, 12*time.Hour)
	if w.chance(0.1) {
		d = w.between(12*time.Hour, 8*24*time.Hour)
	}
	w.elapse(d, w.chance(0.7))
}

// windowCloses goes to just before or after the end of a key window.
func (w *world) windowCloses() {
	window := pick(w, []time.Duration{6 * time.Hour, 24 * time.Hour, 24 * time.Hour})
	if w.chance(0.06) {
		window = 45 * 24 * time.Hour
	}
	slack := pick(w, []time.Duration{-2*time.Hour - time.Minute, -time.Hour, -time.Minute, time.Minute, 11 * time.Minute})
	w.elapse(window+slack, w.chance(0.3))
}

func (w *world) elapse(d time.Duration, busy bool) {
	w.did("%v pass, busy: %t", d, busy)
	if d > 12*time.Hour && w.doors.down {
		w.doors.down = false // events that nobody takes for three days are lost for ever
	}
	if !busy {
		w.pass(d)
		return
	}
	for range 3 {
		w.pass(d / 3)
		w.carryOn()
	}
}

// settle ends the trouble and lets time go past every window, with everything done that
// falls due.
func (w *world) settle() {
	w.did("the trouble ends")
	w.calm, w.calmAt, w.mishap = true, w.now(), nil
	w.doors.down = false
	for _, h := range w.hosts {
		h.away, h.slow = false, 0
		if err := h.SetPlan(providersim.Plan{}); err != nil {
			panic(err)
		}
		if err := breaker.Reset(w.ctx, w.control, h.name, "chaos", "the trouble is over", w.now()); err != nil {
			panic(err)
		}
	}
	if err := w.deploy(); err != nil {
		panic(err)
	}
	for i, d := range calmDown {
		if i == standing {
			w.judgeSoFar()
		}
		w.pass(d)
		for rounds := 0; w.takeIn() || w.round(); rounds++ {
			if rounds > 50 {
				w.breaks("work is due without end")
				return
			}
		}
	}
}

// calmDown is how time goes when the trouble is over: 60 days, which is more than PayPal's
// 45 for a key.
var calmDown = func() (steps []time.Duration) {
	for _, m := range []int{0, 1, 1, 2, 5, 10, 20, 40, 60, 60, 120, 240, 240, 480, 720, 720, 1440, 1440, 1440} {
		steps = append(steps, time.Duration(m)*time.Minute+time.Second)
	}
	for range 9 {
		steps = append(steps, 6*24*time.Hour)
	}
	return steps
}()

// standing is the step by which everything is done that is to be, and authorizations
// still stand.
const standing = 19

// takeIn hands in all webhooks that came.
func (w *world) takeIn() bool {
	w.quiet()
	came := w.webhooks
	w.webhooks = nil
	if len(came) == 0 {
		return false
	}
	for _, h := range came {
		w.ingest(h)
	}
	for _, e := range w.events() {
		w.apply(e)
	}
	return true
}
