package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A source is what all targets of a run are made of, as it was at one moment: the
// packages of this module that they need, and every module that those need, vendored.
// To do that for each target by itself would take twenty times as long.
type source struct {
	dir      string // laid out as the repository is
	packages map[string]pkg
	files    contents
}

// gather makes the source, settled, in dir.
func gather(ctx context.Context, root string, targets []target, dir string) (source, error) {
	packages, err := listPackages(ctx, root, targets)
	if err != nil {
		return source{}, err
	}
	for _, p := range packages {
		for _, name := range p.ourFiles() {
			if err := copyFile(p.Module.Dir, dir, name); err != nil {
				return source{}, err
			}
		}
	}
	for _, name := range moduleFiles {
		if err := copyFile(root, dir, name); err != nil {
			return source{}, err
		}
	}
	if slices.ContainsFunc(targets, target.isFunction) {
		// So that the framework's packages are vendored too. Each function has its own entry.
		if err := os.WriteFile(filepath.Join(dir, entryFile), []byte(entry("")), 0o644); err != nil {
			return source{}, err
		}
	}
	// go.mod keeps requirements that only others need: vendor follows the imports and has
	// none of them, and to tidy here could change a version.
	if _, err := goCommand(ctx, dir, "mod", "vendor"); err != nil {
		return source{}, err
	}
	files, err := settle(dir)
	return source{dir, packages, files}, err
}

var moduleFiles = []string{"go.mod", "go.sum"}

// modulesFile says of the vendored packages which modules they are of.
const modulesFile = "vendor/modules.txt"

// fill makes the target's tree in dir. What it has in common with others is linked, since
// twenty copies of some thousand files take longer than all else: whoever changes a file
// in its place changes it for all.
func (s source) fill(t target, dir string) (contents, error) {
	needed := t.needs(s.packages)
	made, err := s.generate(t, needed)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(moduleFiles)
	for _, p := range needed {
		names = append(append(names, p.ourFiles()...), s.vendored(p)...)
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	folders := map[string]bool{}
	for _, name := range names {
		folders[path.Dir(name)] = true
	}
	for folder := range folders {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, err
		}
	}
	tree := contents{}
	for _, name := range names {
		tree[name] = s.files[name]
		if err := linkFile(s.dir, dir, name); err != nil {
			return nil, err
		}
	}
	for name, text := range made {
		tree[name] = file{int64(len(text)), sha256.Sum256(text)}
		to := filepath.Join(dir, name)
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return nil, err
		}
		if err := fix(to, 0o644); err != nil {
			return nil, err
		}
	}
	return tree, settleFolders(dir)
}

// generate writes what no source has.
func (s source) generate(t target, needed []pkg) (map[string][]byte, error) {
	list, err := os.ReadFile(filepath.Join(s.dir, modulesFile))
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	var main *module
	for _, p := range needed {
		if p.ours() {
			main = p.Module
		} else {
			listed[p.ImportPath] = true
		}
	}
	if main == nil {
		return nil, fmt.Errorf("%s has no packages", t.folder)
	}
	text, err := t.describe(main.GoVersion)
	if err != nil {
		return nil, err
	}
	made := map[string][]byte{descriptorFile: []byte(text), modulesFile: prune(list, listed)}
	if t.isFunction() {
		made[entryFile] = []byte(entry(path.Join(main.Path, t.folder)))
	}
	return made, nil
}

// legal are the names of the files that go mod vendor takes along for the sake of the
// licences (cmd/go/internal/modcmd/vendor.go).
var legal = regexp.MustCompile(`^(AUTHORS|CONTRIBUTORS|COPYLEFT|COPYING|COPYRIGHT|LEGAL|LICENSE|NOTICE|PATENTS)`)

// vendored names all files of another module's package, those for other platforms too:
// which of them are compiled is the builder's decision. Licences stand in its folder or
// further up.
func (s source) vendored(p pkg) (names []string) {
	if p.ours() {
		return nil
	}
	for _, embedded := range p.EmbedFiles {
		names = append(names, path.Join("vendor", p.ImportPath, embedded))
	}
	for folder := p.ImportPath; ; folder = path.Dir(folder) {
		entries, _ := os.ReadDir(filepath.Join(s.dir, "vendor", folder)) // what it lacks is not built
		for _, e := range entries {
			name := path.Join("vendor", folder, e.Name())
			if _, ok := s.files[name]; ok && (folder == p.ImportPath || legal.MatchString(e.Name())) {
				names = append(names, name)
			}
		}
		if folder == p.Module.Path {
			return names
		}
	}
}

// prune leaves in the text of a modules.txt the packages that are listed, and the
// modules that have one or that go.mod names, which the go command compares with it.
func prune(text []byte, listed map[string]bool) []byte {
	var out bytes.Buffer
	var head []string // of the module that is being read, until it is written
	flush := func() {
		for _, line := range head {
			out.WriteString(line)
		}
		head = nil
	}
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "# "):
			head = []string{line}
		case strings.HasPrefix(line, "## "):
			head = append(head, line)
			if strings.HasPrefix(line, "## explicit") {
				flush()
			}
		case listed[strings.TrimSpace(line)]:
			flush()
			out.WriteString(line)
		}
	}
	return out.Bytes()
}

// linkFile has a file at the same place under another root, whose folder is there: as a
// copy where the disk knows no links.
func linkFile(fromRoot, toRoot, name string) error {
	if os.Link(filepath.Join(fromRoot, name), filepath.Join(toRoot, name)) == nil {
		return nil
	}
	if err := copyFile(fromRoot, toRoot, name); err != nil {
		return err
	}
	return fix(filepath.Join(toRoot, name), 0o644)
}

func copyFile(fromRoot, toRoot, name string) error {
	text, err := os.ReadFile(filepath.Join(fromRoot, name))
	if err != nil {
		return err
	}
	to := filepath.Join(toRoot, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
