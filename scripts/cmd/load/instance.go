package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
)

// This program, or its test, started again with a task in the variable, is an instance of every function.
const instanceVariable = "TOLLGATE_LOAD_INSTANCE"

// A task is what an instance is told.
type task struct {
	Host     stack.HostConfig `json:"host"`
	RealTime bool             `json:"real_time"` // the clock only flows, so the machine's will do
}

// beInstance serves until whoever started it is gone.
func beInstance(text string) error {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	o := stack.HostOptions{Log: os.Stderr}
	if t.RealTime {
		o.Now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	}
	if _, err := stack.StartHost(context.Background(), t.Host, o); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// concurrency is how many requests an instance of a function takes at a time (terraform:
// max_instance_request_concurrency). The platform keeps to it, not the function, and here the load does.
const concurrency = 40

// An instance is a process that serves every function.
type instance struct {
	name     string
	host     stack.HostConfig
	logName  string
	log      *os.File
	cmd      *exec.Cmd
	leash    io.Closer
	requests chan struct{} // one for each that it is at
}

// startInstance starts an instance, with Firestore at an address. Its log is a file in the folder.
func startInstance(ctx context.Context, name, folder, firestore string, t task) (_ *instance, err error) {
	i := &instance{name: name, host: t.Host, logName: filepath.Join(folder, name+".log"), requests: make(chan struct{}, concurrency)}
	defer func() {
		if err != nil {
			i.stop()
			err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	if i.log, err = os.OpenFile(i.logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), instanceVariable+"="+string(text), "FIRESTORE_EMULATOR_HOST="+firestore)
	cmd.Stderr = i.log
	if i.leash, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	i.cmd = cmd
	return i, i.await(ctx)
}

// await returns when the instance answers.
func (i *instance) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+i.host.AdminAddress+"/activity", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		if !pause(ctx, 20*time.Millisecond) {
			return errors.Join(errors.New("it does not answer; see "+i.logName), err)
		}
	}
}

// stop ends the instance, as it ends when this process does.
func (i *instance) stop() {
	if i.leash != nil {
		_ = i.leash.Close()
	}
	if i.cmd != nil {
		_ = i.cmd.Wait()
	}
	if i.log != nil {
		_ = i.log.Close()
	}
}

// pause waits, and reports whether it did to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
