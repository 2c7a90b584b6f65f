package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
)

// A plan is what is read of `terraform show -json PLAN`.
type plan struct {
	Format  string `json:"format_version"`
	Changes []struct {
		Address string `json:"address"`
		Mode    string `json:"mode"`
		Type    string `json:"type"`
		Change  struct {
			Actions []string       `json:"actions"`
			Before  map[string]any `json:"before"`
			After   map[string]any `json:"after"`
		} `json:"change"`
	} `json:"resource_changes"`
}

// routine is what a release changes: new revisions, new jobs' images, and the gateway's
// contract. The pipeline's account may do no more (terraform/build.tf). All else
// (functions, grants, queues, the database) a person applies beforehand, so that code
// which reaches the pipeline can't widen what it may do.
var routine = map[string][]string{
	"google_cloud_run_v2_service":   {"update"},
	"google_cloud_run_v2_job":       {"update"},
	"google_api_gateway_api_config": {"create", "delete"}, // it is replaced
	"google_api_gateway_gateway":    {"update"},
}

// review refuses a plan with more than a release's routine in it.
func review(text []byte) (changed int, err error) {
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return 0, fmt.Errorf("the plan, as terraform show -json prints it: %w", err)
	}
	if !strings.HasPrefix(p.Format, "1.") {
		return 0, fmt.Errorf("the plan has format version %q, and only 1 is understood", p.Format)
	}
	var problems []error
	for _, r := range p.Changes {
		if r.Mode == "data" || !slices.ContainsFunc(r.Change.Actions, alters) {
			continue
		}
		changed++
		for _, action := range r.Change.Actions {
			if alters(action) && !slices.Contains(routine[r.Type], action) {
				problems = append(problems, fmt.Errorf("%s: %s", r.Address, strings.Join(r.Change.Actions, ", then ")))
				break
			}
		}
		if r.Type == "google_cloud_run_v2_service" && !reflect.DeepEqual(r.Change.Before["traffic"], r.Change.After["traffic"]) {
			problems = append(problems, fmt.Errorf("%s: terraform would move requests, which is for scripts/rollout alone", r.Address))
		}
	}
	if len(problems) > 0 {
		problems = append(problems, errors.New("this is more than a release changes: somebody who may has to apply it first (terraform/README.md, “Releasing”)"))
	}
	return changed, errors.Join(problems...)
}

func alters(action string) bool { return action != "no-op" && action != "read" }

func (s *session) review(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := review(text)
	if err != nil {
		return err
	}
	s.say("the plan changes %d things, all of a release's routine", changed)
	return nil
}
