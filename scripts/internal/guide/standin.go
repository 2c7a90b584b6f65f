package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// standIns are the programs in whose place this one is put on PATH. Each tells the place
// what it was asked, and does as it is told.
var standIns = []string{"gcloud", "pack", "terraform"}

// An ask is one call of a stand-in.
type ask struct {
	Program string   `json:"program"`
	Args    []string `json:"args"`
	Stdin   string   `json:"stdin"`
	Status  int      `json:"status"` // of terraform itself, which has ended
	Output  string   `json:"output"` // what it printed, where that is for others to read
}

// An answer is what it prints, and the status that it ends with.
type answer struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Status int    `json:"status"`
}

func beStandIn(name string, args []string) int {
	a := ask{Program: name, Args: args}
	if slices.Contains(args, "--data-file=-") {
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return complain(err)
		}
		a.Stdin = string(text)
	}
	if name == "terraform" {
		var err error
		if a.Status, a.Output, err = terraform(args); err != nil {
			return complain(err)
		}
	}
	body, err := json.Marshal(a)
	if err != nil {
		return complain(err)
	}
	resp, err := http.Post(os.Getenv(placeVariable), "application/json", bytes.NewReader(body))
	if err != nil {
		return complain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var told answer
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil {
		return complain(err)
	}
	fmt.Print(told.Stdout)
	fmt.Fprint(os.Stderr, told.Stderr)
	return told.Status
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// terraform runs the real one, with a state on this machine instead of a bucket's. What
// it prints as an output the place may know better: it has the API's true address.
func terraform(args []string) (status int, printed string, err error) {
	if slices.Contains(args, "init") {
		args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-backend-config=") })
	}
	cmd := exec.Command(os.Getenv(terraformVariable), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var output bytes.Buffer
	if slices.Contains(args, "output") {
		cmd.Stdout = &output
	}
	err = cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return 1, "", err
	}
	return cmd.ProcessState.ExitCode(), output.String(), nil
}

// The variables by which stand-ins find what they need.
const (
	placeVariable     = "GUIDE_PLACE"
	terraformVariable = "GUIDE_TERRAFORM"
)
