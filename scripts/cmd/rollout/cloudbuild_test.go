package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oasdiff/yaml"
)

// What is read of cloudbuild.yaml, and all that may be in it.
type buildFile struct {
	Steps []struct {
		ID, Name, Entrypoint string
		Args, Env            []string
	}
	Substitutions           map[string]string
	ServiceAccount, Timeout string
	Options                 struct {
		DynamicSubstitutions bool
		MachineType, Logging string
		Volumes              []struct{ Name, Path string }
		Env                  []string
	}
}

func TestCloudBuild(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository, "cloudbuild.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range cloudBuildProblems(string(text)) {
		t.Error(problem)
	}
}

// Each rule finds what breaks it.
func TestCloudBuildsRules(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository, "cloudbuild.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"a script that is gone":       {"[scripts/package, --all]", "[scripts/pack, --all]", "there is no scripts/pack"},
		"a command that is gone":      {"[scripts/rollout, pin]", "[scripts/rollout, hold]", "no command hold"},
		"a flag that is gone":         {"--soak, $_SOAK", "--wait, $_SOAK", "-wait"},
		"steps that stop early":       {`"5,50,100"`, `"5,50"`, "rise to 100"},
		"another program":             {"-o, .bin/images, ./scripts/cmd/images", "-o, .bin/rollout, ./scripts/cmd/rollout", "./.bin/images is not compiled before"},
		"a moving image":              {"hashicorp/terraform:1.11.4\n    args: [-chdir=terraform, apply, -input=false, -lock-timeout=5m, release.plan]", "hashicorp/terraform:latest\n    args: [-chdir=terraform, apply, -input=false, -lock-timeout=5m, release.plan]", "names no version"},
		"an undeclared substitution":  {"bucket=$_STATE_BUCKET", "bucket=$_BUCKET", "$_BUCKET is not declared"},
		"an unused substitution":      {"  _SOAK: 10m", "  _SOAK: 10m\n  _BRANCH: main", "_BRANCH is not used"},
		"a shell's own variable":      {`"$$VARIABLES"`, `"$VARIABLES"`, "$VARIABLES is no substitution"},
		"an apply without its plan":   {"release.plan]", "-auto-approve]", "applies what nobody planned"},
		"a plan that is not reviewed": {"args: [scripts/rollout, review, terraform/release.json]", "args: [scripts/rollout, status]", "apply comes before a review of terraform/release.json"},
		"requests before a trial":     {"id: smoke\n", "id: try\n", "there is no step smoke"},
		"another account":             {"serviceAccounts/deploy@", "serviceAccounts/owner@", "not as deploy"},
		"nothing pinned":              {"  - id: pin\n", "  - id: pinned\n", "there is no step pin"},
		"another order":               {"[scripts/rollout, smoke]", "[scripts/rollout, promote]", "step smoke runs rollout promote"},
		"a misspelt member":           {"entrypoint: go\n", "entry_point: go\n", "entry_point"},
		"too short a time":            {"timeout: 10800s", "timeout: 1800s", "the canary alone takes"},
	} {
		if strings.Count(string(text), c.old) == 0 {
			t.Errorf("%s: cloudbuild.yaml has no %q to change", name, c.old)
			continue
		}
		problems := cloudBuildProblems(strings.Replace(string(text), c.old, c.new, 1))
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, c.want) }) {
			t.Errorf("%s is not found: %q", name, problems)
		}
	}
}

// order is what a release is: nothing is deployed that is not checked, nothing is planned
// before requests are pinned, and nobody's requests go to what was not tried.
var order = []string{
	"check", "package", "compile", "images", "init", "plan-migration", "review-migration", "apply-migration", "migrate",
	"pin", "plan", "review", "apply", "smoke", "canary", "promote",
}

func cloudBuildProblems(text string) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var b buildFile
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return []string{err.Error()}
	}
	d := json.NewDecoder(bytes.NewReader(asJSON))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return []string{err.Error()}
	}
	var ids []string
	var seen progress
	for _, step := range b.Steps {
		ids = append(ids, step.ID)
		if _, version, _ := strings.Cut(step.Name, ":"); version == "" || version == "latest" {
			problem("step %s: the image %s names no version", step.ID, step.Name)
		}
		command := step.Args
		if step.Entrypoint != "" && step.Entrypoint != "bash" {
			command = append([]string{step.Entrypoint}, step.Args...)
		}
		for _, wrong := range seen.step(command) {
			problem("step %s: %s", step.ID, wrong)
		}
		if command[0] == "scripts/rollout" {
			problems = append(problems, rolloutProblems(step.ID, command[1:])...)
		}
	}
	for i, id := range order {
		at := slices.Index(ids, id)
		if at < 0 {
			problem("there is no step %s", id)
		} else if i > 0 && at < slices.Index(ids, order[i-1]) {
			problem("step %s comes before %s", id, order[i-1])
		}
	}
	if len(ids) != len(order) {
		problem("the steps are %v and not %v", ids, order)
	}
	problems = append(problems, substitutionProblems(text, b.Substitutions)...)
	if want := "projects/$PROJECT_ID/serviceAccounts/deploy@$PROJECT_ID.iam.gserviceaccount.com"; b.ServiceAccount != want {
		problem("it runs as %s, not as deploy", b.ServiceAccount)
	}
	return append(problems, timeProblems(b)...)
}

// progress is what the steps so far have made.
type progress struct{ outputs, reviewed []string }

// step says what is wrong with a command after what came before.
func (p *progress) step(command []string) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	switch program := command[0]; {
	case program == "go":
		p.outputs = append(p.outputs, "./"+command[slices.Index(command, "-o")+1])
		if _, err := os.Stat(filepath.Join(repository, command[len(command)-1])); err != nil {
			complain("%v", err)
		}
	case program == "sh":
		for _, made := range regexp.MustCompile(`-out=(\S+)|>(\S+)`).FindAllStringSubmatch(command[len(command)-1], -1) {
			p.outputs = append(p.outputs, made[1]+made[2])
		}
	case strings.HasPrefix(program, "./.bin/"):
		if !slices.Contains(p.outputs, program) {
			complain("%s is not compiled before", program)
		}
	case strings.HasPrefix(program, "scripts/"):
		if _, err := os.Stat(filepath.Join(repository, program)); err != nil {
			complain("there is no %s", program)
		}
		if len(command) == 3 && command[1] == "review" {
			if p.reviewed = append(p.reviewed, command[2]); !slices.Contains(p.outputs, command[2]) {
				complain("nobody wrote %s", command[2])
			}
		}
	case program == "-chdir=terraform": // the image's own program
		plan := command[len(command)-1]
		if !slices.Contains(p.outputs, plan) {
			complain("applies what nobody planned: %s", plan)
		}
		if shown := "terraform/" + strings.Replace(plan, ".plan", ".json", 1); !slices.Contains(p.reviewed, shown) {
			complain("apply comes before a review of %s", shown)
		}
	default:
		complain("what is %s?", program)
	}
	return wrong
}

// rolloutProblems gives a step's command line to the program's own flags.
func rolloutProblems(id string, args []string) (problems []string) {
	c, ok := commands[args[0]]
	if !ok {
		return []string{fmt.Sprintf("step %s: scripts/rollout has no command %s", id, args[0])}
	}
	if !strings.HasPrefix(id, args[0]) {
		problems = append(problems, fmt.Sprintf("step %s runs rollout %s", id, args[0]))
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(&strings.Builder{})
	c.make(flags)
	given := slices.Clone(args[1:])
	for i, a := range given {
		given[i] = strings.ReplaceAll(a, "$_SOAK", "10m")
	}
	rest, err := parse(flags, given)
	if err != nil {
		problems = append(problems, fmt.Sprintf("step %s: %v", id, err))
	} else if len(rest) != c.args {
		problems = append(problems, fmt.Sprintf("step %s: %s takes %d arguments", id, args[0], c.args))
	}
	return problems
}

var (
	used    = regexp.MustCompile(`\$+\{?([A-Z_][A-Z_0-9]*)\}?`)
	comment = regexp.MustCompile(`(?m)(^|\s)#.*$`)
)

// builtIn are the substitutions that every build has.
var builtIn = []string{"PROJECT_ID", "PROJECT_NUMBER"}

func substitutionProblems(text string, declared map[string]string) (problems []string) {
	text = comment.ReplaceAllString(text, "")
	found := map[string]bool{}
	for _, m := range used.FindAllStringSubmatch(text, -1) {
		name := m[1]
		found[name] = true
		_, ok := declared[name]
		switch {
		case strings.HasPrefix(m[0], "$$"): // the shell's
		case strings.HasPrefix(name, "_") && !ok:
			problems = append(problems, fmt.Sprintf("$%s is not declared", name))
		case !strings.HasPrefix(name, "_") && !slices.Contains(builtIn, name):
			problems = append(problems, fmt.Sprintf("$%s is no substitution", name))
		}
	}
	for name := range declared {
		if !found[name] {
			problems = append(problems, name+" is not used")
		}
	}
	return problems
}

// timeProblems leaves half of the build's time to what is not the canary.
func timeProblems(b buildFile) []string {
	all, err := time.ParseDuration(b.Timeout)
	soak, wrong := time.ParseDuration(b.Substitutions["_SOAK"])
	if err != nil || wrong != nil {
		return []string{fmt.Sprintf("times: %v, %v", err, wrong)}
	}
	if canary := 3 * (settling + soak + lag); canary > all/2 {
		return []string{fmt.Sprintf("the canary alone takes %s of %s", canary, all)}
	}
	return nil
}

var (
	declaredVariable = regexp.MustCompile(`(?m)^variable "(\w+)"`)
	passedVariable   = regexp.MustCompile(`(?m)^    (\w+)\s+= var\.(\w+)$`)
)

// The pipeline plans with every variable that a person applied with. The images are the
// release's own.
func TestThePipelineHasEveryVariable(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(repository, "terraform/*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	want, got := []string{}, []string{"images"}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declaredVariable.FindAllStringSubmatch(string(text), -1) {
			want = append(want, m[1])
		}
		if filepath.Base(file) != "build.tf" {
			continue
		}
		_, list, _ := strings.Cut(string(text), "pipeline_variables = {\n")
		list, _, _ = strings.Cut(list, "\n  }")
		for _, m := range passedVariable.FindAllStringSubmatch(list, -1) {
			if got = append(got, m[1]); m[1] != m[2] {
				t.Errorf("%s is given the value of %s", m[1], m[2])
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the pipeline has the variables\n%v\nand terraform\n%v", got, want)
	}
}
