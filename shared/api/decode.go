package api

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/pan"
)

// MaxBody is the most that a merchant's request body may have, in bytes.
const MaxBody = 64 << 10

// Body reads the request's raw body, once: later calls give the same bytes. A body
// of more than limit bytes is the fault body_too_large.
func Body(r *http.Request, limit int64) ([]byte, error) {
	if kept, ok := r.Body.(keptBody); ok {
		return kept.bytes, nil
	}
	tooLarge := fault.New(fault.BodyTooLarge, "The body has more than %d bytes. Send less.", limit)
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The body could not be read to its end. Send the request again.")
	}
	if int64(len(b)) > limit {
		return nil, tooLarge
	}
	r.Body = keptBody{bytes: b, Reader: strings.NewReader("")}
	return b, nil
}

// keptBody stands in for a body that was read.
type keptBody struct {
	io.Reader
	bytes []byte
}

func (keptBody) Close() error { return nil }

// Decode reads the body into the struct that in points to: exactly one JSON object,
// whose members are exactly those of the struct's json tags. encoding/json would
// take a fraction that happens to be whole, a second document, the last of two equal
// members, any case of a name, and null for anything; each of those can hide a
// mistake that moves money, so each is refused, in words that name the member and
// the fix. So are empty strings, but for the values of a map and for fields tagged
// `api:"clearable"`, which an empty string empties.
//
// A field tagged `api:"required"` must be there. Card numbers in any string, names
// included, or as a number, are refused before anything else is said about the body,
// and not echoed.
func Decode(r *http.Request, in any) error {
	if err := checkMediaType(r); err != nil {
		return err
	}
	body, err := Body(r, MaxBody)
	if err != nil {
		return err
	}
	doc, err := parse(body)
	if err != nil {
		return err
	}
	if !doc.texts(func(s string) bool { return !pan.Find(s) }) {
		return cardNumber("The body")
	}
	if doc.kind != kindObject {
		return fault.New(fault.InvalidJSON, "The body is %s. Send a JSON object.", doc.kind)
	}
	var d decoder
	d.assign("", doc, reflect.ValueOf(in).Elem())
	if len(d.faults) > 0 {
		e := fault.Invalid("", "")
		e.Fields = d.faults
		return e
	}
	return nil
}

func checkMediaType(r *http.Request) error {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return fault.New(fault.UnsupportedMedia, "Send the header Content-Type: application/json.")
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return fault.New(fault.UnsupportedMedia, "Send the body as it is, without the header Content-Encoding.")
	}
	return nil
}

// cardNumber is the refusal of a card number. It can't name the member: a name may
// be where the number is, and nothing of it may come back or reach a log.
func cardNumber(where string) error {
	return fault.New(fault.CardNumber, "%s contains what looks like a card number. Never send card numbers here: send the provider's token, "+
		"such as a payment method's id. Nothing of the request was kept.", where)
}

// maxFaults bounds how many faulty members one answer names.
const maxFaults = 20

type decoder struct{ faults []fault.Field }

func (d *decoder) refuse(path, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, fault.Field{Name: path, Detail: fmt.Sprintf(format, args...)})
	}
}

// assign puts the value at path into v, or says why it does not fit.
func (d *decoder) assign(path string, n node, v reflect.Value) {
	if n.kind == kindNull {
		d.refuse(path, "is null; leave it out instead")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(path, n, v)
	case reflect.Map:
		d.strings(path, n, v)
	case reflect.Slice:
		d.array(path, n, v)
	case reflect.String:
		if d.is(path, n, kindString) && d.clean(path, n.text) && d.filled(path, n.text) {
			v.SetString(n.text)
		}
	case reflect.Bool:
		if d.is(path, n, kindBool) {
			v.SetBool(n.text == "true")
		}
	case reflect.Int64:
		d.integer(path, n, v)
	default:
		panic("api: a request can't have a member of type " + v.Type().String())
	}
}

func (d *decoder) is(path string, n node, want kind) bool {
	if n.kind != want {
		d.refuse(path, "must be %s, not %s", want, n.kind)
	}
	return n.kind == want
}

// clean refuses the one character that PostgreSQL can't store in a text.
func (d *decoder) clean(path, s string) bool {
	if strings.ContainsRune(s, 0) {
		d.refuse(path, "contains the character U+0000; leave it out")
		return false
	}
	return true
}

// filled refuses an empty string, which says nothing, and so is a mistake or a null.
func (d *decoder) filled(path, s string) bool {
	if s == "" {
		d.refuse(path, "is empty; leave it out instead")
	}
	return s != ""
}

func (d *decoder) integer(path string, n node, v reflect.Value) {
	if n.kind != kindNumber {
		d.refuse(path, "must be an integer written in digits, such as 5000, not %s", n.kind)
		return
	}
	if strings.ContainsAny(n.text, ".eE") || n.text == "-0" {
		d.refuse(path, "must be an integer written in digits alone, such as 5000: no fraction, no exponent, no negative zero")
		return
	}
	i, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil {
		d.refuse(path, "is out of range")
		return
	}
	v.SetInt(i)
}

func (d *decoder) object(path string, n node, v reflect.Value) {
	if !d.is(path, n, kindObject) {
		return
	}
	given := make(map[string]bool)
	for _, m := range n.members {
		at := join(path, m.name)
		i, known := fieldNamed(v.Type(), m.name)
		switch {
		case !known:
			d.refuse(at, "is not a member of this request; leave it out, or check its spelling")
		case given[m.name]:
			d.refuse(at, "stands twice; send it once")
		case m.value.kind == kindString && m.value.text == "" && v.Type().Field(i).Tag.Get("api") == "clearable":
			v.Field(i).Set(reflect.New(v.Type().Field(i).Type.Elem()))
		default:
			d.assign(at, m.value, v.Field(i))
		}
		given[m.name] = true
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if name := tagName(f); f.Tag.Get("api") == "required" && !given[name] {
			d.refuse(join(path, name), "is missing")
		}
	}
}

func (d *decoder) strings(path string, n node, v reflect.Value) {
	if !d.is(path, n, kindObject) {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, m := range n.members {
		at := join(path, m.name)
		name := reflect.ValueOf(m.name)
		switch {
		case v.MapIndex(name).IsValid():
			d.refuse(at, "stands twice; send it once")
		case m.value.kind == kindNull:
			d.refuse(at, "is null; leave it out instead")
		case d.clean(at, m.name) && d.is(at, m.value, kindString) && d.clean(at, m.value.text):
			v.SetMapIndex(name, reflect.ValueOf(m.value.text))
		}
	}
}

func (d *decoder) array(path string, n node, v reflect.Value) {
	if !d.is(path, n, kindArray) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.assign(fmt.Sprintf("%s[%d]", path, i), item, v.Index(i))
	}
}

func fieldNamed(t reflect.Type, name string) (int, bool) {
	for i := range t.NumField() {
		if tagName(t.Field(i)) == name {
			return i, true
		}
	}
	return 0, false
}

func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// maxName bounds how much of a name that the caller made up an answer repeats.
const maxName = 100

func join(path, name string) string {
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "") + "…"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
