// Package config reads a function's configuration into a struct, once, at start.
//
// It takes values from the lookup it is given and nowhere else, and reports every
// mistake at once, in words that name the variable and who sets it. It owns no
// state and refuses to guess: a wrong value stops the start.
//
//	type settings struct {
//		Database telemetry.Secret `env:"DATABASE_URL,required" desc:"PostgreSQL connection" who:"terraform"`
//		Timeout  time.Duration    `env:"TIMEOUT" envDefault:"5s" desc:"longest wait for Stripe" who:"terraform"`
//		Issuers  []string         `env:"ISSUERS" envSeparator:","`
//		Endpoint url.URL          `env:"ENDPOINT,required"`
//	}
package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// fileSuffix makes the name of the variable that holds the path of a mounted
// file instead of a value, as platforms mount secrets.
const fileSuffix = "_FILE"

// Error holds all mistakes of a configuration, in the order of the fields.
type Error struct {
	Mistakes []Mistake
}

// Mistake is one variable that can't be used.
type Mistake struct {
	Variable    string
	Problem     string // continues the sentence that the variable's name begins
	Description string // what the variable is for; may be empty
	Who         string // who sets it; may be empty
}

// Error lists the mistakes, one a line.
func (e *Error) Error() string {
	noun := "mistakes"
	if len(e.Mistakes) == 1 {
		noun = "mistake"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "configuration: %d %s", len(e.Mistakes), noun)
	for _, m := range e.Mistakes {
		out.WriteString("\n  " + m.String())
	}
	return out.String()
}

func (m Mistake) String() string {
	s := m.Variable + " " + m.Problem
	var notes []string
	if m.Description != "" {
		notes = append(notes, m.Description)
	}
	if m.Who != "" {
		notes = append(notes, "set by "+m.Who)
	}
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, "; ") + ")"
	}
	return s
}

// Map is a lookup over fixed values, for tests and tools.
func Map(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// Load fills a T, a struct whose fields have the tags of
// github.com/caarlos0/env: env:"NAME", with the options required and notEmpty;
// envDefault; envSeparator (a comma unless set); and on nested structs envPrefix.
// desc and who are words for the report. Fields without env are left alone.
//
// An empty variable counts as not set. When NAME is not set and NAME_FILE is, the
// value is the content of that file without its last line break. Strings in lists
// lose the spaces around them. URLs must be absolute.
//
// A nested struct whose pointer is a Reader reads itself. A struct whose pointer is a
// Checker is asked what is wrong with it.
//
// The error is an *Error with every mistake. It does not repeat the values of
// strings, lists and URLs, which may be secret.
func Load[T any](lookup func(string) (string, bool)) (T, error) {
	var settings, none T
	if err := Fill(lookup, "", &settings); err != nil {
		return none, err
	}
	return settings, nil
}

// Fill is Load into a struct that holds its defaults already: a field whose variable
// is not set, and that has no envDefault, keeps its value. All names begin with prefix.
func Fill[T any](lookup func(string) (string, bool), prefix string, settings *T) error {
	l := loader{lookup: lookup}
	l.load(reflect.ValueOf(settings).Elem(), prefix)
	if len(l.mistakes) > 0 {
		return &Error{l.mistakes}
	}
	return nil
}

// Reader is a part of a configuration that depends on another part of it, such as what
// is needed of the providers that are enabled. It is a field with a name: embedded, it
// would stand for the whole struct.
type Reader interface {
	// ReadConfig fills the part in. It returns what is wrong, which is reported with
	// all the rest.
	ReadConfig(lookup func(string) (string, bool)) []Mistake
}

// Checker is a part of a configuration that knows what its values must be, alone and
// together. It is asked once all of them are there and of the right type.
type Checker interface {
	// CheckConfig returns what is wrong, which is reported with all the rest.
	CheckConfig() []Mistake
}

// About makes mistakes of an error whose text begins with the variable's name, after that
// of a package perhaps; of each error, if several are joined. It is nil without one.
func About(err error) []Mistake {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []Mistake
		for _, e := range joined.Unwrap() {
			all = append(all, About(e)...)
		}
		return all
	}
	variable, problem, _ := strings.Cut(err.Error(), " ")
	if strings.HasSuffix(variable, ":") {
		variable, problem, _ = strings.Cut(problem, " ")
	}
	return []Mistake{{Variable: variable, Problem: problem}}
}

// Mistakes are those of an error that Load or Fill returned.
func Mistakes(err error) []Mistake {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Mistakes
	}
	return nil
}

type loader struct {
	lookup   func(string) (string, bool)
	mistakes []Mistake
}

func (l *loader) load(v reflect.Value, prefix string) {
	before := len(l.mistakes)
	defer func() {
		if len(l.mistakes) == before {
			l.check(v)
		}
	}()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		tag, tagged := field.Tag.Lookup("env")
		switch {
		case tagged:
			name, options, _ := strings.Cut(tag, ",")
			name = prefix + name
			if problem := l.set(v.Field(i), field, prefix, name, options); problem != "" {
				l.mistakes = append(l.mistakes, Mistake{name, problem, field.Tag.Get("desc"), field.Tag.Get("who")})
			}
		case field.Type.Kind() == reflect.Struct && (field.IsExported() || field.Anonymous):
			if reader, ok := readerOf(v.Field(i), field); ok {
				l.mistakes = append(l.mistakes, reader.ReadConfig(l.lookup)...)
				continue
			}
			l.load(v.Field(i), prefix+field.Tag.Get("envPrefix"))
		}
	}
}

// check asks a struct that is filled in. An embedded one is asked again by way of the
// struct that embeds it; what it says counts once.
func (l *loader) check(v reflect.Value) {
	if !v.CanAddr() || !v.Addr().CanInterface() {
		return
	}
	if c, ok := v.Addr().Interface().(Checker); ok {
		for _, m := range c.CheckConfig() {
			if !slices.Contains(l.mistakes, m) {
				l.mistakes = append(l.mistakes, m)
			}
		}
	}
}

func readerOf(v reflect.Value, field reflect.StructField) (Reader, bool) {
	if field.Anonymous || !field.IsExported() {
		return nil, false
	}
	reader, ok := v.Addr().Interface().(Reader)
	return reader, ok
}

// set parses one variable into its field and returns what is wrong with it, or "".
// The library is given a struct of this one field, because its errors do not tell
// which variable they are about.
func (l *loader) set(v reflect.Value, field reflect.StructField, prefix, name, options string) string {
	if !field.IsExported() {
		return "belongs to the unexported field " + field.Name + ", which can't be set"
	}
	for option := range strings.SplitSeq(options, ",") {
		if option != "" && option != "required" && option != "notEmpty" {
			return "has the tag option " + strconv.Quote(option) + ", which is not supported"
		}
	}
	value, problem := l.value(name)
	if problem != "" {
		return problem
	}
	if _, defaulted := field.Tag.Lookup("envDefault"); value == "" && options == "" && !defaulted {
		return "" // it keeps what it holds
	}
	environment := map[string]string{}
	if value != "" {
		environment[name] = value
	}
	only := reflect.New(reflect.StructOf([]reflect.StructField{{Name: field.Name, Type: field.Type, Tag: field.Tag}}))
	err := env.ParseWithOptions(only.Interface(), env.Options{
		Environment: environment, // never nil: nil would mean the process's own
		Prefix:      prefix,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[url.URL](): parseURL},
	})
	if err != nil {
		return explain(err, field.Type, cmp.Or(value, field.Tag.Get("envDefault")))
	}
	parsed := only.Elem().Field(0)
	if list, ok := parsed.Interface().([]string); ok {
		parsed = reflect.ValueOf(trimmed(list))
	}
	v.Set(parsed)
	return ""
}

func (l *loader) value(name string) (value, problem string) {
	value, _ = l.lookup(name)
	path, _ := l.lookup(name + fileSuffix)
	switch {
	case path == "":
		return value, ""
	case value != "":
		return "", "is set, and " + name + fileSuffix + " is too: keep one of them"
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", "can't be read from the file that " + name + fileSuffix + " names: " + err.Error()
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if text == "" {
		return "", "is empty in the file " + path
	}
	return text, ""
}

func parseURL(s string) (any, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	if !u.IsAbs() {
		return nil, errors.New("not absolute")
	}
	return *u, nil
}

func trimmed(list []string) []string {
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// explain turns the library's error about a value into the end of a sentence.
func explain(err error, t reflect.Type, value string) string {
	if _, ok := errors.AsType[env.VarIsNotSetError](err); ok {
		return "is not set"
	}
	if _, ok := errors.AsType[env.EmptyVarError](err); ok {
		return "is not set"
	}
	if parse, ok := errors.AsType[env.ParseError](err); ok {
		err = parse.Err // without the field's Go name and type
	}
	want, mayShow := wanted(t)
	switch {
	case want == "":
		return "can't be used: " + err.Error()
	case !mayShow:
		return "is malformed: want " + want
	case errors.Is(err, strconv.ErrRange):
		return fmt.Sprintf("is %.40q, which is out of range: want %s", value, want)
	default:
		return fmt.Sprintf("is %.40q: want %s", value, want)
	}
}

// wanted says what a variable of type t looks like, and whether a report may show
// the value that does not.
func wanted(t reflect.Type) (words string, mayShow bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration with its unit, such as 90s", true
	case reflect.TypeFor[url.URL]():
		return "an absolute URL, such as https://example.com/path", false
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()) {
		return "", false
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false", true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number", true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, not negative", true
	case reflect.Float32, reflect.Float64:
		return "a number", true
	case reflect.Slice:
		if words, _ := wanted(t.Elem()); words != "" {
			return "a list, each item " + words, false
		}
	}
	return "", false
}
