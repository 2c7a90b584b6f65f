// Command package stages what Google's Go buildpack needs to build one function or
// one command, and nothing else.
//
// For a function the buildpack (cmd/go/functions_framework in
// GoogleCloudPlatform/buildpacks) takes the package at the module's root, parses every
// Go file there, and writes a main that imports it. This repository has no package
// there, so the staged tree gets one: entry.go, which imports the function's package for
// the sake of its registration, and keeps its import path. A command is a main already,
// and is named to the buildpack. With a vendor folder the build needs no network, and
// what is built is what was staged.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
)

const usage = `Usage: scripts/package NAME... | --all [--out DIR] [--zip] [--measure]

Stages functions, and the commands that run as jobs (migrate, ops), for Google's Go
buildpack: of each the packages that it needs without their tests, go.mod, go.sum,
vendor, and project.toml, which tells the buildpack what to build. The same source
gives the same tree, with the same digest.

Trees are put at DIR/NAME. DIR is %s unless given, and is taken to be
inside the repository when it is not absolute. A tree that was staged there before
is replaced, and with --all removed when nothing of its name is deployed any more;
anything else is left alone.

--zip makes DIR/NAME.zip beside each tree, the same to the byte each time.

--measure builds each as the buildpack would, offline, and starts it beside a local
stack: how long until its startup probe is answered?

Build a tree with, for instance:
    pack build IMAGE --path DIR/NAME --builder gcr.io/buildpacks/builder
`

// outFolder has the staged trees; git ignores it.
const outFolder = ".cache/package"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, ".", os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "scripts/package:", err)
		os.Exit(1)
	}
}

// run stages what args name from the repository at root.
func run(ctx context.Context, root string, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("package", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is printed by main
	dir := flags.String("out", outFolder, "")
	everything := flags.Bool("all", false, "")
	zipped := flags.Bool("zip", false, "")
	measured := flags.Bool("measure", false, "")
	names, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintf(out, usage, outFolder)
	}
	if err != nil {
		return err
	}
	if *everything == (len(names) > 0) {
		return errors.New("give names, such as createpayment, or --all; see scripts/package --help")
	}
	targets, err := findTargets(root, names, *everything)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(*dir) {
		*dir = filepath.Join(root, *dir)
	}
	all, err := stage(ctx, root, targets, *dir)
	if err != nil {
		return err
	}
	if *everything {
		if err := clearOut(*dir, targets); err != nil {
			return err
		}
	}
	if err := report(all, *zipped, out); err != nil {
		return err
	}
	if *measured {
		return measure(ctx, all, out)
	}
	return nil
}

// report says what was staged, and makes the archives that it tells of.
func report(all []staged, zipped bool, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // Flush has the error
	line("staged\tfiles\tMB\tdigest of the tree\n")
	for _, s := range all {
		line("%s\t%d\t%.1f\tsha256:%s\n", s.name, len(s.files), megabytes(s.files.bytes()), s.files.digest())
	}
	if err := w.Flush(); err != nil || !zipped {
		return err
	}
	line("\narchive\t\tMB\tdigest of the file\n")
	for _, s := range all {
		a, err := compress(s.dir)
		if err != nil {
			return err
		}
		line("%s\t\t%.1f\tsha256:%s\n", filepath.Base(a.path), megabytes(a.bytes), a.digest)
	}
	return w.Flush()
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

// parse reads flags wherever they stand, and returns what is left.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}
