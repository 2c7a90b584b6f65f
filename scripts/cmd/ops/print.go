package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// A list is printed as a table, whose columns are the fields with a col tag.
type list[T any] struct {
	rows []T
	none string // what to say when there are no rows
}

// MarshalJSON marshals the rows alone.
func (l list[T]) MarshalJSON() ([]byte, error) {
	if l.rows == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(l.rows)
}

func (l list[T]) text(w io.Writer) error {
	if len(l.rows) == 0 {
		_, err := fmt.Fprintln(w, l.none)
		return err
	}
	return table(w, l.rows)
}

// maxCell keeps a provider's or merchant's words from breaking the table. --json has
// them whole.
const maxCell = 60

// table prints one line per row.
func table[T any](w io.Writer, rows []T) error {
	columns := columnsOf(reflect.TypeFor[T]())
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = strings.ToUpper(c.name)
	}
	writeRow(tw, heads)
	for _, row := range rows {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = cut(cell(reflect.ValueOf(row).Field(c.field)))
		}
		writeRow(tw, cells)
	}
	return tw.Flush()
}

// writeRow does not pad the last cell.
func writeRow(w io.Writer, cells []string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) }

// fields prints one line per field of the structs, leaving out those without a value.
func fields(w io.Writer, structs ...any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range structs {
		for _, c := range columnsOf(reflect.TypeOf(v)) {
			if text := cell(reflect.ValueOf(v).Field(c.field)); text != noValue {
				writeRow(tw, []string{c.name, text})
			}
		}
	}
	return tw.Flush()
}

type column struct {
	name  string
	field int
}

func columnsOf(t reflect.Type) []column {
	var columns []column
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("col"); name != "" {
			columns = append(columns, column{name, i})
		}
	}
	return columns
}

const noValue = "-"

// cell spells a value. Text that comes from outside may hold anything, and must not
// reach the terminal's own commands.
func cell(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return noValue
		}
		v = v.Elem()
	}
	text := ""
	switch x := v.Interface().(type) {
	case time.Time:
		text = spellTime(x)
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			return err.Error()
		}
		text = string(b)
	default:
		text = fmt.Sprint(x)
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if text = strings.TrimSpace(text); text == "" {
		return noValue
	}
	return text
}

func spellTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func cut(s string) string {
	if r := []rune(s); len(r) > maxCell {
		return string(r[:maxCell-1]) + "…"
	}
	return s
}

// done is the result of a command that only has to say that it did its work.
type done struct {
	Done string `json:"done"`
}

func (d done) text(w io.Writer) error {
	_, err := fmt.Fprintln(w, d.Done)
	return err
}
