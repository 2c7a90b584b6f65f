package eventtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

const catalogue = `{
	"type": "object", "required": ["id", "at"],
	"properties": {
		"id": {"const": "x"},
		"at": {"$ref": "#/$defs/Time", "description": "When."},
		"end": {"type": ["string", "null"], "format": "date-time", "enum": ["a", null]},
		"tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}},
		"notes": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 5}}
	},
	"$defs": {"Time": {"type": "string", "format": "date-time"}, "Tag": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}}
}`

const contract = `{
	"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {},
	"components": {"schemas": {
		"Moment": {"type": "string", "format": "date-time", "description": "RFC 3339."},
		"Thing": {
			"type": "object", "additionalProperties": false, "required": ["at", "id"],
			"properties": {
				"id": {"type": "string", "enum": ["x"]},
				"at": {"allOf": [{"$ref": "#/components/schemas/Moment"}]},
				"end": {"type": "string", "format": "date-time", "nullable": true, "enum": ["a", null]},
				"tags": {"type": "array", "items": {"type": "object", "properties": {
					"n": {"type": "integer", "format": "int64", "minimum": 1}, "more": {"type": "string"}}}},
				"notes": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 5}},
				"on_request": {"type": "string"}
			}
		}
	}}
}`

// verdict gathers what a check says of a failing test.
type verdict struct {
	testing.TB
	said strings.Builder
}

func (v *verdict) Helper()                      {}
func (v *verdict) Errorf(f string, args ...any) { fmt.Fprintf(&v.said, f, args...) }

func matchSpec(t *testing.T, text string, except ...string) string {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v := &verdict{TB: t}
	MatchSpec(v, spec, "Thing", []byte(catalogue), except...)
	return v.said.String()
}

func TestADifferenceInTheContractIsFound(t *testing.T) {
	t.Parallel()
	if said := matchSpec(t, contract, "on_request", "tags.more"); !strings.Contains(said, "more") {
		t.Errorf("a member within a list that was not excepted: %q", said)
	}
	same := strings.Replace(contract, `, "more": {"type": "string"}`, "", 1)
	if said := matchSpec(t, same, "on_request"); said != "" {
		t.Errorf("the same in another dialect: %s", said)
	}
	if said := matchSpec(t, same); !strings.Contains(said, "on_request") {
		t.Errorf("a member that was not excepted: %q", said)
	}
	for _, change := range [][2]string{
		{`"Thing"`, `"Think"`},
		{`"required": ["at", "id"]`, `"required": ["at"]`},
		{`["x"]`, `["y"]`},
		{`"nullable": true`, `"nullable": false`},
		{`["a", null]`, `["a"]`},
		{`"maxLength": 5`, `"maxLength": 6`},
		{`"minimum": 1`, `"minimum": 0`},
		{`"format": "date-time", "description"`, `"description"`},
		{`{"type": "integer"`, `{"type": "number"`},
	} {
		if said := matchSpec(t, strings.Replace(same, change[0], change[1], 1), "on_request"); said == "" {
			t.Errorf("%s became %s, and nobody saw", change[0], change[1])
		}
	}
}

func TestADifferenceInATypeIsFound(t *testing.T) {
	t.Parallel()
	type refusal struct {
		Code         string `json:"code"`
		Message      string `json:"message"`
		ProviderCode string `json:"provider_code"`
	}
	type refund struct {
		ID               string    `json:"id"`
		Object           string    `json:"object"`
		PaymentID        string    `json:"payment_id"`
		Status           string    `json:"status"`
		Amount           int64     `json:"amount"`
		Currency         string    `json:"currency"`
		Reason           *string   `json:"reason"`
		ProviderRefundID *string   `json:"provider_refund_id"`
		Failure          *refusal  `json:"failure"`
		CreatedAt        time.Time `json:"created_at"`
		UpdatedAt        time.Time `json:"updated_at"`
	}
	type more struct {
		refund
		Fee int64 `json:"fee"`
	}
	type onRequest struct {
		refund
		Items *[]string `json:"items,omitempty"`
	}
	type never struct {
		refund
		Reason string `json:"reason"`
	}
	type sometimes struct {
		refund
		Reason *string `json:"reason,omitempty"`
	}
	for name, c := range map[string]struct {
		of     any
		except string
		good   bool
	}{
		"the same":             {refund{}, "", true},
		"one more":             {more{}, "", false},
		"one more, always":     {more{}, "fee", false},
		"one that it may have": {onRequest{}, "", false},
		"one on request":       {onRequest{}, "items", true},
		"one less":             {refusal{}, "", false},
		"never null":           {never{}, "", false},
		"sometimes left out":   {sometimes{}, "", false},
		"excepted, but there":  {refund{}, "reason", false},
	} {
		v := &verdict{TB: t}
		MatchType(v, "Refund", c.of, c.except)
		if good := v.said.Len() == 0; good != c.good {
			t.Errorf("%s: %s", name, v.said.String())
		}
	}
}
