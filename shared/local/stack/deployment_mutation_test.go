package stack

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// mutations are the lines of which each one is missed when it is gone.
var mutations = []struct {
	file  string // a pattern
	lines string
	least int // how many there are, at least
}{
	{"terraform/functions.tf", `^    \w+ += \{ entry_point = `, 18},           // functions
	{"terraform/functions.tf", `^    [\w-]+ += \{ function = `, 5},            // jobs
	{"terraform/functions.tf", `^      [A-Z][A-Z_]+ += `, 20},                 // variables
	{"terraform/functions.tf", `^  (invokers|variables|secrets) `, 2},         // of a function
	{"terraform/functions.tf", `^      \(contains\(f\.uses, "merchants"`, 1},  // who a function lets in
	{"terraform/secrets.tf", `^      [A-Z][A-Z_]+ += "`, 5},                   // secrets
	{"terraform/tasks.tf", `^    [\w-]+ += \{ per_second = `, 5},              // queues
	{"terraform/tasks.tf", `^    (uri|oidc_token) |^      \w+ += .*local`, 2}, // where jobs go
	{"terraform/tasks.tf", `^  (role|member)  `, 2},
	{"terraform/events.tf", `^  topics = `, 1},
	{"terraform/events.tf", `^  (name|topic)    `, 4},
	{"terraform/events.tf", `^    (push_endpoint|dead_letter_topic) `, 2},
	{"terraform/events.tf", `^      (service_account_email|audience) `, 2},
	{"functions/openapi.yaml", `^      x-google-backend: `, 30},
	{"functions/openapi.yaml", `^      address: `, 9},
	{"functions/*/*.go", `^func init\(\) \{ api\.Function\(`, 18},
	{"functions/*/*.go", `^\t\t"[A-Z]+ /v1/`, 20},
}

// A check that misses nothing is none: take any one line away, and it says so.
func TestEachLineOfTheDeploymentMatters(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	files, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		t.Run(strings.Trim(m.file+" "+m.lines, "^"), func(t *testing.T) {
			t.Parallel()
			pattern, tried := regexp.MustCompile(m.lines), 0
			for _, name := range matching(files, m.file) {
				lines := bytes.Split(files[name].Data, []byte("\n"))
				for i, line := range lines {
					if !pattern.Match(line) {
						continue
					}
					tried++
					without := maps.Clone(files)
					without[name] = &fstest.MapFile{Data: bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), []byte("\n"))}
					if len(w.with(without).mistakes()) == 0 {
						t.Errorf("%s without line %d fits as well: %s", name, i+1, line)
					}
				}
			}
			if tried < m.least {
				t.Errorf("there are %d such lines, and should be at least %d", tried, m.least)
			}
		})
	}
}

func matching(files fstest.MapFS, pattern string) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if matches(pattern, name) && !strings.HasSuffix(name, "_test.go") {
			found = append(found, name)
		}
	}
	return found
}

// with is the world with other files.
func (w world) with(files fstest.MapFS) world {
	w.files = files
	read, err := readCode(files)
	if err != nil { // does not parse: as good as gone
		read = nil
	}
	w.code = read
	return w
}

// The same for the local stack's own tables.
func TestEachRowOfTheLocalStackMatters(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	missed := func(what string, without world) {
		t.Helper()
		if len(without.mistakes()) == 0 {
			t.Errorf("without %s everything fits as well", what)
		}
	}
	for i, f := range w.functions {
		without := w
		without.functions = slices.Delete(slices.Clone(w.functions), i, i+1)
		missed(f.name, without)
		for j := range f.groups {
			without := w
			without.functions = slices.Clone(w.functions)
			without.functions[i].groups = slices.Delete(slices.Clone(f.groups), j, j+1)
			if maps.Equal(kept(f), kept(without.functions[i])) {
				continue // the group has nothing that production has
			}
			missed(fmt.Sprintf("group %d of %s", j, f.name), without)
		}
	}
	for i, j := range w.jobs {
		without := w
		without.jobs = slices.Delete(slices.Clone(w.jobs), i, i+1)
		missed(j.name, without)
	}
	for name := range w.subscribers {
		without := w
		without.subscribers = maps.Clone(w.subscribers)
		delete(without.subscribers, name)
		missed(name, without)
	}
	for name := range w.queues {
		without := w
		without.queues = maps.Clone(w.queues)
		delete(without.queues, name)
		missed(name, without)
	}
}

// kept are the names of a function's variables that production has too.
func kept(f function) map[string]bool {
	all := map[string]bool{}
	for name := range f.variables(sample(f.name)) {
		if !slices.Contains(localOnly, name) {
			all[name] = true
		}
	}
	return all
}
