package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/scripts/internal/cloudtest"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/stack"
)

// A place is where the guide is followed: a folder with the terraform and the scripts, and
// what stands in for Google behind them.
type place struct {
	work, repository string
	terraform        string // the real one
	ctx              context.Context
	out              io.Writer
	server           *httptest.Server
	cloud            *cloudtest.Cloud
	stack            *stack.Stack
	gcloud           []*tree // what gcloud says of itself, as recorded and as installed

	mu         sync.Mutex
	problems   []string
	versions   map[string]int    // of secrets
	executions map[string]string // what jobs printed
	images     map[string]string // that run, by function and job
	builds     int
	destroyed  bool
	seen       map[string]int // calls of stand-ins, by program
}

// programs are built once, as scripts/ would each time.
var programs = []string{"images", "ops", "package", "rollout"}

func openPlace(ctx context.Context, work string, out io.Writer) (_ *place, err error) {
	p := &place{
		work: work, ctx: ctx, out: out,
		versions: map[string]int{}, executions: map[string]string{}, images: map[string]string{}, seen: map[string]int{},
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.repository, err = os.Getwd(); err != nil {
		return nil, err
	}
	if p.terraform, err = exec.LookPath("terraform"); err != nil {
		return nil, err
	}
	for _, read := range []func() (*tree, error){excerpt, installed} {
		t, err := read()
		if err != nil {
			return nil, err
		}
		if t != nil {
			p.gcloud = append(p.gcloud, t)
		}
	}
	if err := p.furnish(); err != nil {
		return nil, err
	}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	if p.cloud, err = cloudtest.Start(time.Now); err != nil {
		return nil, err
	}
	p.stack, err = stack.Start(ctx, stack.Options{
		Clock: clock.NewFlowing(time.Now()), Run: true,
		Violation: func(err error) { p.problem("an answer does not fit openapi.yaml: %v", err) },
	})
	return p, err
}

func (p *place) close() {
	if p.stack != nil {
		p.stack.Stop()
	}
	if p.cloud != nil {
		p.cloud.Close()
	}
	if p.server != nil {
		p.server.Close()
	}
}

// furnish copies terraform, whose state and files of images are the guide's own, puts
// programs in the place of scripts/, and the stand-ins in front of everything on PATH.
func (p *place) furnish() error {
	if err := os.CopyFS(filepath.Join(p.work, "terraform"), os.DirFS("terraform")); err != nil {
		return err
	}
	leftovers := []string{"terraform/.terraform", "terraform/.terraform.lock.hcl", "terraform/*.auto.tfvars*", "terraform/*.tfstate*"}
	for _, pattern := range leftovers {
		found, err := filepath.Glob(filepath.Join(p.work, pattern))
		if err != nil {
			return err
		}
		for _, name := range found {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	problems := []error{
		os.WriteFile(filepath.Join(p.work, "terraform/backend_override.tf"), []byte("terraform {\n  backend \"local\" {}\n}\n"), 0o644),
		os.Symlink(filepath.Join(p.repository, "functions"), filepath.Join(p.work, "functions")),
		os.Mkdir(filepath.Join(p.work, "bin"), 0o755),
		os.Mkdir(filepath.Join(p.work, "scripts"), 0o755),
	}
	for _, name := range standIns {
		problems = append(problems, os.Symlink(self, filepath.Join(p.work, "bin", name)))
	}
	for _, name := range programs {
		build := exec.CommandContext(p.ctx, "go", "build", "-buildvcs=false", "-o", ".bin/"+name, "./scripts/cmd/"+name)
		build.Stderr = p.out
		problems = append(problems, build.Run(), os.WriteFile(filepath.Join(p.work, "scripts", name), []byte(p.script(name)), 0o755))
	}
	return errors.Join(problems...)
}

// script runs a program as scripts/NAME does, and tells it of the stand-ins. Only the wait
// of a canary is left out: half an hour, which the program's own tests have with a clock.
func (p *place) script(name string) string {
	program := filepath.Join(p.repository, ".bin", name)
	const cloud = ` --project ` + cloudtest.Project + ` --region ` + cloudtest.Region
	run := fmt.Sprintf("exec %q \"$@\"", program)
	switch name {
	case "package": // it stages what the repository has
		run = fmt.Sprintf("cd %q && %s --out %q", p.repository, run, filepath.Join(p.work, ".cache/package"))
	case "images":
		run = "case $1 in --running) set -- \"$@\"" + cloud + " ;; esac\n" + run
	case "rollout":
		run = "case $1 in\n  canary) echo 'not waited for'; exit ;;\n  promote) set -- promote --now ;;\nesac\n" + run + cloud
	}
	return "#!/usr/bin/env bash\nset -euo pipefail\n" + run + "\n"
}

// environment is the shell's: nothing that is meant for a deployment of one's own.
func (p *place) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "TF_VAR_") || strings.HasPrefix(v, "TF_CLI_ARGS") || strings.HasPrefix(v, "TF_DATA_DIR=") ||
			strings.HasPrefix(v, "DATABASE_") || strings.HasPrefix(v, "CLOUD")
	})
	return append(env,
		"PATH="+filepath.Join(p.work, "bin")+":"+os.Getenv("PATH"),
		placeVariable+"="+p.server.URL, terraformVariable+"="+p.terraform,
		"CLOUD_ENDPOINT="+p.cloud.Endpoint(),
		"TF_IN_AUTOMATION=1", "TF_INPUT=0", "TF_CLI_ARGS=-no-color", "TF_CLI_ARGS_apply=-auto-approve", "TF_CLI_ARGS_destroy=-auto-approve",
	)
}

func (p *place) problem(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// serve answers the stand-ins, one at a time but for images, which are built side by side.
func (p *place) serve(w http.ResponseWriter, r *http.Request) {
	var a ask
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.seen[a.Program]++
	p.mu.Unlock()
	do := map[string]func(ask) (string, error){"gcloud": p.google, "pack": p.pack, "terraform": p.applied}[a.Program]
	said, err := do(a)
	told := answer{Stdout: said, Status: a.Status}
	if err != nil {
		told.Stderr, told.Status = a.Program+": "+err.Error()+"\n", 1
	}
	_ = json.NewEncoder(w).Encode(told)
}

// check looks at what came of the guide.
func (p *place) check(said string, blocks int) error {
	if !strings.Contains(said, "--- the end") {
		p.problem("the last command was not reached")
	}
	for name, status := range map[string]string{"stripe": "CAPTURED", "paypal": "PENDING", "bank": "PENDING"} {
		var payment struct {
			Status     string          `json:"status"`
			NextAction json.RawMessage `json:"next_action"`
		}
		text, err := os.ReadFile(filepath.Join(p.work, ".cache", name+".json"))
		if err == nil {
			err = json.Unmarshal(text, &payment)
		}
		waits := len(payment.NextAction) > 0 && string(payment.NextAction) != "null"
		if err != nil || payment.Status != status || waits != (status == "PENDING") {
			p.problem("the first payment at %s is %s, %v", name, text, err)
		}
	}
	for _, secret := range slices.Sorted(maps.Keys(p.versions)) {
		if p.versions[secret] == 0 {
			p.problem("the secret %s was never given a value", secret)
		}
	}
	if !p.destroyed {
		p.problem("nothing was taken down")
	}
	if len(p.problems) > 0 {
		return errors.New(strings.Join(p.problems, "\n"))
	}
	_, err := fmt.Fprintf(p.out, "%d blocks of commands followed; gcloud was asked %d times, pack %d, terraform %d\n",
		blocks, p.seen["gcloud"], p.seen["pack"], p.seen["terraform"])
	return err
}
