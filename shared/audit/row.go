package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// MarshalText spells the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("audit: %q is no SHA-256", text)
	}
	*h = Hash(b)
	return nil
}

// row is a row of the log, to the byte as the database prints it.
type row struct {
	Payment   id.ID     `db:"transaction_id"`
	ID        id.ID     `db:"id"`
	Merchant  id.ID     `db:"merchant_id"`
	Object    string    `db:"object"`
	ObjectID  id.ID     `db:"object_id"`
	Kind      string    `db:"kind"`
	Version   *int64    `db:"version"`
	Action    string    `db:"action"`
	Delta     string    `db:"delta"`
	Actor     string    `db:"actor"`
	RequestID string    `db:"request_id"`
	At        time.Time `db:"at"`
}

const rowColumns = `transaction_id, id, merchant_id, object, object_id, kind, version, action, delta::text AS delta,
	actor, request_id, at`

// Rows are read in the order in which they are sealed: by time, and by their keys where
// that is the same. A uuid is ordered as its bytes are, here as there. Where reading goes on
// is a bound of the index by itself: a later page costs as much as the first.
const (
	selectRows = `
		SELECT ` + rowColumns + ` FROM transaction_audit_log
		WHERE merchant_id = $1 AND at >= coalesce(greatest($2::timestamptz, $4), '-infinity') AND at < $3
		  AND ($4::timestamptz IS NULL OR (at, transaction_id, id) > ($4, $5::uuid, $6::uuid))
		ORDER BY at, transaction_id, id LIMIT $7`
	selectRow = `SELECT ` + rowColumns + ` FROM transaction_audit_log WHERE transaction_id = $1 AND id = $2`
)

// listRows reads the merchant's rows of a stretch of time, after the given one; nil: from
// the beginning.
func listRows(ctx context.Context, db postgres.DB, merchant id.ID, since *time.Time, until time.Time, after *Leaf, limit int) ([]row, error) {
	var at *time.Time
	var from Leaf
	if after != nil {
		at, from = &after.At, *after
	}
	rows, _ := db.Query(ctx, selectRows, merchant, since, until, at,
		from.Payment.String(), from.Row.String(), limit) // zero IDs would be NULL; CollectRows returns the error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	return found, fault.Wrap(err, "read the audit log of merchant %s", merchant)
}

// Leaf is what a seal holds of a row.
type Leaf struct {
	At      time.Time `json:"at"`
	Payment id.ID     `json:"payment"`
	Row     id.ID     `json:"row"`
	SHA256  Hash      `json:"sha256"`
}

// place is where the row stands among others: its leaf without the hash.
func (r *row) place() Leaf { return Leaf{At: r.At.UTC(), Payment: r.Payment, Row: r.ID} }

func (r *row) leaf() Leaf {
	h := newHash("tollgate audit row 1")
	version := ""
	if r.Version != nil {
		version = strconv.FormatInt(*r.Version, 10)
	}
	h.bytes(r.Payment[:], r.ID[:], r.Merchant[:], []byte(r.Object), r.ObjectID[:], []byte(r.Kind), []byte(version),
		[]byte(r.Action), []byte(r.Delta), []byte(r.Actor), []byte(r.RequestID))
	h.number(r.At.UnixMicro())
	l := r.place()
	l.SHA256 = h.sum()
	return l
}

// compare orders leaves as their rows are sealed.
func (l Leaf) compare(o Leaf) int {
	return cmp.Or(l.At.Compare(o.At), bytes.Compare(l.Payment[:], o.Payment[:]), bytes.Compare(l.Row[:], o.Row[:]))
}

// hasher hashes values so that no two lists of values give the same bytes.
type hasher struct{ hash.Hash }

// newHash begins a hash of one purpose.
func newHash(purpose string) hasher {
	h := hasher{sha256.New()}
	h.bytes([]byte(purpose))
	return h
}

func (h hasher) number(n int64) {
	_ = binary.Write(h, binary.BigEndian, n) // a hash takes everything
}

func (h hasher) bytes(values ...[]byte) {
	for _, v := range values {
		h.number(int64(len(v)))
		h.Write(v)
	}
}

func (h hasher) sum() Hash { return Hash(h.Sum(nil)) }
