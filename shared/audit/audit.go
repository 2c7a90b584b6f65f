// Package audit watches over the audit log: it seals it, verifies it, and rebuilds the
// tables from it.
//
// It owns the tables audit_seals and audit_passes, and what a Vault holds. The log itself,
// its rows and how they fold, is the package payment's.
//
// Sealing. When a period has ended (package period), what each merchant's log has of it is
// sealed, in batches: a seal has the SHA-256 of every row (Leaf), and a head that is made
// of them and of the head before, so that the seals of a merchant are a chain. The seal is
// kept twice: head and count in the database, and all of it in a vault outside, where
// nothing is ever overwritten. There is one chain for each merchant, and no row that two
// merchants' transactions would wait for.
//
// Verifying. Whoever can write to the database can rewrite the log, its seals, and the
// tables; but not the vault. A pass holds the rows of the log against the vault's copies
// of the seals, those against the database's, and the tables against the folded log. What
// does not agree is a Finding, which names the row.
//
// What it does not see: a change of a row that is younger than the last closed period and
// still folds; and the loss of the latest seals when they, their rows and their files are
// gone together, which the vault's retention is there to prevent. A part of the log that was
// detached is missed row by row: attach it again to have it verified.
package audit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Vault is where seals are kept outside the database. What is in it is never overwritten
// or deleted, and whoever writes to the database should not be able to.
type Vault interface {
	// Create keeps content under a name with slashes. It fails with fs.ErrExist, and
	// changes nothing, when the name is taken.
	Create(ctx context.Context, name string, content []byte) error

	// Read fails with fs.ErrNotExist when nothing has the name.
	Read(ctx context.Context, name string) ([]byte, error)

	// Folders lists the folders in a folder (whose name ends with a slash) in the order of
	// their names, after the given one.
	Folders(ctx context.Context, in, after string, limit int) ([]string, error)
}

// Service seals and verifies. Fields are set where it is wired and not changed after.
type Service struct {
	Pool    *pgxpool.Pool
	Vault   Vault
	Now     func() time.Time
	NewID   func() id.ID
	Log     *slog.Logger
	Metrics *telemetry.Metrics

	// Batch is how many rows a seal holds at most; 0: 5,000. Tests make it smaller. A
	// period that is half sealed has to be finished with the number that it was begun with.
	Batch int
}

const (
	defaultBatch = 5000 // a file of about 1 MB

	// workers is how many merchants are sealed or verified at a time. The vault takes most
	// of the time; the database's few connections are shared.
	workers = 8

	// merchantsPerPage and paymentsPerPage are verified between two notes of how far it is.
	merchantsPerPage = 200
	paymentsPerPage  = 500

	// mostFindings is how many findings of one merchant are named. Who has rewritten more
	// is not helped by a longer list.
	mostFindings = 100
)

func (s *Service) batch() int {
	if s.Batch > 0 {
		return s.Batch
	}
	return defaultBatch
}

// Kind says what is wrong.
type Kind string

// The kinds of findings.
const (
	RowRewritten  Kind = "row_rewritten"  // a row of the log is not what was sealed
	RowDeleted    Kind = "row_deleted"    // a sealed row is gone from the log
	RowInserted   Kind = "row_inserted"   // a row of a closed period that was not sealed
	RowsChanged   Kind = "rows_changed"   // rows are not what was sealed, and the seal's file can't say which
	SealMissing   Kind = "seal_missing"   // a seal is gone from the database, the vault, or both
	SealRewritten Kind = "seal_rewritten" // the database's seal is not the vault's
	SealBroken    Kind = "seal_broken"    // a seal in the vault does not agree with itself
	SealForked    Kind = "seal_forked"    // a seal does not follow from the one before it
	PeriodMissing Kind = "period_missing" // a period that was sealed is not among the closed ones
	FoldMismatch  Kind = "fold_mismatch"  // the log does not give a row of a table back
	More          Kind = "more"           // there is more of it at this merchant than is named
)

// Finding is one thing that does not agree. Zero members do not apply.
type Finding struct {
	Kind     Kind   `json:"kind"`
	Merchant id.ID  `json:"merchant_id,omitzero"`
	Seal     int64  `json:"seal,omitzero"`       // its number
	Payment  id.ID  `json:"payment_id,omitzero"` // whose log it is about
	Row      id.ID  `json:"row_id,omitzero"`     // of the log, or of Table
	Table    string `json:"table,omitzero"`      // where the fold does not agree
	Detail   string `json:"detail"`
}

// Subject names what the finding is about: the same thing has the same subject each time.
func (f Finding) Subject() string {
	parts := []string{string(f.Kind)}
	for _, p := range []struct {
		name  string
		value string
	}{
		{"table", f.Table},
		{"row", spell(f.Row)},
		{"payment", spell(f.Payment)},
		{"merchant", spell(f.Merchant)},
		{"seal", number(f.Seal)},
	} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	return strings.Join(parts, " ")
}

func (f Finding) String() string { return f.Subject() + ": " + f.Detail }

func spell(i id.ID) string {
	if i.IsZero() {
		return ""
	}
	return i.String()
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// Totals is how much was verified.
type Totals struct {
	Merchants int64 `json:"merchants" db:"merchants"`
	Seals     int64 `json:"seals" db:"seals"`
	Rows      int64 `json:"rows" db:"rows"`         // of the log, held against their seals
	Payments  int64 `json:"payments" db:"payments"` // held against their log
	Findings  int64 `json:"findings" db:"findings"`
}

func (t *Totals) add(o Totals) {
	t.Merchants += o.Merchants
	t.Seals += o.Seals
	t.Rows += o.Rows
	t.Payments += o.Payments
	t.Findings += o.Findings
}
