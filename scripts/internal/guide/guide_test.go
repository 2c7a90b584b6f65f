package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/local/deployment"
)

func guide(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../..", readme))
	if err != nil {
		t.Fatal(err)
	}
	blocks := parse(string(text))
	if len(blocks) < 10 {
		t.Fatalf("the guide has %d blocks of commands", len(blocks))
	}
	return blocks
}

func TestCommandsAreFound(t *testing.T) {
	t.Parallel()
	got := parse("# Title\n\n    one\n    two \\\n      more\n\nwords\n\n```\n    no command\n```\n\n    three\n")
	want := []block{{3, "one\ntwo \\\n  more\n"}, {13, "three\n"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	script := shell(got)
	for _, want := range []string{"set -euo pipefail\n", "at=3\n", "\none\n", "\nthree\n", "--- the end"} {
		if !strings.Contains(script, want) {
			t.Errorf("the script lacks %q:\n%s", want, script)
		}
	}
}

// What a command line begins with, wherever on a line it stands.
var begins = regexp.MustCompile(`(?m)(?:^|&& |\| |\$\(|; )\s*(?:[A-Z_]+=)?(?:\$\()?([a-z][\w./-]*)`)

// Whatever the guide calls is a script of ours, a program that it names as needed, or the
// shell's own.
func TestTheGuideCallsWhatThereIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("../../..", readme))
	if err != nil {
		t.Fatal(err)
	}
	shellsOwn := map[string]bool{"export": true, "for": true, "do": true, "done": true, "read": true, "printf": true, "unset": true}
	common := map[string]bool{"base64": true, "mkdir": true, "sed": true, "tee": true}
	for _, b := range guide(t) {
		for _, m := range begins.FindAllStringSubmatch(b.commands, -1) {
			program := m[1]
			if name, ours := strings.CutPrefix(program, "scripts/"); ours {
				if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
					t.Errorf("line %d: %v", b.line, err)
				}
				continue
			}
			if !shellsOwn[program] && !common[program] && !strings.Contains(string(text), "`"+program+"`") {
				t.Errorf("line %d: %s is not among what the guide says is needed", b.line, program)
			}
		}
	}
}

// Whatever the guide asks of terraform, terraform/ has: variables, outputs, targets, files.
func TestTerraformHasWhatTheGuideAsksFor(t *testing.T) {
	t.Parallel()
	m, err := deployment.Read(os.DirFS("../../.."), "terraform", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("../../..", readme))
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, c := range []struct {
		form *regexp.Regexp
		has  func(name string) bool
	}{
		{regexp.MustCompile(`TF_VAR_(\w+)`), func(name string) bool { return slices.Contains(m.Variables(), name) }},
		{regexp.MustCompile(` -var (\w+)=`), func(name string) bool { return slices.Contains(m.Variables(), name) }},
		{regexp.MustCompile(`terraform output (?:-raw )?(\w+)`), func(name string) bool { return slices.Contains(m.Outputs(), name) }},
		{regexp.MustCompile(`-target=([\w.]+)`), m.Has},
		{regexp.MustCompile(`environments/\$ENVIRONMENT\.([\w.]+)`), func(name string) bool {
			found, err := filepath.Glob("../../../terraform/environments/*." + name)
			return err == nil && len(found) == 3
		}},
	} {
		for _, found := range c.form.FindAllStringSubmatch(string(text), -1) {
			asked[c.form.String()]++
			if !c.has(found[1]) {
				t.Errorf("the guide has %s, and terraform has not", strings.TrimSpace(found[0]))
			}
		}
		if asked[c.form.String()] == 0 {
			t.Errorf("the guide has nothing like %s", c.form)
		}
	}
}

// Every call of gcloud is one that gcloud understands: what it said of itself when it was
// recorded, and what the one on this machine says, if there is one.
func TestGcloudUnderstandsTheGuide(t *testing.T) {
	t.Parallel()
	calls := regexp.MustCompile(`gcloud ((?:[^|;)"'\n]|"[^"]*"|'[^']*')+)`)
	known, err := excerpt()
	if err != nil {
		t.Fatal(err)
	}
	here, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("../../..", readme))
	if err != nil {
		t.Fatal(err)
	}
	all := guide(t)
	for _, span := range regexp.MustCompile("`(gcloud [^`]+)`").FindAllStringSubmatch(string(text), -1) {
		all = append(all, block{commands: span[1]}) // what stands between words
	}
	found := 0
	for _, b := range all {
		for _, m := range calls.FindAllStringSubmatch(b.commands, -1) {
			found++
			args := words(m[1])
			if err := known.check(args); err != nil {
				t.Errorf("line %d: %v", b.line, err)
			}
			if here != nil {
				if err := here.check(args); err != nil {
					t.Errorf("line %d, this machine's: %v", b.line, err)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("%d calls of gcloud were found", found)
	}
}

// words splits a command line at spaces outside of quotes.
func words(line string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?:[^\s"']|"(?:[^"\\]|\\.)*"|'[^']*')+`).FindAllString(line, -1) {
		if strings.HasPrefix(m, ">") {
			break
		}
		all = append(all, strings.Trim(m, `"`))
	}
	return all
}

func TestWhatGcloudDoesNotUnderstandIsRefused(t *testing.T) {
	t.Parallel()
	known, err := excerpt()
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"secrets versions add x --data-file=-":           "",
		"run jobs execute ops --region=r --wait":         "",
		"storage rm --recursive gs://x --quiet":          "",
		"secrets versions put x":                         "knows no command put",
		"secrets versions add x --file=-":                "knows no flag --file",
		"secrets versions":                               "no whole command",
		"run jobs execute ops --region r --wait":         "write its value after =",
		"services enable run.googleapis.com --projectid": "knows no flag --projectid",
	} {
		err := known.check(strings.Fields(line))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("gcloud %s: %v, want %q", line, err, want)
		}
	}
}

func TestFlagsAndWords(t *testing.T) {
	t.Parallel()
	args := []string{"run", "jobs", "execute", "ops", "--args=a,b=c", "--wait"}
	if got := flag(args, "--args"); got != "a,b=c" {
		t.Errorf("--args is %q", got)
	}
	if got := flag(args, "--region"); got != "" {
		t.Errorf("--region is %q", got)
	}
	if diff := cmp.Diff(args[:4], command(args)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
