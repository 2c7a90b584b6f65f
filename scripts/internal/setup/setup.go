// Package setup gets what the scripts need and the machine lacks: a PostgreSQL
// server, a C compiler, the linters. It asks nothing, says what it does, and
// when it cannot, its errors say what to install by hand.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// apt installs Debian packages, for which one must be root.
func apt(ctx context.Context, out io.Writer, packages ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("apt needs root")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("this machine has no apt-get")
	}
	if err := run(ctx, out, "", "apt-get", "-qq", "update"); err != nil {
		return err
	}
	install := append([]string{"-qq", "install", "--yes", "--no-install-recommends"}, packages...)
	return run(ctx, out, "", "apt-get", install...)
}

// run runs a program in dir, by default here, and shows what it says.
func run(ctx context.Context, out io.Writer, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
