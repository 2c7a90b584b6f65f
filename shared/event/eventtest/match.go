package eventtest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/event"
)

// MatchType holds a Go type to the object of the name in the catalogue's schemas (Payment,
// Refund): the same members of the same kinds, null where they may be, and none missing.
// Members named in except are ones that the type leaves out of events.
func MatchType(t testing.TB, name string, of any, except ...string) {
	t.Helper()
	schema := dialect{prefix: "#/$defs/", defs: object(t, event.Schema())["$defs"].(map[string]any)}
	want, ok := schema.defs[name].(map[string]any)
	if !ok {
		t.Errorf("the catalogue has no object %s", name)
		return
	}
	got := shapeOfType(reflect.TypeOf(of))
	for _, member := range except {
		delete(got.Properties, member)
	}
	if diff := cmp.Diff(got, schema.shape(want).bare()); diff != "" {
		t.Errorf("%s in the code (-) and in the catalogue (+):\n%s", name, diff)
	}
}

// MatchSpec holds a schema of an OpenAPI 3.0 file to one of the catalogue (event.Schema,
// event.ThinSchema): the same members with the same bounds. Members named in except, as
// paths such as data.payment.refunds, may stand in the file although no event has them.
// Descriptions, examples, and whether objects are closed are left to either.
func MatchSpec(t testing.TB, spec *openapi3.T, name string, schema json.RawMessage, except ...string) {
	t.Helper()
	text, err := json.Marshal(spec.Components.Schemas)
	if err != nil {
		t.Fatal(err)
	}
	file := dialect{prefix: "#/components/schemas/", defs: object(t, text)}
	described, ok := file.defs[name].(map[string]any)
	if !ok {
		t.Errorf("the contract has no schema %s", name)
		return
	}
	root := object(t, schema)
	catalogue := dialect{prefix: "#/$defs/", defs: root["$defs"].(map[string]any)}
	got := file.shape(described)
	for _, path := range except {
		got.drop(strings.Split(path, "."))
	}
	if diff := cmp.Diff(got, catalogue.shape(root)); diff != "" {
		t.Errorf("%s in the contract (-) and in the catalogue (+):\n%s", name, diff)
	}
}

func object(t testing.TB, text []byte) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// shape is what a schema asks for, however its dialect spells it.
type shape struct {
	Types      []string // of JSON, null among them
	Enum       []string // as JSON
	Bounds     map[string]any
	Required   []string
	Properties map[string]*shape
	Items      *shape
	Values     *shape // of members with names of their own
}

// bare is the shape as far as a Go type can show it.
func (s *shape) bare() *shape {
	if s == nil {
		return nil
	}
	b := &shape{Types: s.Types, Required: s.Required, Items: s.Items.bare(), Values: s.Values.bare()}
	for name, property := range s.Properties {
		b.put(name, property.bare())
	}
	return b
}

func (s *shape) put(name string, property *shape) {
	if s.Properties == nil {
		s.Properties = map[string]*shape{}
	}
	s.Properties[name] = property
}

func (s *shape) drop(path []string) {
	for ; s != nil && len(path) > 1; path = path[1:] {
		s = s.Properties[path[0]]
	}
	if s != nil {
		delete(s.Properties, path[0])
	}
}

// dialect reads schemas that refer to each other.
type dialect struct {
	prefix string // of a reference
	defs   map[string]any
}

// shape reads JSON Schema 2020-12 and OpenAPI 3.0 alike, as far as they are used here.
func (d dialect) shape(node map[string]any) *shape {
	node = d.resolve(node)
	s := &shape{Required: texts(node["required"])}
	switch of := node["type"].(type) {
	case string:
		s.Types = []string{of}
	case []any:
		s.Types = texts(of)
	}
	if node["nullable"] == true {
		s.Types = append(s.Types, "null")
	}
	values, _ := node["enum"].([]any)
	if only, ok := node["const"]; ok {
		values, s.Types = []any{only}, []string{"string"}
	}
	for _, value := range values {
		text, _ := json.Marshal(value) // it came from JSON
		s.Enum = append(s.Enum, string(text))
	}
	slices.Sort(s.Types)
	slices.Sort(s.Enum)
	slices.Sort(s.Required)
	for _, name := range []string{"pattern", "format", "minimum", "maximum", "minLength", "maxLength", "maxItems", "maxProperties"} {
		if value, ok := node[name]; ok && value != "int64" { // OpenAPI's own format
			if s.Bounds == nil {
				s.Bounds = map[string]any{}
			}
			s.Bounds[name] = value
		}
	}
	properties, _ := node["properties"].(map[string]any)
	for name, property := range properties {
		s.put(name, d.shape(property.(map[string]any)))
	}
	if items, ok := node["items"].(map[string]any); ok {
		s.Items = d.shape(items)
	}
	if values, ok := node["additionalProperties"].(map[string]any); ok {
		s.Values = d.shape(values)
	}
	return s
}

// resolve replaces a reference, and an allOf of one, by what it stands for.
func (d dialect) resolve(node map[string]any) map[string]any {
	if all, ok := node["allOf"].([]any); ok && len(all) == 1 {
		return d.resolve(all[0].(map[string]any))
	}
	ref, ok := node["$ref"].(string)
	if !ok {
		return node
	}
	def, ok := d.defs[strings.TrimPrefix(ref, d.prefix)].(map[string]any)
	if !ok {
		return map[string]any{"type": fmt.Sprintf("%s, which there is not", ref)}
	}
	return d.resolve(def)
}

func texts(list any) []string {
	var out []string
	each, _ := list.([]any)
	for _, one := range each {
		out = append(out, one.(string))
	}
	return out
}

func shapeOfType(of reflect.Type) *shape {
	if of.Kind() == reflect.Pointer {
		s := shapeOfType(of.Elem())
		s.Types = append(s.Types, "null")
		slices.Sort(s.Types)
		return s
	}
	s := &shape{Types: []string{of.String()}}
	switch of.Kind() {
	case reflect.String:
		s.Types[0] = "string"
	case reflect.Bool:
		s.Types[0] = "boolean"
	case reflect.Int, reflect.Int64:
		s.Types[0] = "integer"
	case reflect.Slice:
		s.Types[0], s.Items = "array", shapeOfType(of.Elem())
	case reflect.Map:
		s.Types[0], s.Values = "object", shapeOfType(of.Elem())
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() {
			s.Types[0] = "string"
			break
		}
		s.Types[0] = "object"
		for _, f := range reflect.VisibleFields(of) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			s.put(name, shapeOfType(f.Type))
			if !strings.Contains(options, "omitempty") {
				s.Required = append(s.Required, name)
			}
		}
		slices.Sort(s.Required)
	}
	return s
}
