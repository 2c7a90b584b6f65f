package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// An event is one line of go test -json (see go doc cmd/test2json, and go help
// buildjson for those of the compiler).
type event struct {
	Action      string
	Package     string
	Test        string
	Output      string
	Elapsed     float64 // seconds
	ImportPath  string  // of build-output and build-fail, in Package's stead
	FailedBuild string  // the ImportPath whose build failed, in a package's fail
}

const heartbeat = 30 * time.Second

func runTests(ctx context.Context, r *report, server string, command []string) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = testEnvironment(server)
	cmd.Stderr = os.Stderr
	// An interrupt stops the tests as it would from the keyboard: go test and
	// its children, in a group of their own so that they get it only once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	stream, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.problem(fmt.Errorf("go test: %w", err))
		return
	}
	detector := "without"
	if slices.Contains(command, "-race") {
		detector = "with"
	}
	r.line("go test: compiling and running, %s the race detector", detector)
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for lines := events(stream); lines != nil; {
		select {
		case e, more := <-lines:
			if !more {
				lines = nil
				continue
			}
			r.event(e)
		case <-ticker.C:
			r.stillRunning()
		}
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil && r.failed == 0 {
		r.problem(fmt.Errorf("go test: %w", err))
	}
}

// events sends what the stream has, line by line. A line that is not JSON is
// what a test binary printed where it should not, and is shown as it is.
func events(stream io.Reader) <-chan event {
	c := make(chan event)
	go func() {
		defer close(c)
		lines := bufio.NewReader(stream)
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				var e event
				if json.Unmarshal([]byte(line), &e) != nil {
					e = event{Action: "stray", Output: line}
				}
				c <- e
			}
			if err != nil {
				return
			}
		}
	}()
	return c
}
