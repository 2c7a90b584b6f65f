package core

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/local/deployment"
	"github.com/tollgate/tollgate/shared/postgres"
)

// One provider that hangs takes its own places of an instance, and all of them together
// leave room for an answer. No number of instances exhausts the database. The numbers are
// terraform's; why they are so: see provider/guard.
func TestTheNumbersFitTogether(t *testing.T) {
	t.Parallel()
	d := deployed(t, "production")
	places := 0
	for _, k := range kinds {
		places += k.limits.Concurrency
		if 2*k.limits.Concurrency > d.requests {
			t.Errorf("%s alone takes %d of an instance's %d requests, more than half", k.name, k.limits.Concurrency, d.requests)
		}
	}
	if places >= d.requests {
		t.Errorf("the providers take %d of an instance's %d requests", places, d.requests)
	}
	c, err := config.Load[postgres.Config](config.Map(map[string]string{"DATABASE_URL": "postgres://"}))
	if err != nil {
		t.Fatal(err)
	}
	if int(c.PoolMax) != d.Connections.Pool {
		t.Errorf("a function's pool has %d connections unless told, and terraform reckons with %d", c.PoolMax, d.Connections.Pool)
	}
	doc, err := os.ReadFile("../../provider/guard/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	reckoned := fmt.Sprintf("//\t%d x %d x %d = %d <= %d - %d\n",
		d.instances, d.Connections.Pool, d.Connections.Revisions, d.most(), d.connections, d.Connections.Reserve)
	if !strings.Contains(string(doc), reckoned) {
		t.Errorf("the comment of provider/guard lacks %s", reckoned)
	}
}

// In no environment can the functions open more connections than the database has.
func TestTheDatabaseHasEnoughConnections(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"dev", "staging", "production"} {
		d := deployed(t, environment)
		if there := d.connections - d.Connections.Reserve; d.most() > there {
			t.Errorf("%s: %d instances may open %d connections, and there are %d", environment, d.instances, d.most(), there)
		}
		for name, given := range d.Given {
			if pool := given.Variables["DATABASE_POOL_MAX"]; pool != fmt.Sprint(d.Connections.Pool) {
				t.Errorf("%s: %s has a pool of %q, reckoned with are %d", environment, name, pool, d.Connections.Pool)
			}
		}
	}
}

// capacity is what an environment has, as terraform sets it.
type capacity struct {
	*deployment.Deployment
	requests    int // that an instance takes at a time
	instances   int // of all functions
	connections int // that the database accepts
}

// most is how many connections the functions may open, while a new revision of each starts
// before the old one ends.
func (c capacity) most() int { return c.instances * c.Connections.Pool * c.Connections.Revisions }

func deployed(t *testing.T, environment string) capacity {
	t.Helper()
	d, err := deployment.Load(os.DirFS("../../.."), environment)
	if err != nil {
		t.Fatal(err)
	}
	c := capacity{Deployment: d}
	calls, err := d.Calls()
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range calls {
		n, ok := call.At("max_instances").(int64)
		if call.Name != "function" || !ok || n < 1 {
			t.Fatalf("%s: %s has %v instances", environment, call.Address, call.At("max_instances"))
		}
		c.instances += int(n)
		requests, _ := call.At("concurrency").(int64)
		if c.requests == 0 {
			c.requests = int(requests)
		}
		if int(requests) != c.requests || requests == 0 {
			t.Errorf("%s: %s takes %d requests at a time, another function %d", environment, call.Address, requests, c.requests)
		}
	}
	databases, err := d.Resources("google_sql_database_instance")
	if err != nil || len(databases) != 1 {
		t.Fatalf("%s: %d databases, %v", environment, len(databases), err)
	}
	flags, _ := databases[0].At("settings", 0, "database_flags").([]any)
	for i := range flags {
		if databases[0].Text("settings", 0, "database_flags", i, "name") == "max_connections" {
			if _, err := fmt.Sscan(databases[0].Text("settings", 0, "database_flags", i, "value"), &c.connections); err != nil {
				t.Fatalf("%s: max_connections: %v", environment, err)
			}
		}
	}
	if len(d.Given) == 0 || c.connections == 0 {
		t.Fatalf("%s: %d functions and %d connections", environment, len(d.Given), c.connections)
	}
	return c
}
