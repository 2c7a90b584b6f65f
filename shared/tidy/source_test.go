package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	report(t, packagesHaveComments(repository(t)))
}

func packagesHaveComments(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		files := p.source
		if len(files) == 0 {
			files = p.tests
		}
		if !slices.ContainsFunc(files, func(f *file) bool { return f.ast.Doc != nil }) {
			broken = append(broken, p.folder+" has no package comment")
		}
	}
	return broken
}

// surroundings has where the machine's own clock, environment and chance may be
// taken. Everywhere else they are passed in, or the test clock would not move
// them and a simulation could not repeat them.
var surroundings = []string{
	"shared/api/function.go", // the wiring of a deployed function
	"shared/local/clock",     // the clock itself
	"shared/postgres/pglocal",
	"shared/postgres/pgtest",
	"scripts",
}

func TestClockEnvironmentAndChanceArePassedIn(t *testing.T) {
	t.Parallel()
	report(t, surroundingsArePassedIn(repository(t)))
}

func surroundingsArePassedIn(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		for _, f := range p.source {
			if slices.ContainsFunc(surroundings, func(s string) bool { return within(f.path, s) }) {
				continue
			}
			for importPath, taken := range map[string]func(name string) bool{
				"time":         oneOf("Now", "Since", "Until"),
				"os":           oneOf("Getenv", "LookupEnv", "Environ"),
				"math/rand":    globalSource,
				"math/rand/v2": globalSource,
			} {
				f.selects(importPath, func(s *ast.SelectorExpr) {
					if taken(s.Sel.Name) {
						broken = append(broken, fmt.Sprintf("%s: %s.%s; pass it in", tr.line(s), importPath, s.Sel.Name))
					}
				})
			}
		}
	}
	slices.Sort(broken)
	return broken
}

func oneOf(names ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

// globalSource reports whether a name of math/rand uses its global source: the
// types do not, nor do the functions that make a source from a seed.
func globalSource(name string) bool {
	return !strings.HasPrefix(name, "New") && !slices.Contains([]string{"Rand", "Source", "PCG", "ChaCha8", "Zipf"}, name)
}

// databaseClock finds PostgreSQL's clocks, and the keys that it would make by them.
var databaseClock = regexp.MustCompile(`(?i)\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|uuidv7)\s*\(\s*\)` +
	`|\b(current_timestamp|current_date|current_time|localtimestamp|localtime)\b`)

var (
	sqlComment = regexp.MustCompile(`(?s)--[^\n]*|/\*.*?\*/`)
	sqlVerb    = regexp.MustCompile(`(?i)\b(select|insert into|update|delete from|create table|alter table|values)\b`)
)

func TestTheDatabasesClockIsNeverRead(t *testing.T) {
	t.Parallel()
	report(t, databaseClockIsNotRead(repository(t)))
}

func databaseClockIsNotRead(tr *tree) (broken []string) {
	for name, text := range tr.sql {
		if found := databaseClock.FindString(sqlComment.ReplaceAllString(text, "")); found != "" {
			broken = append(broken, fmt.Sprintf("%s: %s; times are parameters", name, found))
		}
	}
	for _, p := range tr.sorted() {
		for _, f := range p.source {
			ast.Inspect(f.ast, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil || !sqlVerb.MatchString(text) {
					return true
				}
				if found := databaseClock.FindString(sqlComment.ReplaceAllString(text, "")); found != "" {
					broken = append(broken, fmt.Sprintf("%s: %s in SQL; times are parameters", tr.line(lit), found))
				}
				return true
			})
		}
	}
	slices.Sort(broken)
	return broken
}

func TestTestsNeitherSleepNorSkip(t *testing.T) {
	t.Parallel()
	report(t, testsRun(repository(t)))
}

// mayBeSkipped are the files by which tests are skipped that need what not every machine
// can have: keys of the providers' sandboxes, and Google's emulator of Firestore.
var mayBeSkipped = []string{"shared/provider/providertest/sandbox_test.go", "shared/control/controltest/emulator.go"}

func testsRun(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		all := p.tests
		if strings.HasSuffix(path.Base(p.folder), "test") {
			all = slices.Concat(p.tests, p.source)
		}
		for _, f := range all {
			f.selects("time", func(s *ast.SelectorExpr) {
				if s.Sel.Name == "Sleep" {
					broken = append(broken, tr.line(s)+": a test sleeps; wait for what it waits for")
				}
			})
			ast.Inspect(f.ast, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				s, ok := call.Fun.(*ast.SelectorExpr)
				if ok && !slices.Contains(mayBeSkipped, f.path) && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, s.Sel.Name) {
					broken = append(broken, tr.line(s)+": a test skips; make it run everywhere")
				}
				return true
			})
		}
	}
	return broken
}
