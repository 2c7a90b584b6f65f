package main

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const repository = "../../.."

// packaged runs scripts/package with --out and returns the staged tree's folder and
// what was said.
func packaged(t *testing.T, name, out string) (said string) {
	t.Helper()
	var b bytes.Buffer
	if err := run(t.Context(), repository, []string{name, "--out", out}, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// files lists the tree's files, by their slashed names.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOnlyWhatTheFunctionNeedsIsStaged(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "staged")
	packaged(t, "createpayment", out)

	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	var top []string
	for _, e := range entries {
		top = append(top, e.Name())
	}
	if want := []string{"entry.go", "functions", "go.mod", "go.sum", "shared", "vendor"}; !slices.Equal(top, want) {
		t.Errorf("at the top: %q, want %q", top, want)
	}
	all := files(t, out)
	for _, name := range all {
		ours := !strings.HasPrefix(name, "vendor/")
		switch {
		case strings.HasSuffix(name, "_test.go"):
			t.Errorf("%s is staged, and is a test", name)
		case ours && strings.HasPrefix(name, "functions/") && !strings.HasPrefix(name, "functions/createpayment/"):
			t.Errorf("%s is staged, and is another function's", name)
		}
		for _, unwanted := range []string{
			"/migrations/", "/providersim/", "/pgtest/", "/pglocal/", "/testdata/", "shared/local/", "shared/tidy/",
			"vendor/github.com/pressly/goose/", "vendor/github.com/stripe/stripe-mock/",
		} {
			if strings.Contains(name, unwanted) {
				t.Errorf("%s is staged, and the function does not need it", name)
			}
		}
	}
	for _, wanted := range []string{
		"functions/createpayment/createpayment.go", "shared/money/money.go", "vendor/modules.txt",
		"vendor/" + framework + "/funcframework/framework.go", "vendor/github.com/stripe/stripe-go/v76/LICENSE",
	} {
		if !slices.Contains(all, wanted) {
			t.Errorf("%s is not staged", wanted)
		}
	}
}

func TestTheEntryImportsTheFrameworkAndTheFunction(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "staged")
	packaged(t, "getpayment", out)
	syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(out, "entry.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var imported []string
	for _, spec := range syntax.Imports {
		if spec.Name == nil || spec.Name.Name != "_" {
			t.Errorf("%s is not a blank import", spec.Path.Value)
		}
		imported = append(imported, strings.Trim(spec.Path.Value, `"`))
	}
	want := []string{
		framework + "/funcframework", framework + "/functions",
		"github.com/tollgate/tollgate/functions/getpayment",
	}
	if !slices.Equal(imported, want) {
		t.Errorf("entry.go imports %q, want %q", imported, want)
	}
}

func TestTheSameSourceGivesTheSameTree(t *testing.T) {
	t.Parallel()
	first, second := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	said, again := packaged(t, "getpayment", first), packaged(t, "getpayment", second)
	if said = strings.ReplaceAll(said, first, second); said != again || !strings.Contains(said, " files, sha256:") {
		t.Errorf("once:\n%sand again:\n%s", said, again)
	}
	for _, name := range append(files(t, first), ".", "functions") {
		info, err := os.Stat(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(staged) {
			t.Fatalf("%s has the time %s", name, info.ModTime())
		}
	}
	changed, err := os.OpenFile(filepath.Join(second, "entry.go"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = changed.WriteString("// changed\n")
	_ = changed.Close()
	after, err := settle(second)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(again, after.digest) {
		t.Error("the digest does not see a change")
	}
	if packaged(t, "getpayment", second) != again { // what was staged before may be replaced
		t.Error("staged over an older tree, it is another one")
	}
}

func TestRefusalsNameTheFix(t *testing.T) {
	t.Parallel()
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "thesis.txt"), []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no name", nil, "such as createpayment"},
		{"two names", []string{"createpayment", "getpayment"}, "one function"},
		{"no such function", []string{"chargepayment"}, "createpayment, "},
		{"a path", []string{"../shared/payment"}, "no function"},
		{"an unknown flag", []string{"createpayment", "--zip"}, "-zip"},
		{"somebody's folder", []string{"createpayment", "--out", occupied}, "another folder"},
	} {
		err := run(t.Context(), repository, c.args, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
	if left := files(t, occupied); !slices.Equal(left, []string{"thesis.txt"}) {
		t.Errorf("the folder now has %q", left)
	}
}

// What can't be compiled can't be staged, and leaves nothing behind.
func TestAFailureLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	root, parent := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                 "module example.com/broken\n\ngo 1.26.0\n",
		"go.sum":                 "",
		"functions/broken/fn.go": "package broken\n\nimport _ \"example.com/broken/shared/gone\"\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := stage(context.Background(), root, "broken", filepath.Join(parent, "staged"))
	if err == nil || !strings.Contains(err.Error(), "shared/gone") {
		t.Errorf("%v, want what is missing", err)
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
