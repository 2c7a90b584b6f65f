package tidy

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Every rule finds what breaks it, and nothing in what does not.
func TestTheRulesFindWhatBreaksThem(t *testing.T) {
	t.Parallel()
	const handler = "// Package x.\npackage createpayment\n" +
		"func init() { api.Function(\"CreatePayment\", Build) }\nfunc Build() {}\n"
	const table = "locals {\n  functions = {\n    createpayment  = { entry_point = \"CreatePayment\", timeout = 30 }\n  }\n}\n"
	for name, c := range map[string]struct {
		rule  func(*tree) []string
		files map[string]string
		want  string // empty when nothing is wrong
	}{
		"down": {
			importsPointDown,
			map[string]string{"shared/payment/a.go": imp("payment", "shared/money"), "shared/money/a.go": imp("money", "strings")},
			"",
		},
		"up": {
			importsPointDown,
			map[string]string{"shared/money/a.go": imp("money", "shared/payment")},
			"above it",
		},
		"a value with a library": {
			importsPointDown,
			map[string]string{"shared/id/a.go": imp("id", "github.com/google/uuid")},
			"standard library",
		},
		"no layer": {
			importsPointDown,
			map[string]string{"shared/util/a.go": imp("util", "strings")},
			"no layer",
		},
		"the adapter instead of the port": {
			importsPointDown,
			map[string]string{"shared/payment/a.go": imp("payment", "shared/provider/stripe")},
			"adapter",
		},
		"the port knows an adapter": {
			importsPointDown,
			map[string]string{"shared/provider/a.go": imp("provider", "shared/provider/stripe")},
			"adapter",
		},
		"the guard knows an adapter": {
			importsPointDown,
			map[string]string{"shared/provider/guard/a.go": imp("guard", "shared/provider/paypal")},
			"adapter",
		},
		"the guard knows the breaker": {
			importsPointDown,
			map[string]string{
				"shared/provider/guard/a.go":   imp("guard", "shared/provider/breaker"),
				"shared/provider/breaker/a.go": imp("breaker", "shared/control"),
				"shared/control/a.go":          imp("control", "cloud.google.com/go/firestore"),
			},
			"",
		},
		"the adapter knows the port": {
			importsPointDown,
			map[string]string{"shared/provider/stripe/a.go": imp("stripe", "shared/provider")},
			"",
		},
		"a layer with a test package": {
			importsPointDown,
			map[string]string{"shared/outbox/a.go": imp("outbox", "shared/outbox/outboxtest")},
			"never deployed",
		},
		"a test with a test package": {
			importsPointDown,
			map[string]string{"shared/outbox/a_test.go": imp("outbox", "shared/outbox/outboxtest")},
			"",
		},
		"a function's function": {
			functionsAreNotImported,
			map[string]string{"shared/payment/a_test.go": imp("payment", "functions/createpayment")},
			"only shared/local",
		},
		"the local stack's functions": {
			functionsAreNotImported,
			map[string]string{"shared/local/a.go": imp("local", "functions/createpayment")},
			"",
		},
		"a function's library": {
			functionsImportOnlyShared,
			map[string]string{"functions/f/a.go": imp("f", "github.com/jackc/pgx/v5")},
			"wiring of shared/",
		},
		"linked by way of others": {
			nothingBesideIsLinked,
			map[string]string{
				"functions/f/a.go":    imp("f", "shared/payment"),
				"shared/payment/a.go": imp("payment", "shared/postgres"),
				"shared/postgres/a.go": imp("postgres",
					"shared/postgres/migrations"),
			},
			"links shared/postgres/migrations",
		},
		"no comment": {
			packagesHaveComments,
			map[string]string{"shared/money/a.go": "package money\n"},
			"no package comment",
		},
		"the machine's clock": {
			surroundingsArePassedIn,
			map[string]string{"shared/saga/a.go": "package saga\nimport \"time\"\nvar now = time.Now\n"},
			"time.Now",
		},
		"the machine's clock under another name": {
			surroundingsArePassedIn,
			map[string]string{"shared/saga/a.go": "package saga\nimport clock \"time\"\nvar now = clock.Now()\n"},
			"time.Now",
		},
		"chance": {
			surroundingsArePassedIn,
			map[string]string{"shared/saga/a.go": "package saga\nimport \"math/rand/v2\"\nvar n = rand.IntN(3)\n"},
			"math/rand/v2.IntN",
		},
		"seeded chance, and the clock in its place and in tests": {
			surroundingsArePassedIn,
			map[string]string{
				"shared/saga/a.go":        "package saga\nimport \"math/rand/v2\"\nvar r = rand.New(rand.NewPCG(1, 2))\n",
				"shared/local/clock/a.go": "package clock\nimport \"time\"\nvar now = time.Now\n",
				"shared/saga/a_test.go":   "package saga\nimport \"time\"\nvar now = time.Now\n",
			},
			"",
		},
		"a default in a migration": {
			databaseClockIsNotRead,
			map[string]string{"shared/postgres/migrations/0001_a.sql": "CREATE TABLE a (t timestamptz DEFAULT now());"},
			"now()",
		},
		"a clock in a query": {
			databaseClockIsNotRead,
			map[string]string{"shared/saga/a.go": "package saga\nconst q = `SELECT 1 WHERE due < CURRENT_TIMESTAMP`\n"},
			"CURRENT_TIMESTAMP",
		},
		"words about clocks": {
			databaseClockIsNotRead,
			map[string]string{
				"a.sql":            "-- never now()\nSELECT 1;",
				"shared/saga/a.go": "package saga\nconst q = `the caller passes now() in`\n",
			},
			"",
		},
		"a test that sleeps": {
			testsRun,
			map[string]string{"shared/saga/a_test.go": "package saga\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"},
			"sleeps",
		},
		"a test that skips": {
			testsRun,
			map[string]string{"shared/saga/a_test.go": "package saga\nfunc f() { t.Skipf(\"no\") }\n"},
			"skips",
		},
		"a test that skips without a sandbox's keys": {
			testsRun,
			map[string]string{"shared/provider/providertest/sandbox_test.go": "package providertest\nfunc f() { t.Skipf(\"no\") }\n"},
			"",
		},
		"a test that skips beside it": {
			testsRun,
			map[string]string{"shared/provider/providertest/suite_test.go": "package providertest\nfunc f() { t.Skip(\"no\") }\n"},
			"skips",
		},
		"a function as it should be": {
			functionFolders,
			map[string]string{"functions/createpayment/a.go": handler, "functions/createpayment/a_test.go": "package createpayment\n"},
			"",
		},
		"a function without tests": {
			functionFolders,
			map[string]string{"functions/createpayment/a.go": handler},
			"no tests",
		},
		"a function with a package of its own": {
			functionFolders,
			map[string]string{"functions/createpayment/wire/a.go": "package wire\n"},
			"no packages inside",
		},
		"a function tested from outside": {
			functionFolders,
			map[string]string{"functions/createpayment/a.go": handler, "functions/createpayment/a_test.go": "package createpayment_test\n"},
			"is of package createpayment_test",
		},
		"a function without Build": {
			functionFolders,
			map[string]string{"functions/f/a.go": "package f\n", "functions/f/a_test.go": "package f\n"},
			"no function Build",
		},
		"deployed": {
			terraformHasFunctions,
			map[string]string{"terraform/functions.tf": table, "functions/createpayment/a.go": handler},
			"",
		},
		"not deployed": {
			terraformHasFunctions,
			map[string]string{"terraform/functions.tf": table, "functions/createpayment/a.go": handler, "functions/f/a.go": "package f\n"},
			"functions/f is not in",
		},
		"deployed without a folder": {
			terraformHasFunctions,
			map[string]string{
				"terraform/functions.tf":       strings.Replace(table, "  }\n}", "    sweep = { entry_point = \"Sweep\" }\n  }\n}", 1),
				"functions/createpayment/a.go": handler,
			},
			"deploys sweep",
		},
		"deployed under another name": {
			terraformHasFunctions,
			map[string]string{"terraform/functions.tf": strings.Replace(table, "CreatePayment", "Create", 1), "functions/createpayment/a.go": handler},
			"registers",
		},
		"clutter": {
			topLevelIsFixed,
			map[string]string{"notes.txt": "", "go.mod": "", ".gitignore": "", "x.out": ""},
			"notes.txt",
		},
		"a script without a program": {
			scriptsAreStubs,
			map[string]string{"scripts/x": "exec \"./cmd/run.sh\" x \"$@\"\n"},
			"no program",
		},
		"a program without a script": {
			scriptsAreStubs,
			map[string]string{"scripts/cmd/x/a.go": "package main\n"},
			"no stub",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{}
			for name, text := range c.files {
				files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o755}
			}
			tr, err := load(files)
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.Join(c.rule(tr), "\n")
			if c.want == "" && broken != "" || !strings.Contains(broken, c.want) {
				t.Errorf("found %q, want %q", broken, c.want)
			}
		})
	}
}

// imp is a file of a package with one import, of ours or another.
func imp(name, imported string) string {
	if strings.HasPrefix(imported, "shared/") || strings.HasPrefix(imported, "functions/") {
		imported = module + imported
	}
	return "package " + name + "\nimport _ \"" + imported + "\"\n"
}
