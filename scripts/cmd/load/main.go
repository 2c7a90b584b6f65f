// Command load puts all of Tollgate under load on this machine, and holds it to what it promises then. It exits with 0
// only if every bound was kept. Each benchmark has a package, or a file of the package webhooks, of its name, which says
// how it measures; README.md has the results.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/tollgate/tollgate/scripts/cmd/load/instance"
	"github.com/tollgate/tollgate/scripts/cmd/load/isolation"
	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/scripts/cmd/load/settlement"
	"github.com/tollgate/tollgate/scripts/cmd/load/webhooks"
)

// benchmarks are what can be asked for.
var benchmarks = []struct {
	name    string
	command func(args []string) (measure.Benchmark, error)
	usage   string
}{
	{"isolation", isolation.Command, isolation.Usage},
	{"webhooks", webhooks.RateCommand, webhooks.RateUsage},
	{"webhooks-isolation", webhooks.IsolationCommand, webhooks.IsolationUsage},
	{"webhooks-crash", webhooks.CrashCommand, webhooks.CrashUsage},
	{"outbox-drain", webhooks.DrainCommand, webhooks.DrainUsage},
	{"settlement", settlement.Command, settlement.Usage},
}

func usage() string {
	text := `Usage: scripts/load BENCHMARK [--json] [FLAG...]

Measures all of Tollgate under load on this machine. Nothing else should run on it.
Exits with 1 if a bound was broken. With --json the report is written as JSON.
`
	for _, b := range benchmarks {
		text += "\n" + b.usage
	}
	return text
}

func main() {
	instance.Become(webhooks.ServeCommits)
	debug.SetGCPercent(800) // the load, and what stands in for Google and providers, are here, and not to be measured
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

func (e usageError) Error() string { return string(e) + "\n\n" + usage() }

// command runs what the arguments say. The report goes to out, what is going on to progress.
func command(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		_, err := io.WriteString(out, usage())
		return err
	}
	run, asJSON, err := parse(args)
	if err != nil {
		return err
	}
	r, err := run(ctx, progress)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else {
		r.Print(out)
	}
	if !r.OK() {
		return measure.ErrBroken
	}
	return nil
}

// parse finds the benchmark that the arguments ask for.
func parse(args []string) (run measure.Benchmark, asJSON bool, err error) {
	for _, b := range benchmarks {
		if len(args) == 0 || b.name != args[0] {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(args[1:]), func(a string) bool { return a == "--json" })
		run, err := b.command(rest)
		if err != nil {
			return nil, false, usageError(err.Error())
		}
		return run, len(rest) < len(args)-1, nil
	}
	return nil, false, usageError(fmt.Sprintf("%q is no benchmark", strings.Join(args, " ")))
}
