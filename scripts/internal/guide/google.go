package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// projectNumber is of the project that there is not.
const projectNumber = "123456789012"

// google answers gcloud, after a look at whether gcloud would understand it.
func (p *place) google(a ask) (string, error) {
	for _, t := range p.gcloud {
		if err := t.check(a.Args); err != nil {
			return "", err
		}
	}
	words := command(a.Args)
	switch verb := strings.Join(words[:min(3, len(words))], " "); {
	case strings.HasPrefix(verb, "projects describe"):
		return projectNumber + "\n", nil
	case strings.HasPrefix(verb, "config get"):
		return "operator@example.com\n", nil
	case verb == "secrets versions add":
		return "", p.addSecret(words[3], a.Stdin)
	case verb == "run jobs execute":
		return p.execute(words[3], a.Args)
	case strings.HasPrefix(verb, "logging read"):
		return p.logs(words[2])
	}
	return "", nil // nothing comes of it here
}

// addSecret takes a value for a secret that terraform has made.
func (p *place) addSecret(name, value string) error {
	resources, err := p.state()
	if err != nil {
		return err
	}
	for _, r := range resources {
		if r.Type == "google_secret_manager_secret" && r.text("secret_id") == name {
			if value != typed {
				return fmt.Errorf("the value of %s is not what was typed, but %q", name, value)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.versions[name]++
			return nil
		}
	}
	return fmt.Errorf("there is no secret %s", name)
}

// execute runs the job ops: the real program, on the local stack's database as the
// operators' role.
func (p *place) execute(job string, args []string) (string, error) {
	p.mu.Lock()
	_, deployed := p.images[job]
	name := fmt.Sprintf("%s-%05d", job, len(p.executions)+1)
	p.mu.Unlock()
	if !deployed || job != "ops" {
		return "", fmt.Errorf("there is no job %s", job)
	}
	tasks := p.stack.TasksConfig()
	cmd := exec.CommandContext(p.ctx, filepath.Join(p.repository, ".bin/ops"), strings.Split(flag(args, "--args"), ",")...)
	cmd.Env = []string{
		"CLOUD_RUN_JOB=" + job, "DATABASE_URL=" + p.stack.OperatorURL, "CONTROL_URL=" + p.stack.ControlURL,
		"TASKS_ENDPOINT=" + p.stack.Tasks.Addr(), "TASKS_LOCATION=" + tasks.Location, "TASKS_SERVICE_ACCOUNT=" + tasks.ServiceAccount,
		"RESUME_URL=" + tasks.ResumeURL, "DELIVER_URL=" + tasks.DeliverURL, "SETTLE_URL=" + tasks.SettleURL,
	}
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	p.mu.Lock()
	p.executions[name] = out.String()
	p.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("the execution %s failed: %w\n%s%s", name, err, out.String(), problems.String())
	}
	if strings.Contains(out.String(), "sk_") && strings.Contains(out.String(), "api_key\": \"sk_") {
		return "", errors.New("an API key is in the log")
	}
	if flag(args, "--format") == "value(metadata.name)" {
		return name + "\n", nil
	}
	return "", nil
}

// logs finds what an execution printed.
func (p *place) logs(filter string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, text := range p.executions {
		if strings.Contains(filter, `labels."run.googleapis.com/execution_name"=`+name) {
			return text, nil
		}
	}
	if strings.Contains(filter, "execution_name") {
		return "", fmt.Errorf("nothing was logged for %s", filter)
	}
	return "", nil // no errors
}

// pack builds nothing, and reports a digest, another one each time.
func (p *place) pack(a ask) (string, error) {
	after := func(name string) string {
		if i := slices.Index(a.Args, name); i >= 0 && i+1 < len(a.Args) {
			return a.Args[i+1]
		}
		return ""
	}
	if len(a.Args) < 2 || a.Args[0] != "build" || !slices.Contains(a.Args, "--publish") || !strings.Contains(after("--builder"), "@sha256:") {
		return "", fmt.Errorf("not understood: %v", a.Args)
	}
	if _, err := os.Stat(filepath.Join(p.work, after("--path"), "project.toml")); err != nil {
		return "", err
	}
	p.mu.Lock()
	p.builds++
	digest := sha256.Sum256(fmt.Append(nil, a.Args[1], p.builds))
	p.mu.Unlock()
	report := fmt.Sprintf("[image]\n  tags = [%q]\n  digest = \"sha256:%x\"\n", a.Args[1], digest)
	return "", os.WriteFile(filepath.Join(after("--report-output-dir"), "report.toml"), []byte(report), 0o644)
}

// A resource is one that terraform has.
type resource struct {
	Type      string `json:"type"`
	Instances []struct {
		Attributes map[string]json.RawMessage `json:"attributes"`
	} `json:"instances"`
}

// text is an attribute of a resource that has one instance.
func (r resource) text(name string) (s string) {
	if len(r.Instances) == 1 {
		_ = json.Unmarshal(r.Instances[0].Attributes[name], &s) // empty if it is no text
	}
	return s
}

// state reads what terraform has made, one resource for each instance.
func (p *place) state() ([]resource, error) {
	text, err := os.ReadFile(filepath.Join(p.work, "terraform/terraform.tfstate"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s struct{ Resources []resource }
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	var all []resource
	for _, r := range s.Resources {
		for i := range r.Instances {
			all = append(all, resource{r.Type, r.Instances[i : i+1]})
		}
	}
	return all, nil
}

// applied follows terraform: what it has deployed runs, and its outputs are told with the
// address that the API really has here.
func (p *place) applied(a ask) (string, error) {
	if a.Status != 0 {
		return "", nil
	}
	switch {
	case slices.Contains(a.Args, "init"):
		return "", p.initialized(a.Args)
	case slices.Contains(a.Args, "output"):
		return p.output(a)
	case slices.Contains(a.Args, "apply"):
		return "", p.deploy()
	case slices.Contains(a.Args, "destroy"):
		left, err := p.state()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d resources are left", len(left))
		}
		p.mu.Lock()
		p.destroyed = err == nil
		p.mu.Unlock()
		return "", err
	}
	return "", nil
}

// initialized looks at where the state would be.
func (p *place) initialized(args []string) error {
	bucket := false
	for _, arg := range args {
		value, ok := strings.CutPrefix(arg, "-backend-config=")
		if _, set := strings.CutPrefix(value, "bucket="); ok && set {
			bucket = true
		} else if ok {
			if _, err := os.Stat(filepath.Join(p.work, "terraform", value)); err != nil {
				return err
			}
		}
	}
	if !bucket {
		return errors.New("the state has no bucket")
	}
	return nil
}

func (p *place) output(a ask) (string, error) {
	name := a.Args[len(a.Args)-1]
	said := strings.TrimSpace(a.Output)
	if said == "" || strings.Contains(said, "null") || name == "provider_webhooks" && !strings.Contains(said, "/v1/provider-webhooks/") {
		return "", fmt.Errorf("terraform says of %s no more than %q", name, said)
	}
	if name == "api_url" {
		return p.stack.GatewayURL, nil
	}
	return a.Output, nil
}

// deploy brings what Cloud Run has in line with terraform's state.
func (p *place) deploy() error {
	resources, err := p.state()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range resources {
		name := r.text("name")
		switch r.Type {
		case "google_secret_manager_secret":
			p.versions[r.text("secret_id")] += 0
		case "google_cloud_run_v2_job", "google_cloud_run_v2_service":
			image := string(r.Instances[0].Attributes["template"]) // with all that a revision is made of
			if p.images[name] == image {
				continue
			}
			known := p.images[name] != ""
			p.images[name] = image
			if r.Type == "google_cloud_run_v2_service" {
				p.cloud.Deploy(name, fmt.Sprintf("%s-%05d", name, p.builds), true)
				if r.text("ingress") == "INGRESS_TRAFFIC_INTERNAL_ONLY" {
					p.cloud.Internal(name)
				}
			} else if !known {
				p.cloud.AddJob(name, true)
			}
		}
	}
	return nil
}
