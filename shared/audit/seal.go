package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// Seal fixes some rows of a merchant's log. This is the form in which the vault has it.
type Seal struct {
	Format   string     `json:"format"`
	Merchant id.ID      `json:"merchant"`
	Number   int64      `json:"number"` // of the merchant's seals, from 1
	Since    *time.Time `json:"since"`  // of the period that the rows are of; null: the first
	Until    time.Time  `json:"until"`
	Previous Hash       `json:"previous"` // the head of the seal before; zeros before the first
	Head     Hash       `json:"head"`
	Rows     []Leaf     `json:"rows"`
}

const sealFormat = "tollgate audit seal 1"

// newSeal seals rows that follow the seal before it.
func newSeal(merchant id.ID, number int64, previous Hash, since *time.Time, until time.Time, rows []Leaf) *Seal {
	s := &Seal{
		Format: sealFormat, Merchant: merchant, Number: number, Since: since, Until: until.UTC(), Previous: previous, Rows: rows,
	}
	if since != nil {
		utc := since.UTC()
		s.Since = &utc
	}
	s.Head = s.sum()
	return s
}

// sum is the head that the seal's other members give.
func (s *Seal) sum() Hash {
	h := newHash(sealFormat)
	h.bytes(s.Merchant[:], s.Previous[:])
	h.number(s.Number)
	since := int64(-1 << 63)
	if s.Since != nil {
		since = s.Since.UnixMicro()
	}
	h.number(since)
	h.number(s.Until.UnixMicro())
	h.number(int64(len(s.Rows)))
	for _, l := range s.Rows {
		h.number(l.At.UnixMicro())
		h.bytes(l.Payment[:], l.Row[:], l.SHA256[:])
	}
	return h.sum()
}

// sealName is where the vault has a seal.
func sealName(merchant id.ID, number int64) string {
	return fmt.Sprintf("merchants/%s/%08d.json", merchant, number)
}

func (s *Seal) encode() ([]byte, error) { return json.Marshal(s) }

// decodeSeal reads what encode wrote, and says how it does not agree with itself or its place.
func decodeSeal(text []byte, merchant id.ID, number int64) (*Seal, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var s Seal
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	if d.More() {
		return nil, errors.New("something follows it")
	}
	switch {
	case s.Format != sealFormat:
		return nil, fmt.Errorf("its format is %q", s.Format)
	case s.Merchant != merchant || s.Number != number:
		return nil, fmt.Errorf("it is number %d of merchant %s", s.Number, s.Merchant)
	case s.sum() != s.Head:
		return nil, errors.New("its head does not follow from what it holds")
	}
	return &s, nil
}
