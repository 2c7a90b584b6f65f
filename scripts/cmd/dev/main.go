// Command dev runs the whole of Tollgate on this machine, and tells first payments' lives as their merchant sees them,
// one at each provider and some while a provider, or a server of the merchant's, is away: every step goes over HTTP
// through the gateway, and every webhook is verified by the public library. It exits with 0 only if every step of the story was as it should be.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

const usage = `Usage: scripts/dev [--once]
       scripts/dev clock now
       scripts/dev clock advance DURATION

Starts everything on loopback (PostgreSQL, the functions, the gateway, and
stand-ins for Cloud Tasks, Pub/Sub, Cloud Scheduler and the providers), runs a
payment at each provider through its life, and stays up until Ctrl-C. It gets a
PostgreSQL server if the machine has none. Nothing is kept when it ends.

    --once           end after the story: with 0 if every step was as it should
                     be, else with 1 and what was not

The clock commands are for the scripts/dev that is running. To advance the clock
does all that falls due on the way, each thing at its own time: retries, expiries,
the sweep of each minute.

    clock now
    clock advance 31h
`

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as by nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	err := run(ctx, world{folder: ".dev", gateway: "127.0.0.1:8080", out: os.Stdout}, os.Args[1:])
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "scripts/dev:", err)
		os.Exit(status(err))
	}
}

// A world is where the program runs.
type world struct {
	folder  string // for its state and its log
	gateway string // where the gateway is to be, if nothing else is there
	out     io.Writer
	brief   bool // tell only the first scene of the story, for tests of the rest
}

// usageError is about the command line.
type usageError string

func (e usageError) Error() string { return string(e) + "\n\n" + usage }

func status(err error) int {
	if _, wrong := errors.AsType[usageError](err); wrong {
		return 2
	}
	return 1
}

func run(ctx context.Context, w world, args []string) error {
	switch {
	case len(args) == 0:
		return stayUp(ctx, w)
	case args[0] == "clock":
		return clockCommand(ctx, w, args[1:])
	case len(args) == 1 && args[0] == "--once":
		return once(ctx, w)
	case len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]):
		_, err := io.WriteString(w.out, usage)
		return err
	default:
		return usageError(fmt.Sprintf("%q is no command", strings.Join(args, " ")))
	}
}
