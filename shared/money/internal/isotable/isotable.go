// Package isotable turns the ISO 4217 source data of package money into the Go
// table that money compiles in. It runs under go generate and in tests, never
// in a function.
package isotable

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"go/format"
	"io"
	"strconv"
)

// columns of iso4217.csv.
const (
	colCode = iota
	colNumber
	colExponent
	colKind
	colName
	colNote
	columns
)

const header = `// Code generated from iso4217.csv by go generate; DO NOT EDIT.

package money

// isoTable holds the currencies that payments use or once used, sorted by code.
var isoTable = [...]isoEntry{
`

// Generate reads iso4217.csv and returns the formatted Go source of the table.
// Only rows of kind "currency" and "withdrawn" enter it. Rows out of order, repeated, or without
// a plain code and exponent are errors, so that a slip in the data can't compile.
func Generate(source io.Reader) ([]byte, error) {
	r := csv.NewReader(source)
	r.Comment = '#'
	r.FieldsPerRecord = columns
	rows, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no rows")
	}
	var out bytes.Buffer
	out.WriteString(header)
	last := ""
	for _, row := range rows[1:] {
		code := row[colCode]
		if !isCode(code) {
			return nil, fmt.Errorf("%q is not a code of three upper-case letters", code)
		}
		if code <= last {
			return nil, fmt.Errorf("%s stands after %s: codes must be sorted and unique", code, last)
		}
		last = code
		switch kind := row[colKind]; kind {
		case "currency", "withdrawn":
			exponent, err := strconv.Atoi(row[colExponent])
			if err != nil || exponent < 0 || exponent > 4 {
				return nil, fmt.Errorf("%s: exponent %q is not 0 to 4", code, row[colExponent])
			}
			fmt.Fprintf(&out, "\t{%q, %d, %t}, // %s\n", code, exponent, kind == "withdrawn", row[colName])
		case "fund", "unit", "none":
		default:
			return nil, fmt.Errorf("%s: unknown kind %q", code, kind)
		}
	}
	out.WriteString("}\n")
	return format.Source(out.Bytes())
}

func isCode(s string) bool {
	if len(s) != 3 {
		return false
	}
	for _, c := range []byte(s) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
