package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/tollgate/tollgate/shared/fault"
)

// maxDepth bounds the nesting of a body. The API's deepest is 2: a member of metadata.
const maxDepth = 16

// node is a JSON value with what encoding/json forgets: members that stand twice,
// the exact spelling of names and numbers, and null as distinct from absent.
type node struct {
	kind    kind
	text    string // a string's content, a number as it was spelled
	members []member
	items   []node
}

type member struct {
	name  string
	value node
}

type kind string

const (
	kindObject kind = "an object"
	kindArray  kind = "an array"
	kindString kind = "a string"
	kindNumber kind = "a number"
	kindBool   kind = "a boolean"
	kindNull   kind = "null"
)

// parse reads exactly one JSON document.
func parse(body []byte) (node, error) {
	if !utf8.Valid(body) {
		return node{}, fault.New(fault.InvalidJSON, "The body is not UTF-8. Encode it as UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	var doc json.RawMessage
	if err := dec.Decode(&doc); err != nil {
		return node{}, syntaxFault(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return node{}, fault.New(fault.InvalidJSON, "Something follows the JSON object, at byte %d. Send one object and nothing after it.", dec.InputOffset())
	}
	walk := json.NewDecoder(bytes.NewReader(doc))
	walk.UseNumber()
	return value(walk, 0)
}

func syntaxFault(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		return fault.New(fault.InvalidJSON, "The body is empty. Send a JSON object; {} if there is nothing to say.")
	case errors.As(err, &syntax):
		return fault.New(fault.InvalidJSON, "The body is not JSON: %s, at byte %d.", syntax.Error(), syntax.Offset)
	default:
		return fault.New(fault.InvalidJSON, "The body is not JSON: it ends too early.")
	}
}

// value reads the next value of a document whose syntax was checked, so that the
// only thing left to refuse is its depth.
func value(dec *json.Decoder, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, fault.New(fault.InvalidJSON, "The body nests deeper than %d levels.", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return node{}, syntaxFault(err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return object(dec, depth)
		}
		return array(dec, depth)
	case string:
		return node{kind: kindString, text: t}, nil
	case json.Number:
		return node{kind: kindNumber, text: t.String()}, nil
	case bool:
		n := node{kind: kindBool}
		if t {
			n.text = "true"
		}
		return n, nil
	default:
		return node{kind: kindNull}, nil
	}
}

func object(dec *json.Decoder, depth int) (node, error) {
	n := node{kind: kindObject}
	for dec.More() {
		name, err := value(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		v, err := value(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{name.text, v})
	}
	_, err := dec.Token() // the closing brace
	return n, err
}

func array(dec *json.Decoder, depth int) (node, error) {
	n := node{kind: kindArray}
	for dec.More() {
		v, err := value(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, v)
	}
	_, err := dec.Token() // the closing bracket
	return n, err
}

// texts calls yield with every string of the document, names included, and with every
// number as it was spelled.
func (n node) texts(yield func(string) bool) bool {
	if (n.kind == kindString || n.kind == kindNumber) && !yield(n.text) {
		return false
	}
	for _, m := range n.members {
		if !yield(m.name) || !m.value.texts(yield) {
			return false
		}
	}
	for _, item := range n.items {
		if !item.texts(yield) {
			return false
		}
	}
	return true
}
