package event

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// every is how a filter ends that takes every type of an object, such as "payment.*".
const every = ".*"

// Match reports whether an endpoint with these filters subscribes to events of the name.
// A filter is a type's name, or an object with every event about it ("refund.*"). No
// filters take everything.
func Match(filters []string, name string) bool {
	object, _, _ := strings.Cut(name, ".")
	return len(filters) == 0 || slices.Contains(filters, name) || slices.Contains(filters, object+every)
}

// CheckFilter returns an error for a filter that takes nothing that is ever sent. Its text
// names the nearest that do, and can follow the name of the field.
func CheckFilter(filter string) error {
	known := names()
	for _, e := range entries {
		if all, _, _ := strings.Cut(e.name, "."); !slices.Contains(known, all+every) {
			known = append(known, all+every)
		}
	}
	switch {
	case slices.Contains(known, filter):
		return nil
	case filter == "*" || filter == every:
		return errors.New("has no entry for everything: leave it empty")
	}
	return fmt.Errorf("has %.80q, which is no type of event: use %s", filter, nearest(filter, known))
}

// nearest lists up to three of the known names that a mistaken one may stand for.
func nearest(mistaken string, known []string) string {
	letters := []rune(strings.ToLower(mistaken))
	letters = letters[:min(len(letters), 80)] // what is longer resembles nothing
	slices.SortStableFunc(known, func(a, b string) int {
		return cmp.Compare(distance(letters, []rune(a)), distance(letters, []rune(b)))
	})
	limit := distance(letters, []rune(known[0])) + 2
	far := func(name string) bool { return distance(letters, []rune(name)) > limit }
	return strings.Join(slices.DeleteFunc(known[:3], far), " or ")
}

// distance is how many letters have to be put in, left out or replaced to make a into b.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			replaced := diagonal
			if x != y {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
