package webhook

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	row     = regexp.MustCompile(`(?m)^\|.*\|$`)
	linked  = regexp.MustCompile(`\]\(([^)#]+_test\.go)#(Test\w+)\)`)
	claimed = regexp.MustCompile(`^(yes|\[yes\])`)
)

// Each yes in the table of features names tests that exist.
func TestEveryFeatureHasATest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	features := 0
	for _, line := range row.FindAllString(string(text), -1) {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		ours := strings.TrimSpace(cells[len(cells)-1])
		if len(cells) != 6 || !claimed.MatchString(ours) {
			continue
		}
		features++
		tests := linked.FindAllStringSubmatch(ours, -1)
		if len(tests) == 0 && !strings.Contains(ours, "measured") {
			t.Errorf("%s: no test is named", strings.TrimSpace(cells[0]))
		}
		for _, l := range tests {
			source, err := os.ReadFile(filepath.FromSlash(l[1]))
			if err != nil || !strings.Contains(string(source), "func "+l[2]+"(") {
				t.Errorf("%s: there is no %s in %s", strings.TrimSpace(cells[0]), l[2], l[1])
			}
		}
	}
	if features < 30 {
		t.Errorf("%d features found in the table", features)
	}
}
