// Command guide follows terraform/README.md word for word: every command that stands in
// it is run, in order, by one shell, as a person would. terraform is the real one with
// recorded provider schemas; scripts/ are the real programs; the payments go through the
// real functions of a local stack. What only Google can answer stand-ins answer, which
// refuse what gcloud and pack would refuse (see standin.go).
//
// It is run by .ci/guide, from the root of the repository, with TF_CLI_CONFIG_FILE naming
// the schemas. It leaves nothing behind.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// readme is the guide.
const readme = "terraform/README.md"

func main() {
	if name := filepath.Base(os.Args[0]); slices.Contains(standIns, name) {
		os.Exit(beStandIn(name, os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := follow(ctx, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "guide:", err)
		os.Exit(1)
	}
}

// follow runs the guide in a folder of its own, and looks at what came of it.
func follow(ctx context.Context, out io.Writer) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	blocks := parse(string(text))
	if len(blocks) == 0 {
		return errors.New("there are no commands in " + readme)
	}
	work, err := os.MkdirTemp("", "guide-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	p, err := openPlace(ctx, work, out)
	if err != nil {
		return err
	}
	defer p.close()
	said := &bytes.Buffer{}
	cmd := exec.CommandContext(ctx, "bash", "-c", shell(blocks))
	cmd.Dir, cmd.Env = work, p.environment()
	cmd.Stdin = strings.NewReader(strings.Repeat(typed+"\n", 100)) // what a person types when asked
	cmd.Stdout, cmd.Stderr = io.MultiWriter(out, said), out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("a command failed: %w", err)
	}
	return p.check(said.String(), len(blocks))
}

// typed is what is typed wherever the guide reads from the keyboard.
const typed = "a-sandbox-secret"

// A block is some lines of commands, and the line of the guide on which they begin.
type block struct {
	line     int
	commands string
}

// parse finds the commands: lines that are indented by four spaces, outside of fences.
func parse(text string) []block {
	var blocks []block
	fenced, open := false, false
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "```") {
			fenced, open = !fenced, false
			continue
		}
		command, indented := strings.CutPrefix(line, "    ")
		if fenced || !indented {
			open = false
			continue
		}
		if !open {
			blocks = append(blocks, block{line: i + 1})
			open = true
		}
		blocks[len(blocks)-1].commands += command + "\n"
	}
	return blocks
}

// shell makes one script of them, which stops at the first that fails and says where.
func shell(blocks []block) string {
	var s strings.Builder
	s.WriteString("set -euo pipefail\ntrap 'echo \"FAILED: " + readme + ", the commands from line $at: $BASH_COMMAND\" >&2' ERR\n")
	for _, b := range blocks {
		fmt.Fprintf(&s, "at=%d\necho '--- %s:%d'\n%s", b.line, readme, b.line, b.commands)
	}
	s.WriteString("echo '--- the end'\n")
	return s.String()
}
