package reconcile

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/ledger"
)

// The page has every kind of difference, once, and no posting that there is not.
func TestTheReadmeHasEveryKind(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	check(t, err)
	differ, booked, ok := strings.Cut(string(page), "## What is booked")
	if !ok {
		t.Fatal("the page does not say what is booked")
	}
	names := func(text string) (all []string) {
		for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(text, -1) {
			all = append(all, row[1])
		}
		slices.Sort(all)
		return all
	}
	var want []string
	for _, k := range Kinds() {
		want = append(want, string(k))
	}
	slices.Sort(want)
	if got := names(differ); !slices.Equal(got, want) {
		t.Errorf("the page has %v, there are %v", got, want)
	}
	for _, name := range names(booked) {
		if !slices.Contains(ledger.Kinds(), ledger.Kind(name)) {
			t.Errorf("there is no posting %s", name)
		}
	}
}
