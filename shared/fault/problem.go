package fault

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// ProblemType is the media type of a problem document (RFC 9457).
const ProblemType = "application/problem+json"

// typePrefix makes a problem's type a URI, as RFC 9457 wants, that promises no page.
const typePrefix = "urn:tollgate:problem:"

// internalDetail is all that a caller learns of a fault of ours.
const internalDetail = "The request failed on our side. Send it again with the same Idempotency-Key: " +
	"it can't take effect twice. If that goes on, tell us the Request-Id of this answer."

// Problem renders the fault as a problem document of RFC 9457. The same fault and
// instance always give the same bytes, so an answer can be stored and repeated.
// An internal fault's own words are left out, whatever they are.
func Problem(e *Error, instance string) []byte {
	entry := Lookup(e.code())
	p := struct {
		Type     string  `json:"type"`
		Title    string  `json:"title"`
		Status   int     `json:"status"`
		Detail   string  `json:"detail,omitempty"`
		Instance string  `json:"instance,omitempty"`
		Code     Code    `json:"code"`
		Errors   []Field `json:"errors,omitempty"`
	}{
		Type: typePrefix + string(entry.Code), Title: entry.Title, Status: entry.Status,
		Detail: e.Detail, Instance: instance, Code: entry.Code, Errors: e.Fields,
	}
	extra := e.Extra
	if entry.Kind == KindInternal {
		p.Detail, p.Errors, extra = internalDetail, nil, nil
	}
	doc := bytes.TrimSuffix(encode(p), []byte("}"))
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if reserved[name] {
			continue // a member twice would be two documents in one
		}
		doc = append(doc, ',')
		doc = append(doc, encode(name)...)
		doc = append(doc, ':')
		doc = append(doc, encode(extra[name])...)
	}
	return append(doc, '}')
}

var reserved = map[string]bool{
	"type": true, "title": true, "status": true, "detail": true, "instance": true, "code": true, "errors": true,
}

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("fault: a problem's member can't be written as JSON: " + err.Error()) // a mistake in our code, which its first test meets
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
