package isolation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/scripts/cmd/load/instance"
	"github.com/tollgate/tollgate/shared/control/controltest"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// bases are the variables that say where the providers are.
var bases = map[string]string{stripe.Name: "STRIPE_API_BASE", paypal.Name: "PAYPAL_API_BASE", bank.Name: "GOCARDLESS_API_BASE"}

// processes is how many instances the load goes to.
const processes = 4

// concurrency is how many requests an instance of a function takes at a time (terraform:
// max_instance_request_concurrency). The platform keeps to it, not the function, and here the load does.
const concurrency = 40

// A target is a process that the load goes to.
type target struct {
	*instance.Process
	requests chan struct{} // one for each that it is at
}

func newTarget(p *instance.Process) *target {
	return &target{Process: p, requests: make(chan struct{}, concurrency)}
}

// A world is the local system with several instances of its functions, each a process of its own, that share a
// Firestore. Payments are made at the instances in turn. What else there is to do, such as to sweep, one more instance
// does.
type world struct {
	stack     *stack.Stack
	firestore *controltest.Emulator
	lines     map[string]*line // to the providers
	instances []*target
	circuits  *circuits
	apiKey    string
	folder    string // of the logs
	closers   []func()
}

// worldOptions say how a world differs.
type worldOptions struct {
	DatabaseURL string                // see stack.Options
	Firestore   *controltest.Emulator // nil: one of its own
	Jumps       bool                  // the clock is to be advanced
	Calls       map[string]string     // see stack.Options
}

func openWorld(ctx context.Context, o worldOptions) (_ *world, err error) {
	w := &world{lines: map[string]*line{}, firestore: o.Firestore}
	defer func() {
		if err != nil {
			err = w.close(err)
		}
	}()
	if w.folder, err = os.MkdirTemp("", "tollgate-load-"); err != nil {
		return nil, err
	}
	var starting errgroup.Group
	starting.Go(func() error {
		s, err := stack.Start(ctx, stack.Options{
			DatabaseURL: o.DatabaseURL, Clock: clock.NewFlowing(time.Now()), Run: true, ExternalHost: true, Calls: o.Calls,
			Jobs: []string{"sweep"}, // what comes hourly or nightly would be another load
		})
		w.stack = s
		return err
	})
	starting.Go(func() (err error) {
		if w.firestore == nil {
			w.firestore, err = controltest.Launch()
		}
		return err
	})
	err = starting.Wait()
	if w.stack != nil {
		w.closers = append(w.closers, w.stack.Stop)
	}
	if w.firestore != nil {
		w.closers = append(w.closers, w.firestore.Kill)
	}
	if err != nil {
		return nil, err
	}
	if err := w.openLines(); err != nil {
		return nil, err
	}
	if err := w.startInstances(ctx, !o.Jumps); err != nil {
		return nil, err
	}
	for _, sim := range []interface{ SetWebhook(url string) }{w.stack.Stripe, w.stack.PayPal, w.stack.Bank} {
		sim.SetWebhook("") // what they set off is not measured; Stripe's takes a third of a CPU
	}
	_, w.apiKey, err = w.stack.CreateMerchant(ctx, "Load")
	return w, err
}

func (w *world) openLines() error {
	for name, sim := range map[string]http.Handler{stripe.Name: w.stack.Stripe, paypal.Name: w.stack.PayPal, bank.Name: w.stack.Bank} {
		l, err := openLine(sim)
		if err != nil {
			return err
		}
		w.closers = append(w.closers, l.close)
		w.lines[name] = l
	}
	return nil
}

func (w *world) startInstances(ctx context.Context, realTime bool) error {
	hosts := []stack.HostConfig{w.stack.HostConfig()}
	for range processes {
		host, err := w.stack.AnotherHost()
		if err != nil {
			return err
		}
		hosts = append(hosts, host)
	}
	started := make([]*target, len(hosts))
	var starting errgroup.Group
	for n, host := range hosts {
		host.ControlURL = ""
		host.Calls["CONTROL_PROJECT"] = "load"
		for name, l := range w.lines {
			host.Calls[bases[name]] = l.URL
		}
		name := "rest"
		if n > 0 {
			name = fmt.Sprintf("instance-%d", n)
		}
		starting.Go(func() error {
			p, err := instance.Start(ctx, name, w.folder, instance.Task{Host: host, RealTime: realTime}, "FIRESTORE_EMULATOR_HOST="+w.firestore.Addr)
			if err == nil {
				started[n] = newTarget(p)
			}
			return err
		})
	}
	err := starting.Wait()
	for _, i := range started {
		if i != nil {
			w.closers = append(w.closers, i.Stop)
		}
	}
	if err != nil {
		return err
	}
	w.instances = started[1:]
	w.circuits = newCircuits(w.instances)
	return nil
}

// close ends everything. Given an error that asks for them, it keeps the instances' logs, and says where they are.
func (w *world) close(err error) error {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
	w.closers = nil
	if err == nil || errors.Is(err, context.Canceled) {
		return errors.Join(err, os.RemoveAll(w.folder))
	}
	return fmt.Errorf("%w\nThe instances' logs are in %s", err, w.folder)
}
