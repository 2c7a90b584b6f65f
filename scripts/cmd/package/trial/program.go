package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What Cloud Run waits for is 150 s (terraform/modules/function), and 10 s between SIGTERM
// and SIGKILL (https://cloud.google.com/run/docs/container-contract#lifecycle).
const (
	startPatience = 150 * time.Second
	stopPatience  = 10 * time.Second
	poll          = 2 * time.Millisecond
)

// A Program is a function's program that runs, or has.
type Program struct {
	URL       string
	Startup   string        // what the startup probe was answered with
	StartTime time.Duration // until it was

	cmd    *exec.Cmd
	said   said
	exited chan struct{}
}

// Said is what the program wrote so far, to either of its outputs.
func (p *Program) Said() string { return p.said.String() }

// Run runs a program to its end, with these variables and no others.
func Run(ctx context.Context, program string, variables map[string]string, args ...string) (said string, err error) {
	p, err := execute(program, variables, args...)
	if err != nil {
		return "", err
	}
	defer p.kill()
	select {
	case <-p.exited:
	case <-ctx.Done():
		return p.Said(), ctx.Err()
	}
	return p.Said(), p.ended()
}

// Probe asks one of the program's health endpoints.
func (p *Program) Probe(ctx context.Context, name string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/health/"+name, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// Stop asks the program to end as Cloud Run does. An error is one that the program made:
// it did not end in time, or not well.
func (p *Program) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return p.ended()
	case <-time.After(stopPatience):
		p.kill()
		return fmt.Errorf("still there %s after SIGTERM", stopPatience)
	}
}

// ended is how a program ended that has.
func (p *Program) ended() error {
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("it ended with %v: %s", state, strings.TrimSpace(p.Said()))
	}
	return nil
}

func (p *Program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// start starts the program on a free port, as Cloud Run does, and waits until its startup
// probe is answered with 200. The port may be lost to another process before the program
// has it.
func start(ctx context.Context, program string, variables map[string]string) (*Program, error) {
	for {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		variables["PORT"] = strconv.Itoa(port)
		began := time.Now()
		p, err := execute(program, variables)
		if err != nil {
			return nil, err
		}
		p.URL = "http://127.0.0.1:" + variables["PORT"]
		err = p.awaitStartup(ctx)
		p.StartTime = time.Since(began)
		if err == nil {
			return p, nil
		}
		p.kill()
		if !strings.Contains(p.Said(), "address already in use") {
			return nil, err
		}
	}
}

func (p *Program) awaitStartup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	again := time.NewTicker(poll)
	defer again.Stop()
	last := errors.New("nobody answered")
	for {
		status, body, err := p.Probe(ctx, "startup")
		if status == http.StatusOK {
			p.Startup = body
			return nil
		}
		if err == nil {
			last = fmt.Errorf("the startup probe was answered %d %s", status, body)
		}
		select {
		case <-again.C:
		case <-p.exited:
			return errors.Join(errors.New("it did not start"), p.ended())
		case <-ctx.Done():
			return fmt.Errorf("%w: %w\n%s", ctx.Err(), last, p.Said())
		}
	}
}

func execute(program string, variables map[string]string, args ...string) (*Program, error) {
	p := &Program{cmd: exec.Command(program, args...), exited: make(chan struct{})}
	p.cmd.Env = []string{} // nil would be ours
	for name, value := range variables {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Dir = "/"
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it goes with us, however we go
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has it
		close(p.exited)
	}()
	return p, nil
}

func freePort() (int, error) {
	l, err := listenLoopback()
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func listenLoopback() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// said is what a program writes while it is read.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
