package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// commands are the programs that are deployed as they are, to run as jobs; what else is
// deployed is a function.
var commands = []string{"migrate", "ops"}

// A target is something that is deployed.
type target struct {
	name       string
	folder     string // of its package in the repository, with slashes
	entryPoint string // what a function registers as, and FUNCTION_TARGET must be; of a command empty
}

func (t target) isFunction() bool { return t.entryPoint != "" }

// findTargets returns the named ones in the order of their names, or all that there are.
func findTargets(root string, names []string, all bool) ([]target, error) {
	entries, err := os.ReadDir(filepath.Join(root, "functions"))
	if err != nil {
		return nil, err
	}
	folders := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			folders[e.Name()] = "functions/" + e.Name()
		}
	}
	for _, name := range commands {
		folders[name] = "scripts/cmd/" + name
	}
	known := slices.Sorted(maps.Keys(folders))
	if all {
		names = known
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	var found []target
	for _, name := range names {
		t := target{name: name, folder: folders[name]}
		if t.folder == "" {
			return nil, fmt.Errorf("nothing called %q is deployed; there are %s", name, strings.Join(known, ", "))
		}
		if !slices.Contains(commands, name) {
			if t.entryPoint, err = registered(filepath.Join(root, t.folder)); err != nil {
				return nil, err
			}
		}
		found = append(found, t)
	}
	return found, nil
}

// registered returns the name that the function in dir gives to api.Function.
func registered(dir string) (string, error) {
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	var names []string
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return "", err
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			if name, ok := registers(n); ok {
				names = append(names, name)
			}
			return true
		})
	}
	if len(names) != 1 {
		return "", fmt.Errorf("%s registers %q with api.Function; a function has one name", dir, names)
	}
	return names[0], nil
}

func registers(n ast.Node) (name string, ok bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Function" {
		return "", false
	}
	if pkg, isName := f.X.(*ast.Ident); !isName || pkg.Name != "api" {
		return "", false
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	name, err := strconv.Unquote(lit.Value)
	return name, err == nil
}

// descriptor is what tells the buildpacks how the tree is built: pack and gcloud read
// the file by themselves (https://buildpacks.io/docs/reference/config/project-descriptor).
//
// The version of Go is named because a builder that is not told takes the newest that
// it knew when it was made, which may be older than go.mod asks for. Without the
// symbols a program is smaller by a third. The source is cleared from the image: the
// program does not need it, and neither does whoever gets hold of the image.
const descriptor = generated + `

[_]
schema-version = "0.2"

[[io.buildpacks.build.env]]
name = "%s"
value = "%s"

[[io.buildpacks.build.env]]
name = "GOOGLE_GO_VERSION"
value = "%s"

[[io.buildpacks.build.env]]
name = "GOOGLE_GOLDFLAGS"
value = "-s -w"

[[io.buildpacks.build.env]]
name = "GOOGLE_CLEAR_SOURCE"
value = "true"
`

const (
	descriptorFile = "project.toml"
	generated      = "# Made by scripts/package; changes are lost."
)

var minor = regexp.MustCompile(`^\d+\.\d+`)

// describe writes the descriptor for a module that go.mod says needs this version of Go.
// The newest patch of it is taken, for its security fixes.
func (t target) describe(goVersion string) (string, error) {
	version := minor.FindString(goVersion)
	if version == "" {
		return "", fmt.Errorf("go.mod asks for Go %q, which is no version", goVersion)
	}
	if t.isFunction() {
		return fmt.Sprintf(descriptor, "GOOGLE_FUNCTION_TARGET", t.entryPoint, version+".*"), nil
	}
	return fmt.Sprintf(descriptor, "GOOGLE_BUILDABLE", "./"+t.folder, version+".*"), nil
}
