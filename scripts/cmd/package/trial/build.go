package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const framework = "github.com/GoogleCloudPlatform/functions-framework-go"

// Build makes a program of a staged tree, in the empty folder work. It takes the steps of
// the buildpacks that the tree's project.toml chooses, for a module with a vendor folder
// on Go 1.23 or newer (cmd/go/functions_framework/lib and cmd/go/build/lib of
// GoogleCloudPlatform/buildpacks), and has neither a network nor a module cache. The tree
// stays as it is: what the buildpack writes into it is an overlay here.
func Build(ctx context.Context, tree, work string) (program string, err error) {
	env, err := buildEnvironment(filepath.Join(tree, "project.toml"))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	b := builder{ctx: ctx, tree: tree, work: work}
	program = filepath.Join(work, "main")
	args := []string{"build", "-ldflags", env["GOOGLE_GOLDFLAGS"], "-o", program}
	switch {
	case env["GOOGLE_FUNCTION_TARGET"] != "":
		overlay, err := b.writeMain()
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay, "./"+mainFolder)
	case env["GOOGLE_BUILDABLE"] != "":
		args = append(args, env["GOOGLE_BUILDABLE"])
	default:
		return "", fmt.Errorf("%s names nothing to build", tree)
	}
	_, err = b.run(args...)
	return program, err
}

var variable = regexp.MustCompile(`(?m)^\[\[io\.buildpacks\.build\.env\]\]\nname = "([^"]*)"\nvalue = "([^"]*)"$`)

// buildEnvironment reads what pack would give to the buildpacks.
func buildEnvironment(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, v := range variable.FindAllStringSubmatch(string(text), -1) {
		env[v[1]] = v[2]
	}
	return env, nil
}

type builder struct {
	ctx        context.Context
	tree, work string
}

// Where the buildpack moves the tree to, and where in it the main goes that it writes.
const (
	sourceFolder = "serverless_function_source_code"
	mainFolder   = "functions.local/app"
)

// writeMain does what the functions buildpack does before the build. It returns the
// overlay in which the main is.
func (b builder) writeMain() (overlay string, err error) {
	root, err := b.rootPackage()
	if err != nil {
		return "", err
	}
	if root == sourceFolder {
		return "", fmt.Errorf("the buildpack would take %s for the function's folder", root)
	}
	module, err := b.run("list", "-m")
	if err != nil {
		return "", err
	}
	version, err := b.run("list", "-m", "-f", "{{.Version}}", framework)
	if err != nil {
		return "", fmt.Errorf("go.mod does not have the framework: %w", err)
	}
	if version == "" {
		return "", errors.New("go.mod replaces the framework, and the buildpack would not find its version")
	}
	if _, err := os.Stat(filepath.Join(b.tree, "vendor", framework, "funcframework")); err != nil {
		return "", err
	}
	tree, err := filepath.Abs(b.tree)
	if err != nil {
		return "", err
	}
	written := filepath.Join(b.work, "main.go")
	if err := os.WriteFile(written, fmt.Appendf(nil, generatedMain, module), 0o644); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(tree, mainFolder, "main.go"): written}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(b.work, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o644)
}

// rootPackage names the package at the root. Its file must import functions: that
// chooses the main that follows.
func (b builder) rootPackage() (string, error) {
	found, err := filepath.Glob(filepath.Join(b.tree, "*.go"))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("no Go files at the root")
	}
	var names, imported []string
	for _, path := range found {
		syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return "", err
		}
		names = append(names, syntax.Name.Name)
		for _, spec := range syntax.Imports {
			imported = append(imported, strings.Trim(spec.Path.Value, `"`))
		}
	}
	if names = slices.Compact(names); len(names) != 1 {
		return "", fmt.Errorf("several packages at the root: %q", names)
	}
	if !slices.Contains(imported, framework+"/functions") {
		return "", fmt.Errorf("the buildpack would look for a Go function by the target's name; the root imports %q", imported)
	}
	return names[0], nil
}

// generatedMain does what the main does that the buildpack generates for declarative
// functions.
const generatedMain = `package main

import (
	"log"
	"net/http"
	"os"

	_ %q

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

func main() {
	http.HandleFunc("/robots.txt", http.NotFound)
	http.HandleFunc("/favicon.ico", http.NotFound)

	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	if err := funcframework.Start(port); err != nil {
		log.Fatalf("Function failed to start: %%v\n", err)
	}
}
`

// run runs go as the build does. The buildpack has no -trimpath: with it the machine's
// build cache is of use, wherever the tree is. Nor has it a repository to take a version from.
func (b builder) run(args ...string) (string, error) {
	cmd := exec.CommandContext(b.ctx, "go", args...)
	cmd.Dir = b.tree
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOWORK=off", "GOTOOLCHAIN=local", "GOPROXY=off",
		"GOMODCACHE="+filepath.Join(b.work, "modules"), "GOFLAGS=-trimpath -buildvcs=false")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
