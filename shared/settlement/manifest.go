package settlement

import (
	"context"
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// manifestHead names the columns of a manifest.
var manifestHead = []string{"payment", "provider", "kind", "currency", "amount", "posted_at", "entry"}

const selectManifest = `
	SELECT l.number, l.transaction_id, l.provider, l.kind, s.currency, l.amount_minor, l.posted_at, l.posting_id, l.line
	FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id
	WHERE l.settlement_id = $1 AND l.number > $2 ORDER BY l.number LIMIT $3`

// manifestPage is how many lines are read at a time.
const manifestPage = 2000

type manifestLine struct {
	Number   int
	Payment  *id.ID
	Provider string
	Kind     string
	Currency string
	Amount   int64
	PostedAt time.Time
	Posting  id.ID
	Line     int
}

// WriteManifest writes what a settlement is made of as CSV (RFC 4180), a ledger entry per
// row, by payment and time. It has nothing in it but those entries, and so the same entries
// make the same bytes; their SHA-256 is kept with the settlement when it is completed.
//
// Amounts are minor units as the merchant sees them. Between pages neither a connection nor
// a transaction is held, however slowly w takes them.
func WriteManifest(ctx context.Context, db postgres.DB, settlement id.ID, w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(manifestHead); err != nil {
		return err
	}
	for last, n := 0, manifestPage; n == manifestPage; {
		rows, _ := db.Query(ctx, selectManifest, settlement, last, manifestPage) // CollectRows returns the error
		page, err := pgx.CollectRows(rows, pgx.RowToStructByPos[manifestLine])
		if err != nil {
			return fault.Wrap(err, "read a settlement's lines")
		}
		for _, l := range page {
			if err := out.Write(l.fields()); err != nil {
				return err
			}
			last = l.Number
		}
		n = len(page)
	}
	out.Flush()
	return out.Error()
}

func (l manifestLine) fields() []string {
	payment := ""
	if l.Payment != nil {
		payment = id.Payment.External(*l.Payment)
	}
	return []string{
		payment, l.Provider, l.Kind, l.Currency, strconv.FormatInt(l.Amount, 10), l.PostedAt.UTC().Format("2006-01-02T15:04:05.000000Z"),
		l.Posting.String() + "-" + strconv.Itoa(l.Line),
	}
}
