package tidy

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
)

func TestTheReadmeIsTrue(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README.md", "terraform/README.md"} {
		report(t, readmeIsTrue(repository(t), name))
	}
}

var (
	link      = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)
	script    = regexp.MustCompile(`\bscripts/([a-z]+)(?: ([a-z]+ [a-z]+(?:-[a-z]+)*)\b)?`)
	testName  = regexp.MustCompile(`^Test\w+$`)
	titleLine = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// readmeIsTrue holds a README.md to what there is: its links lead somewhere, a link
// named after a test leads to that test, and the commands it shows exist.
func readmeIsTrue(tr *tree, name string) (broken []string) {
	raw, err := fs.ReadFile(tr.files, name)
	if err != nil {
		return []string{err.Error()}
	}
	text := string(raw)
	for _, l := range link.FindAllStringSubmatch(text, -1) {
		if problem := tr.leadsNowhere(path.Dir(name), text, l[1], l[2]); problem != "" {
			broken = append(broken, fmt.Sprintf("%s: [%s](%s): %s", name, l[1], l[2], problem))
		}
	}
	ops, _ := fs.ReadFile(tr.files, "scripts/cmd/ops/main.go") // without it no command is found
	for _, s := range script.FindAllStringSubmatch(text, -1) {
		if _, err := fs.Stat(tr.files, "scripts/"+s[1]); err != nil {
			broken = append(broken, name+": there is no scripts/"+s[1])
		}
		if s[1] == "ops" && s[2] != "" && !strings.Contains(string(ops), `{"`+s[2]+`"`) {
			broken = append(broken, name+": scripts/ops has no command "+s[2])
		}
	}
	return broken
}

// leadsNowhere says what is wrong with a link that is shown as words, in a file of folder.
func (tr *tree) leadsNowhere(folder, readme, words, target string) string {
	switch {
	case strings.HasPrefix(target, "https://"):
		return ""
	case strings.HasPrefix(target, "#"):
		for _, title := range titleLine.FindAllStringSubmatch(readme, -1) {
			if anchor(title[1]) == target[1:] {
				return ""
			}
		}
		return "no such section"
	}
	target = path.Join(folder, target)
	info, err := fs.Stat(tr.files, target)
	if err != nil {
		return "no such file"
	}
	name := strings.Trim(words, "`")
	if !testName.MatchString(name) {
		return ""
	}
	if info.IsDir() {
		return "a test is in a file"
	}
	text, err := fs.ReadFile(tr.files, target)
	if err != nil || !strings.Contains(string(text), "\nfunc "+name+"(") {
		return "no such test in it"
	}
	return ""
}

// anchor is the name by which Markdown's usual readers know a section.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

func TestUntruthsInTheReadmeAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ readme, want string }{
		"all is well": {
			"# What it is\nSee [the list](functions/list.txt), [above](#what-it-is), [`TestA`](a_test.go), <https://x.example>.\n" +
				"    scripts/ops keys revoke KEY\nand scripts/ops alone", "",
		},
		"a file that is gone":     {"[x](functions/gone.txt)", "no such file"},
		"a section that is gone":  {"# Here\n[x](#there)", "no such section"},
		"a test that is gone":     {"[TestB](a_test.go)", "no such test"},
		"a test in a folder":      {"[TestA](functions)", "in a file"},
		"a script that is gone":   {"run scripts/fly", "no scripts/fly"},
		"a command that is gone":  {"scripts/ops keys forge KEY", "no command keys forge"},
		"a command in the middle": {"first scripts/ops keys revoke, then `scripts/ops keys forge`", "no command keys forge"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, err := load(fstest.MapFS{
				"README.md":               {Data: []byte(c.readme)},
				"a_test.go":               {Data: []byte("package a\n\nfunc TestA(t *testing.T) {}\n")},
				"functions/list.txt":      {},
				"scripts/ops":             {},
				"scripts/cmd/ops/main.go": {Data: []byte("package main\n\nvar commands = []command{\n\t{\"keys revoke\", nil},\n}\n")},
			})
			if err != nil {
				t.Fatal(err)
			}
			found := strings.Join(readmeIsTrue(tr, "README.md"), "\n")
			if c.want == "" && found != "" || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}
