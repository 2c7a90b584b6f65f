package stack

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/local/deployment"
)

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
