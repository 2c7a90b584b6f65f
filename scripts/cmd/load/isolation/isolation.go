package isolation

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// healthy is the provider whose payments must not feel the other's trouble.
const healthy = stripe.Name

// A plan is what is measured.
type plan struct {
	Sick  string // the other provider
	Rate  int    // payments a second, to each; 0: those of a crowd
	Pairs int    // runs without and with the sick provider

	Warm  time.Duration // before what is measured
	Hang  time.Duration // how long the sick provider hangs
	Hold  time.Duration // how long the first answers take then; see line.mend. Breakers must not call it slow
	Whole time.Duration // how long is measured, from the beginning of the hang

	Alone    time.Duration // how long payments go on without Firestore before the sick provider hangs again, and after
	Recovery time.Duration // how long circuits have to close then; 0: nobody waits for that
}

// A run is one measurement.
type run struct {
	Name string `json:"name"`
	measure.CPU
	Healthy spread   `json:"healthy"`
	Sick    *illness `json:"sick,omitempty"` // nil when the healthy provider was alone
}

// An illness is what a provider's hanging led to. Times are seconds from its beginning.
type illness struct {
	Hung    int                `json:"hung"`    // operations that reached the provider in the meantime
	Tripped float64            `json:"tripped"` // the earliest, in any function
	Opened  map[string]float64 `json:"opened"`  // by instance
	Openers int                `json:"openers"`
	Halfway float64            `json:"half_open"` // the earliest, in any function
	Probes  int                `json:"probes"`
	Closed  map[string]float64 `json:"closed"` // by instance
	Phases  []phase            `json:"phases"`
	Slices  []slice            `json:"slices"`
}

// A phase is how the healthy provider's payments went between two turns of the sick one's circuit.
type phase struct {
	Name    string  `json:"name"`
	From    float64 `json:"from"`
	To      float64 `json:"to"`
	Healthy spread  `json:"healthy"`
}

// A slice is how the sick provider's payments went for a while.
type slice struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	Sick spread  `json:"sick"`
}

// pay makes payments to the healthy and to the sick provider.
func (p plan) pay(ctx context.Context, l *load) (stop func()) {
	var stops [2]func()
	if p.Rate > 0 {
		stops = [2]func(){l.stream(ctx, healthy, p.Rate), l.stream(ctx, p.Sick, p.Rate)}
	} else {
		stops = [2]func(){l.crowd(ctx, healthy, processes), l.crowd(ctx, p.Sick, 10*processes)}
	}
	return func() {
		stops[0]()
		stops[1]()
	}
}

// measure does all of it, and judges.
func (p plan) measure(ctx context.Context, progress io.Writer) (*Report, error) {
	r := newReport(p)
	for n := range p.Pairs {
		for _, sick := range []bool{false, true} {
			if err := p.next(ctx, r, n+1, sick, progress); err != nil {
				return nil, err
			}
		}
	}
	r.judge(true)
	return r, nil
}

// next makes one run, and what follows the last one.
func (p plan) next(ctx context.Context, r *Report, n int, sick bool, progress io.Writer) (err error) {
	run, name := p.alone, fmt.Sprintf("%d alone", n)
	if sick {
		run, name = p.beside, fmt.Sprintf("%d beside", n)
	}
	_, _ = fmt.Fprintf(progress, "run %s, %v\n", name, p.Warm+p.Whole)
	w, err := openWorld(ctx, worldOptions{})
	if err != nil {
		return err
	}
	defer func() { err = w.close(err) }()
	one, err := run(ctx, w, name)
	if err != nil {
		return err
	}
	r.Runs = append(r.Runs, one)
	if sick && n == p.Pairs {
		_, _ = fmt.Fprintf(progress, "without Firestore, about two minutes\n")
		o, err := p.withoutFirestore(ctx, w)
		if err != nil {
			return err
		}
		r.Outage = &o
	}
	return nil
}

// alone measures the healthy provider's payments by themselves.
func (p plan) alone(ctx context.Context, w *world, name string) (run, error) {
	l := newLoad(w)
	stop := l.stream(ctx, healthy, p.Rate)
	measure.Pause(ctx, p.Warm)
	from, before := time.Now(), measure.WorkSoFar()
	measure.Pause(ctx, p.Whole)
	to, after := time.Now(), measure.WorkSoFar()
	stop()
	r := run{Name: name, Healthy: spreadOf(l.of(healthy, from, to))}
	r.CPU = after.Since(before)
	return r, ctx.Err()
}

// beside measures them while the other provider is ill.
func (p plan) beside(ctx context.Context, w *world, name string) (run, error) {
	l, sick := newLoad(w), w.lines[p.Sick]
	stop := p.pay(ctx, l)
	measure.Pause(ctx, p.Warm)
	sick.die()
	from, before := time.Now(), measure.WorkSoFar()
	measure.Pause(ctx, p.Hang)
	sick.mend(p.Hold)
	measure.Pause(ctx, p.Whole-p.Hang)
	to, after := time.Now(), measure.WorkSoFar()
	stop()
	if ctx.Err() != nil {
		return run{}, ctx.Err()
	}
	if err := w.circuits.look(); err != nil {
		return run{}, err
	}
	ill := p.diagnose(w, from)
	ill.Hung, ill.Probes = sick.seen()
	ill.Phases = phases(ill, l, from, to)
	const every = 5 * time.Second
	for at := from; at.Before(to); at = at.Add(every) {
		ill.Slices = append(ill.Slices, slice{
			From: measure.Seconds(at.Sub(from)), To: measure.Seconds(at.Add(every).Sub(from)), Sick: spreadOf(l.of(p.Sick, at, at.Add(every))),
		})
	}
	r := run{Name: name, Healthy: spreadOf(l.of(healthy, from, to)), Sick: &ill}
	r.CPU = after.Since(before)
	return r, nil
}

// diagnose says what the circuit did.
func (p plan) diagnose(w *world, from time.Time) illness {
	ill := illness{Opened: w.circuits.when(p.Sick, opened, from), Closed: w.circuits.when(p.Sick, closed, from)}
	openers := map[string]bool{}
	for _, t := range w.circuits.first(p.Sick, opened, from) {
		openers[t.OpenedBy] = true
	}
	ill.Openers = len(openers)
	ill.Tripped, ill.Halfway = w.circuits.earliest(p.Sick, opened, from), w.circuits.earliest(p.Sick, halfOpen, from)
	return ill
}

// phases are before the circuit opened anywhere, until it closed anywhere, and after.
func phases(ill illness, l *load, from, to time.Time) (all []phase) {
	opened, _ := bounds(ill.Opened)
	closed, _ := bounds(ill.Closed)
	end := measure.Seconds(to.Sub(from))
	at := func(s float64) time.Time { return from.Add(time.Duration(s * float64(time.Second))) }
	for _, p := range []phase{
		{Name: "hanging, circuit closed", From: 0, To: opened},
		{Name: "circuit open", From: opened, To: closed},
		{Name: "circuit closed again", From: closed, To: end},
	} {
		if p.To > p.From {
			p.Healthy = spreadOf(l.of(healthy, at(p.From), at(p.To)))
			all = append(all, p)
		}
	}
	return all
}

// bounds are the least and the greatest value.
func bounds(values map[string]float64) (least, greatest float64) {
	for _, v := range values {
		if greatest == 0 || v > greatest {
			greatest = v
		}
		if least == 0 || v < least {
			least = v
		}
	}
	return least, greatest
}
