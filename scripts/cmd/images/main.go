// Command images builds the container image of every staged package with Google's
// buildpacks, pushes it, and tells terraform its digest; or tells terraform which images
// run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
)

const usage = `Usage: scripts/images --registry REGISTRY [--builder BUILDER] [--packages DIR] [--out FILE] [--network NETWORK]
       scripts/images --running [--project PROJECT] [--region REGION] [--out FILE]

Builds what scripts/package --all has staged, one image each, with pack
(https://buildpacks.io/docs/install-pack/, 0.36 or newer; it needs docker), pushes them
to REGISTRY/NAME, and writes their digests to terraform/images.auto.tfvars.json, which
terraform reads by itself.

REGISTRY is REGION-docker.pkg.dev/PROJECT/tollgate. BUILDER is
given by digest, so that the same source gives the same image and a new builder comes as
a change of its own; it is
%s
unless said. DIR is .cache/package. NETWORK is the docker network of the build's
containers.

With --running it writes the images that get the requests instead: after a rollback those
of the release before. Do that before terraform
apply from another machine: without the file terraform would take the functions away.
PROJECT and REGION are taken from TF_VAR_project and TF_VAR_region unless given.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w := world{lookup: os.LookupEnv, root: ".", pack: "pack", out: os.Stdout}
	err := run(ctx, w, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Printf(usage, pinned)
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "scripts/images:", err)
		os.Exit(1)
	}
}

// A world is what the command runs in.
type world struct {
	lookup func(string) (string, bool) // the environment
	root   string                      // the repository
	pack   string                      // the program
	out    io.Writer
}

// jobs are the programs that are deployed beside the functions.
var jobs = []string{"migrate", "ops"}

func run(ctx context.Context, w world, args []string) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is printed by main
	var b build
	project, _ := w.lookup("TF_VAR_project")
	region, _ := w.lookup("TF_VAR_region")
	running := flags.Bool("running", false, "")
	flags.StringVar(&project, "project", project, "")
	flags.StringVar(&region, "region", region, "")
	flags.StringVar(&b.registry, "registry", "", "")
	flags.StringVar(&b.builder, "builder", pinned, "")
	flags.StringVar(&b.network, "network", "", "")
	flags.StringVar(&b.packages, "packages", filepath.Join(w.root, ".cache/package"), "")
	file := flags.String("out", filepath.Join(w.root, "terraform/images.auto.tfvars.json"), "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not understood; see scripts/images --help", flags.Arg(0))
	}
	functions, err := functionNames(w.root)
	if err != nil {
		return err
	}
	var images map[string]string
	if *running {
		images, err = deployed(ctx, w, project, region, functions)
	} else {
		if b.pack, err = exec.LookPath(w.pack); err != nil {
			return fmt.Errorf("pack is needed: https://buildpacks.io/docs/install-pack/ (%w)", err)
		}
		b.out = w.out
		images, err = b.all(ctx, append(functions, jobs...))
	}
	if err != nil {
		return err
	}
	if err := write(*file, images); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "%d images are in %s\n", len(images), *file)
	return err
}

// functionNames are the folders of functions/.
func functionNames(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, "functions"))
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// write leaves the old file until the new one is whole.
func write(file string, images map[string]string) error {
	text, err := json.MarshalIndent(map[string]any{"images": images}, "", "  ")
	if err != nil {
		return err
	}
	work := file + ".new"
	if err := os.WriteFile(work, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(work, file)
}
