package core

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/postgres"
)

// What a deployment has, by the names of terraform's arguments. Why: see provider/guard.
var deployed = map[string]int{
	"max_instance_request_concurrency": 40,
	"max_connections":                  1000,
}

// reserve is how many connections are kept for operators and migrations.
const reserve = 50

// One provider that hangs takes its own places of an instance, and all of them together
// leave room for an answer. No number of instances exhausts the database.
func TestTheNumbersFitTogether(t *testing.T) {
	t.Parallel()
	places := 0
	for _, k := range kinds {
		places += k.limits.Concurrency
		if requests := deployed["max_instance_request_concurrency"]; 2*k.limits.Concurrency > requests {
			t.Errorf("%s alone takes %d of an instance's %d requests, more than half", k.name, k.limits.Concurrency, requests)
		}
	}
	if requests := deployed["max_instance_request_concurrency"]; places >= requests {
		t.Errorf("the providers take %d of an instance's %d requests", places, requests)
	}
	c, err := config.Load[postgres.Config](config.Map(map[string]string{"DATABASE_URL": "postgres://"}))
	if err != nil {
		t.Fatal(err)
	}
	functions := instances(t)
	sum := 0
	for _, n := range functions {
		sum += n
	}
	const revisions = 2 // a new one starts before the old one ends
	most, there := sum*int(c.PoolMax)*revisions, deployed["max_connections"]-reserve
	if most > there {
		t.Errorf("%d instances of %d functions may open %d connections, and there are %d", sum, len(functions), most, there)
	}
	doc, err := os.ReadFile("../../provider/guard/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	reckoned := fmt.Sprintf("//\t%d x %d x %d = %d <= %d - %d\n", sum, c.PoolMax, revisions, most, deployed["max_connections"], reserve)
	if !strings.Contains(string(doc), reckoned) {
		t.Errorf("the comment of provider/guard lacks %s", reckoned)
	}
}

// instances reads how many instances terraform gives each function, of those that there are.
func instances(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("../../../terraform/functions.tf")
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]int{}
	for _, row := range instancesRow.FindAllStringSubmatch(string(text), -1) {
		given[row[1]], err = strconv.Atoi(row[2])
		if err != nil || given[row[1]] < 1 {
			t.Errorf("%s has %q instances", row[1], row[2])
		}
	}
	entries, err := os.ReadDir("../../../functions")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() && given[entry.Name()] == 0 {
			t.Errorf("terraform does not say how many instances %s may have", entry.Name())
		}
	}
	if len(given) == 0 {
		t.Fatal("there are no functions")
	}
	return given
}

var instancesRow = regexp.MustCompile(`(?m)^    (\w+)\s*= \{ entry_point = .*\binstances = (\d+)\b`)

// What terraform sets is what was reckoned with.
func TestTerraformSetsTheNumbers(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../terraform/*.tf")
	if err != nil || len(files) == 0 {
		t.Fatalf("terraform: %v, %v", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for argument, want := range deployed {
			set := regexp.MustCompile(`(?m)^\s*"?` + argument + `"?\s*=\s*"?(\d+)`)
			for _, found := range set.FindAllStringSubmatch(string(text), -1) {
				if got, err := strconv.Atoi(found[1]); err != nil || got != want {
					t.Errorf("%s sets %s to %s, reckoned with are %d", name, argument, found[1], want)
				}
			}
		}
	}
}
