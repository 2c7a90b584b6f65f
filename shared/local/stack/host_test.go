package stack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/tollgate/tollgate/shared/local/stack"
)

// hostVariable makes this test binary a host, with the configuration that it holds.
const hostVariable = "TOLLGATE_TEST_HOST"

func TestMain(m *testing.M) {
	if config := os.Getenv(hostVariable); config != "" {
		beHost(config)
	}
	os.Exit(m.Run())
}

// beHost serves until it is killed. It dies by itself at the first record of a capture, to show a hook at work.
func beHost(config string) {
	var c stack.HostConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		panic(err)
	}
	hook := func(ctx context.Context, point string) {
		if stack.FunctionOf(ctx) == "capturepayment" && point == "recording" {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if _, err := stack.StartHost(context.Background(), c, stack.HostOptions{Log: os.Stderr, Hook: hook}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started us is gone
	os.Exit(0)
}

// spawn starts a host in another process. It returns what waits for its death.
func spawn(t *testing.T, s *stack.Stack) (died func()) {
	t.Helper()
	config, err := json.Marshal(s.HostConfig())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hostVariable+"="+string(config))
	cmd.Stderr = t.Output()
	leash, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	died = sync.OnceFunc(func() { _ = cmd.Wait() })
	t.Cleanup(func() {
		_ = leash.Close()
		died()
	})
	if err := s.AwaitHost(t.Context()); err != nil {
		t.Fatal(err)
	}
	return died
}

func TestAHostInAnotherProcessDiesAndComesBack(t *testing.T) {
	t.Parallel()
	s := start(t, stack.Options{ExternalHost: true})
	died := spawn(t, s)
	_, key, err := s.CreateMerchant(t.Context(), "Test")
	if err != nil {
		t.Fatal(err)
	}
	p := create(t, s, key)
	if p.Status != "AUTHORIZED" {
		t.Fatalf("%+v", p)
	}
	if code := post(t, s, key, "/v1/payments/"+p.ID+"/capture", `{}`, nil); code/100 == 2 {
		t.Errorf("a host that died before the record answered %d", code)
	}
	died()
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	spawn(t, s)
	if again := create(t, s, key); again.Status != "AUTHORIZED" {
		t.Errorf("after the restart: %+v", again)
	}
}
