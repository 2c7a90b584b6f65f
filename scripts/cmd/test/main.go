// Command test checks the whole repository: formatting, vet, staticcheck,
// go.mod, and every test, nearly all with the race detector, on a PostgreSQL server of its
// own. With arguments it only runs the tests that they name.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/scripts/internal/setup"
	"github.com/tollgate/tollgate/shared/postgres/pglocal"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

const usage = `Usage: scripts/test [ARGUMENT...]

Without arguments: gofumpt, go mod tidy, go vet and staticcheck, then every test,
nearly all with the race detector. It starts a PostgreSQL server for the tests and stops it
again, and gets what the machine lacks (a server, a C compiler, the linters, the
Firestore emulator where apt has it).

With arguments, which are those of go test, only the tests that they name:
    scripts/test ./shared/payment -run TestRefund
    scripts/test ./shared/...
`

func main() {
	args := os.Args[1:]
	if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		fmt.Print(usage)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !run(ctx, args, os.Stdout) {
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) bool {
	r := newReport(out)
	everything := len(args) == 0
	server, err := prepare(ctx, r, everything)
	if err != nil {
		r.problem(err)
		return r.close()
	}
	defer server.Stop()
	if everything {
		checkAll(ctx, r)
	}
	if ctx.Err() == nil {
		if err := runAll(ctx, r, server.URL("postgres"), args); err != nil {
			r.problem(err)
		}
	}
	if ctx.Err() != nil {
		r.problem(fmt.Errorf("interrupted"))
	}
	return r.close()
}

// prepare gets what is missing and starts the tests' server.
func prepare(ctx context.Context, r *report, linters bool) (*pglocal.Server, error) {
	needs := []func(context.Context, io.Writer) error{setup.Compiler, setup.Postgres, setup.Firestore}
	if linters {
		needs = append(needs, setup.Tools)
	}
	for _, need := range needs {
		if err := need(ctx, r); err != nil {
			return nil, err
		}
	}
	server, err := pglocal.Start(ctx, pglocal.Options{})
	if err != nil {
		return nil, err
	}
	r.line("PostgreSQL %d of %s is up for the tests", server.Binaries.Major, server.Binaries.Folder)
	return server, nil
}

// unraced are packages whose tests take long, and longer by far with the race detector, which finds nothing here that it
// does not find elsewhere: the functions and the stack run with it in shared/local/e2e, too.
var unraced = []string{module + "scripts/cmd/package", module + "shared/local/books", module + "shared/local/chaos"}

// runAll runs the tests that args name, or all.
func runAll(ctx context.Context, r *report, server string, args []string) error {
	if len(args) > 0 {
		runTests(ctx, r, server, testCommand(true, testArguments(args)))
		return nil
	}
	listed, err := exec.CommandContext(ctx, "go", "list", "./...").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	raced := slices.DeleteFunc(strings.Fields(string(listed)), func(p string) bool { return slices.Contains(unraced, p) })
	runTests(ctx, r, server, testCommand(true, raced))
	if ctx.Err() == nil {
		runTests(ctx, r, server, testCommand(false, unraced))
	}
	return nil
}

// testArguments adds to go test's arguments what the user left out.
func testArguments(args []string) []string {
	named := len(args) > 0 && !strings.HasPrefix(args[0], "-")
	if !named {
		args = append([]string{"./..."}, args...)
	}
	return args
}

// testTimeout is how long one package's tests may take before they are stopped
// and show where they hang.
const testTimeout = 12 * time.Minute

func testCommand(race bool, args []string) []string {
	// vet is a check of its own.
	command := []string{"go", "test", "-json", "-vet=off", "-timeout=" + testTimeout.String()}
	if race {
		// The detector brings checks of unsafe pointers with it, of which we have none. They take a sixth of the time.
		command = append(command, "-race", "-gcflags=all=-d=checkptr=0")
	}
	return append(command, args...)
}

func testEnvironment(server string) []string {
	return append(os.Environ(), pgtest.ServerVariable+"="+server)
}
