package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Difference is where our facts, the provider's report and our ledger do not say the same.
// Amounts are minor units, as they move our balance at the provider.
type Difference struct {
	ID             id.ID
	Kind           Kind
	Provider       string
	Account        string
	ObjectID       string // the provider's; "": none
	EntryID        string // of the provider's report; "": there is none
	PaymentID      id.ID  // zero: no payment of ours
	MerchantID     id.ID
	Currency       money.Currency
	Expected       int64
	ActualCurrency money.Currency
	Actual         int64
	Fee            int64 // what the provider kept of the entry, and is not booked
	Booked         bool  // our sums agree with the provider's in this
	Evidence       json.RawMessage
	State          State
	Owner          string
	Resolution     Resolution // "" while it is open
	ResolvedBy     string
	Note           string
	ObligationID   id.ID // of an orphan: what refunds it, once it is approved
	OpenedAt       time.Time
	UpdatedAt      time.Time
	ResolvedAt     *time.Time
	Log            []Entry // what was done about it, the first thing first; from Get alone
}

// Entry is one thing that was done about a difference.
type Entry struct {
	Action string          `db:"action"`
	Detail json.RawMessage `db:"detail"`
	Actor  string          `db:"actor"`
	At     time.Time       `db:"at"`
}

func (d *difference) public() Difference {
	return Difference{
		ID: d.ID, Kind: d.Kind, Provider: d.Provider, Account: d.Account, ObjectID: d.ObjectID, EntryID: deref(d.EntryID),
		PaymentID: d.TransactionID, MerchantID: d.MerchantID, Currency: d.Currency, Expected: d.Expected,
		ActualCurrency: d.ActualCurrency, Actual: d.Actual, Fee: d.Fee, Booked: d.Booked, Evidence: d.Evidence, State: d.State,
		Owner: d.Owner, Resolution: deref(d.Resolution), ResolvedBy: deref(d.ResolvedBy), Note: d.Note, ObligationID: d.ObligationID,
		OpenedAt: d.OpenedAt, UpdatedAt: d.UpdatedAt, ResolvedAt: d.ResolvedAt,
	}
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// Filter chooses differences; what is zero in it does not matter.
type Filter struct {
	State      State
	Kind       Kind
	Provider   string
	MerchantID id.ID
	PaymentID  id.ID
	Owner      string
	Limit      int // 0: 100
}

const listDifferences = `
	SELECT ` + differenceColumns + ` FROM differences
	WHERE ($1 = '' OR state = $1) AND ($2 = '' OR kind = $2) AND ($3 = '' OR provider = $3)
	  AND ($4::uuid IS NULL OR merchant_id = $4) AND ($5::uuid IS NULL OR transaction_id = $5) AND ($6 = '' OR owner = $6)
	ORDER BY opened_at, id LIMIT $7`

// List lists differences, the oldest first.
func List(ctx context.Context, db postgres.DB, f Filter) ([]Difference, error) {
	if f.Kind != "" && !slices.Contains(Kinds(), f.Kind) {
		return nil, fault.Invalid("kind", "is none of %v", Kinds())
	}
	if f.Limit == 0 {
		f.Limit = 100
	}
	rows, _ := db.Query(ctx, listDifferences, f.State, f.Kind, f.Provider, f.MerchantID, f.PaymentID, f.Owner, f.Limit) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[difference])
	found := make([]Difference, len(all))
	for i, d := range all {
		found[i] = d.public()
	}
	return found, fault.Wrap(err, "list differences")
}

const (
	selectByID   = `SELECT ` + differenceColumns + ` FROM differences WHERE id = $1`
	lockByID     = selectByID + ` FOR UPDATE`
	selectLog    = `SELECT action, detail, actor, at FROM difference_log WHERE difference_id = $1 ORDER BY number`
	assign       = `UPDATE differences SET owner = $2, updated_at = $3 WHERE id = $1`
	bookIt       = `UPDATE differences SET booked = true WHERE id = $1`
	selectOrphan = `SELECT ` + entryColumns + ` FROM provider_entries WHERE provider = $1 AND account = $2 AND id = $3`
)

func find(ctx context.Context, db postgres.DB, sql string, which id.ID) (*difference, error) {
	rows, _ := db.Query(ctx, sql, which) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[difference])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "There is no difference %s.", which)
	}
	return d, fault.Wrap(err, "read the difference")
}

// Get reads a difference with what was done about it.
func Get(ctx context.Context, db postgres.DB, which id.ID) (Difference, error) {
	d, err := find(ctx, db, selectByID, which)
	if err != nil {
		return Difference{}, err
	}
	found := d.public()
	rows, _ := db.Query(ctx, selectLog, which) // CollectRows returns the error
	found.Log, err = pgx.CollectRows(rows, pgx.RowToStructByName[Entry])
	return found, fault.Wrap(err, "read what was done about the difference")
}

// Assign makes a difference somebody's.
func (s *Service) Assign(ctx context.Context, which id.ID, who, by string) error {
	if who == "" {
		return fault.Invalid("owner", "must be named")
	}
	return s.decide(ctx, which, by, "assigned", func(_ pgx.Tx, b *pgx.Batch, d *difference) error {
		if d.State != Open {
			return closed(d)
		}
		b.Queue(assign, d.ID, who, s.Now())
		s.log(b, d.ID, "assigned", map[string]any{"from": d.Owner, "to": who}, by, s.Now())
		return nil
	})
}

// Resolve closes a difference that a human has explained. writeOff has the ledger follow
// the provider, against variance, so that our sums agree with its; without, they go on to
// differ by what the difference says.
func (s *Service) Resolve(ctx context.Context, which id.ID, by, why string, writeOff bool) error {
	return s.decide(ctx, which, by, why, func(_ pgx.Tx, b *pgx.Batch, d *difference) error {
		switch {
		case d.State != Open:
			return closed(d)
		case !d.ObligationID.IsZero():
			return fault.New(fault.InvalidState, "Difference %s is an orphan that can be refunded: approve or reject it.", d.ID)
		case !writeOff:
			s.close(b, d, Explained, by, why)
			return nil
		case d.Booked:
			return fault.New(fault.InvalidState, "Difference %s is booked already: there is nothing to write off.", d.ID)
		}
		s.writeOff(b, d, false)
		b.Queue(bookIt, d.ID)
		s.close(b, d, WrittenOff, by, why)
		return nil
	})
}

// writeOff queues what brings our balance at the provider to what its report says. With
// back it is taken back, because what was written off is not so any more. That it is done
// once at a time the row sees to, under its lock: a difference may be written off again.
func (s *Service) writeOff(b *pgx.Batch, d *difference, back bool) {
	post := func(c money.Currency, amount int64) {
		if back {
			amount = -amount
		}
		ledger.Queue(b, ledger.Posting{
			ID: s.NewID(), Kind: ledger.Adjustment, MerchantID: d.MerchantID, PaymentID: d.TransactionID, SubjectID: d.ID, Provider: d.Provider,
			Currency: c, ObjectID: d.ObjectID, Entries: ledger.Move(ledger.Receivable, ledger.Variance, amount), At: s.Now(),
		})
	}
	ours, theirs := d.Expected, d.Actual-d.Fee
	if d.Kind == Ledger { // the ledger is what is wrong, by our own facts
		ours, theirs = d.Actual, d.Expected
	}
	if d.Currency == d.ActualCurrency {
		post(d.Currency, theirs-ours)
	} else {
		post(d.Currency, -ours)
		post(d.ActualCurrency, theirs)
	}
}

// Approve has an orphan refunded: its obligation is opened, and the ledger has its money.
func (s *Service) Approve(ctx context.Context, which id.ID, by, why string) error {
	return s.decide(ctx, which, by, why, func(tx pgx.Tx, b *pgx.Batch, d *difference) error {
		if err := isOrphan(d); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, selectOrphan, d.Provider, d.Account, d.EntryID) // CollectExactlyOneRow returns the error
		e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[entry])
		if err != nil {
			return fault.Wrap(err, "read the orphan")
		}
		err = s.Payments.ApproveOrphan(ctx, tx, d.ObligationID, payment.Orphan{
			Provider: d.Provider, Account: d.Account, ObjectID: e.ObjectID, Reference: e.Reference, EchoedPayment: e.EchoedPayment,
			Amount: money.New(e.Gross, e.Currency), OccurredAt: e.OccurredAt, Raw: e.Raw,
		}, by)
		if err != nil {
			return err
		}
		ledger.Queue(b, ledger.Posting{ // with all that the report says of it
			ID: s.NewID(), Kind: ledger.ProviderFee, Provider: d.Provider, Currency: e.Currency, ObjectID: e.ObjectID,
			Reference: feeReference(d.Provider, d.Account, e.ID), Entries: ledger.Entries(ledger.ProviderFee, e.Fee), At: s.Now(),
		})
		b.Queue(bookIt, d.ID)
		b.Queue(`UPDATE provider_entries SET judged_at = NULL WHERE provider = $1 AND account = $2 AND id = $3`, d.Provider, d.Account, d.EntryID)
		s.close(b, d, Approved, by, why)
		return nil
	})
}

// Reject closes an orphan without anything being done about it at the provider.
func (s *Service) Reject(ctx context.Context, which id.ID, by, why string) error {
	return s.decide(ctx, which, by, why, func(_ pgx.Tx, b *pgx.Batch, d *difference) error {
		if err := isOrphan(d); err != nil {
			return err
		}
		payment.QueueReject(b, d.ObligationID, by, s.Now())
		s.close(b, d, Rejected, by, why)
		return nil
	})
}

func isOrphan(d *difference) error {
	switch {
	case d.State != Open:
		return closed(d)
	case d.Kind != Orphan:
		return fault.New(fault.InvalidState, "Difference %s is of the kind %s; only orphans are approved or rejected. Resolve it.", d.ID, d.Kind)
	case d.ObligationID.IsZero():
		return fault.New(fault.InvalidState, "The report does not name what a refund of %s could name. Refund it at %s, and resolve the difference.", d.ObjectID, d.Provider)
	}
	return nil
}

func closed(d *difference) error {
	return fault.New(fault.InvalidState, "Difference %s was resolved (%s) by %s.", d.ID, deref(d.Resolution), deref(d.ResolvedBy))
}

func (s *Service) close(b *pgx.Batch, d *difference, how Resolution, by, why string) {
	now := s.Now()
	b.Queue(closeDifference, d.ID, how, by, why, now)
	s.log(b, d.ID, "resolved", map[string]any{"resolution": how, "why": why}, by, now)
}

// decide does what a human decided about a difference, under its lock.
func (s *Service) decide(ctx context.Context, which id.ID, by, why string, do func(pgx.Tx, *pgx.Batch, *difference) error) error {
	if strings.TrimSpace(by) == "" {
		return fault.Invalid("who", "must say who decides this")
	}
	if why = strings.TrimSpace(why); why == "" {
		return fault.Invalid("why", "must say why: it stays with the difference")
	}
	return postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := find(ctx, tx, lockByID, which)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		if err := do(tx, b, d); err != nil {
			return err
		}
		return fault.Wrap(postgres.Pipeline(ctx, tx, b), "decide difference %s", which)
	})
}
