package apitest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// Root is the repository's folder, as seen from the test's.
func Root() (string, error) {
	folder := "."
	for range 6 { // deeper than any package is
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		folder = filepath.Join("..", folder)
	}
	return "", errors.New("apitest: the test does not run inside the repository")
}

var readSpec = sync.OnceValues(func() (*openapi3.T, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromFile(filepath.Join(root, "functions", "openapi.yaml"))
})

// Spec is the public contract, functions/openapi.yaml. Tests only read it.
func Spec(t testing.TB) *openapi3.T {
	t.Helper()
	spec, err := readSpec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// MatchSchema holds a Go type's JSON members to the schema of the name: the same
// members of the same kinds, required and nullable alike. In a request's type,
// required is what is tagged so for api.Decode; in an answer's, what is not left out
// when empty.
func MatchSchema(t testing.TB, name string, of any) {
	t.Helper()
	ref := Spec(t).Components.Schemas[name]
	if ref == nil {
		t.Errorf("the contract has no schema %s", name)
		return
	}
	matchStruct(t, name, ref.Value, reflect.TypeOf(of))
}

func matchStruct(t testing.TB, name string, schema *openapi3.Schema, of reflect.Type) {
	t.Helper()
	if !closed(schema) {
		t.Errorf("%s: the schema does not say additionalProperties: false", name)
	}
	request := slices.ContainsFunc(reflect.VisibleFields(of), func(f reflect.StructField) bool { return f.Tag.Get("api") != "" }) ||
		strings.HasSuffix(name, "Request")
	members := map[string]bool{}
	for _, f := range reflect.VisibleFields(of) {
		member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if member == "" || member == "-" {
			continue
		}
		members[member] = true
		property := schema.Properties[member]
		if property == nil {
			t.Errorf("%s.%s: the schema lacks the member", name, member)
			continue
		}
		required := !strings.Contains(options, "omitempty")
		if request {
			required = f.Tag.Get("api") == "required"
		}
		if slices.Contains(schema.Required, member) != required {
			t.Errorf("%s.%s: required is %t in the code and not in the schema, or the reverse", name, member, required)
		}
		matchType(t, name+"."+member, property.Value, f.Type, !request && required)
	}
	for member := range schema.Properties {
		if !members[member] {
			t.Errorf("%s.%s: the code lacks the member", name, member)
		}
	}
}

func matchType(t testing.TB, name string, schema *openapi3.Schema, of reflect.Type, mayBeNull bool) {
	t.Helper()
	pointer := of.Kind() == reflect.Pointer
	if pointer {
		of = of.Elem()
	}
	if nullable := pointer && mayBeNull; schema.Nullable != nullable {
		t.Errorf("%s: nullable is %t in the code and %t in the schema", name, nullable, schema.Nullable)
	}
	for len(schema.AllOf) == 1 && schema.Type == nil {
		schema = schema.AllOf[0].Value
	}
	if want := kind(of); !schema.Type.Is(want) {
		t.Errorf("%s: the code has a %s, the schema %v", name, want, schema.Type)
		return
	}
	switch {
	case of == reflect.TypeFor[json.RawMessage](): // whatever it holds
	case of.Kind() == reflect.Struct && of != reflect.TypeFor[time.Time]():
		matchStruct(t, name, schema, of)
	case of.Kind() == reflect.Slice:
		matchType(t, name+"[]", schema.Items.Value, of.Elem(), false)
	}
}

func kind(of reflect.Type) string {
	switch {
	case of == reflect.TypeFor[json.RawMessage]():
		return openapi3.TypeObject
	case of == reflect.TypeFor[time.Time](), of.Kind() == reflect.String:
		return openapi3.TypeString
	case of.Kind() == reflect.Bool:
		return openapi3.TypeBoolean
	case of.Kind() == reflect.Slice:
		return openapi3.TypeArray
	case of.Kind() == reflect.Struct, of.Kind() == reflect.Map:
		return openapi3.TypeObject
	case of.Kind() == reflect.Int, of.Kind() == reflect.Int64:
		return openapi3.TypeInteger
	}
	return of.String()
}

func closed(schema *openapi3.Schema) bool {
	return schema.AdditionalProperties.Has != nil && !*schema.AdditionalProperties.Has
}
