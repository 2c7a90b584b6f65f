// Package instance runs the functions in processes of their own, as instances of them, which share nothing but what
// deployed ones do. Each process serves every function. It is this program, or a test of it, started again; Become is
// therefore the first thing that either does.
package instance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/stack"
)

// variable holds the task of a process that is an instance.
const variable = "TOLLGATE_LOAD_INSTANCE"

// A Task is what an instance is told.
type Task struct {
	Host     stack.HostConfig `json:"host"`
	RealTime bool             `json:"real_time"` // the clock only flows, so the machine's will do
	Beside   bool             `json:"beside"`    // serve what the program serves beside the functions, too
}

// Beside serves something beside the functions, and returns where. It ends with the process.
type Beside func(ctx context.Context, host stack.HostConfig, now func() time.Time) (address string, err error)

// Become serves the functions if this process was started as an instance, until whoever started it is gone. Otherwise
// it does nothing.
func Become(beside Beside) {
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	if err := serve(text, beside); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(text string, beside Beside) error {
	var t Task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	now := clock.Remote(t.Host.ClockURL)
	if t.RealTime {
		now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	}
	ctx := context.Background()
	if _, err := stack.StartHost(ctx, t.Host, stack.HostOptions{Log: os.Stderr, Now: now}); err != nil {
		return err
	}
	address := ""
	if t.Beside {
		var err error
		if address, err = beside(ctx, t.Host, now); err != nil {
			return err
		}
	}
	if _, err := fmt.Println(address); err != nil { // it serves
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// A Process serves every function.
type Process struct {
	Name    string
	LogName string // the file with its log, JSON lines; a later process of the name goes on with it
	Host    stack.HostConfig
	Address string // of what it serves beside the functions; empty: nothing

	log   *os.File
	cmd   *exec.Cmd
	leash io.Closer
}

// startTime bounds how long a process may take until it serves.
const startTime = time.Minute

// Start starts a process, with more variables in its environment, and returns when it serves. Its log is a file in the
// folder.
func Start(ctx context.Context, name, folder string, t Task, variables ...string) (_ *Process, err error) {
	p := &Process{Name: name, Host: t.Host, LogName: filepath.Join(folder, name+".log")}
	defer func() {
		if err != nil {
			p.Kill()
			err = fmt.Errorf("%s: %w; see %s", name, err, p.LogName)
		}
	}()
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	if p.log, err = os.OpenFile(p.LogName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), variable+"="+string(text)), variables...)
	cmd.Stderr = p.log
	if p.leash, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.cmd = cmd
	p.Address, err = firstLine(ctx, said)
	return p, err
}

// firstLine waits for the line by which a process says that it serves.
func firstLine(ctx context.Context, from io.Reader) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	type read struct {
		text string
		err  error
	}
	line := make(chan read, 1)
	go func() {
		text, err := bufio.NewReader(from).ReadString('\n')
		line <- read{strings.TrimSpace(text), err}
	}()
	select {
	case l := <-line:
		if l.err != nil {
			return "", errors.New("it ended before it served")
		}
		return l.text, nil
	case <-ctx.Done():
		return "", fmt.Errorf("it does not serve: %w", ctx.Err())
	}
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the process, as it ends when this one does.
func (p *Process) Stop() {
	if p.leash != nil {
		_ = p.leash.Close()
	}
	p.gone()
}

// Kill ends the process as kill -9 does, at whatever it is.
func (p *Process) Kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
	}
	p.gone()
}

func (p *Process) gone() {
	if p.cmd != nil {
		_ = p.cmd.Wait()
		p.cmd = nil
	}
	if p.log != nil {
		_ = p.log.Close()
		p.log = nil
	}
}
