package deployment

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const sample = `
variable "environment" { type = string }
variable "wanted" {
  type    = set(string)
  default = ["b", "a"]
}
variable "limits" {
  type    = object({ most = number, least = optional(number, 1) })
  default = { most = 3 }
}
variable "unset" { type = string }

locals {
  rows = {
    one = { port = 1, tags = ["x"], topic = "news" }
    two = { port = 2, tags = ["x", "y"] }
  }
  topics = toset(["news", "weather"])
  urls   = { for name, _ in local.rows : name => "https://${name}.${var.environment}.example" }
  readers = { for name, r in local.rows : name => r if contains(r.tags, "y") == false }
  both    = merge([for r in values(local.rows) : { "p${r.port}" = r.port }]...)
  total   = sum([for r in local.rows : min(r.port, var.limits.most)]) + var.limits.least
  text    = "${join(",", sort(tolist(var.wanted)))} ${var.unset} ${length(local.rows)} ${replace("a-b", "/-./", "!")}"
  away    = uuid()
  some    = try(local.rows.two.topic, "none")
  loop    = local.pool
  pool    = local.loop
}

resource "example_topic" "events" {
  for_each = local.topics
  name     = "${each.key}-events"
}

resource "example_reader" "push" {
  for_each = local.readers

  topic = example_topic.events[each.value.topic].id
  named = example_topic.events[each.value.topic].name
  deep  = example_reader.push[each.key].status[0].text

  push {
    url = local.urls[each.key]
  }
  dynamic "rule" {
    for_each = local.rows.two.tags
    content {
      tag = rule.value
      at  = rule.key
    }
  }
}

resource "example_address" "out" {
  count = 2
  name  = "out-${count.index}"
}

module "part" {
  source   = "./part"
  for_each = { for name, r in local.rows : name => r if true }

  addresses = example_address.out[*].id
  tags      = each.value.tags
}

output "addresses" { value = example_address.out[*].id }
`

func read(t *testing.T) *Module {
	t.Helper()
	files := fstest.MapFS{
		"here/main.tf":    {Data: []byte(sample)},
		"here/dev.tfvars": {Data: []byte("environment = \"dev\"\nwanted = [\"c\", \"b\"]\n")},
	}
	m, err := Read(files, "here", map[string]any{"wanted": []string{"z", "y"}}, "here/dev.tfvars")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLocals(t *testing.T) {
	t.Parallel()
	m := read(t)
	for name, want := range map[string]any{
		"urls":  map[string]any{"one": "https://one.dev.example", "two": "https://two.dev.example"},
		"both":  map[string]any{"p1": 1.0, "p2": 2.0},
		"total": 4.0,
		"text":  "y,z var.unset 2 a!",
		"away":  Unknown,
		"some":  "none",
	} {
		var got any
		if err := m.Local(name, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	var rows map[string]struct {
		Port int      `json:"port"`
		Tags []string `json:"tags"`
	}
	if err := m.Local("rows", &rows); err == nil || !strings.Contains(err.Error(), "topic") {
		t.Errorf("a column that nobody reads: %v", err)
	}
	for name, words := range map[string]string{"loop": "needs itself", "nothing": "none of the name"} {
		var got any
		if err := m.Local(name, &got); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestInstances(t *testing.T) {
	t.Parallel()
	m := read(t)
	readers, err := m.Resources("example_reader")
	if err != nil || len(readers) != 1 {
		t.Fatalf("%v, %v", readers, err)
	}
	want := Instance{
		Address: `example_reader.push["one"]`, Name: "push", Key: "one",
		Values: map[string]any{
			"topic": `example_topic.events["news"].id`, "named": "news-events", "deep": Unknown,
			"push": []any{map[string]any{"url": "https://one.dev.example"}},
			"rule": []any{map[string]any{"tag": "x", "at": int64(0)}, map[string]any{"tag": "y", "at": int64(1)}},
		},
	}
	if diff := cmp.Diff(want, readers[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := readers[0].Text("push", 0, "url"); got != "https://one.dev.example" {
		t.Errorf("at push: %q", got)
	}
	if got := readers[0].At("push", 1, "url"); got != nil {
		t.Errorf("at what there is not: %v", got)
	}
	calls, err := m.Calls()
	if err != nil || len(calls) != 2 {
		t.Fatalf("%v, %v", calls, err)
	}
	if diff := cmp.Diff([]any{"example_address.out[0].id", "example_address.out[1].id"}, calls[0].At("addresses")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"addresses"}, m.Outputs()); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	if !m.Has("example_topic.events") || !m.Has("module.part") || m.Has("example_topic.others") {
		t.Error("it is not known which blocks there are")
	}
	if diff := cmp.Diff([]string{"environment", "limits", "unset", "wanted"}, m.Variables()); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}

func TestWhatIsNoTerraformIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ main, vars, want string }{
		"nothing":               {"", "", "no terraform"},
		"no syntax":             {"locals {", "", "here/main.tf"},
		"an unknown variable":   {"locals { a = var.b }", "", "b"},
		"an unknown resource":   {"locals { a = x_y.z.id }", "", "no such block"},
		"a value of no type":    {"variable \"a\" { type = number }", "a = \"x\"", "variable a"},
		"tfvars that calculate": {"variable \"a\" { type = number }", "a = var.b", "here/x.tfvars"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{"here/x.tfvars": {Data: []byte(c.vars)}}
			if c.main != "" {
				files["here/main.tf"] = &fstest.MapFile{Data: []byte(c.main)}
			}
			m, err := Read(files, "here", nil, "here/x.tfvars")
			if err == nil {
				var got any
				err = m.Local("a", &got)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestTheRepositorysDeploymentsAreRead(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"dev", "staging", "production"} {
		d, err := Load(os.DirFS("../../.."), environment)
		if err != nil {
			t.Errorf("%s: %v", environment, err)
			continue
		}
		f := d.Functions["createpayment"]
		if f.EntryPoint != "CreatePayment" || !slices.Equal(f.Callers, []string{"gateway"}) || len(d.Given) != len(d.Functions) {
			t.Errorf("%s: %+v, %d functions are given something", environment, f, len(d.Given))
		}
		if key := d.Given["createpayment"].Secrets["STRIPE_SECRET_KEY"]; key != "stripe-secret-key" {
			t.Errorf("%s: createpayment has the secret %q", environment, key)
		}
		for name, g := range d.Given {
			for variable, value := range g.Variables {
				if strings.Contains(value, Unknown) && variable != "DATABASE_CA" && variable != "DATABASE_URL" {
					t.Errorf("%s: %s has %s %s", environment, name, variable, value)
				}
			}
		}
	}
}
