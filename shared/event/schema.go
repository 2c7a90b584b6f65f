package event

import (
	_ "embed" // schema.json
	"encoding/json"
	"regexp"
	"sync"
)

//go:embed schema.json
var schemaText []byte

// definitions are the objects of schema.json. They are open: a receiver must take members
// that it does not know. Tests close them.
var definitions = sync.OnceValue(func() object { return parse(schemaText) })

// definition names the schema of each member of data.
var definition = map[string]string{
	"payment": "Payment", "refund": "Refund", "dispute": "Dispute", "settlement": "Settlement", "endpoint": "Endpoint",
}

// Schema is the JSON Schema of any event's body in full. What data has depends on the
// type, whose own schema says it.
func Schema() json.RawMessage {
	return describe("Event", nil, object{{"enum", encode(names())}}, dataOf(definition, nil))
}

// ThinSchema is the JSON Schema of any event's body when it is thin: data has the same
// members as in full, but of each only what it takes to fetch it.
func ThinSchema() json.RawMessage {
	references := map[string]string{}
	for name := range definition {
		references[name] = "Reference"
	}
	return describe("Event", nil, object{{"enum", encode(names())}}, dataOf(references, nil))
}

func (e entry) schema() json.RawMessage {
	about := object{
		{"$id", quote("urn:tollgate:event:" + Version + ":" + e.name)},
		{"title", quote(e.name)},
		{"description", quote(e.summary)},
	}
	return describe("Event", about, object{{"const", quote(e.name)}}, dataOf(definition, e.data))
}

func names() []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.name)
	}
	return all
}

// dataOf is the schema of data whose members are defined as told. Required are all that
// are named; if none are, each may be there.
func dataOf(defined map[string]string, required []string) object {
	members := required
	if required == nil {
		members = []string{"payment", "refund", "dispute", "settlement", "endpoint"}
	}
	var properties object
	for _, name := range members {
		properties.set(name, object{{"$ref", quote("#/$defs/" + defined[name])}}.encode())
	}
	data := object{{"type", quote("object")}}
	if required != nil {
		data.set("required", encode(required))
	}
	data.set("properties", properties.encode())
	return data
}

// describe makes a whole schema of a definition: with what there is to say about it, the
// types that it is for and what their data are, and with every definition that it refers to.
func describe(name string, about, types, data object) json.RawMessage {
	root := append(object{{"$schema", quote("https://json-schema.org/draft/2020-12/schema")}}, about...)
	for _, m := range parse(definitions().get(name)) {
		if root.get(m.name) == nil {
			root.set(m.name, m.value)
		}
	}
	properties := parse(root.get("properties"))
	properties.set("type", append(object{{"type", quote("string")}}, types...).encode())
	version := parse(properties.get("api_version"))
	version.set("enum", encode(Versions()))
	properties.set("api_version", version.encode())
	properties.set("data", data.encode())
	root.set("properties", properties.encode())

	used := map[string]bool{}
	refer(root.encode(), used)
	var defs object
	for _, m := range definitions() {
		if used[m.name] {
			defs.set(m.name, m.value)
		}
	}
	root.set("$defs", defs.encode())
	return root.encode()
}

var reference = regexp.MustCompile(`"#/\$defs/([A-Za-z]+)"`)

// refer notes the definitions that a text refers to, and those that they refer to.
func refer(text []byte, used map[string]bool) {
	for _, found := range reference.FindAllSubmatch(text, -1) {
		if name := string(found[1]); !used[name] {
			used[name] = true
			refer(definitions().get(name), used)
		}
	}
}
