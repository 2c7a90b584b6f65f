package migrations_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/tollgate/tollgate/"

// A program is the source of the functions and of scripts/ops, type-checked, without tests.
type program struct {
	info     types.Info
	packages map[string]*types.Package     // by import path
	bodies   map[types.Object]ast.Node     // of functions, methods and package-level variables
	inits    map[*types.Package][]ast.Node // of a package's init functions
}

// source is the program that the rights are for. Tests only read it.
func source(t *testing.T) *program {
	t.Helper()
	p, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var loaded = sync.OnceValues(func() (*program, error) { return load("../../..", "./functions/...", "./scripts/cmd/ops") })

// listed is a package as go list prints it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

func load(root string, patterns ...string) (*program, error) {
	all, err := list(root, patterns)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for _, l := range all {
		exports[l.ImportPath] = l.Export
	}
	p := &program{
		info: types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		},
		packages: map[string]*types.Package{}, bodies: map[types.Object]ast.Node{}, inits: map[*types.Package][]ast.Node{},
	}
	fset := token.NewFileSet()
	others := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	config := types.Config{Importer: importing(func(path string) (*types.Package, error) {
		if own := p.packages[path]; own != nil {
			return own, nil
		}
		return others.Import(path)
	})}
	for _, l := range all { // the imported ones first
		if !strings.HasPrefix(l.ImportPath, module) {
			continue
		}
		if err := p.check(fset, config, l); err != nil {
			return nil, err
		}
	}
	return p, nil
}

type importing func(path string) (*types.Package, error)

func (f importing) Import(path string) (*types.Package, error) { return f(path) }

func list(root string, patterns []string) (all []listed, err error) {
	cmd := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}, patterns...)...)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for d := json.NewDecoder(out); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, errors.Join(err, cmd.Wait())
		}
		all = append(all, l)
	}
	return all, cmd.Wait()
}

func (p *program) check(fset *token.FileSet, config types.Config, l listed) error {
	var files []*ast.File
	for _, name := range l.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(l.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	checked, err := config.Check(l.ImportPath, fset, files, &p.info)
	if err != nil {
		return fmt.Errorf("%s: %w", l.ImportPath, err)
	}
	p.packages[l.ImportPath] = checked
	for _, f := range files {
		for _, d := range f.Decls {
			p.declare(checked, d)
		}
	}
	return nil
}

// declare notes what a declaration at the top level refers to.
func (p *program) declare(in *types.Package, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Body == nil {
			return
		}
		if d.Recv == nil && d.Name.Name == "init" {
			p.inits[in] = append(p.inits[in], d.Body)
			return
		}
		p.bodies[p.info.Defs[d.Name]] = d.Body
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok || d.Tok != token.VAR {
				continue
			}
			for i, name := range v.Names {
				switch {
				case len(v.Values) == len(v.Names):
					p.bodies[p.info.Defs[name]] = v.Values[i]
				case len(v.Values) == 1: // several of one call
					p.bodies[p.info.Defs[name]] = v.Values[0]
				}
			}
		}
	}
}
