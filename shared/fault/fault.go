// Package fault is the one error type that crosses package borders.
//
// A fault says what kind of trouble it is, carries a stable code that merchants
// may switch on, and words that name the fix. Domain packages return faults;
// shared/api alone turns them into HTTP answers, and logs the internal ones once.
// Any other error is an internal fault: its text never reaches a caller.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Error is one fault. The zero Code is Internal.
type Error struct {
	Code   Code
	Detail string        // for the caller: what is wrong and how to mend it
	Fields []Field       // the input's faulty members, if it is the input
	Err    error         // the cause, for the log only
	Retry  time.Duration // when it is worth trying again; 0 means not stated

	// Extra is added to the problem document as members of their own,
	// such as "current_status" or "payment_id".
	Extra map[string]any
}

// Field is one faulty member of the input.
type Field struct {
	Name   string `json:"field"`  // a path such as "metadata.note", or a header or parameter name
	Detail string `json:"detail"` // what is wrong with it and how to mend it
}

func (e *Error) Error() string {
	s := string(e.code())
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	for _, f := range e.Fields {
		s += "; " + f.Name + ": " + f.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Kind is the fault's kind, from the table of codes.
func (e *Error) Kind() Kind { return Lookup(e.code()).Kind }

func (e *Error) code() Code {
	if e.Code == "" {
		return Internal
	}
	return e.Code
}

// With adds a member to the problem document.
func (e *Error) With(name string, value any) *Error {
	if e.Extra == nil {
		e.Extra = make(map[string]any)
	}
	e.Extra[name] = value
	return e
}

// New makes a fault with a code of the table.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Invalid makes a fault about one member of the input.
func Invalid(field, format string, args ...any) *Error {
	return &Error{
		Code:   InvalidRequest,
		Detail: "The request is not valid; nothing was changed.",
		Fields: []Field{{Name: field, Detail: fmt.Sprintf(format, args...)}},
	}
}

// Wrap makes an internal fault that says what was being done.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Detail: fmt.Sprintf(format, args...), Err: err}
}

// As finds the outermost fault in err's chain; any other error is internal.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Err: err}
}

// Is reports whether err is a fault with the code.
func Is(err error, code Code) bool {
	return err != nil && As(err).code() == code
}
