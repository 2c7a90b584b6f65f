// Command package stages what Google's Go function buildpack needs to build one
// function, and nothing else.
//
// The buildpack (cmd/go/functions_framework in GoogleCloudPlatform/buildpacks) takes
// the package at the module's root for the function's, parses every Go file there,
// and writes a main that imports it. This repository has no package there, so the
// staged tree gets one: entry.go, which imports the function's package for the sake
// of its registration, and keeps its import path. With a vendor folder the build
// needs no network, and what is built is what was staged.
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
)

const usage = `Usage: scripts/package NAME [--out DIR]

Stages functions/NAME for Google's Go function buildpack: its packages without
their tests, entry.go at the root, go.mod, go.sum and vendor. The same source
gives the same tree, with the same digest.

DIR is %s unless given, and is taken to be inside the repository
when it is not absolute. A tree that was staged there before is replaced;
anything else is left alone.

Build the tree with, for instance:
    pack build IMAGE --path DIR --builder gcr.io/buildpacks/builder \
        --env GOOGLE_FUNCTION_TARGET=TARGET
where TARGET is the function's entry_point in terraform/functions.tf.
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
	dir := flags.String("out", "", "")
	names, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintf(out, usage, outFolder+"/NAME")
	}
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return errors.New("give the name of one function, such as createpayment; see scripts/package --help")
	}
	if *dir == "" {
		*dir = filepath.Join(outFolder, names[0])
	}
	if !filepath.IsAbs(*dir) {
		*dir = filepath.Join(root, *dir)
	}
	t, err := stage(ctx, root, names[0], *dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "functions/%s is staged in %s\n%d files, sha256:%s\n", names[0], *dir, t.files, t.digest)
	return err
}

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
