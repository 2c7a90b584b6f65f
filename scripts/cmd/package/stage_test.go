package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const repository = "../../.."

// packaged runs scripts/package and returns what was said.
func packaged(t *testing.T, args ...string) (said string) {
	t.Helper()
	var b bytes.Buffer
	if err := run(t.Context(), repository, args, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// files lists the folder's files, by their slashed names.
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

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func deployed(t *testing.T) []target {
	t.Helper()
	all, err := findTargets(repository, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAllIsEveryFunctionAndCommand(t *testing.T) {
	t.Parallel()
	var functions, jobs []string
	for _, target := range deployed(t) {
		if target.isFunction() {
			functions = append(functions, target.name)
		} else {
			jobs = append(jobs, target.name)
		}
	}
	folders := slices.DeleteFunc(names(t, filepath.Join(repository, "functions")), func(name string) bool { return path.Ext(name) != "" })
	if !slices.Equal(functions, folders) {
		t.Errorf("functions are %q, the folders %q", functions, folders)
	}
	if !slices.Equal(jobs, commands) {
		t.Errorf("jobs are %q, want %q", jobs, commands)
	}
}

// exceptions are what only one package may have of that which no other has.
var exceptions = map[string][]string{
	"migrate": {"shared/postgres/migrations/", "vendor/github.com/pressly/goose/"},
	// It works on the stack of scripts/dev too, and listens to webhooks as a merchant does.
	"ops": {"shared/local/clock/", "shared/local/controlplane/", "shared/local/stack/shop/"},
}

// unneeded are in no package: tests and what they need, the local stack, simulators,
// migrations.
var unneeded = regexp.MustCompile(`_test\.go$|(^|/)testdata/|^shared/([^/]+/)*[a-z]+test/|^shared/(local|tidy)/` +
	`|/pglocal/|/providersim/|/migrations/|\.tf$|^vendor/github\.com/(pressly/goose|stripe/stripe-mock)/|^vendor/go\.uber\.org/goleak/|^vendor/pgregory\.net/`)

// holdsNoMore holds a staged tree to what its target needs.
func holdsNoMore(t *testing.T, s target, dir string) {
	t.Helper()
	top := []string{"entry.go", "functions", "go.mod", "go.sum", "project.toml", "shared", "vendor"}
	if !s.isFunction() {
		top = []string{"go.mod", "go.sum", "project.toml", "scripts", "shared", "vendor"}
	}
	if got := names(t, dir); !slices.Equal(got, top) {
		t.Errorf("%s has %q, want %q", s.name, got, top)
	}
	used := map[string]bool{}
	for _, name := range files(t, dir) {
		if (strings.HasPrefix(name, "functions/") || strings.HasPrefix(name, "scripts/")) && !strings.HasPrefix(name, s.folder+"/") {
			t.Errorf("%s has %s, which is another's", s.name, name)
		}
		i := slices.IndexFunc(exceptions[s.name], func(e string) bool { return strings.HasPrefix(name, e) })
		switch {
		case i >= 0 && !strings.HasSuffix(name, "_test.go"):
			used[exceptions[s.name][i]] = true
		case unneeded.MatchString(name):
			t.Errorf("%s has %s, and does not need it", s.name, name)
		}
	}
	for _, e := range exceptions[s.name] {
		if !used[e] {
			t.Errorf("%s may have %s, and has not: take the exception away", s.name, e)
		}
	}
}

// holdsAll looks for some of each kind that must be there.
func holdsAll(t *testing.T, s target, dir string) {
	t.Helper()
	wanted := []string{"vendor/modules.txt", "vendor/github.com/jackc/pgx/v5/conn.go", "vendor/github.com/jackc/pgx/v5/LICENSE"}
	switch {
	case s.isFunction():
		wanted = append(wanted, s.folder+"/"+s.name+".go", "vendor/"+framework+"/funcframework/framework.go", "vendor/"+framework+"/LICENSE")
	case s.name == "migrate":
		wanted = append(wanted, s.folder+"/main.go", "shared/postgres/migrations/"+newestMigration(t))
	default:
		wanted = append(wanted, s.folder+"/main.go")
	}
	all := files(t, dir)
	for _, w := range wanted {
		if !slices.Contains(all, w) {
			t.Errorf("%s lacks %s", s.name, w)
		}
	}
}

func newestMigration(t *testing.T) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(repository, "shared/postgres/migrations/*.sql"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	return filepath.Base(slices.Max(all))
}

func TestTheEntryImportsTheFrameworkAndTheFunction(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	packaged(t, "getpayment", "--out", out)
	syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(out, "getpayment", "entry.go"), nil, 0)
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

func TestTheTreeSaysHowItIsBuilt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target target
		want   string
	}{
		{target{"createpayment", "functions/createpayment", "CreatePayment"}, "GOOGLE_FUNCTION_TARGET\"\nvalue = \"CreatePayment\""},
		{target{"migrate", "scripts/cmd/migrate", ""}, "GOOGLE_BUILDABLE\"\nvalue = \"./scripts/cmd/migrate\""},
	} {
		text, err := c.target.describe("1.26.3")
		if err != nil || !strings.HasPrefix(text, generated+"\n\n[_]\nschema-version = \"0.2\"\n") {
			t.Errorf("%s: %v\n%s", c.target.name, err, text)
		}
		for _, want := range []string{
			c.want, "GOOGLE_GO_VERSION\"\nvalue = \"1.26.*\"", "GOOGLE_GOLDFLAGS\"\nvalue = \"-s -w\"", "GOOGLE_CLEAR_SOURCE\"\nvalue = \"true\"",
		} {
			if !strings.Contains(text, "[[io.buildpacks.build.env]]\nname = \""+want+"\n") {
				t.Errorf("%s: %q is not in\n%s", c.target.name, want, text)
			}
		}
	}
	if _, err := (target{}).describe("tip"); err == nil {
		t.Error("a version that is none is taken")
	}
}

func TestTheArchiveHasTheTree(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	said := packaged(t, "migrate", "--zip", "--out", out)
	path := filepath.Join(out, "migrate.zip")
	if digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(read(t, path)))); !strings.Contains(said, digest) {
		t.Errorf("the archive is %s, and was said to be\n%s", digest, said)
	}
	archived, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archived.Close() }()
	var all []string
	for _, f := range archived.File {
		all = append(all, f.Name)
		if !f.Modified.Equal(settled) || f.Mode() != 0o644 {
			t.Fatalf("%s has the time %s and the mode %s", f.Name, f.Modified, f.Mode())
		}
	}
	if want := files(t, filepath.Join(out, "migrate")); !slices.Equal(all, want) {
		t.Errorf("the archive has %d files, the tree %d", len(all), len(want))
	}
	if text, err := fs.ReadFile(archived, "project.toml"); err != nil || string(text) != read(t, out, "migrate", "project.toml") {
		t.Errorf("project.toml is another in the archive: %v\n%s", err, text)
	}
}

func TestModulesAreThoseOfGoModAndOfTheListedPackages(t *testing.T) {
	t.Parallel()
	const all = "# a.example/used v1.0.0\n## explicit; go 1.24\na.example/used\na.example/used/other\n" +
		"# b.example/unused v1.0.0\n## explicit\nb.example/unused\n" +
		"# c.example/deep v1.2.0\n## go 1.21\nc.example/deep/below\n" +
		"# d.example/gone v1.2.0\n## go 1.21\nd.example/gone\n"
	const want = "# a.example/used v1.0.0\n## explicit; go 1.24\na.example/used\n" +
		"# b.example/unused v1.0.0\n## explicit\n" +
		"# c.example/deep v1.2.0\n## go 1.21\nc.example/deep/below\n"
	got := prune([]byte(all), map[string]bool{"a.example/used": true, "c.example/deep/below": true})
	if string(got) != want {
		t.Errorf("left are\n%s\nwant\n%s", got, want)
	}
}

func TestTheDigestSeesAChange(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	once := packaged(t, "getpayment", "--out", out)
	dir := filepath.Join(out, "getpayment")
	for _, name := range append(files(t, dir), ".", "functions") {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(settled) {
			t.Fatalf("%s has the time %s", name, info.ModTime())
		}
	}
	changed, err := os.OpenFile(filepath.Join(dir, "entry.go"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = changed.WriteString("// changed\n")
	_ = changed.Close()
	after, err := settle(dir)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(once, after.digest()) {
		t.Error("the digest does not see a change")
	}
	if packaged(t, "getpayment", "--out", out) != once { // what was staged before may be replaced
		t.Error("staged over an older tree, it is another one")
	}
}

func TestWhatIsDeployedNoLongerIsRemoved(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	for name, text := range map[string]string{
		"retired/project.toml": generated + "\n", "retired.zip": "", "kept/project.toml": generated + "\n",
		"mine/project.toml": "[_]\n", "mine.zip": "", "note.txt": "",
	} {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := clearOut(out, []target{{name: "kept"}}); err != nil {
		t.Fatal(err)
	}
	if left, want := names(t, out), []string{"kept", "mine", "mine.zip", "note.txt"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}

func TestRefusalsNameTheFix(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	occupied := filepath.Join(out, "createpayment")
	if err := os.Mkdir(occupied, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(occupied, "thesis.txt"), []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no name", nil, "such as createpayment"},
		{"a name, and all", []string{"createpayment", "--all"}, "or --all"},
		{"no such function", []string{"chargepayment"}, "createpayment, "},
		{"a command that is not deployed", []string{"dev"}, "migrate, "},
		{"a path", []string{"../shared/payment"}, "nothing called"},
		{"an unknown flag", []string{"createpayment", "--tar"}, "-tar"},
		{"somebody's folder", []string{"createpayment", "--out", out}, "another folder"},
	} {
		err := run(t.Context(), repository, c.args, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
	if left := files(t, out); !slices.Equal(left, []string{"createpayment/thesis.txt"}) {
		t.Errorf("the folder now has %q", left)
	}
}

// What can't be compiled can't be staged, and leaves nothing behind; nor can a function
// without a name, or with two.
func TestAFailureLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	const register = "func init() { api.Function(\"Broken\", nil) }\n"
	for _, c := range []struct{ name, function, want string }{
		{"migrate", register, "shared/gone"},
		{"broken", register + register, "has one name"},
		{"broken", "", "has one name"},
	} {
		root, out := t.TempDir(), t.TempDir()
		for name, text := range map[string]string{
			"go.mod":                      "module example.com/broken\n\ngo 1.26.0\n",
			"go.sum":                      "",
			"functions/broken/broken.go":  "package broken\n\n" + c.function,
			"scripts/cmd/migrate/main.go": "package main\n\nimport _ \"example.com/broken/shared/gone\"\n",
		} {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := run(context.Background(), root, []string{c.name, "--out", out}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q in it", err, c.want)
		}
		if left := names(t, out); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}
