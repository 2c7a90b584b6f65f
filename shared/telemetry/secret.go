package telemetry

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const masked = "[masked]"

// Secret is a string that must not be shown: an API key, a signing secret, a
// password. It prints, logs and encodes as "[masked]"; Reveal gives the value to
// the code that must send or compare it.
//
// Three ways of printing never ask a value's type: fmt for the unexported fields
// of a struct, fmt's %p, and encoding/json for the keys of a map. Keep a Secret in
// an exported field, or don't print the struct; don't make it a key.
type Secret string

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// String returns "[masked]".
func (Secret) String() string { return masked }

// GoString returns "[masked]".
func (Secret) GoString() string { return masked }

// Format writes "[masked]" whatever the verb, %x and %d included.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, masked) }

// LogValue is "[masked]".
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "[masked]".
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalJSON returns "[masked]" as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }

// Value refuses to store a secret by accident.
func (Secret) Value() (driver.Value, error) {
	return nil, errors.New("a secret does not go into the database as it is: hash, encrypt or reveal it")
}
