package setup

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Compiler makes sure of a C compiler with the C library's headers, which the
// race detector needs.
func Compiler(ctx context.Context, out io.Writer) error {
	cc, err := exec.CommandContext(ctx, "go", "env", "CC").Output()
	if err != nil {
		return fmt.Errorf("go env CC: %w", err)
	}
	compiles := func() error {
		name := strings.Fields(string(cc))
		if len(name) == 0 {
			return fmt.Errorf("go env CC is empty")
		}
		cmd := exec.CommandContext(ctx, name[0], append(name[1:], "-E", "-x", "c", "-")...)
		cmd.Stdin = strings.NewReader("#include <stdlib.h>\n")
		return cmd.Run()
	}
	if compiles() == nil {
		return nil
	}
	_, _ = fmt.Fprintln(out, "There is no C compiler here, which the race detector needs; getting gcc with apt.")
	err = apt(ctx, out, "gcc", "libc6-dev")
	if err == nil {
		err = compiles()
	}
	if err != nil {
		return fmt.Errorf("no C compiler for the race detector: %w\nInstall gcc and the C library's headers (on Debian and Ubuntu: apt-get install gcc libc6-dev) and try again", err)
	}
	return nil
}
