package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

const module = "github.com/tollgate/tollgate/"

// A report tells what happens while it happens, shows what failed in full and
// nothing of what passed, and counts. A check counts like a test.
type report struct {
	out     io.Writer
	started time.Time

	passed, failed, skipped int
	failures                []string // names, in the order in which they failed

	packages map[string]*packageRun
	builds   map[string]string // what the compiler said, by import path
}

// A packageRun is one package whose tests run.
type packageRun struct {
	passed, failed, skipped int

	cached  bool
	said    strings.Builder     // outside any test
	running map[string]*testRun // begun and not ended

	// The tests that have subtests, and whether one of those failed. Such a
	// test counts only when it fails by itself, or one failure would count
	// again at every level above it.
	parents map[string]bool
}

type testRun struct {
	began  time.Time
	paused bool // a parallel test that waits for its turn
	said   strings.Builder
}

func newReport(out io.Writer) *report {
	return &report{
		out:      out,
		started:  time.Now(),
		packages: map[string]*packageRun{},
		builds:   map[string]string{},
	}
}

// Write shows what a program says while it installs something.
func (r *report) Write(p []byte) (int, error) { return r.out.Write(p) }

func (r *report) line(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, "[%6.1fs] %s\n", time.Since(r.started).Seconds(), fmt.Sprintf(format, args...))
}

// quote shows a program's words, indented.
func (r *report) quote(text string) {
	for line := range strings.Lines(text) {
		_, _ = fmt.Fprintf(r.out, "          %s\n", strings.TrimRight(line, "\n"))
	}
}

// problem is a failure outside any test.
func (r *report) problem(err error) {
	r.failed++
	r.line("FAIL  %v", err)
}

func (r *report) check(c check, said string, err error, took time.Duration) {
	if err == nil {
		r.passed++
		r.line("ok    %-36s %6.1fs", c.name, took.Seconds())
		return
	}
	r.failed++
	r.failures = append(r.failures, c.name)
	r.line("FAIL  %-36s %6.1fs  %v", c.name, took.Seconds(), err)
	r.quote(firstLines(said, checkLines))
	if c.fix != "" {
		r.quote("To mend it: " + c.fix)
	}
}

func (r *report) event(e event) {
	switch {
	case e.Action == "stray":
		r.quote(e.Output)
	case e.Action == "build-output":
		r.builds[e.ImportPath] += e.Output
	case e.Package == "":
	case e.Test == "":
		r.packageEvent(e)
	default:
		r.testEvent(e)
	}
}

func (r *report) packageEvent(e event) {
	p := r.pkg(e.Package)
	switch e.Action {
	case "output":
		p.cached = p.cached || strings.Contains(e.Output, "\t(cached)")
		p.said.WriteString(e.Output)
	case "skip": // it has no tests
		delete(r.packages, e.Package)
	case "pass", "fail":
		r.packageEnd(e, p)
		delete(r.packages, e.Package)
	}
}

func (r *report) packageEnd(e event, p *packageRun) {
	name := strings.TrimPrefix(e.Package, module)
	if e.Action == "pass" {
		took := fmt.Sprintf("%6.1fs", e.Elapsed)
		if p.cached {
			took = " cached"
		}
		r.line("ok    %-36s %s  %d tests", name, took, p.passed)
	} else {
		r.line("FAIL  %-36s %6.1fs  %d passed, %d failed", name, e.Elapsed, p.passed, p.failed)
		r.quote(r.builds[e.FailedBuild])
		if p.failed == 0 { // then it is not a test's failure: a build's, a panic's, a time-out's
			p.failed++
			r.failures = append(r.failures, name)
			r.quote(p.said.String())
		}
		for _, test := range slices.Sorted(maps.Keys(p.running)) {
			r.quote("--- never ended: " + test)
			r.quote(withoutFrames(p.running[test].said.String()))
		}
	}
	r.passed += p.passed
	r.failed += p.failed
	r.skipped += p.skipped
}

func (r *report) testEvent(e event) {
	p := r.pkg(e.Package)
	switch e.Action {
	case "run":
		p.running[e.Test] = &testRun{began: time.Now()}
		for parent := range parentsOf(e.Test) {
			if _, known := p.parents[parent]; !known {
				p.parents[parent] = false
			}
		}
	case "pause", "cont":
		if t := p.running[e.Test]; t != nil {
			t.began, t.paused = time.Now(), e.Action == "pause"
		}
	case "output":
		if t := p.running[e.Test]; t != nil {
			t.said.WriteString(e.Output)
		}
	case "pass", "fail", "skip":
		r.testEnd(e, p)
		delete(p.running, e.Test)
	}
}

func (r *report) testEnd(e event, p *packageRun) {
	childFailed, isParent := p.parents[e.Test]
	switch e.Action {
	case "pass":
		if !isParent {
			p.passed++
		}
	case "skip":
		p.skipped++
		said := ""
		if t := p.running[e.Test]; t != nil {
			said = reason(t.said.String())
		}
		r.line("SKIPPED  %s %s: %s", strings.TrimPrefix(e.Package, module), e.Test, said)
	case "fail":
		for parent := range parentsOf(e.Test) {
			p.parents[parent] = true
		}
		if !childFailed {
			p.failed++
			r.failures = append(r.failures, strings.TrimPrefix(e.Package, module)+" "+e.Test)
		}
		said := ""
		if t := p.running[e.Test]; t != nil {
			said = withoutFrames(t.said.String())
		}
		if !childFailed || said != "" {
			r.line("FAIL  %s %s", strings.TrimPrefix(e.Package, module), e.Test)
			r.quote(said)
		}
	}
}

// stillRunning names what is slow, so that nobody wonders.
func (r *report) stillRunning() {
	var slow []string
	for _, name := range slices.Sorted(maps.Keys(r.packages)) {
		p := r.packages[name]
		for _, test := range slices.Sorted(maps.Keys(p.running)) {
			if _, isParent := p.parents[test]; isParent || p.running[test].paused {
				continue
			}
			took := time.Since(p.running[test].began)
			if took >= heartbeat/2 {
				slow = append(slow, fmt.Sprintf("%s %s (%.0fs)", strings.TrimPrefix(name, module), test, took.Seconds()))
			}
		}
	}
	switch {
	case len(slow) > 0:
		r.line("still running: %s", strings.Join(slow, ", "))
	case len(r.packages) == 0:
		r.line("still compiling")
	}
}

// close prints the outcome and reports whether all is well.
func (r *report) close() bool {
	if r.passed+r.failed == 0 {
		r.problem(fmt.Errorf("no test ran"))
	}
	if len(r.failures) > 0 {
		_, _ = fmt.Fprintf(r.out, "\nNot passed:\n    %s\n", strings.Join(r.failures, "\n    "))
	}
	if r.skipped > 0 {
		_, _ = fmt.Fprintf(r.out, "%d skipped\n", r.skipped)
	}
	_, _ = fmt.Fprintf(r.out, "%d passed, %d failed\n", r.passed, r.failed)
	return r.failed == 0
}

func (r *report) pkg(name string) *packageRun {
	p := r.packages[name]
	if p == nil {
		p = &packageRun{running: map[string]*testRun{}, parents: map[string]bool{}}
		r.packages[name] = p
	}
	return p
}

// parentsOf yields TestA and TestA/b for TestA/b/c.
func parentsOf(test string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range test {
			if c == '/' && !yield(test[:i]) {
				return
			}
		}
	}
}

// checkLines is how much of a failed check is shown; go mod tidy can have
// hundreds of lines to say, and the fix is the same.
const checkLines = 60

func firstLines(text string, most int) string {
	lines := slices.Collect(strings.Lines(text))
	if len(lines) <= most {
		return text
	}
	return strings.Join(lines[:most], "") + fmt.Sprintf("… and %d lines more\n", len(lines)-most)
}

// reason is why a test says that it is skipped.
func reason(said string) string {
	said = strings.TrimSpace(withoutFrames(said))
	if _, words, ok := strings.Cut(said, "SKIPPED: "); ok {
		return words
	}
	if said == "" {
		return "it does not say why"
	}
	return said
}

// withoutFrames drops go test's own lines about tests that start and end.
func withoutFrames(said string) string {
	var kept strings.Builder
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(strings.TrimSpace(line), "--- ") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
