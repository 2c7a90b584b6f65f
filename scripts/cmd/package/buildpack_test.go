package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The layout is known to deploy when the function buildpack's own steps make a
// program of it that answers. There is no buildpack on the machine, so the test
// repeats what it does for a module with a vendor folder on Go 1.23 or newer
// (cmd/go/functions_framework/lib/lib.go of GoogleCloudPlatform/buildpacks).
func TestTheBuildpackMakesAFunctionThatAnswers(t *testing.T) {
	t.Parallel()
	app := t.TempDir()
	packaged(t, "createpayment", filepath.Join(app, "staged"))
	program := buildpack(t, app)

	t.Run("without its configuration it does not start", func(t *testing.T) {
		t.Parallel()
		f := start(t, program, []string{"FUNCTION_TARGET=CreatePayment"})
		f.wait(t)
		if code := f.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(f.said.String(), "DATABASE_URL") {
			t.Errorf("status %d, and it said:\n%s", code, f.said.String())
		}
	})
	t.Run("a request without an API key is refused", func(t *testing.T) {
		t.Parallel()
		f, address := serve(t, program)
		resp, err := http.Post(address+"/v1/payments", "application/json", strings.NewReader(`{"amount":5000}`))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusUnauthorized || kind != "application/problem+json" {
			t.Errorf("answered %s, %s", resp.Status, kind)
		}
		if given := resp.Header.Get("Request-Id"); !regexp.MustCompile(`^req_[0-9a-z]{26}$`).MatchString(given) {
			t.Errorf("Request-Id is %q", given)
		}
		var problem struct {
			Status int
			Code   string
		}
		if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil || problem.Status != 401 || problem.Code != "unauthenticated" {
			t.Errorf("the problem is %+v, %v", problem, err)
		}
		// main is not ours: what we do at SIGTERM must work all the same.
		if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		f.wait(t)
		if !f.cmd.ProcessState.Success() {
			t.Errorf("at SIGTERM: %v\n%s", f.cmd.ProcessState, f.said.String())
		}
	})
}

// buildpack does in app, which has the staged tree, what the buildpack does in the
// folder of the application, and returns the program.
func buildpack(t *testing.T, app string) string {
	t.Helper()
	source := filepath.Join(app, "serverless_function_source_code")
	if err := os.Rename(filepath.Join(app, "staged"), source); err != nil {
		t.Fatal(err)
	}
	root := rootPackage(t, source)
	if _, err := os.Stat(filepath.Join(app, root)); err == nil {
		t.Fatalf("the buildpack would take %s for a folder", root)
	}
	module := goIn(t, source, "list", "-m")
	if version := goIn(t, source, "list", "-m", "-f", "{{.Version}}", framework); version == "" {
		t.Fatal("go.mod does not have the framework")
	}
	if _, err := os.Stat(filepath.Join(source, "vendor", framework, "funcframework")); err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(source, "functions.local", "app")
	if err := os.MkdirAll(main, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(main, "main.go"), fmt.Appendf(nil, generatedMain, module), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(app, "main")
	goIn(t, source, "build", "-o", program, main)
	return program
}

// rootPackage names the package at the root. Its file must import functions: that
// chooses the main that follows.
func rootPackage(t *testing.T, source string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no Go files at the root: %v", err)
	}
	var names []string
	var imported []string
	for _, path := range found {
		syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, syntax.Name.Name)
		for _, spec := range syntax.Imports {
			imported = append(imported, strings.Trim(spec.Path.Value, `"`))
		}
	}
	if names = slices.Compact(names); len(names) != 1 {
		t.Fatalf("several packages at the root: %q", names)
	}
	if !slices.Contains(imported, framework+"/functions") {
		t.Fatalf("the buildpack would look for a Go function by the target's name; the root imports %q", imported)
	}
	return names[0]
}

// generatedMain does what the main does that the buildpack generates for declarative
// functions.
const generatedMain = `package main

import (
	"log"
	"os"

	_ %q

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

func main() {
	if err := funcframework.Start(os.Getenv("PORT")); err != nil {
		log.Fatal(err)
	}
}
`

// goIn runs go as the build does, with neither a network nor a module cache. With
// -trimpath alone among the flags the machine's build cache is of use, since each
// run of the test is in another folder.
func goIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOTOOLCHAIN=local", "GOPROXY=off", "GOMODCACHE="+t.TempDir(),
		"GOFLAGS=-mod=vendor -trimpath")
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if exit, ok := err.(*exec.ExitError); ok {
			stderr = exit.Stderr
		}
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return strings.TrimSpace(string(out))
}

// A function is a started program.
type function struct {
	cmd    *exec.Cmd
	said   *bytes.Buffer // to be read when it has ended
	exited chan struct{}
}

// start runs the program with this environment and no other.
func start(t *testing.T, program string, environment []string) *function {
	t.Helper()
	f := &function{cmd: exec.Command(program), said: &bytes.Buffer{}, exited: make(chan struct{})}
	f.cmd.Env, f.cmd.Dir = environment, t.TempDir()
	f.cmd.Stdout, f.cmd.Stderr = f.said, f.said
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = f.cmd.Wait() // ProcessState has it
		close(f.exited)
	}()
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		<-f.exited
	})
	return f
}

const patience = 30 * time.Second

func (f *function) wait(t *testing.T) {
	t.Helper()
	select {
	case <-f.exited:
	case <-time.After(patience):
		t.Fatalf("still running after %s", patience)
	}
}

// serve starts the function on a free port, as Cloud Run does, and waits until it
// answers. The port may be lost to another process before the function has it.
func serve(t *testing.T, program string) (f *function, address string) {
	t.Helper()
	for range 5 {
		port := freePort(t)
		f = start(t, program, append(environment(t), "PORT="+strconv.Itoa(port)))
		address = "http://127.0.0.1:" + strconv.Itoa(port)
		if f.answers(t, address) {
			return f, address
		}
		if !strings.Contains(f.said.String(), "address already in use") {
			break
		}
	}
	t.Fatalf("it ended: %v\n%s", f.cmd.ProcessState, f.said.String())
	return nil, ""
}

// answers reports whether the function answers before it ends.
func (f *function) answers(t *testing.T, address string) bool {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		if resp, err := http.Get(address); err == nil {
			_ = resp.Body.Close()
			return true
		}
		select {
		case <-again.C:
		case <-f.exited:
			return false
		case <-deadline:
			t.Fatalf("no answer after %s", patience)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// environment is the least that CreatePayment starts with. Nothing of it is there:
// clients connect when they are first used.
func environment(t *testing.T) []string {
	t.Helper()
	credentials := filepath.Join(t.TempDir(), "credentials.json")
	const user = `{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}`
	if err := os.WriteFile(credentials, []byte(user), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"FUNCTION_TARGET=CreatePayment",
		"GOOGLE_APPLICATION_CREDENTIALS=" + credentials,
		"DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing",
		"STRIPE_SECRET_KEY=sk_test_packaged",
		"PUBSUB_PROJECT=test",
		"TASKS_LOCATION=projects/test/locations/asia-northeast1",
		"TASKS_SERVICE_ACCOUNT=tasks@test.iam.gserviceaccount.com",
		"RESUME_URL=https://resumepayment.example",
		"OIDC_AUDIENCE=https://createpayment.example",
	}
}
