package api

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/pan"
)

// Query reads a request's query parameters as strictly as Decode reads its body. A
// filter that is misspelled must not pass for no filter at all.
type Query struct {
	values url.Values
	refuse error // of the query as a whole
	faults []fault.Field
}

// ReadQuery reads the parameters of the given names; any other is a fault.
func ReadQuery(r *http.Request, names ...string) *Query {
	q := &Query{}
	var err error
	if q.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		q.refuse = fault.New(fault.InvalidRequest, "The query can't be parsed. Escape the parameters' values.")
		return q
	}
	for name, values := range q.values {
		if pan.Find(name) || slices.ContainsFunc(values, pan.Find) {
			q.refuse = cardNumber("The query")
			return q
		}
		if !slices.Contains(names, name) {
			q.fault(join("", name), "is not a parameter of this request; it takes %s", cmp.Or(strings.Join(names, ", "), "none"))
		}
	}
	return q
}

// Err is the fault with everything that was wrong, nil if nothing was.
func (q *Query) Err() error {
	if q.refuse != nil || len(q.faults) == 0 {
		return q.refuse
	}
	slices.SortFunc(q.faults, func(a, b fault.Field) int { return strings.Compare(a.Name, b.Name) })
	e := fault.Invalid("", "")
	e.Fields = q.faults
	return e
}

func (q *Query) fault(name, format string, args ...any) {
	q.faults = append(q.faults, fault.Field{Name: name, Detail: fmt.Sprintf(format, args...)})
}

// String is the parameter's one value, "" if it is not given.
func (q *Query) String(name string) string {
	values := q.values[name]
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 1:
		q.fault(name, "is given %d times; give it once", len(values))
	case values[0] == "":
		q.fault(name, "is empty; leave it out instead")
	case strings.ContainsRune(values[0], 0):
		q.fault(name, "contains the character U+0000; leave it out")
	default:
		return values[0]
	}
	return ""
}

// Strings is a list: a parameter given several times, or with commas, or both.
func (q *Query) Strings(name string) []string {
	var list []string
	for _, value := range q.values[name] {
		for item := range strings.SplitSeq(value, ",") {
			if item == "" || strings.ContainsRune(item, 0) {
				q.fault(name, "has an item that is empty or contains U+0000; separate items by single commas")
				return nil
			}
			list = append(list, item)
		}
	}
	return list
}

// Int is an integer between least and most, 0 if it is not given.
func (q *Query) Int(name string, least, most int) int {
	s := q.String(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most || strconv.Itoa(n) != s {
		q.fault(name, "must be an integer between %d and %d", least, most)
		return 0
	}
	return n
}

// Time is a time of RFC 3339, zero if it is not given.
func (q *Query) Time(name string) time.Time {
	s := q.String(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 1 {
		q.fault(name, "must be a time of RFC 3339, such as 2026-03-01T09:00:00Z, with its + escaped as %%2B")
		return time.Time{}
	}
	return t
}

// Bool is true or false, false if it is not given.
func (q *Query) Bool(name string) bool {
	s := q.String(name)
	if s != "" && s != "true" && s != "false" {
		q.fault(name, "must be true or false")
	}
	return s == "true"
}

// ID is an identifier of the kind, zero if it is not given.
func (q *Query) ID(name string, kind id.Prefix) id.ID {
	s := q.String(name)
	if s == "" {
		return id.ID{}
	}
	u, err := kind.Parse(s)
	if err != nil {
		q.fault(name, "must be an identifier of the form %s_…", kind)
	}
	return u
}

// PathID is the identifier at {id} in the path. What is no identifier names nothing,
// so the fault is not_found.
func PathID(r *http.Request, kind id.Prefix) (id.ID, error) {
	u, err := kind.Parse(r.PathValue("id"))
	if err != nil {
		return id.ID{}, fault.New(fault.NotFound, "There is no such resource, or it is not yours. Identifiers here have the form %s_…", kind)
	}
	return u, nil
}
