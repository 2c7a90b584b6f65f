// Package eventtest holds what is sent to merchants, the types that it is made of, and the
// public contract to the catalogue of shared/event.
package eventtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tollgate/tollgate/shared/event"
)

// Check fails the test unless the body is an event in full of a type in the catalogue, fits
// its schema, and has no member that the schema does not describe.
func Check(t testing.TB, body []byte) {
	t.Helper()
	if err := Validate(body); err != nil {
		t.Errorf("an event that is not as the catalogue has it: %v\n%s", err, body)
	}
}

// CheckThin is Check for a body that is thin.
func CheckThin(t testing.TB, body []byte) {
	t.Helper()
	if err := validate(body, thinName); err != nil {
		t.Errorf("a thin event that is not as the catalogue has it: %v\n%s", err, body)
	}
}

// Validate is Check, for who wants to see it fail.
func Validate(body []byte) error {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return fmt.Errorf("not an event: %w", err)
	}
	if _, ok := event.Lookup(head.Type); !ok {
		return fmt.Errorf("the catalogue has no type %q", head.Type)
	}
	if err := validate(body, head.Type); err != nil {
		return err
	}
	return validate(body, anyName)
}

// The names under which the schemas are kept that are no type's.
const (
	anyName  = "any"
	thinName = "thin"
)

func validate(body []byte, name string) error {
	schemas, err := compiled()
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schemas[name].Validate(value)
}

var compiled = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	texts := map[string]json.RawMessage{anyName: event.Schema(), thinName: event.ThinSchema()}
	for _, t := range event.Types() {
		texts[t.Name] = t.Schema
	}
	schemas := map[string]*jsonschema.Schema{}
	for name, text := range texts {
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", name, err)
		}
		shut(schema)
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		url := "urn:closed:" + name
		schema.(map[string]any)["$id"] = url
		if err := c.AddResource(url, schema); err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", name, err)
		}
		if schemas[name], err = c.Compile(url); err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", name, err)
		}
	}
	return schemas, nil
})

// shut closes every object of a schema to members that it does not describe.
func shut(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, describes := node["properties"].(map[string]any); describes && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		for _, each := range node {
			shut(each)
		}
	case []any:
		for _, each := range node {
			shut(each)
		}
	}
}
