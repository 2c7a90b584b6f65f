package chaos

import (
	"context"

	"github.com/tollgate/tollgate/shared/payment"
)

// mishap is what befalls a worker at one of the recovery points it comes to.
type mishap struct {
	after int // points that it passes unharmed
	sleep int // so many other things are done before it wakes; 0: it dies
}

// killed is what a dying worker panics with.
type killed struct{}

// mishaps are how likely a worker dies, or falls asleep.
const (
	dies   = 0.12
	sleeps = 0.08
)

// work does something as a worker that a mishap may befall, and reports whether it died.
func (w *world) work(do func() error) (died bool, err error) {
	defer func() {
		w.mishap = nil
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			died = true
		}
	}()
	w.mishap = w.drawMishap()
	return false, do()
}

func (w *world) drawMishap() *mishap {
	if w.calm {
		return nil
	}
	switch p := w.rand.Float64(); {
	case p < dies:
		return &mishap{after: w.rand.IntN(7)}
	case p < dies+sleeps && !w.asleep:
		return &mishap{after: w.rand.IntN(5), sleep: 1 + w.rand.IntN(4)}
	}
	return nil
}

// hook is called by the core at its recovery points.
func (w *world) hook(_ context.Context, point string) {
	m := w.mishap
	switch {
	case m == nil:
		return
	case m.after > 0:
		m.after--
		return
	case m.sleep > 0 && point == payment.PointRecording:
		return // with the payment's row locked, perhaps; nobody sleeps there for long
	}
	w.mishap = nil
	if m.sleep == 0 {
		w.did("  the worker dies: %s", point)
		panic(killed{})
	}
	w.did("  the worker falls asleep: %s", point)
	w.asleep, w.slept = true, w.slept+1
	for range m.sleep {
		w.step()
	}
	w.asleep = false
	w.did("  the worker wakes")
}
