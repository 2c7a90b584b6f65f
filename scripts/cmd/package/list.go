package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// A pkg is what go list says of a package.
type pkg struct {
	ImportPath  string
	Standard    bool
	Deps        []string // import paths of all that it needs, directly or not
	GoFiles     []string
	CgoFiles    []string
	EmbedFiles  []string
	OtherFiles  []string `json:"SFiles"`
	HeaderFiles []string `json:"HFiles"`
	Module      *module
}

type module struct {
	Path, Dir, GoVersion string
	Main                 bool
}

func (p pkg) ours() bool { return p.Module != nil && p.Module.Main }

// ourFiles names what is needed of a package of this module, by slashed names from its
// root; of another module's package it is nothing.
func (p pkg) ourFiles() (names []string) {
	if !p.ours() {
		return nil
	}
	folder := strings.TrimPrefix(p.ImportPath, p.Module.Path+"/")
	for _, name := range slices.Concat(p.GoFiles, p.EmbedFiles, p.OtherFiles, p.HeaderFiles) {
		names = append(names, path.Join(folder, name))
	}
	return names
}

// framework has what the main imports that the buildpack writes for a function.
const framework = "github.com/GoogleCloudPlatform/functions-framework-go"

var frameworkPackages = []string{framework + "/funcframework", framework + "/functions"}

// listPackages returns the packages of the targets and all that they need on Cloud Run,
// which is linux on amd64, by import path.
func listPackages(ctx context.Context, root string, targets []target) (map[string]pkg, error) {
	args := []string{"list", "-deps", "-json=ImportPath,Standard,Deps,GoFiles,CgoFiles,EmbedFiles,SFiles,HFiles,Module"}
	for _, t := range targets {
		args = append(args, "./"+t.folder)
	}
	if slices.ContainsFunc(targets, target.isFunction) {
		args = append(args, frameworkPackages...)
	}
	text, err := goCommand(ctx, root, args...)
	if err != nil {
		return nil, err
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if p.Standard {
			continue
		}
		if len(p.CgoFiles) > 0 {
			return nil, fmt.Errorf("%s uses cgo, which the staged build does not provide for", p.ImportPath)
		}
		all[p.ImportPath] = p
	}
}

// needs lists what a target is made of, from all packages, in the order of their import
// paths.
func (t target) needs(all map[string]pkg) []pkg {
	var paths []string
	for _, p := range all {
		if p.ours() && p.ImportPath == path.Join(p.Module.Path, t.folder) ||
			t.isFunction() && slices.Contains(frameworkPackages, p.ImportPath) {
			paths = append(append(paths, p.ImportPath), p.Deps...)
		}
	}
	slices.Sort(paths)
	var needed []pkg
	for _, importPath := range slices.Compact(paths) {
		if p, ok := all[importPath]; ok { // the standard library is not among them
			needed = append(needed, p)
		}
	}
	return needed
}

// goCommand runs go in dir, whatever flags and workspace the caller's shell has. Cgo is
// on, as it is in the builder: what is linked must not depend on whether this machine
// has a C compiler.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=1")
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, bytes.TrimSpace(problem.Bytes()))
	}
	return out.Bytes(), nil
}
