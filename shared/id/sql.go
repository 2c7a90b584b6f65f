package id

import (
	"database/sql/driver"
	"fmt"
)

// Value gives the database a UUID; the zero ID is NULL.
func (u ID) Value() (driver.Value, error) {
	if u.IsZero() {
		return nil, nil
	}
	return u.String(), nil
}

// Scan reads a UUID column; NULL is the zero ID.
func (u *ID) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*u = ID{}
		return nil
	case string:
		return u.UnmarshalText([]byte(v))
	case []byte:
		return u.UnmarshalText(v)
	case [16]byte:
		*u = v
		return nil
	}
	return fmt.Errorf("id: can't read a %T", src)
}
