package event_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/event/eventtest"
	"github.com/tollgate/tollgate/shared/id"
)

func TestEveryExampleFitsItsSchema(t *testing.T) {
	t.Parallel()
	for _, typ := range event.Types() {
		eventtest.Check(t, typ.Example)
		found, ok := event.Lookup(typ.Name)
		if !ok || found.Name != typ.Name {
			t.Errorf("%s is not found by its name", typ.Name)
		}
		if about, _, _ := strings.Cut(typ.Name, "."); about != typ.Object {
			t.Errorf("%s is about a %s", typ.Name, typ.Object)
		}
		var body struct {
			Sequence int64
			Data     map[string]struct {
				ID, Object string
				PaymentID  string `json:"payment_id"`
				Sequence   int64
			}
		}
		if err := json.Unmarshal(typ.Example, &body); err != nil {
			t.Fatal(err)
		}
		payment, refund, dispute := body.Data["payment"], body.Data["refund"], body.Data["dispute"]
		if body.Data[typ.Object].Object != typ.Object {
			t.Errorf("%s: the example has no %s", typ.Name, typ.Object)
		}
		if refund.ID != "" && refund.PaymentID != payment.ID || dispute.ID != "" && dispute.PaymentID != payment.ID || payment.Sequence < body.Sequence && payment.ID != "" {
			t.Errorf("%s: the example's objects do not fit together", typ.Name)
		}
		for prefix, of := range map[id.Prefix]string{
			id.Payment: "payment", id.Refund: "refund", id.Dispute: "dispute", id.Settlement: "settlement", id.Endpoint: "endpoint",
		} {
			if external := body.Data[of].ID; external != "" {
				if _, err := prefix.Parse(external); err != nil {
					t.Errorf("%s: %v", typ.Name, err)
				}
			}
		}
	}
}

func TestASchemaRefusesWhatIsNotTheEvent(t *testing.T) {
	t.Parallel()
	captured, _ := event.Lookup(event.PaymentCaptured)
	example := string(captured.Example)
	for name, change := range map[string][2]string{
		"another type":         {`"type":"payment.captured"`, `"type":"refund.created"`},
		"an unknown type":      {`"type":"payment.captured"`, `"type":"payment.eaten"`},
		"another version":      {`"api_version":"2026-11-01"`, `"api_version":"2026-11-02"`},
		"no version":           {`"api_version":"2026-11-01",`, ``},
		"a sequence of 0":      {`"sequence":2,"data"`, `"sequence":0,"data"`},
		"local time":           {`"updated_at":"2026-11-02T09:20:00.511Z"`, `"updated_at":"2026-11-02T09:20:00.511+01:00"`},
		"no time":              {`"updated_at":"2026-11-02T09:20:00.511Z"`, `"updated_at":"tomorrowZ"`},
		"an amount in words":   {`"amount":5000`, `"amount":"5000"`},
		"a member too few":     {`"amount":5000,`, ``},
		"a member too many":    {`"amount":5000,`, `"amount":5000,"fee":1,`},
		"null for a value":     {`"currency":"JPY"`, `"currency":null`},
		"an unknown status":    {`"status":"CAPTURED"`, `"status":"EATEN"`},
		"another's identifier": {`"id":"pay_`, `"id":"re_`},
		"more data":            {`"data":{`, `"data":{"refund":null,`},
		"no data":              {`"data":{"payment"`, `"data":{"pay"`},
		"no JSON":              {`}}`, `}`},
	} {
		broken := strings.Replace(example, change[0], change[1], 1)
		if broken == example {
			t.Errorf("%s: the example lacks %s", name, change[0])
		}
		if eventtest.Validate([]byte(broken)) == nil {
			t.Errorf("%s: taken for an event:\n%s", name, broken)
		}
	}
}

// Whoever declares a type has it in the catalogue.
func TestEveryConstantIsInTheCatalogue(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared, listed []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok {
			if name, err := strconv.Unquote(value.Value); err == nil && strings.Contains(name, ".") {
				declared = append(declared, name)
			}
		}
		return true
	})
	for _, typ := range event.Types() {
		listed = append(listed, typ.Name)
	}
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("constants (-) and the catalogue (+):\n%s", diff)
	}
}

func TestTheListIsTheCallers(t *testing.T) {
	t.Parallel()
	event.Types()[0].Name = "spoilt"
	if got := event.Types()[0].Name; got != event.PaymentRequiresAction {
		t.Errorf("the catalogue now begins with %s", got)
	}
	if !slices.Contains(event.Versions(), event.Version) {
		t.Error("the current version is none that an endpoint can be pinned to")
	}
}

func endpoint() event.Endpoint {
	at := time.Date(2027, 3, 1, 9, 0, 0, 0, time.FixedZone("JST", 9*60*60))
	by, why := "gone", "It answered 410 Gone."
	return event.Endpoint{
		ID: id.ID{6: 0x70, 8: 0x80, 15: 1}, URL: "https://user:pass@hooks.example:8443/services/T0/SECRET?token=SECRET",
		Description: "orders & \"returns\"", CreatedAt: at.Add(-time.Hour), DisabledAt: &at, DisabledBy: &by, DisabledReason: &why,
	}
}

func TestEndpointEventsAreAsTheCatalogueHasThem(t *testing.T) {
	t.Parallel()
	about := endpoint()
	for _, name := range []string{event.EndpointDisabled, event.EndpointTest} {
		head := event.Event{ID: id.ID{6: 0x70, 8: 0x80, 15: 2}, Type: name, Timestamp: *about.DisabledAt, Sequence: 3}
		body := event.EndpointEvent(head, about)
		eventtest.Check(t, body)
		for _, part := range []string{`"host":"hooks.example:8443"`, `"disabled_at":"2027-03-01T00:00:00Z"`, `"sequence":3`, `"` + name + `"`} {
			if !strings.Contains(string(body), part) {
				t.Errorf("%s lacks %s:\n%s", name, part, body)
			}
		}
		for _, secret := range []string{"SECRET", "pass", "user"} {
			if strings.Contains(string(body), secret) {
				t.Errorf("%s tells %s:\n%s", name, secret, body)
			}
		}
		about.DisabledAt, about.DisabledBy, about.DisabledReason = nil, nil, nil
		eventtest.Check(t, event.EndpointEvent(head, about))
		about = endpoint()
	}
}
