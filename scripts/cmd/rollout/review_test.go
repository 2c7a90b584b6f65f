package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// A release's routine passes; anything else in a plan is named and refused.
func TestReview(t *testing.T) {
	t.Parallel()
	service := func(actions []string, before, after any) map[string]any {
		return resource("google_cloud_run_v2_service", `module.function["createpayment"].google_cloud_run_v2_service.service`, actions,
			map[string]any{"traffic": before}, map[string]any{"traffic": after})
	}
	pinned := []any{map[string]any{"revision": "createpayment-1", "percent": 100}}
	for name, c := range map[string]struct {
		plan    any
		changed int
		want    string // empty: it passes
	}{
		"nothing": {changes(), 0, ""},
		"new revisions, jobs and a contract": {changes(
			service([]string{"update"}, pinned, pinned),
			resource("google_cloud_run_v2_job", "google_cloud_run_v2_job.migrate[0]", []string{"update"}, nil, nil),
			resource("google_api_gateway_api_config", "google_api_gateway_api_config.tollgate", []string{"create", "delete"}, nil, nil),
			resource("google_api_gateway_gateway", "google_api_gateway_gateway.tollgate", []string{"update"}, nil, nil),
		), 4, ""},
		"what is only read": {changes(
			resource("google_sql_database_instance", "google_sql_database_instance.main", []string{"no-op"}, nil, nil),
			map[string]any{"address": "data.google_project.this", "mode": "data", "type": "google_project", "change": map[string]any{"actions": []string{"read"}}},
		), 0, ""},
		"a new function":           {changes(service([]string{"create"}, nil, nil)), 0, `module.function["createpayment"].google_cloud_run_v2_service.service: create`},
		"a function made anew":     {changes(service([]string{"delete", "create"}, pinned, pinned)), 0, "delete, then create"},
		"terraform moves requests": {changes(service([]string{"update"}, pinned, []any{})), 0, "would move requests"},
		"a grant": {changes(
			resource("google_project_iam_member", `google_project_iam_member.deploy["roles/owner"]`, []string{"create"}, nil, nil),
		), 0, `google_project_iam_member.deploy["roles/owner"]: create`},
		"the database's end": {changes(
			resource("google_sql_database_instance", "google_sql_database_instance.main", []string{"delete"}, nil, nil),
		), 0, "google_sql_database_instance.main: delete"},
		"something is forgotten": {changes(
			resource("google_pubsub_topic", "google_pubsub_topic.event", []string{"forget"}, nil, nil),
		), 0, "forget"},
		"another format": {map[string]any{"format_version": "2.0"}, 0, "only 1 is understood"},
		"not a plan":     {[]string{"?"}, 0, "terraform show -json"},
	} {
		text, err := json.Marshal(c.plan)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := review(text)
		switch {
		case c.want == "" && (err != nil || changed != c.changed):
			t.Errorf("%s: %d changes, %v", name, changed, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v does not say %q", name, err, c.want)
		}
	}
}

func changes(all ...map[string]any) any {
	return map[string]any{"format_version": "1.2", "resource_changes": all}
}

func resource(kind, address string, actions []string, before, after map[string]any) map[string]any {
	return map[string]any{
		"address": address, "mode": "managed", "type": kind,
		"change": map[string]any{"actions": actions, "before": before, "after": after},
	}
}

func TestReviewReadsAFile(t *testing.T) {
	t.Parallel()
	r := emptyRig(t)
	file := filepath.Join(t.TempDir(), "plan.json")
	r.refused([]string{"no such file"}, "review", file)
	if err := os.WriteFile(file, []byte(`{"format_version":"1.2"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	r.must("review", file)
}

const repository = "../../.."

var gatewayRow = regexp.MustCompile(`(?m)^\s+(\w+)\s+= \{.*callers = \["gateway"\]`)

// Every function behind the gateway is tried with a request of its own contract.
func TestStrangersAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository, "terraform/functions.tf"))
	if err != nil {
		t.Fatal(err)
	}
	var behindGateway []string
	for _, row := range gatewayRow.FindAllStringSubmatch(string(text), -1) {
		behindGateway = append(behindGateway, row[1])
	}
	slices.Sort(behindGateway)
	if got := sortedKeys(strangers); !slices.Equal(got, behindGateway) {
		t.Errorf("strangers ask %v, and the gateway calls %v", got, behindGateway)
	}
	contract, err := openapi3.NewLoader().LoadFromFile(filepath.Join(repository, "functions/openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range strangers {
		if item := contract.Paths.Find(pattern(s.path)); item == nil || item.GetOperation(s.method) == nil {
			t.Errorf("%s: the contract has no %s %s", name, s.method, s.path)
		}
	}
}

// pattern is the contract's form of a path: what is only a name there is a parameter.
func pattern(path string) string {
	path = strings.Replace(path, "pay_00000000000000000000000000", "{id}", 1)
	return strings.Replace(path, "/nobody", "/{provider}", 1)
}
