package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tested runs go test on a module of these files and returns the report's
// words, as the tests' true event stream makes them.
func tested(t *testing.T, files map[string]string) (said string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module github.com/tollgate/tollgate/example\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "-vet=off", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	stream, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r := newReport(&out)
	for e := range events(stream) {
		r.event(e)
	}
	_ = cmd.Wait() // it fails when a test does
	ok = r.close()
	return out.String(), ok
}

func lastLine(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return lines[len(lines)-1]
}

func TestEachTestCountsOnceAndFailuresAreShown(t *testing.T) {
	t.Parallel()
	said, ok := tested(t, map[string]string{
		"good/good_test.go": `package good
import "testing"
func TestA(t *testing.T) { t.Log("quiet") }
func TestB(t *testing.T) { t.Run("x", func(*testing.T) {}); t.Run("y", func(*testing.T) {}) }
`,
		"bad/bad_test.go": `package bad
import "testing"
func TestFine(t *testing.T) {}
func TestChild(t *testing.T) {
	t.Run("passes", func(*testing.T) {})
	t.Run("fails", func(t *testing.T) { t.Error("the reason") })
}
func TestOwn(t *testing.T) { t.Run("passes", func(*testing.T) {}); t.Error("own reason") }
`,
		"bare/bare.go": "package bare\n",
	})
	if ok {
		t.Error("reported as well")
	}
	// TestA, TestB/x, TestB/y, TestFine, TestChild/passes, TestOwn/passes;
	// TestChild/fails, TestOwn.
	if got, want := lastLine(said), "6 passed, 2 failed"; got != want {
		t.Errorf("the last line is %q, want %q", got, want)
	}
	for _, want := range []string{"the reason", "own reason", "example/bad TestChild/fails\n", "3 tests"} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing says %q", want)
		}
	}
	for _, surplus := range []string{"quiet", "=== RUN", "example/bare"} {
		if strings.Contains(said, surplus) {
			t.Errorf("%q should not show", surplus)
		}
	}
	if t.Failed() {
		t.Log(said)
	}
}

func TestWhatIsNoTestsFailureCountsToo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"does not compile": {"func TestA(t *testing.T) { undefined() }", "undefined: undefined"},
		"exits":            {"func TestA(t *testing.T) { os.Exit(3) }", "TestA"},
		"panics elsewhere": {"func TestA(t *testing.T) { go panic(1); select {} }", "panic: 1"},
		"is killed":        {"func TestA(t *testing.T) { println(\"here\"); syscall.Kill(os.Getpid(), 9) }", "TestA"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, ok := tested(t, map[string]string{
				"a_test.go": "package a\nimport (\"os\"; \"syscall\"; \"testing\")\nvar _, _ = os.Exit, syscall.Kill\n" + c.text + "\n",
			})
			if ok || lastLine(said) != "0 passed, 1 failed" || !strings.Contains(said, c.want) {
				t.Errorf("want one failure that says %q, got:\n%s", c.want, said)
			}
		})
	}
}

// What needs somebody's keys is no failure without them, but it is not passed over either.
func TestSkippedTestsAreShown(t *testing.T) {
	t.Parallel()
	said, ok := tested(t, map[string]string{"a_test.go": `package a
import "testing"
func TestA(t *testing.T) {}
func TestB(t *testing.T) { t.Skip("SKIPPED: set A_KEY") }
`})
	if !ok || lastLine(said) != "1 passed, 0 failed" {
		t.Errorf("ok %t:\n%s", ok, said)
	}
	for _, want := range []string{"SKIPPED  example TestB: set A_KEY\n", "1 skipped"} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing says %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "Not passed") {
		t.Errorf("a skipped test stands among those that failed:\n%s", said)
	}
}

func TestNoTestAtAllIsAFailure(t *testing.T) {
	t.Parallel()
	said, ok := tested(t, map[string]string{"a.go": "package a\n"})
	if ok || !strings.Contains(said, "no test ran") {
		t.Errorf("ok %t:\n%s", ok, said)
	}
}

func TestChecksCount(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := newReport(&out)
	r.check(check{name: "one"}, "downloading", nil, 0)
	r.check(check{name: "two", fix: "mend two"}, "what is wrong", errors.New("exit status 1"), 0)
	if r.close() || lastLine(out.String()) != "1 passed, 1 failed" {
		t.Errorf("got:\n%s", out.String())
	}
	for _, want := range []string{"what is wrong", "mend two"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q", want)
		}
	}
	if strings.Contains(out.String(), "downloading") {
		t.Error("a check that passed shows what it said")
	}
}

func TestALongComplaintIsCut(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	newReport(&out).check(check{name: "one", fix: "mend one"}, strings.Repeat("line\n", 100), errors.New("exit status 1"), 0)
	if got := strings.Count(out.String(), "line\n"); got != checkLines {
		t.Errorf("%d lines show, want %d", got, checkLines)
	}
	for _, want := range []string{"40 lines more", "mend one"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q", want)
		}
	}
}

func TestArgumentsAreGoTests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", "./..."},
		{"./shared/payment -run X", "./shared/payment -run X"},
		{"-run X", "./... -run X"},
	} {
		if got := strings.Join(testArguments(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.in, got, c.want)
		}
	}
}

func TestOnlyWhatTrulyRunsIsNamedAsSlow(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := newReport(&out)
	for _, e := range []event{
		{Action: "run", Test: "TestSlow"},
		{Action: "run", Test: "TestWaitsForItsTurn"},
		{Action: "pause", Test: "TestWaitsForItsTurn"},
		{Action: "run", Test: "TestParent"},
		{Action: "run", Test: "TestParent/child"},
	} {
		e.Package = module + "example"
		r.event(e)
	}
	for _, test := range r.pkg(module + "example").running {
		test.began = test.began.Add(-heartbeat)
	}
	r.stillRunning()
	if !strings.HasSuffix(out.String(), "still running: example TestParent/child (30s), example TestSlow (30s)\n") {
		t.Errorf("got %q", out.String())
	}
}
