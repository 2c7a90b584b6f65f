// Package control is how instances share what each of them must know within seconds and may know a moment late:
// circuit state, switches, limits. Nothing in it is money, and nothing that happened may depend on it alone.
//
// It owns the store of small JSON-like documents and the rules of using it: a document is changed whole, by a
// function of what it was (compare and set, so that no change is lost and none waits for a lock), and it is read
// through a Reader, which keeps requests from waiting for the store and goes on with what it has when the store is
// away. There are no listeners: an instance between requests has no CPU to hear them with.
//
// Three stores behave alike (controltest.Store holds them to it): Firestore for a deployment, Memory for one process,
// and the client of shared/local/controlplane for several processes on one machine.
//
// It refuses documents that JSON can't hold, paths that don't name a document, and to be a place for counters: one
// document takes about one write a second.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A Document is a JSON object: its values are strings, bools, int64 or float64, nil, slices and maps of these. Times
// are RFC 3339 strings.
type Document = map[string]any

// A Store keeps documents by path, collection and name in turn, such as "circuits/stripe". Both methods end when ctx
// does.
type Store interface {
	// Get returns the document, nil when there is none.
	Get(ctx context.Context, path string) (Document, error)

	// Change replaces the document by what change makes of it, unless another change came between; then change runs
	// again, on what that one left. It is given nil when there is no document, and nil from it removes the document.
	// An equal document is not written. An error of change ends it, nothing is changed, and the error is returned.
	//
	// After another error the document may have been changed or not. A store may also repeat a write whose answer was
	// lost, and find its own change done: change must do no harm when it meets its own result.
	Change(ctx context.Context, path string, change func(Document) (Document, error)) error
}

// ErrContended means that the store answers, but that others changed the document each time until ctx ended.
var ErrContended = errors.New("control: others kept changing the document")

// Encode makes a document of a value that marshals to a JSON object.
func Encode(v any) (Document, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return Parse(text)
}

// Parse reads a JSON object as a document.
func Parse(text []byte) (Document, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var doc Document
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := numbers(doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// Decode reads a document into v as JSON; a nil document leaves v as it is.
func Decode(d Document, v any) error {
	if d == nil {
		return nil
	}
	text, err := json.Marshal(d)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// numbers turns the numbers inside a map or slice into int64, or else float64.
func numbers(in any) error {
	each := func(v any, set func(any)) error {
		n, ok := v.(json.Number)
		if !ok {
			return numbers(v)
		}
		if i, err := n.Int64(); err == nil {
			set(i)
			return nil
		}
		f, err := n.Float64()
		if err != nil {
			return fmt.Errorf("control: the number %s: %w", n, err)
		}
		set(f)
		return nil
	}
	switch x := in.(type) {
	case map[string]any:
		for k, v := range x {
			if err := each(v, func(n any) { x[k] = n }); err != nil {
				return err
			}
		}
	case []any:
		for i, v := range x {
			if err := each(v, func(n any) { x[i] = n }); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPath refuses what does not name a document.
func checkPath(path string) error {
	parts := strings.Split(path, "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return fmt.Errorf("control: %q does not name a document", path)
		}
	}
	if len(parts)%2 != 0 {
		return fmt.Errorf("control: %q names a collection, not a document", path)
	}
	return nil
}
