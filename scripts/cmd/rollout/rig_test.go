package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/scripts/internal/cloudtest"
)

// testClock goes on by what is waited for, and then calls what a test has to do at that
// time.
type testClock struct {
	mu     sync.Mutex
	now    time.Time
	waited func(now time.Time)

	calling sync.Mutex // several functions are waited for at once, and tests think of one
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	now, waited := c.now, c.waited
	c.mu.Unlock()
	if waited != nil {
		c.calling.Lock()
		defer c.calling.Unlock()
		waited(now)
	}
	return ctx.Err()
}

// A rig is a deployment with three functions, and what scripts/rollout needs to see it.
type rig struct {
	*testing.T
	*cloudtest.Cloud
	clock *testClock
	world world
	out   *bytes.Buffer
}

// One that the gateway calls, another, and one that only Google's services reach.
var rigFunctions = []string{"createpayment", "getpayment", "sweep"}

// newRig deploys release 1 of every function, pinned.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := emptyRig(t)
	r.deploy(1)
	r.must("pin")
	r.out.Reset()
	return r
}

func emptyRig(t *testing.T) *rig {
	t.Helper()
	clock := &testClock{now: time.Date(2026, time.November, 2, 9, 0, 0, 0, time.UTC)}
	cloud, err := cloudtest.Start(clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	root := t.TempDir()
	for _, name := range rigFunctions {
		if err := os.MkdirAll(filepath.Join(root, "functions", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{T: t, Cloud: cloud, clock: clock, out: &bytes.Buffer{}}
	r.world = world{
		lookup: func(name string) (string, bool) {
			value, ok := map[string]string{
				"CLOUD_ENDPOINT": cloud.Endpoint(), "TF_VAR_project": cloudtest.Project, "TF_VAR_region": cloudtest.Region,
			}[name]
			return value, ok
		},
		root: root, clock: clock, http: http.DefaultClient, out: r.out,
	}
	return r
}

// deploy is terraform apply of a release. Its revisions are called createpayment-1 and
// so on.
func (r *rig) deploy(release int) {
	r.Helper()
	for _, name := range rigFunctions {
		r.Deploy(name, revisionOf(name, release), true)
	}
	r.Internal("sweep")
}

func revisionOf(name string, release int) string { return name + "-" + string(rune('0'+release)) }

func (r *rig) run(args ...string) error {
	r.Helper()
	return run(r.Context(), r.world, args)
}

func (r *rig) must(args ...string) {
	r.Helper()
	if err := r.run(args...); err != nil {
		r.Fatalf("scripts/rollout %s: %v\n%s", strings.Join(args, " "), err, r.out)
	}
}

// refused runs a command that must fail, and say so with every word of want.
func (r *rig) refused(want []string, args ...string) {
	r.Helper()
	err := r.run(args...)
	if err == nil {
		r.Fatalf("scripts/rollout %s went well\n%s", strings.Join(args, " "), r.out)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			r.Errorf("scripts/rollout %s failed with\n%v\nwhich does not say %q", strings.Join(args, " "), err, w)
		}
	}
}

// is compares the traffic of all functions with want, in which N stands for the
// function's name.
func (r *rig) is(want string) {
	r.Helper()
	for _, name := range rigFunctions {
		r.has(name, want)
	}
}

func (r *rig) has(name, want string) {
	r.Helper()
	if got := r.Traffic(name); got != strings.ReplaceAll(want, "N-", name+"-") {
		r.Errorf("%s: the traffic is %s\nand not %s", name, got, strings.ReplaceAll(want, "N-", name+"-"))
	}
}

// all reports whether the traffic of all functions has come to this.
func (r *rig) all(has string) bool {
	return !slices.ContainsFunc(rigFunctions, func(name string) bool { return !strings.Contains(r.Traffic(name), has) })
}

// writes counts the changes of traffic so far.
func (r *rig) writes() (n int) {
	for _, call := range r.Calls() {
		if strings.HasPrefix(call, "UpdateService ") {
			n++
		}
	}
	return n
}

// released brings release 2 as far as its canary, which is not given any requests.
func (r *rig) released() {
	r.Helper()
	r.deploy(2)
	r.must("smoke")
	r.is("N-1 100 stable, N-2 0 canary")
}

// load gives every function its requests.
func (r *rig) load(perMinute int64) {
	for _, name := range rigFunctions {
		r.Load(name, perMinute)
	}
}

// away makes the calls of some methods fail as when the API does not answer.
func away(methods ...string) func(string, string) error {
	return func(call, _ string) error {
		if slices.Contains(methods, call) {
			return status.Error(codes.Unavailable, "the service is currently unavailable")
		}
		return nil
	}
}
