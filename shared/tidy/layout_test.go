package tidy

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
)

var topLevel = []string{
	"LICENSE", "README.md", "cloudbuild.yaml", "functions", "go.mod", "go.sum", "scripts", "shared", "terraform",
}

func TestTheTopLevelIsFixed(t *testing.T) {
	t.Parallel()
	report(t, topLevelIsFixed(repository(t)))
}

func topLevelIsFixed(tr *tree) (broken []string) {
	entries, err := fs.ReadDir(tr.files, ".")
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		name := e.Name()
		byproduct := slices.Contains([]string{".test", ".out"}, path.Ext(name)) // of go test, and ignored by git
		if !slices.Contains(topLevel, name) && !strings.HasPrefix(name, ".") && !byproduct {
			broken = append(broken, name+" at the top level: find it a place further down")
		}
	}
	return broken
}

func TestEveryScriptIsAStubOfAProgram(t *testing.T) {
	t.Parallel()
	report(t, scriptsAreStubs(repository(t)))
}

// scriptsAreStubs holds the files of scripts/ against the programs of scripts/cmd.
func scriptsAreStubs(tr *tree) (broken []string) {
	entries, err := fs.ReadDir(tr.files, "scripts")
	if err != nil {
		return []string{err.Error()}
	}
	var stubs []string
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		name := e.Name()
		stubs = append(stubs, name)
		if tr.packages["scripts/cmd/"+name] == nil {
			broken = append(broken, "scripts/"+name+" has no program in scripts/cmd/"+name)
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o111 == 0 {
			broken = append(broken, "scripts/"+name+" is not executable")
		}
		text, err := fs.ReadFile(tr.files, "scripts/"+name)
		if err != nil || !strings.Contains(string(text), "/cmd/run.sh\" "+name+" ") {
			broken = append(broken, "scripts/"+name+" does not run scripts/cmd/"+name)
		}
	}
	for _, p := range tr.sorted() {
		name, ok := strings.CutPrefix(p.folder, "scripts/cmd/")
		if ok && !strings.Contains(name, "/") && !slices.Contains(stubs, name) {
			broken = append(broken, p.folder+" has no stub scripts/"+name)
		}
	}
	return broken
}
