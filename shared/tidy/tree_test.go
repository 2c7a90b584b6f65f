package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/tollgate/tollgate/"

// A tree is the source of the repository, parsed but not type-checked, so that
// the rules run in a second and on code that does not compile.
type tree struct {
	files    fs.FS
	fset     *token.FileSet
	packages map[string]*pkg // by folder, such as "shared/money"
	sql      map[string]string
}

type pkg struct {
	folder string
	source []*file
	tests  []*file
}

type file struct {
	path string
	ast  *ast.File
}

// repository is the tree that the rules are for. They only read it.
func repository(t *testing.T) *tree {
	t.Helper()
	tr, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

var parsed = sync.OnceValues(func() (*tree, error) { return load(os.DirFS("../..")) })

func load(files fs.FS) (*tree, error) {
	tr := &tree{files: files, fset: token.NewFileSet(), packages: map[string]*pkg{}, sql: map[string]string{}}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return tr.enter(name)
		}
		return tr.add(name)
	})
	return tr, err
}

// enter skips what is not ours or not of the main module.
func (tr *tree) enter(folder string) error {
	base := path.Base(folder)
	if folder == "." {
		return nil
	}
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(tr.files, path.Join(folder, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func (tr *tree) add(name string) error {
	switch path.Ext(name) {
	case ".sql":
		text, err := fs.ReadFile(tr.files, name)
		tr.sql[name] = string(text)
		return err
	case ".go":
	default:
		return nil
	}
	text, err := fs.ReadFile(tr.files, name)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(tr.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	folder := path.Dir(name)
	p := tr.packages[folder]
	if p == nil {
		p = &pkg{folder: folder}
		tr.packages[folder] = p
	}
	f := &file{path: name, ast: syntax}
	if strings.HasSuffix(name, "_test.go") {
		p.tests = append(p.tests, f)
	} else {
		p.source = append(p.source, f)
	}
	return nil
}

// sorted returns the packages in a fixed order.
func (tr *tree) sorted() []*pkg {
	var all []*pkg
	for _, p := range tr.packages {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(a.folder, b.folder) })
	return all
}

func (tr *tree) line(n ast.Node) string {
	at := tr.fset.Position(n.Pos())
	return at.Filename + ":" + strconv.Itoa(at.Line)
}

// imports returns what the package's files import, without repetition.
func imports(files []*file) []string {
	var all []string
	for _, f := range files {
		for _, spec := range f.ast.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err == nil && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// ours returns the folder of an import path of this module.
func ours(importPath string) (folder string, ok bool) {
	return strings.CutPrefix(importPath, module)
}

// selects calls f for each pkg.Name in the file whose pkg is the import
// importPath, under whatever name it was imported.
func (f *file) selects(importPath string, visit func(s *ast.SelectorExpr)) {
	local := ""
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err != nil || p != importPath {
			continue
		}
		local = path.Base(importPath)
		if local == "v2" {
			local = path.Base(path.Dir(importPath))
		}
		if spec.Name != nil {
			local = spec.Name.Name
		}
	}
	if local == "" {
		return
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local {
				visit(s)
			}
		}
		return true
	})
}
