package setup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

const (
	toolsModule = "scripts/tools"
	toolsFolder = ".bin"
)

// The linters, at the versions that scripts/tools/go.mod pins.
var tools = map[string]string{
	"gofumpt":     "mvdan.cc/gofumpt",
	"staticcheck": "honnef.co/go/tools/cmd/staticcheck",
}

// Tool returns the path of a linter that Tools has built.
func Tool(name string) string { return filepath.Join(toolsFolder, name) }

// Tools builds the linters into .bin, unless the ones there are of the pinned
// versions and of this Go. The working directory is the repository's root.
func Tools(ctx context.Context, out io.Writer) error {
	want, err := toolsStamp()
	if err != nil {
		return err
	}
	stamp := filepath.Join(toolsFolder, "tools.stamp")
	have, _ := os.ReadFile(stamp)
	missing := false
	for name := range tools {
		_, err := os.Stat(Tool(name))
		missing = missing || err != nil
	}
	if string(have) == want && !missing {
		return nil
	}
	folder, err := filepath.Abs(toolsFolder)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-buildvcs=false", "-o", folder + string(filepath.Separator)}
	for _, path := range tools {
		args = append(args, path)
	}
	_, _ = fmt.Fprintf(out, "Building gofumpt and staticcheck into %s, once.\n", toolsFolder)
	if err := run(ctx, out, toolsModule, "go", args...); err != nil {
		return fmt.Errorf("build the linters: %w", err)
	}
	return os.WriteFile(stamp, []byte(want), 0o644)
}

// toolsStamp changes with the pinned versions, and with Go: staticcheck reads
// the compiler's files and must be of its version.
func toolsStamp() (string, error) {
	sum := sha256.New()
	_, _ = io.WriteString(sum, runtime.Version())
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(toolsModule, name))
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)) + "\n", nil
}
