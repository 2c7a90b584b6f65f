package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"time"

	"github.com/tollgate/tollgate/scripts/internal/setup"
)

// A check is a program that is silent and succeeds when all is well.
type check struct {
	name    string
	command []string
	fix     string // how to mend what it finds, if a command does
}

func checks() []check {
	return []check{
		{
			name:    "gofumpt",
			command: append([]string{setup.Tool("gofumpt"), "-l"}, goFolders()...),
			fix:     ".bin/gofumpt -w functions scripts shared",
		},
		{name: "go mod tidy", command: []string{"go", "mod", "tidy", "-diff"}, fix: "go mod tidy"},
		{name: "go vet", command: []string{"go", "vet", "./..."}},
		{name: "staticcheck", command: []string{setup.Tool("staticcheck"), "./..."}},
	}
}

func goFolders() []string {
	var there []string
	for _, folder := range []string{"functions", "scripts", "shared"} {
		if _, err := os.Stat(folder); err == nil {
			there = append(there, folder)
		}
	}
	return there
}

func checkAll(ctx context.Context, r *report) {
	for _, c := range checks() {
		if ctx.Err() != nil {
			return
		}
		started := time.Now()
		said, err := c.run(ctx)
		if ctx.Err() == nil {
			r.check(c, said, err, time.Since(started))
		}
	}
}

func (c check) run(ctx context.Context) (said string, err error) {
	cmd := exec.CommandContext(ctx, c.command[0], c.command[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	// gofumpt succeeds when it finds something, and says so. The others may
	// tell what they download.
	if err == nil && c.name == "gofumpt" && out.Len() > 0 {
		err = errors.New("files are not formatted")
	}
	return out.String(), err
}
