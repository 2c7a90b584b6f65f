// Command load puts all of Tollgate under load on this machine, and holds it to what it promises then. It exits with 0
// only if every bound was kept.
//
// # isolation
//
// A provider's trouble stays its own: payments at one provider are not slower while another hangs.
//
// The system is the local stack on a clock that flows, with PostgreSQL, and four processes that each serve every
// function, as four instances of each would. They share nothing but the database and a control plane in Firestore's
// emulator. Payments come at a constant rate to each provider, whatever becomes of those before (see load.stream), and
// go to the four createpayment functions in turn, at most 40 at a time to each, as the platform has it. They go there
// straight, and the providers send no webhooks: the gateway, and what webhooks set off, are a load of this machine that
// no deployment has beside createpayment. A fifth process does what else there is to do: it sweeps, and is told of what
// is published.
//
// Runs without the sick provider alternate with runs with it, each in a system of its own, so that none inherits
// another's backlog. In a run with it, it hangs for a minute: it takes every request and answers none. Then it is well
// again. What is measured begins with the hang, and goes on after the circuit has closed and what had waited is
// carried out. After the last run Firestore is killed, and the provider hangs once more.
//
// What is measured is a difference on one machine, the load included. It says nothing of how fast a deployment is.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/scripts/internal/setup"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
)

const usage = `Usage: scripts/load isolation [--quick] [--json] [--sick PROVIDER] [--rate N] [--pairs N]

Measures whether payments at Stripe are slower while another provider hangs, what
the circuit breaker does in four processes that share Firestore's emulator, and
whether payments go on without Firestore. Takes a dozen minutes; nothing else
should run on the machine. Exits with 1 if a bound was broken.

    --quick          show in half a minute that all of it happens; no times are held
                     to bounds
    --json           write the report as JSON
    --sick PROVIDER  paypal (the default) or bank
    --rate N         payments a second to each provider, 50 by default
    --pairs N        runs without the sick provider, and as many with it; 3 by default
`

func main() {
	if text := os.Getenv(instanceVariable); text != "" {
		if err := beInstance(text); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	debug.SetGCPercent(800) // the providers and the load are here, and are not to be measured
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		_, _ = fmt.Fprintln(os.Stderr, "scripts/load:", err)
		if _, wrong := errors.AsType[usageError](err); wrong {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// usageError is about the command line.
type usageError string

func (e usageError) Error() string { return string(e) + "\n\n" + usage }

var errBroken = errors.New("a bound was broken")

// command runs what the arguments say. The report goes to out, what is going on to progress.
func command(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		_, err := io.WriteString(out, usage)
		return err
	}
	if len(args) == 0 || args[0] != "isolation" {
		return usageError(fmt.Sprintf("%q is no command", strings.Join(args, " ")))
	}
	p := plan{
		Warm: 5 * time.Second, Hang: time.Minute, Hold: 1500 * time.Millisecond, Whole: 85 * time.Second,
		Alone: 10 * time.Second, Recovery: 90 * time.Second,
	}
	flags := flag.NewFlagSet("isolation", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&p.Sick, "sick", paypal.Name, "")
	flags.IntVar(&p.Rate, "rate", 50, "")
	flags.IntVar(&p.Pairs, "pairs", 3, "")
	hurried, asJSON := flags.Bool("quick", false, ""), flags.Bool("json", false, "")
	if err := flags.Parse(args[1:]); err != nil {
		return usageError(err.Error())
	}
	if flags.NArg() > 0 || p.Rate < 1 || p.Pairs < 1 || p.Sick != paypal.Name && p.Sick != bank.Name {
		return usageError(fmt.Sprintf("%q is not understood", strings.Join(args, " ")))
	}
	if err := errors.Join(setup.Postgres(ctx, progress), setup.Firestore(ctx, progress)); err != nil {
		return err
	}
	var r *report
	var err error
	if *hurried {
		r, err = quick(p.Sick).rehearse(ctx, worldOptions{})
	} else {
		r, err = p.measure(ctx, progress)
	}
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else {
		r.print(out)
	}
	if !r.ok() {
		return errBroken
	}
	return nil
}
