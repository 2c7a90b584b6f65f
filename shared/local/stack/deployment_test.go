package stack

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/local/deployment"
)

// What is deployed is written down in several places: terraform's tables, the API's
// document, the functions' code, and the local stack, which stands in for all of it. This
// holds them against each other.
func TestTheDeploymentFitsTogether(t *testing.T) {
	t.Parallel()
	for _, m := range theWorld(t).mistakes() {
		t.Error(m)
	}
}

// What terraform gives a function is enough for it to start. What is at the other end is
// made up, and so are secrets.
func TestEveryFunctionStartsWithWhatTerraformGivesIt(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	for _, environment := range []string{"dev", "staging", "production"} {
		d, err := deployment.Load(w.files, environment)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range w.functions {
			given := d.Given[f.name]
			environ := maps.Clone(given.Variables)
			maps.Copy(environ, given.Secrets)
			environ["DATABASE_CA"] = "" // an authority's certificate, and an account's token: shared/postgres has tests of them
			environ["DATABASE_IAM"] = "false"
			environ["DATABASE_URL"] = "postgres://x@127.0.0.1:1/x"
			if environ["WEBHOOK_KMS_KEY"] != "" { // the cloud gives it its name
				environ["WEBHOOK_KMS_KEY"] = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
			}
			env := testEnv(config.Map(environ))
			if _, err := f.build(t.Context(), env); err != nil {
				t.Errorf("%s, %s: %v", environment, f.name, err)
			}
			env.Lifecycle.Close(t.Context(), env.Log)
		}
	}
}

// world is all the places.
type world struct {
	files fs.FS // the repository's: terraform, functions
	code  map[string]code
	asks  map[string][]string // the variables that a function's Build asks for

	functions   []function
	subscribers map[string]string
	jobs        []job
	queues      map[string]queue
}

// production has the variables that the local stack has no use for. A function is given
// them if it asks for them.
var production = []string{
	"DATABASE_IAM", "DATABASE_CA", "CONTROL_PROJECT", "CONTROL_DATABASE", "WEBHOOK_KMS_KEY",
	"STRIPE_ACCOUNT", "PAYPAL_ACCOUNT", "GOCARDLESS_ACCOUNT",
}

// always has those that are asked for by what is around Build.
var always = []string{"FUNCTION_TARGET", "GOOGLE_CLOUD_PROJECT"}

// localOnly has the variables that stand for what is not there locally: Google's issuer of
// tokens, KMS, the providers' own addresses, the patience to wait a day. Topics are checked
// apart: both have a default that is right.
var localOnly = []string{
	"OIDC_ISSUER", "OIDC_JWKS_URL", "WEBHOOK_SEALING_KEY", "WEBHOOK_ALLOW_LOCAL", "WEBHOOK_SCHEDULE", "RECONCILE_RATE",
	"STRIPE_API_BASE", "PAYPAL_WEBHOOK_CA", "PAYMENT_EVENTS_TOPIC", "PROVIDER_EVENTS_TOPIC",
}

func (w world) mistakes() []string {
	d, err := deployed(w.files)
	if err != nil {
		return []string{err.Error()}
	}
	var all findings
	w.foldersAndEntryPoints(&all, d)
	w.callers(&all, d)
	w.routes(&all, d)
	w.pubsub(&all, d)
	w.tasks(&all, d)
	w.scheduler(&all, d)
	w.variables(&all, d)
	return all
}

type findings []string

func (m *findings) add(format string, args ...any) { *m = append(*m, fmt.Sprintf(format, args...)) }

// same complains of a difference.
func (m *findings) same(what string, want, got any) {
	if diff := gocmp.Diff(want, got); diff != "" {
		m.add("%s:\n%s", what, diff)
	}
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Each folder of functions/ is deployed under the name by which its code registers, and
// runs locally.
func (w world) foldersAndEntryPoints(m *findings, d *deployment.Deployment) {
	m.same("functions of terraform (-) and folders (+)", names(d.Functions), names(w.code))
	m.same("functions of terraform (-) and of modules/function (+)", names(d.Functions), names(d.Given))
	var local []string
	for _, f := range w.functions {
		local = append(local, f.name)
	}
	slices.Sort(local)
	m.same("functions of terraform (-) and of the local stack (+)", names(d.Functions), local)
	for name, f := range d.Functions {
		if registers := w.code[name].registers; f.EntryPoint == "" || registers != f.EntryPoint {
			m.add("functions/%s registers %q, and terraform deploys %q", name, registers, f.EntryPoint)
		}
		if got := d.Given[name].Variables["FUNCTION_TARGET"]; got != f.EntryPoint {
			m.add("%s runs with FUNCTION_TARGET %q", name, got)
		}
		if f.Timeout <= 0 || f.Instances <= 0 {
			m.add("%s has %d seconds and %d instances", name, f.Timeout, f.Instances)
		}
		if f.Egress != "private" && f.Egress != "fixed" {
			m.add("%s has the egress %q", name, f.Egress)
		}
	}
}

// Whoever is said to call a function has a way to, is allowed to, and finds the handler
// that takes such calls; and whatever calls a function is said to.
func (w world) callers(m *findings, d *deployment.Deployment) {
	for name, f := range d.Functions {
		if len(f.Callers) == 0 {
			m.add("nobody calls %s", name)
		}
		callers := slices.Sorted(slices.Values(f.Callers))
		m.same(name+": callers (-) and who may (+)", callers, d.Given[name].Invokers)
		ways := map[string]bool{
			"gateway":   f.Route != "",
			"pubsub":    f.Topic != "",
			"tasks":     f.Queue != "",
			"scheduler": slices.ContainsFunc(slices.Collect(maps.Values(d.Jobs)), func(j deployment.Job) bool { return j.Function == name }),
		}
		for _, caller := range names(ways) {
			if ways[caller] != slices.Contains(callers, caller) {
				m.add("%s is called by %v, and it is %t that %s has a way to call it", name, callers, ways[caller], caller)
			}
		}
		for _, caller := range callers {
			if handler := map[string]string{"gateway": "api.Handle", "pubsub": "task.Push"}[caller]; w.code[name].handler != cmp.Or(handler, "task.Handler") {
				m.add("%s calls %s, whose code takes calls by %s", caller, name, w.code[name].handler)
			}
		}
	}
}

// routes holds the API's document against the functions' own routes and the table's.
func (w world) routes(m *findings, d *deployment.Deployment) {
	doc, err := document(w.files)
	if err != nil {
		m.add("functions/openapi.yaml: %v", err)
		return
	}
	documented := map[string][]string{}
	for route, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			name, _ := operation.Extensions["x-google-backend"].(string)
			documented[name] = append(documented[name], method+" "+route)
		}
	}
	for _, routes := range documented {
		slices.Sort(routes)
	}
	coded, table := map[string][]string{}, []string{}
	for name, c := range w.code {
		if len(c.routes) > 0 {
			coded[name] = c.routes
		}
	}
	for name, f := range d.Functions {
		if slices.Contains(f.Callers, "gateway") {
			table = append(table, name)
		}
		for _, route := range documented[name] {
			if !covers(f.Route, route) {
				m.add("%s has the route %q in terraform, which does not say %s", name, f.Route, route)
			}
		}
	}
	slices.Sort(table)
	m.same("functions that the gateway calls by terraform (-) and by openapi.yaml (+)", table, names(documented))
	m.same("routes of openapi.yaml (-) and of the code (+)", documented, coded)
	management, _ := doc.Extensions["x-google-api-management"].(map[string]any)
	backends, _ := management["backends"].(map[string]any)
	m.same("functions that the gateway calls (-) and its backends (+)", table, names(backends))
	for _, name := range names(backends) {
		backend, _ := backends[name].(map[string]any)
		if address := "${urls." + name + "}"; backend["address"] != address || backend["jwtAudience"] != address {
			m.add("the gateway's backend %s is %v", name, backend)
		}
	}
}

// covers reports whether the table's words for a route say "METHOD /path": a method if it
// names one, and the beginnings of paths.
func covers(words, route string) bool {
	method, at, _ := strings.Cut(route, " ")
	for _, word := range strings.FieldsFunc(words, func(r rune) bool { return r == ' ' || r == ',' }) {
		if word == strings.ToUpper(word) && !strings.HasPrefix(word, "/") && word != method {
			return false
		}
		if strings.HasPrefix(word, "/") && strings.HasPrefix(at, strings.TrimSuffix(word, "*")) {
			return true
		}
	}
	return false
}

// variables holds what each function is given in production against what it is given here,
// and against what its code asks for.
func (w world) variables(m *findings, d *deployment.Deployment) {
	kept := map[string]bool{}
	for _, s := range m.resources(d, "google_secret_manager_secret") {
		kept[s.Text("secret_id")] = false
	}
	for _, f := range w.functions {
		given := d.Given[f.name]
		want := map[string]bool{}
		for name := range f.variables(sample(f.name)) {
			if !slices.Contains(localOnly, name) {
				want[name] = true
			}
		}
		for _, name := range production {
			if slices.Contains(w.asks[f.name], name) {
				want[name] = true
			}
		}
		for _, name := range always {
			want[name] = true
		}
		got := map[string]bool{}
		for name, secret := range given.Secrets {
			got[name] = true
			if _, ok := kept[secret]; !ok {
				m.add("%s gets %s from the secret %q, which there is not", f.name, name, secret)
			}
			kept[secret] = true
		}
		for name, value := range given.Variables {
			if secretive.MatchString(name) {
				m.add("%s gets %s as a variable that anybody can read", f.name, name)
			}
			if strings.HasSuffix(name, "_TOPIC") {
				continue
			}
			got[name] = true
			if value == "" {
				m.add("%s gets an empty %s", f.name, name)
			}
			if !slices.Contains(w.asks[f.name], name) && !slices.Contains(always, name) {
				m.add("%s gets %s, and does not ask for it", f.name, name)
			}
		}
		m.same(f.name+": variables here and asked for (-) and in production (+)", names(want), names(got))
		w.identity(m, d, f, given)
	}
	for _, secret := range names(kept) {
		if !kept[secret] {
			m.add("nobody uses the secret %s", secret)
		}
	}
}

// identity holds who a function's own code lets in against who calls it.
func (w world) identity(m *findings, d *deployment.Deployment, f function, given deployment.Given) {
	row, local := d.Functions[f.name], f.variables(sample(f.name))
	if local["OIDC_AUDIENCE"] == "" { // its callers prove themselves otherwise
		return
	}
	if got := given.Variables["OIDC_AUDIENCE"]; got != d.URLs[f.name] {
		m.add("%s takes tokens for %q", f.name, got)
	}
	var here, there []string
	for _, caller := range row.Callers {
		here = append(here, "call-from-"+caller+"@"+project+".iam.gserviceaccount.com")
		there = append(there, d.Emails[caller])
	}
	m.same(f.name+": callers (-) and who is let in here (+)", strings.Join(here, ","), local["OIDC_CALLERS"]+local["GATEWAY_CALLERS"])
	m.same(f.name+": callers (-) and who is let in there (+)", strings.Join(there, ","), given.Variables["OIDC_CALLERS"]+given.Variables["GATEWAY_CALLERS"])
}
