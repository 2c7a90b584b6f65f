// Command test checks the whole repository: formatting, vet, staticcheck,
// go.mod, and every test with the race detector, on a PostgreSQL server of its
// own. With arguments it only runs the tests that they name.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
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

Without arguments: gofumpt, go mod tidy, go vet and staticcheck, then every test
with the race detector. It starts a PostgreSQL server for the tests and stops it
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
		runTests(ctx, r, server.URL("postgres"), testArguments(args))
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

func testCommand(args []string) []string {
	// vet is a check of its own.
	return append([]string{"go", "test", "-json", "-race", "-vet=off", "-timeout=" + testTimeout.String()}, args...)
}

func testEnvironment(server string) []string {
	return append(os.Environ(), pgtest.ServerVariable+"="+server)
}
