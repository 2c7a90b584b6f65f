package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/local/deployment"
)

func TestEachFunctionsFolderIsOnePackage(t *testing.T) {
	t.Parallel()
	report(t, functionFolders(repository(t)))
}

// functionFolders holds every folder of functions/ to one package without
// sub-packages, with tests inside it, and with the function Build.
func functionFolders(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		name, ok := strings.CutPrefix(p.folder, "functions/")
		if !ok {
			continue
		}
		if strings.Contains(name, "/") {
			broken = append(broken, p.folder+": a function's folder has no packages inside it")
			continue
		}
		for _, f := range append(slices.Clone(p.source), p.tests...) {
			if f.ast.Name.Name != name {
				broken = append(broken, fmt.Sprintf("%s is of package %s, not %s", f.path, f.ast.Name.Name, name))
			}
		}
		if len(p.tests) == 0 {
			broken = append(broken, p.folder+" has no tests")
		}
		if !slices.ContainsFunc(p.source, declaresBuild) {
			broken = append(broken, p.folder+" has no function Build")
		}
	}
	return broken
}

func declaresBuild(f *file) bool {
	return slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Recv == nil && fn.Name.Name == "Build"
	})
}

func TestTerraformHasEveryFunction(t *testing.T) {
	t.Parallel()
	report(t, terraformHasFunctions(repository(t)))
}

// terraformHasFunctions holds the folders of functions/, and the names under
// which they register, against the table in terraform/functions.tf.
func terraformHasFunctions(tr *tree) (broken []string) {
	m, err := deployment.Read(tr.files, "terraform", nil)
	if err != nil {
		return []string{err.Error()}
	}
	var deployed map[string]deployment.Function
	if err := m.Local("functions", &deployed); err != nil {
		return []string{err.Error()}
	}
	found := map[string]bool{}
	for _, p := range tr.sorted() {
		name, ok := strings.CutPrefix(p.folder, "functions/")
		if !ok || strings.Contains(name, "/") {
			continue
		}
		found[name] = true
		f, ok := deployed[name]
		if !ok {
			broken = append(broken, p.folder+" is not in terraform/functions.tf")
			continue
		}
		if registered := p.registered(); !slices.Equal(registered, []string{f.EntryPoint}) {
			broken = append(broken, fmt.Sprintf("%s registers %q, terraform deploys %q", p.folder, registered, f.EntryPoint))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(deployed)) {
		if len(found) > 0 && !found[name] { // before the first there is nothing to deploy
			broken = append(broken, "terraform deploys "+name+", which functions/ has not")
		}
	}
	return broken
}

// registered returns the names that the package gives to api.Function.
func (p *pkg) registered() []string {
	var names []string
	for _, f := range p.source {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "Function" {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if name, err := strconv.Unquote(lit.Value); err == nil {
					names = append(names, name)
				}
			}
			return true
		})
	}
	return names
}
