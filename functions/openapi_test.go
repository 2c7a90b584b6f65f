// Package functions_test holds the public contract to the code, and the code to it.
package functions_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/event/eventtest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/settlement"
	"github.com/tollgate/tollgate/shared/webhook"
)

func TestTheContractIsValid(t *testing.T) {
	t.Parallel()
	spec := apitest.Spec(t)
	if spec.OpenAPI != "3.0.3" {
		t.Errorf("it is OpenAPI %s", spec.OpenAPI)
	}
	if err := spec.Validate(t.Context()); err != nil { // examples included
		t.Error(err)
	}
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if anchor := regexp.MustCompile(`(?m): [&*][a-z_]+$`).Find(text); anchor != nil {
		t.Errorf("%q: the gateway's reader may not know YAML anchors", anchor)
	}
}

// Routes as the functions register them: "METHOD /path" to folder.
func routes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no functions: %v", err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Dir(name)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if is(n.Fun, "Handle") && len(n.Args) == 4 {
					found[literal(n.Args[2])] = folder
				}
				if (is(n.Fun, "Handle") || is(n.Fun, "HandleAll")) && literal(n.Args[1]) != folder {
					t.Errorf("%s calls itself %s", name, literal(n.Args[1]))
				}
			case *ast.CompositeLit:
				if is(n.Type, "Routes") {
					for _, route := range n.Elts {
						found[literal(route.(*ast.KeyValueExpr).Key)] = folder
					}
				}
			}
			return true
		})
	}
	return found
}

// is reports whether the expression is api's thing of the name.
func is(e ast.Expr, name string) bool {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != name {
		return false
	}
	of, ok := selector.X.(*ast.Ident)
	return ok && of.Name == "api"
}

func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok {
		if s, err := strconv.Unquote(lit.Value); err == nil {
			return s
		}
	}
	return "something else than a literal"
}

func TestEveryRouteHasItsFunction(t *testing.T) {
	t.Parallel()
	spec := apitest.Spec(t)
	contract := map[string]string{}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			folder, _ := op.Extensions["x-google-backend"].(string)
			contract[method+" "+path] = folder
			if op.OperationID == "" || op.Summary == "" {
				t.Errorf("%s %s lacks an operationId or a summary", method, path)
			}
			for _, status := range []string{"500", "default"} {
				if op.Responses.Value(status) == nil {
					t.Errorf("%s %s says nothing of %s", method, path, status)
				}
			}
		}
	}
	if diff := cmp.Diff(routes(t), contract); diff != "" {
		t.Errorf("routes of the functions (-) and of the contract (+):\n%s", diff)
	}
	management, _ := spec.Extensions["x-google-api-management"].(map[string]any)
	backends, _ := management["backends"].(map[string]any)
	if diff := cmp.Diff(slices.Compact(slices.Sorted(maps.Values(contract))), slices.Sorted(maps.Keys(backends))); diff != "" {
		t.Errorf("operations name the backends (-), there are (+):\n%s", diff)
	}
	for name, b := range backends {
		backend, _ := b.(map[string]any)
		want := "${urls." + name + "}"
		if backend["address"] != want || backend["jwtAudience"] != want || backend["pathTranslation"] != "APPEND_PATH_TO_ADDRESS" {
			t.Errorf("backend %s is %v", name, backend)
		}
	}
}

func TestMoneyMovesOnlyUnderAKey(t *testing.T) {
	t.Parallel()
	for path, item := range apitest.Spec(t).Paths.Map() {
		if item.Post == nil || !strings.HasPrefix(path, "/v1/payments") {
			continue
		}
		key := item.Post.Parameters.GetByInAndName("header", "Idempotency-Key")
		if key == nil || !key.Required {
			t.Errorf("POST %s does not require an Idempotency-Key", path)
		}
	}
}

func TestTheContractHasEveryCode(t *testing.T) {
	t.Parallel()
	var codes []any
	for _, entry := range fault.Codes() {
		codes = append(codes, string(entry.Code))
	}
	if diff := cmp.Diff(codes, enum(t, "ProblemCode")); diff != "" {
		t.Errorf("codes of shared/fault (-) and of the contract (+):\n%s", diff)
	}
}

func TestTheContractHasEveryStatusAndEvent(t *testing.T) {
	t.Parallel()
	var statuses, events []any
	for _, s := range payment.Statuses() {
		statuses = append(statuses, string(s))
	}
	for _, e := range event.Types() {
		events = append(events, e.Name)
	}
	var disputes []any
	for _, s := range payment.DisputeStatuses() {
		disputes = append(disputes, string(s))
	}
	if diff := cmp.Diff(disputes, enum(t, "DisputeStatus")); diff != "" {
		t.Errorf("statuses of disputes (-) and the contract's (+):\n%s", diff)
	}
	if diff := cmp.Diff(statuses, enum(t, "Status")); diff != "" {
		t.Errorf("statuses (-) and the contract's (+):\n%s", diff)
	}
	if diff := cmp.Diff(events, enum(t, "EventType")); diff != "" {
		t.Errorf("events (-) and the contract's (+):\n%s", diff)
	}
	var deliveries []any
	for _, s := range webhook.Statuses() {
		deliveries = append(deliveries, string(s))
	}
	if diff := cmp.Diff(deliveries, enum(t, "WebhookDeliveryStatus")); diff != "" {
		t.Errorf("statuses of deliveries (-) and the contract's (+):\n%s", diff)
	}
	previous := apitest.Spec(t).Components.Schemas["Payment"].Value.Properties["previous_status"].Value.Enum
	if diff := cmp.Diff(append(statuses, nil), previous); diff != "" {
		t.Errorf("statuses (-) and the contract's previous ones (+):\n%s", diff)
	}
}

func enum(t *testing.T, schema string) []any {
	t.Helper()
	return apitest.Spec(t).Components.Schemas[schema].Value.Enum
}

func TestAnswersAreAsTheContractHasThem(t *testing.T) {
	t.Parallel()
	apitest.MatchSchema(t, "Payment", payment.View{})
	apitest.MatchSchema(t, "Refund", payment.RefundView{})
	apitest.MatchSchema(t, "PaymentList", payment.Page{})
	apitest.MatchSchema(t, "Dispute", payment.DisputeView{})
	apitest.MatchSchema(t, "DisputeList", payment.DisputePage{})
	apitest.MatchSchema(t, "EventSummary", payment.EventView{})
	apitest.MatchSchema(t, "Attempt", payment.AttemptView{})
	apitest.MatchSchema(t, "NextAction", provider.NextAction{})
	apitest.MatchSchema(t, "Failure", provider.Refusal{})
	apitest.MatchSchema(t, "FieldProblem", fault.Field{})
	apitest.MatchSchema(t, "Settlement", settlement.View{})
	apitest.MatchSchema(t, "SettlementList", settlement.Page{})
	apitest.MatchSchema(t, "SettlementLine", settlement.LineView{})
	apitest.MatchSchema(t, "SettlementLineList", settlement.LinePage{})
}

func TestEventsAreAsTheContractHasThem(t *testing.T) {
	t.Parallel()
	spec := apitest.Spec(t)
	eventtest.MatchSpec(t, spec, "Event", event.Schema(), "data.payment.refunds", "data.payment.disputes", "data.payment.events", "data.payment.attempts")
	eventtest.MatchSpec(t, spec, "ThinEvent", event.ThinSchema())
}

// Objects are closed, so that a member which nobody described can't slip out.
func TestObjectsAreClosed(t *testing.T) {
	t.Parallel()
	open := map[string]bool{"Metadata": true, "WebhookHeaders": true, "EventTypeInfo.schema": true}
	var look func(name string, ref *openapi3.SchemaRef)
	look = func(name string, ref *openapi3.SchemaRef) {
		s := ref.Value
		if s.Type.Is(openapi3.TypeObject) && !open[name] && (s.AdditionalProperties.Has == nil || *s.AdditionalProperties.Has) {
			t.Errorf("%s takes members that it does not describe", name)
		}
		for member, property := range s.Properties {
			if property.Ref == "" {
				look(name+"."+member, property)
			}
		}
	}
	for name, ref := range apitest.Spec(t).Components.Schemas {
		look(name, ref)
	}
}

// What merchants are promised stands in the contract in so many words.
func TestTheContractMakesThePromises(t *testing.T) {
	t.Parallel()
	text := strings.Join(strings.Fields(apitest.Spec(t).Info.Description), " ")
	for _, promise := range []string{
		"Header `Idempotency-Key` required on every POST that moves money, 16 to 255 characters, quoted or bare, scoped by merchant; " +
			"fingerprint over method, path and raw body. Same key and body, finished: the stored status and bytes again with " +
			"`Idempotent-Replayed: true`. Same key, still running: 202 with the payment's current state and `Retry-After`. " +
			"Same key, other body or path: 422. Missing or malformed: 400. Stored bytes may expire after 24 hours, then the answer " +
			"is rebuilt from the payment; key, fingerprint and payment id never expire, so an old key never charges again. " +
			"Validation errors, 401, 409 and 429 are not stored; transient 5xx are never the final answer. `merchant_reference`, " +
			"when given, is unique per merchant for ever. Another operation running on the payment: 409, never 429.",
		"What is rolled back, and when", "What is consistent with what",
		"An event may come twice, and events may come out of order, with `sequence` to tell",
	} {
		if !strings.Contains(text, promise) {
			t.Errorf("the contract does not say: %s", promise)
		}
	}
}
