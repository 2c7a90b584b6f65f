package settlement

import (
	"context"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Reader answers merchants' questions about their settlements. It returns the faults
// not_found, invalid_request, and invalid_state for the lines of a settlement that is not
// completed: until then they may change.
type Reader struct {
	DB postgres.DB
}

// Page sizes.
const (
	DefaultPage     = 20
	MaxPage         = 100
	DefaultLinePage = 100
	MaxLinePage     = 1000
)

// Filter chooses settlements of a merchant. Zero values do not filter.
type Filter struct {
	BusinessDate string // of the merchant's calendar, such as 2026-11-24
	Currency     string
	Limit        int    // 1 to MaxPage; 0: DefaultPage
	Cursor       string // NextCursor of the page before
}

const (
	viewColumns = `id, status, currency, to_char(business_date, 'YYYY-MM-DD'), timezone, cutoff_at, captured_minor,
		refunded_minor, fee_minor, dispute_minor, adjustment_minor, net_minor, payment_count, line_count, manifest_sha256,
		created_at, completed_at`
	getView   = `SELECT ` + viewColumns + ` FROM settlements WHERE id = $1 AND merchant_id = $2`
	listViews = `SELECT ` + viewColumns + ` FROM settlements WHERE merchant_id = $1
		AND ($2 = '' OR business_date = NULLIF($2, '')::date)
		AND ($3 = '' OR currency = $3)
		AND ($4::uuid IS NULL OR id < $4)
		ORDER BY id DESC LIMIT $5`
	listLines = `SELECT number, transaction_id, kind, amount_minor, provider, posted_at FROM settlement_lines
		WHERE settlement_id = $1 AND number > $2 ORDER BY number LIMIT $3`
)

// List reads a page of the merchant's settlements, the newest first. A settlement made
// meanwhile shifts nothing.
func (r *Reader) List(ctx context.Context, merchant id.ID, f Filter) (Page, error) {
	before, err := f.check()
	if err != nil {
		return Page{}, err
	}
	rows, err := r.DB.Query(ctx, listViews, merchant, f.BusinessDate, f.Currency, before, f.Limit+1)
	if err != nil {
		return Page{}, fault.Wrap(err, "list settlements")
	}
	found, err := pgx.CollectRows(rows, collectView)
	if err != nil {
		return Page{}, fault.Wrap(err, "list settlements")
	}
	page := Page{Data: found}
	if len(found) > f.Limit {
		page.Data = found[:f.Limit]
		page.HasMore, page.NextCursor = true, &found[f.Limit-1].ID
	}
	return page, nil
}

func (f *Filter) check() (before *id.ID, err error) {
	if f.Limit == 0 {
		f.Limit = DefaultPage
	}
	if f.Limit < 1 || f.Limit > MaxPage {
		return nil, fault.Invalid("limit", "must be between 1 and %d", MaxPage)
	}
	if f.BusinessDate != "" {
		day, err := time.Parse(time.DateOnly, f.BusinessDate)
		if err != nil || day.Year() < 2000 {
			return nil, fault.Invalid("business_date", "must be a date after the year 2000, such as 2026-11-24")
		}
	}
	if f.Currency != "" {
		if _, err := money.ParseCurrency(f.Currency); err != nil {
			return nil, fault.Invalid("currency", "%q is not a current ISO 4217 code", f.Currency)
		}
	}
	if f.Cursor == "" {
		return nil, nil
	}
	last, err := id.Settlement.Parse(f.Cursor)
	if err != nil {
		return nil, badCursor()
	}
	return &last, nil
}

func badCursor() error {
	return fault.Invalid("cursor", "is not a cursor of this list; send next_cursor of the page before, unchanged, or leave it out to begin")
}

// Get reads one of the merchant's settlements; another merchant's is not found.
func (r *Reader) Get(ctx context.Context, merchant, settlement id.ID) (View, error) {
	rows, err := r.DB.Query(ctx, getView, settlement, merchant)
	if err != nil {
		return View{}, fault.Wrap(err, "read the settlement")
	}
	found, err := pgx.CollectRows(rows, collectView)
	if err != nil {
		return View{}, fault.Wrap(err, "read the settlement")
	}
	if len(found) == 0 {
		return View{}, fault.New(fault.NotFound, "There is no such settlement, or it is not yours.")
	}
	return found[0], nil
}

// Completed is Get for what only a completed settlement has.
func (r *Reader) Completed(ctx context.Context, merchant, settlement id.ID) (View, error) {
	v, err := r.Get(ctx, merchant, settlement)
	if err == nil && v.CompletedAt == nil {
		return View{}, fault.New(fault.InvalidState, "The settlement is still being made. Ask again when it is COMPLETED; settlement.completed tells.")
	}
	return v, err
}

// Lines reads a page of the lines of a completed settlement.
func (r *Reader) Lines(ctx context.Context, merchant, settlement id.ID, limit int, cursor string) (LinePage, error) {
	if limit == 0 {
		limit = DefaultLinePage
	}
	if limit < 1 || limit > MaxLinePage {
		return LinePage{}, fault.Invalid("limit", "must be between 1 and %d", MaxLinePage)
	}
	after := int64(0)
	if cursor != "" {
		var err error
		if after, err = strconv.ParseInt(cursor, 10, 32); err != nil || after < 1 || strconv.FormatInt(after, 10) != cursor {
			return LinePage{}, badCursor()
		}
	}
	if _, err := r.Completed(ctx, merchant, settlement); err != nil {
		return LinePage{}, err
	}
	rows, err := r.DB.Query(ctx, listLines, settlement, after, limit+1)
	if err != nil {
		return LinePage{}, fault.Wrap(err, "list a settlement's lines")
	}
	found, err := pgx.CollectRows(rows, scanLine)
	if err != nil {
		return LinePage{}, fault.Wrap(err, "list a settlement's lines")
	}
	page := LinePage{Data: found}
	if len(found) > limit {
		page.Data = found[:limit]
		next := strconv.FormatInt(found[limit-1].Number, 10)
		page.HasMore, page.NextCursor = true, &next
	}
	return page, nil
}

func collectView(row pgx.CollectableRow) (View, error) { return scanView(row) }

func scanView(row pgx.Row) (v View, err error) {
	var own id.ID
	var digest []byte
	err = row.Scan(&own, &v.Status, &v.Currency, &v.BusinessDate, &v.TimeZone, &v.CutoffAt, &v.CapturedAmount, &v.RefundedAmount,
		&v.FeeAmount, &v.DisputedAmount, &v.AdjustedAmount, &v.NetAmount, &v.PaymentCount, &v.LineCount, &digest, &v.CreatedAt, &v.CompletedAt)
	v.ID, v.Object = id.Settlement.External(own), "settlement"
	v.CutoffAt, v.CreatedAt = v.CutoffAt.UTC(), v.CreatedAt.UTC()
	if v.CompletedAt != nil {
		at, sum := v.CompletedAt.UTC(), hex.EncodeToString(digest)
		v.CompletedAt, v.ManifestSHA256 = &at, &sum
	}
	return v, err
}

func scanLine(row pgx.CollectableRow) (l LineView, err error) {
	var payment *id.ID
	err = row.Scan(&l.Number, &payment, &l.Kind, &l.Amount, &l.Provider, &l.PostedAt)
	if payment != nil {
		text := id.Payment.External(*payment)
		l.PaymentID = &text
	}
	l.PostedAt = l.PostedAt.UTC()
	return l, err
}
