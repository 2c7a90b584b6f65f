package tidy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// layers has the packages of shared/, from the bottom up. A package imports
// its own layer and the ones below it; a folder inside a package belongs to its
// layer.
var layers = [][]string{
	{"money", "id", "fault", "pan", "event"}, // values, of the standard library alone
	{"postgres", "control", "config", "telemetry"},
	{"alert", "ledger", "period", "idempotency", "saga", "inbox", "outbox", "provider", "admission"},
	{"payment", "merchant"},
	{"webhook", "reconcile", "settlement", "audit"},
	{"api", "task"},
}

// beside has what stands beside the layers: used by tests, scripts and the
// local stack, and never linked into a deployed function.
var beside = []string{
	"shared/local", "shared/tidy",
	"shared/postgres/pglocal", "shared/postgres/pgtest", "shared/postgres/migrations",
	"shared/provider/providersim", "shared/telemetry/prom",
}

func isBeside(folder string) bool {
	return strings.HasSuffix(path.Base(folder), "test") ||
		slices.ContainsFunc(beside, func(b string) bool { return within(folder, b) })
}

// within reports whether folder is parent or inside it.
func within(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

// layer returns the layer of a folder of shared/, and false for one that the
// table lacks.
func layer(folder string) (int, bool) {
	name, _, _ := strings.Cut(strings.TrimPrefix(folder, "shared/"), "/")
	for i, names := range layers {
		if slices.Contains(names, name) {
			return i, true
		}
	}
	return 0, false
}

// isAdapter tells the adapters from what they share (wire), and from what stands before
// all of them (guard, breaker) and knows none.
func isAdapter(folder string) bool {
	name, inside := strings.CutPrefix(folder, "shared/provider/")
	return inside && !slices.Contains([]string{"wire", "guard", "breaker"}, name) && !isBeside(folder)
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	report(t, importsPointDown(repository(t)))
}

func importsPointDown(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		if !within(p.folder, "shared") || isBeside(p.folder) {
			continue
		}
		own, ok := layer(p.folder)
		if !ok {
			broken = append(broken, p.folder+" has no layer: give it one in the table, or put it beside")
			continue
		}
		for _, imported := range imports(p.source) {
			folder, isOurs := ours(imported)
			switch {
			case !isOurs && own == 0 && !isStandard(imported):
				broken = append(broken, fmt.Sprintf("%s imports %s: values need only the standard library", p.folder, imported))
			case !isOurs:
			case isBeside(folder):
				broken = append(broken, fmt.Sprintf("%s imports %s, which is never deployed", p.folder, folder))
			case !within(folder, "shared"):
				broken = append(broken, fmt.Sprintf("%s imports %s, which is above it", p.folder, folder))
			default:
				broken = append(broken, downward(p.folder, own, folder)...)
			}
		}
	}
	return broken
}

func downward(importer string, own int, imported string) []string {
	other, _ := layer(imported)
	switch {
	case other > own:
		return []string{fmt.Sprintf("%s imports %s, which is above it", importer, imported)}
	case isAdapter(imported) && !within(importer, imported) && own < len(layers)-1:
		return []string{fmt.Sprintf("%s imports the adapter %s: use the port, shared/provider", importer, imported)}
	}
	return nil
}

// isStandard reports whether the path is the standard library's: its first
// element has no dot.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func TestOnlyLocalAndScriptsImportFunctions(t *testing.T) {
	t.Parallel()
	report(t, functionsAreNotImported(repository(t)))
}

func functionsAreNotImported(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		if within(p.folder, "shared/local") || within(p.folder, "scripts") {
			continue
		}
		for _, imported := range imports(append(slices.Clone(p.source), p.tests...)) {
			folder, ok := ours(imported)
			if ok && within(folder, "functions") && folder != p.folder {
				broken = append(broken, fmt.Sprintf("%s imports %s: only shared/local and scripts may", p.folder, folder))
			}
		}
	}
	return broken
}

func TestFunctionsImportOnlyShared(t *testing.T) {
	t.Parallel()
	report(t, functionsImportOnlyShared(repository(t)))
}

func functionsImportOnlyShared(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		if !within(p.folder, "functions") {
			continue
		}
		for _, imported := range imports(p.source) {
			folder, isOurs := ours(imported)
			if isStandard(imported) || isOurs && within(folder, "shared") {
				continue
			}
			broken = append(broken, fmt.Sprintf("%s imports %s: a function's folder is wiring of shared/ packages", p.folder, imported))
		}
	}
	return broken
}

func TestWhatIsBesideIsNeverLinkedIntoAFunction(t *testing.T) {
	t.Parallel()
	report(t, nothingBesideIsLinked(repository(t)))
}

func nothingBesideIsLinked(tr *tree) (broken []string) {
	for _, p := range tr.sorted() {
		if !within(p.folder, "functions") {
			continue
		}
		for _, linked := range tr.closure(p.folder) {
			if isBeside(linked) {
				broken = append(broken, fmt.Sprintf("%s links %s, which is never deployed", p.folder, linked))
			}
		}
	}
	return broken
}

// closure returns our packages that the folder's package imports, directly or not.
func (tr *tree) closure(folder string) []string {
	var found []string
	var follow func(folder string)
	follow = func(folder string) {
		p := tr.packages[folder]
		if p == nil {
			return
		}
		for _, imported := range imports(p.source) {
			next, ok := ours(imported)
			if ok && !slices.Contains(found, next) {
				found = append(found, next)
				follow(next)
			}
		}
	}
	follow(folder)
	slices.Sort(found)
	return found
}

func report(t *testing.T, broken []string) {
	t.Helper()
	for _, b := range broken {
		t.Error(b)
	}
}
