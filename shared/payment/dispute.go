package payment

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// DisputeStatus is where a dispute stands.
type DisputeStatus string

// The statuses of a dispute. A decision may be overturned: WON may become LOST, and LOST
// WON, when the provider says so.
const (
	DisputeOpen DisputeStatus = "OPEN" // the provider holds the money until it is decided
	DisputeWon  DisputeStatus = "WON"  // it was given back
	DisputeLost DisputeStatus = "LOST"
)

// DisputeStatuses lists every status of a dispute.
func DisputeStatuses() []DisputeStatus { return []DisputeStatus{DisputeOpen, DisputeWon, DisputeLost} }

// Dispute is a row of disputes: money that a provider took back because its payer
// contests the payment. Providers' facts alone make and move them.
type Dispute struct {
	ID                id.ID          `db:"id"`
	TransactionID     id.ID          `db:"transaction_id"`
	MerchantID        id.ID          `db:"merchant_id"`
	Version           int64          `db:"version"`
	Status            DisputeStatus  `db:"status"`
	PreviousStatus    *DisputeStatus `db:"previous_status"`
	Provider          string         `db:"provider"`
	ProviderDisputeID string         `db:"provider_dispute_id"`
	Currency          money.Currency `db:"currency"`
	AmountMinor       int64          `db:"amount_minor"`  // what the provider took
	CountedMinor      int64          `db:"counted_minor"` // the part within what was captured and is not refunded; 0 when won
	Reason            *string        `db:"reason"`
	RespondBy         *time.Time     `db:"respond_by"`
	OpenedAt          time.Time      `db:"opened_at"`
	ClosedAt          *time.Time     `db:"closed_at"`
	CreatedAt         time.Time      `db:"created_at"`
	UpdatedAt         time.Time      `db:"updated_at"`
}

// taken reports whether the provider has the money.
func (p *Dispute) taken() bool { return p.Status != DisputeWon }

func (p *Dispute) move(to DisputeStatus) {
	from := p.Status
	p.PreviousStatus, p.Status, p.ClosedAt = &from, to, nil
}

// close ends a dispute at the provider's time.
func (p *Dispute) close(as DisputeStatus, at time.Time) {
	p.move(as)
	p.ClosedAt = &at
}

// describe keeps what a fact says of a dispute besides its state.
func (p *Dispute) describe(f provider.Fact) {
	if f.Reason != "" && deref(p.Reason) != f.Reason {
		p.Reason = &f.Reason
	}
	if by := f.RespondBy.Truncate(time.Microsecond); !by.IsZero() && (p.RespondBy == nil || !p.RespondBy.Equal(by)) {
		p.RespondBy = &by
	}
}

const disputeColumns = `id, transaction_id, merchant_id, version, status, previous_status, provider, provider_dispute_id,
	currency, amount_minor, counted_minor, reason, respond_by, opened_at, closed_at, created_at, updated_at`

const insertDispute = `
	INSERT INTO disputes (` + disputeColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`

func queueInsertDispute(b *pgx.Batch, p *Dispute) {
	b.Queue(insertDispute, p.ID, p.TransactionID, p.MerchantID, p.Version, p.Status, p.PreviousStatus, p.Provider,
		p.ProviderDisputeID, p.Currency, p.AmountMinor, p.CountedMinor, p.Reason, p.RespondBy, p.OpenedAt, p.ClosedAt,
		p.CreatedAt, p.UpdatedAt)
}

const updateDispute = `
	UPDATE disputes SET version = $2, status = $3, previous_status = $4, amount_minor = $5, counted_minor = $6,
		reason = $7, respond_by = $8, opened_at = $9, closed_at = $10, updated_at = $11
	WHERE id = $1 AND version = $2 - 1`

func queueUpdateDispute(b *pgx.Batch, p *Dispute) {
	b.Queue(updateDispute, p.ID, p.Version, p.Status, p.PreviousStatus, p.AmountMinor, p.CountedMinor, p.Reason,
		p.RespondBy, p.OpenedAt, p.ClosedAt, p.UpdatedAt)
}

// writeDisputes queues the disputes that changed, each with its audit row.
func (d *dossier) writeDisputes(b *pgx.Batch, src Source) {
	for _, p := range d.disputes {
		old, existed := d.oldDisputes[p.ID]
		switch {
		case !existed:
			p.Version, p.UpdatedAt = 1, d.now
			queueInsertDispute(b, p)
			d.audit(b, src, auditRow{object: "dispute", objectID: p.ID, version: &p.Version, action: "create", delta: delta(nil, p)})
		case len(delta(&old, p)) > 0:
			p.Version, p.UpdatedAt = old.Version+1, d.now
			queueUpdateDispute(b, p)
			d.audit(b, src, auditRow{object: "dispute", objectID: p.ID, version: &p.Version, action: strings.ToLower(string(p.Status)), delta: delta(&old, p)})
		}
	}
}

// DisputeView is the dispute object that merchants see.
type DisputeView struct {
	ID                string        `json:"id"`
	Object            string        `json:"object"`
	PaymentID         string        `json:"payment_id"`
	Status            DisputeStatus `json:"status"`
	Amount            int64         `json:"amount"`
	Currency          string        `json:"currency"`
	Reason            *string       `json:"reason"`
	RespondBy         *time.Time    `json:"respond_by"`
	Provider          string        `json:"provider"`
	ProviderDisputeID string        `json:"provider_dispute_id"`
	CreatedAt         time.Time     `json:"created_at"`
	UpdatedAt         time.Time     `json:"updated_at"`
}

// View renders the dispute.
func (p *Dispute) View() DisputeView {
	v := DisputeView{
		ID: id.Dispute.External(p.ID), Object: "dispute", PaymentID: id.Payment.External(p.TransactionID), Status: p.Status,
		Amount: p.AmountMinor, Currency: p.Currency.Code(), Reason: p.Reason, RespondBy: utc(p.RespondBy),
		Provider: p.Provider, ProviderDisputeID: p.ProviderDisputeID, CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
	if p.Status != DisputeOpen {
		v.RespondBy = nil // there is nothing to answer any more
	}
	return v
}

const (
	selectDisputes = `SELECT ` + disputeColumns + ` FROM disputes WHERE transaction_id = $1 ORDER BY created_at, id`
	getDispute     = `SELECT ` + disputeColumns + ` FROM disputes WHERE id = $1 AND merchant_id = $2`

	// The row comparison on (created_at, id) is what disputes_merchant and
	// disputes_merchant_status are ordered by.
	listDisputes = `SELECT ` + disputeColumns + ` FROM disputes
	WHERE merchant_id = $1
	  AND ($2::text[] IS NULL OR status = ANY ($2))
	  AND ($3::uuid IS NULL OR transaction_id = $3)
	  AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5::uuid))
	ORDER BY created_at DESC, id DESC LIMIT $6`
)

// Dispute reads one of the merchant's disputes; another merchant's is not found.
func (s *Service) Dispute(ctx context.Context, merchant, dispute id.ID) (DisputeView, error) {
	rows, err := s.Pool.Query(ctx, getDispute, dispute, merchant)
	if err != nil {
		return DisputeView{}, fault.Wrap(err, "read the dispute")
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Dispute])
	if errors.Is(err, pgx.ErrNoRows) {
		return DisputeView{}, fault.New(fault.NotFound, "There is no such dispute. Check the identifier, and that the API key is of the merchant whose payment is disputed.")
	}
	if err != nil {
		return DisputeView{}, fault.Wrap(err, "read the dispute")
	}
	return p.View(), nil
}

// DisputeFilter chooses disputes of a merchant. Zero values do not filter.
type DisputeFilter struct {
	Status  []string
	Payment id.ID
	Limit   int // 1 to MaxPage; 0: DefaultPage
	Cursor  string
}

// ListDisputes reads a page of the merchant's disputes, newest first.
func (s *Service) ListDisputes(ctx context.Context, merchant id.ID, f DisputeFilter) (DisputePage, error) {
	after, err := f.check()
	if err != nil {
		return DisputePage{}, err
	}
	rows, _ := s.Pool.Query(ctx, listDisputes, merchant, f.Status, f.Payment, after.at, after.id, f.Limit+1) // collectPage returns the error
	page, err := collectPage(rows, f.Limit, (*Dispute).position, (*Dispute).View)
	return page, fault.Wrap(err, "list disputes")
}

func (p *Dispute) position() position { return position{at: &p.CreatedAt, id: p.ID} }

func (f *DisputeFilter) check() (after position, err error) {
	var bad problems
	after = bad.page(&f.Limit, f.Cursor)
	for _, st := range f.Status {
		if !slices.Contains(DisputeStatuses(), DisputeStatus(st)) {
			bad.add("status", "%q is not a status of a dispute; send some of OPEN, WON, LOST", st)
		}
	}
	return after, bad.fault()
}
