package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test's own binary the program, for tests that need a process.
const asProgram = "ROLLOUT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program runs scripts/rollout in a process of its own, which goes by the machine's
// clock.
func (r *rig) program(args ...string) (*exec.Cmd, *bytes.Buffer) {
	r.Helper()
	binary, err := os.Executable()
	if err != nil {
		r.Fatal(err)
	}
	cmd := exec.CommandContext(r.Context(), binary, args...)
	cmd.Dir = r.world.root
	cmd.Env = append(os.Environ(), asProgram+"=1", "CLOUD_ENDPOINT="+r.Endpoint(), "TF_VAR_project=demo", "TF_VAR_region=asia-northeast1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	return cmd, &said
}

// shifted is closed when every function's canary gets requests.
func (r *rig) shifted() <-chan struct{} {
	all := make(chan struct{})
	go func() {
		for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
			if r.all(" 5 canary") || r.Context().Err() != nil {
				tick.Stop()
				close(all)
				return
			}
		}
	}()
	return all
}

// SIGTERM, which a build that is cancelled sends, takes a canary back; SIGKILL leaves it
// to whoever comes next.
func TestSignals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signal os.Signal
		left   string
	}{
		"SIGTERM": {syscall.SIGTERM, "N-1 100 stable"},
		"SIGKILL": {syscall.SIGKILL, "N-1 95 stable, N-2 5 canary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.released()
			cmd, said := r.program("canary")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-r.shifted()
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Errorf("it ended well:\n%s", said)
			}
			r.is(c.left)

			cmd, said = r.program("rollback")
			if err := cmd.Run(); err != nil {
				t.Errorf("%v\n%s", err, said)
			}
			r.is("N-1 100 stable")
		})
	}
}

func TestTheProgramsOwnWords(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for args, c := range map[string]struct {
		code int
		want string
	}{
		"":       {0, "Usage: scripts/rollout"},
		"--help": {0, "Usage: scripts/rollout"},
		"status": {0, "createpayment-1"},
		"fly":    {1, "scripts/rollout: \"fly\" is no command"},
	} {
		cmd, said := r.program(strings.Fields(args)...)
		_ = cmd.Run() // its status is looked at
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(said.String(), c.want) {
			t.Errorf("scripts/rollout %s ended with %d:\n%s", args, code, said)
		}
	}
}
