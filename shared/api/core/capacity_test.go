package core

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/postgres"
)

// What a deployment has, by the names of terraform's arguments. Why: see provider/guard.
var deployed = map[string]int{
	"max_instance_request_concurrency": 40,
	"max_instance_count":               10,
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
	entries, err := os.ReadDir("../../../functions")
	if err != nil {
		t.Fatal(err)
	}
	functions := 0
	for _, entry := range entries {
		if entry.IsDir() {
			functions++
		}
	}
	if functions == 0 {
		t.Fatal("there are no functions")
	}
	const revisions = 2 // a new one starts before the old one ends
	most := functions * deployed["max_instance_count"] * int(c.PoolMax) * revisions
	if there := deployed["max_connections"] - reserve; most > there {
		t.Errorf("%d functions may open %d connections, and there are %d", functions, most, there)
	}
}

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
