package stack

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
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
			if _, err := f.build(t.Context(), testEnv(config.Map(environ))); err != nil {
				t.Errorf("%s, %s: %v", environment, f.name, err)
			}
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

// pubsub holds topics, who writes and who reads them, and their subscriptions together.
func (w world) pubsub(m *findings, d *deployment.Deployment) {
	written, read := map[string]bool{}, map[string]string{}
	for name, f := range d.Functions {
		if f.Topic != "" {
			read[name] = f.Topic
			if !slices.Contains(d.Topics, f.Topic) {
				m.add("%s is pushed %s, which is no topic", name, f.Topic)
			}
		}
		for variable, value := range d.Given[name].Variables {
			if !strings.HasSuffix(variable, "_TOPIC") {
				continue
			}
			written[value] = true
			if !slices.Contains(d.Topics, value) {
				m.add("%s has %s %s, which is no topic", name, variable, value)
			}
		}
	}
	m.same("topics that are pushed to functions by terraform (-) and by the local stack (+)", read, w.subscribers)
	for _, topic := range d.Topics {
		if !written[topic] {
			m.add("nobody writes the topic %s", topic)
		}
		if !slices.Contains(slices.Collect(maps.Values(read)), topic) {
			m.add("nobody reads the topic %s", topic)
		}
	}
	w.subscriptions(m, d, read)
	w.grants(m, d)
}

// subscriptions holds what pushes topics to functions, and what keeps what could not be.
func (w world) subscriptions(m *findings, d *deployment.Deployment, read map[string]string) {
	topics := map[string]deployment.Instance{} // by any name that others have for them
	subscribed := map[string]bool{}
	for _, t := range m.resources(d, "google_pubsub_topic") {
		name := t.Text("name")
		if name == "" {
			m.add("%s has no name", t.Address)
		}
		for _, by := range []string{name, t.Address + ".id", "projects/" + deployment.Project + "/topics/" + name} {
			topics[by] = t
		}
	}
	pushed := map[string]bool{}
	for _, s := range m.resources(d, "google_pubsub_subscription") {
		name, topic := s.Text("name"), topics[s.Text("topic")]
		if name == "" || topic.Address == "" {
			m.add("%s is called %q and is of the topic %q", s.Address, name, s.Text("topic"))
		}
		subscribed[topic.Address] = true
		if s.At("push_config") == nil {
			continue
		}
		pushed[name] = true
		m.same(s.Address+": the address and the audience (-) and what they are (+)",
			[]string{d.URLs[name], d.URLs[name], d.Emails["pubsub"]},
			[]string{s.Text("push_config", 0, "push_endpoint"), s.Text("push_config", 0, "oidc_token", 0, "audience"), s.Text("push_config", 0, "oidc_token", 0, "service_account_email")})
		if dead := topics[s.Text("dead_letter_policy", 0, "dead_letter_topic")]; dead.Name != "dead" {
			m.add("%s has the dead-letter topic %q", s.Address, s.Text("dead_letter_policy", 0, "dead_letter_topic"))
		}
		if topic.Text("name") != read[name] {
			m.add("%s is of %q, and %s reads %q", s.Address, topic.Text("name"), name, read[name])
		}
	}
	m.same("functions that read topics (-) and subscriptions that push (+)", names(read), names(pushed))
	for _, t := range topics {
		if !subscribed[t.Address] {
			m.add("%s has no subscription, and keeps nothing", t.Address)
		}
	}
}

// grants holds what a function is told of against what it may do with it: who is told a
// topic may publish to it, who is told where tasks go may make them, and nobody else may.
func (w world) grants(m *findings, d *deployment.Deployment) {
	told := map[string]map[string]bool{}
	tell := func(of, function string) {
		if told[of] == nil {
			told[of] = map[string]bool{}
		}
		told[of][function] = true
	}
	for name, given := range d.Given {
		for variable, value := range given.Variables {
			switch {
			case strings.HasSuffix(variable, "_TOPIC"):
				tell("google_pubsub_topic_iam_member roles/pubsub.publisher "+value, name)
			case strings.HasSuffix(variable, "_URL") && variable != "DATABASE_URL":
				for _, queue := range w.queuesOf(d, value) {
					tell("google_cloud_tasks_queue_iam_member roles/cloudtasks.enqueuer "+queue, name)
				}
			case variable == "TASKS_SERVICE_ACCOUNT":
				tell("google_service_account_iam_member roles/iam.serviceAccountUser", name)
			case variable == "WEBHOOK_KMS_KEY":
				tell("google_kms_crypto_key_iam_member roles/cloudkms", name)
			case variable == "AUDIT_SEALS":
				tell("google_storage_bucket_iam_member roles/storage", name)
			case variable == "CONTROL_PROJECT":
				tell("google_project_iam_member roles/datastore", name)
			}
		}
	}
	for of, functions := range told {
		kind, rest, _ := strings.Cut(of, " ")
		role, on, _ := strings.Cut(rest, " ")
		granted := map[string]bool{}
		for _, g := range m.resources(d, kind) {
			if !strings.HasPrefix(g.Text("role"), role) || on != "" && on != g.Text("topic")+g.Text("name") {
				continue
			}
			for name, member := range d.Members {
				if _, is := d.Functions[name]; is && g.Text("member") == member {
					granted[name] = true
				}
			}
		}
		m.same("who is told (-) and who may (+): "+of, names(functions), names(granted))
	}
}

// queuesOf are the queues of the function at an address.
func (w world) queuesOf(d *deployment.Deployment, url string) (all []string) {
	for name, f := range d.Functions {
		for _, queue := range names(d.Queues) {
			if d.URLs[name] == url && matches(f.Queue, queue) {
				all = append(all, queue)
			}
		}
	}
	return all
}

func (m *findings) resources(d *deployment.Deployment, kind string) []deployment.Instance {
	all, err := d.Resources(kind)
	if err != nil {
		m.add("%v", err)
	}
	return all
}

// tasks holds queues, who makes tasks, and who does them together.
func (w world) tasks(m *findings, d *deployment.Deployment) {
	var made []string
	for _, r := range m.resources(d, "google_cloud_tasks_queue") {
		made = append(made, r.Text("name"))
	}
	m.same("queues of the table (-) and those that are made (+)", names(d.Queues), made)
	deployed := map[string]queue{}
	for name, q := range d.Queues {
		deployed[location+"/queues/"+name] = queue{
			perSecond: q.PerSecond, concurrent: int32(q.Concurrent), attempts: int32(q.Attempts), backoff: int64(q.Backoff),
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(d.Functions)), func(f deployment.Function) bool { return matches(f.Queue, name) }) {
			m.add("nobody does the tasks of the queue %s", name)
		}
	}
	if diff := gocmp.Diff(deployed, w.queues, gocmp.AllowUnexported(queue{})); diff != "" {
		m.add("queues of terraform (-) and of the local stack (+):\n%s", diff)
	}
	reached := map[string]bool{}
	for name := range d.Functions {
		for variable, value := range d.Given[name].Variables {
			if strings.HasSuffix(variable, "_URL") && variable != "DATABASE_URL" {
				reached[value] = true
			}
		}
	}
	for name, f := range d.Functions {
		if f.Queue != "" && !slices.ContainsFunc(names(d.Queues), func(q string) bool { return matches(f.Queue, q) }) {
			m.add("%s does the tasks of %s, and there is no such queue", name, f.Queue)
		}
		if slices.Contains(f.Callers, "tasks") != reached[d.URLs[name]] {
			m.add("%s is called by %v, and it is %t that somebody makes tasks for it", name, f.Callers, reached[d.URLs[name]])
		}
	}
}

// matches reports whether a queue is one that a function's column names.
func matches(pattern, queue string) bool {
	ok, err := path.Match(pattern, queue)
	return ok && err == nil
}

// scheduler holds the jobs together with those that are made, and with the local stack's.
func (w world) scheduler(m *findings, d *deployment.Deployment) {
	deployed, local := map[string]job{}, map[string]job{}
	for name, j := range d.Jobs {
		f, ok := d.Functions[j.Function]
		if !ok {
			m.add("the job %s calls %s, which is no function", name, j.Function)
		}
		deployed[name] = job{name, j.Function, j.Schedule, j.TimeZone, f.Timeout, j.Retries}
	}
	for _, j := range w.jobs {
		local[j.name] = j
	}
	if diff := gocmp.Diff(deployed, local, gocmp.AllowUnexported(job{})); diff != "" {
		m.add("jobs of terraform (-) and of the local stack (+):\n%s", diff)
	}
	made := map[string]bool{}
	for _, r := range m.resources(d, "google_cloud_scheduler_job") {
		j := d.Jobs[r.Text("name")]
		made[r.Text("name")] = true
		url := d.URLs[j.Function]
		m.same(r.Address+": as the table has it (-) and as it is made (+)",
			[]string{url, url, d.Emails["scheduler"], j.Schedule, j.TimeZone, fmt.Sprintf("%ds", d.Functions[j.Function].Timeout)},
			[]string{
				r.Text("http_target", 0, "uri"), r.Text("http_target", 0, "oidc_token", 0, "audience"),
				r.Text("http_target", 0, "oidc_token", 0, "service_account_email"), r.Text("schedule"), r.Text("time_zone"), r.Text("attempt_deadline"),
			})
	}
	m.same("jobs of the table (-) and those that are made (+)", names(d.Jobs), names(made))
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
