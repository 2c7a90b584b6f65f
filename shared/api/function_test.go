package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// childVariable makes the test binary one that serves, for TestSIGTERM….
const childVariable = "TOLLGATE_API_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// child serves requests that end when standard input does, and prints its address and
// a line per request.
func child() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	input := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(input)
	}()
	env := Env{Log: slog.New(slog.DiscardHandler), Lifecycle: &Lifecycle{}}
	for _, part := range []string{"telemetry", "database", "tasks"} {
		env.Lifecycle.Closes(part, func(context.Context) error {
			fmt.Println("close", part)
			return nil
		})
	}
	h := drainOnTerm(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("request")
		<-input
		w.Header().Set("Content-Length", "8")
		_, _ = io.WriteString(w, "finished")
	}), env, os.Exit)
	fmt.Println(l.Addr())
	_ = http.Serve(l, h)
}

func TestSIGTERMWaitsForRequests(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	next := func() string {
		if !lines.Scan() {
			t.Fatalf("the child ended early: %v", lines.Err())
		}
		return lines.Text()
	}
	address := "http://" + next()

	const requests = 3
	answers := make(chan string, requests)
	for range requests {
		go func() {
			resp, err := http.Get(address)
			if err != nil {
				answers <- err.Error()
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			answers <- fmt.Sprint(string(body), err)
		}()
	}
	for range requests {
		if line := next(); line != "request" {
			t.Fatalf("the child says %q", line)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	for range requests {
		if got := <-answers; got != "finished<nil>" {
			t.Errorf("a request in flight got %q", got)
		}
	}
	for _, part := range []string{"tasks", "database", "telemetry"} { // the other way than they were opened
		if line := next(); line != "close "+part {
			t.Errorf("the child says %q, want it to close %s", line, part)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child ended with %v", err)
	}
}

func TestWaitOutlastsRequestsThatBeginMeanwhile(t *testing.T) {
	t.Parallel()
	var f inFlight
	f.wait(t.Context()) // none yet
	f.begin()
	f.begin()
	f.end()
	done := make(chan struct{})
	go func() { f.wait(t.Context()); close(done) }()
	f.begin()
	f.end()
	select {
	case <-done:
		t.Error("a request is still in flight")
	default:
	}
	f.end()
	<-done

	f.begin()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.wait(ctx) // gives up
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { f.begin(); f.end() })
	}
	wg.Wait()
	f.end()
	f.wait(t.Context())
}

func TestFunctionRegistersOnlyItsTarget(t *testing.T) {
	t.Setenv("FUNCTION_TARGET", "CapturePayment")
	Function("CreatePayment", func(context.Context, Env) (http.Handler, error) {
		t.Error("built a function that is not the target")
		return nil, nil
	})
	built := 0
	Function("CapturePayment", func(_ context.Context, env Env) (http.Handler, error) {
		built++
		first, second := env.NewID(), env.NewID()
		if first == second || env.Lifecycle == nil || env.Now().IsZero() || env.Metrics == nil || env.Log == nil {
			t.Error("the environment is incomplete")
		}
		if v, ok := env.Lookup("FUNCTION_TARGET"); !ok || v != "CapturePayment" {
			t.Errorf("looked up %q", v)
		}
		return http.NotFoundHandler(), nil
	})
	if built != 1 {
		t.Errorf("built %d times", built)
	}
}

func TestAWrongConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFunctionThatCantBeBuilt$")
	cmd.Env = append(os.Environ(), "FUNCTION_TARGET=Broken")
	out, err := cmd.CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 1 {
		t.Fatalf("ended with %v: %s", err, out)
	}
	if !strings.Contains(string(out), `"severity":"ERROR"`) || !strings.Contains(string(out), `DATABASE_URL is not set`) {
		t.Errorf("said %s", out)
	}
}

// TestFunctionThatCantBeBuilt is what TestAWrongConfigurationStopsTheStart runs; by
// itself it checks that a function which is not the target is not even tried.
func TestFunctionThatCantBeBuilt(t *testing.T) {
	Function("Broken", func(context.Context, Env) (http.Handler, error) {
		return nil, fmt.Errorf("DATABASE_URL is not set")
	})
}

// What is written to the audit log and what is read back are the same only in whole
// microseconds.
func TestTheClockCountsAsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	if at := now(); at.Nanosecond()%1000 != 0 || at.Location() != time.UTC {
		t.Errorf("now() is %v", at)
	}
}
