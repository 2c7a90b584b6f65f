package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// pinned is Google's builder. A newer one is a change of this line, which is found with
//
//	gcloud artifacts docker images describe gcr.io/buildpacks/builder:google-24 --format='value(image_summary.fully_qualified_digest)'
//
// This one is what others pin; it was not pulled from here.
const pinned = "gcr.io/buildpacks/builder@sha256:12b6bbdd6890685a2a75ac59c2abe7868432bde292275ea92b20711c2432b429"

// A build makes the images of one release.
type build struct {
	pack     string
	registry string
	builder  string
	network  string
	packages string
	out      io.Writer
}

// atOnce is how many images are built together. Each build waits for the network more
// than it computes.
const atOnce = 4

var (
	registryName = regexp.MustCompile(`^[a-z0-9.:-]+/[a-z0-9./-]+[a-z0-9]$`)
	byDigest     = regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`)
)

// all builds an image of every name, and returns where each is, by digest.
func (b build) all(ctx context.Context, names []string) (map[string]string, error) {
	if err := b.check(names); err != nil {
		return nil, err
	}
	images := map[string]string{}
	var problems []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for _, name := range names {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			digest, err := b.one(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				problems = append(problems, err)
				return
			}
			images[name] = b.registry + "/" + name + "@" + digest
			_, _ = fmt.Fprintln(b.out, images[name])
		})
	}
	wg.Wait()
	return images, errors.Join(problems...)
}

// check looks for what would fail only after minutes.
func (b build) check(names []string) error {
	var problems []error
	if !registryName.MatchString(b.registry) {
		problems = append(problems, fmt.Errorf("--registry %q: give REGION-docker.pkg.dev/PROJECT/tollgate", b.registry))
	}
	if !byDigest.MatchString(b.builder) {
		problems = append(problems, fmt.Errorf("--builder %q: give it by digest; "+
			"gcloud artifacts docker images describe gcr.io/buildpacks/builder:google-24 --format='value(image_summary.fully_qualified_digest)' prints the newest", b.builder))
	}
	var missing []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(b.packages, name, "project.toml")); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		problems = append(problems, fmt.Errorf("not staged in %s: %s; run scripts/package --all", b.packages, strings.Join(missing, ", ")))
	}
	return errors.Join(problems...)
}

// one builds and pushes an image. What to build, and how, is in the package's
// project.toml; pack writes the digest, as the registry has it, to a report.
func (b build) one(ctx context.Context, name string) (digest string, err error) {
	report, err := os.MkdirTemp("", "images-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(report) }()
	args := []string{
		"build", b.registry + "/" + name, "--path", filepath.Join(b.packages, name),
		"--builder", b.builder, "--trust-builder", "--publish", "--report-output-dir", report,
	}
	if b.network != "" {
		args = append(args, "--network", b.network)
	}
	said, err := exec.CommandContext(ctx, b.pack, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pack %s: %w\n%s", strings.Join(args, " "), err, said)
	}
	text, err := os.ReadFile(filepath.Join(report, "report.toml"))
	if err != nil {
		return "", fmt.Errorf("%s: pack succeeded and left no report: %w", name, err)
	}
	return readDigest(name, string(text))
}

var digestLine = regexp.MustCompile(`(?m)^\s*digest\s*=\s*"(sha256:[0-9a-f]{64})"\s*$`)

// readDigest finds the image's digest in a report
// (github.com/buildpacks/spec, platform.md, report.toml).
func readDigest(name, report string) (string, error) {
	_, image, _ := strings.Cut(report, "[image]")
	if end := strings.Index(image, "\n["); end >= 0 {
		image = image[:end]
	}
	found := digestLine.FindStringSubmatch(image)
	if found == nil {
		return "", fmt.Errorf("%s: pack's report has no digest, so the image was not pushed:\n%s", name, report)
	}
	return found[1], nil
}
