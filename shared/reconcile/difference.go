package reconcile

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/payment"
)

// State is where a difference stands.
type State string

// The states.
const (
	Open     State = "OPEN"
	Resolved State = "RESOLVED"
)

// Resolution is how a difference was closed.
type Resolution string

// The resolutions.
const (
	NowAgrees  Resolution = "agrees"      // by the matcher: it turned out right
	Automatic  Resolution = "automatic"   // by the matcher, as configured: it is booked
	Explained  Resolution = "explained"   // by a human, and nothing is booked
	WrittenOff Resolution = "written_off" // by a human: the ledger follows the provider, against variance
	Approved   Resolution = "approved"    // an orphan that is refunded
	Rejected   Resolution = "rejected"    // an orphan that is not
)

// final reports whether a human has decided, or the configuration for them: only other
// numbers open it again.
func (r Resolution) final() bool { return r != NowAgrees }

// difference is a row of differences.
type difference struct {
	ID             id.ID           `db:"id"`
	Key            string          `db:"key"`
	Kind           Kind            `db:"kind"`
	Provider       string          `db:"provider"`
	Account        string          `db:"account"`
	ObjectID       string          `db:"object_id"`
	EntryID        *string         `db:"entry_id"`
	TransactionID  id.ID           `db:"transaction_id"`
	MerchantID     id.ID           `db:"merchant_id"`
	Currency       money.Currency  `db:"currency"`
	Expected       int64           `db:"expected_minor"`
	ActualCurrency money.Currency  `db:"actual_currency"`
	Actual         int64           `db:"actual_minor"`
	Fee            int64           `db:"fee_minor"`
	Booked         bool            `db:"booked"`
	Evidence       json.RawMessage `db:"evidence"`
	State          State           `db:"state"`
	Owner          string          `db:"owner"`
	Resolution     *Resolution     `db:"resolution"`
	ResolvedBy     *string         `db:"resolved_by"`
	Note           string          `db:"note"`
	ObligationID   id.ID           `db:"obligation_id"`
	PayoutEntry    *string         `db:"payout_entry"`
	OpenedAt       time.Time       `db:"opened_at"`
	UpdatedAt      time.Time       `db:"updated_at"`
	ResolvedAt     *time.Time      `db:"resolved_at"`
}

const differenceColumns = `id, key, kind, provider, account, object_id, entry_id, transaction_id, merchant_id, currency, expected_minor,
	actual_currency, actual_minor, fee_minor, booked, evidence, state, owner, resolution, resolved_by, note, obligation_id,
	payout_entry, opened_at, updated_at, resolved_at`

const (
	insertDifference = `
		INSERT INTO differences (id, key, kind, provider, account, object_id, entry_id, transaction_id, merchant_id, currency,
			expected_minor, actual_currency, actual_minor, fee_minor, booked, evidence, state, owner, resolution, resolved_by, note,
			obligation_id, opened_at, updated_at, resolved_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
			(SELECT id FROM obligations WHERE provider = $4 AND reference = $22 AND kind = 'refund' AND transaction_id IS NULL), $23, $23, $24)`
	updateDifference = `
		UPDATE differences SET transaction_id = $2, merchant_id = $3, currency = $4, expected_minor = $5, actual_currency = $6,
			actual_minor = $7, fee_minor = $8, booked = $9, evidence = $10, state = $11, resolution = $12, resolved_by = $13, note = $14,
			opened_at = $15, resolved_at = $16, updated_at = $17
		WHERE id = $1`
	closeDifference = `
		UPDATE differences SET state = 'RESOLVED', resolution = $2, resolved_by = $3, note = $4, resolved_at = $5, updated_at = $5
		WHERE id = $1 AND state = 'OPEN'`
	agreeDifference = `
		UPDATE differences SET state = 'RESOLVED', resolution = $2, resolved_by = $3, note = $4, resolved_at = $5, updated_at = $5,
			booked = booked AND resolution IS DISTINCT FROM 'written_off'
		WHERE id = $1`
	insertLog = `INSERT INTO difference_log (id, difference_id, action, detail, actor, at) VALUES ($1, $2, $3, $4, $5, $6)`
)

// matcher is who opens and closes differences by itself, as the log and the rows name it.
const matcher = "function:reconcile"

// note is what is told of a difference once it is committed.
type note struct {
	action string // opened, reopened, changed, resolved
	difference
	why string
}

// sync brings the differences that are known of a unit to those that were found: it is
// where a second run over the same finds nothing to do.
func (r *run) sync(b *pgx.Batch, u *loadedUnit, found []finding, now time.Time) (notes []note) {
	known := make(map[string]*difference, len(u.differences))
	for _, d := range u.differences {
		known[d.Key] = d
	}
	for _, f := range found {
		d := r.difference(u, f, now)
		old := known[d.Key]
		delete(known, d.Key)
		action := ""
		switch {
		case old == nil:
			d.ID, action = r.NewID(), "opened"
			r.propose(b, f, now)
			r.insert(b, d, f)
		case old.same(d) && (old.State == Open || old.Resolution.final()):
			continue
		case old.State == Open:
			d.ID, d.OpenedAt, action = old.ID, old.OpenedAt, "changed"
			r.update(b, d, now)
		default:
			d.ID, action = old.ID, "reopened"
			r.takeBack(b, old)
			r.propose(b, f, now)
			r.update(b, d, now)
		}
		r.log(b, d.ID, action, map[string]any{"why": f.why, "expected_minor": d.Expected, "actual_minor": d.Actual}, matcher, now)
		notes = append(notes, note{action, d, f.why})
	}
	for _, d := range u.differences { // in the order in which they were opened
		if known[d.Key] == nil || d.State != Open && !d.decided() {
			continue
		}
		why := "facts, report and ledger agree now"
		r.takeBack(b, d)
		b.Queue(agreeDifference, d.ID, NowAgrees, matcher, why, now)
		if !d.ObligationID.IsZero() {
			payment.QueueReject(b, d.ObligationID, matcher, now)
		}
		r.log(b, d.ID, "resolved", map[string]any{"resolution": NowAgrees, "why": why}, matcher, now)
		notes = append(notes, note{"resolved", *d, why})
	}
	return notes
}

// decided reports whether a human has closed it by what it says of the sums, which is so
// no more when the matcher does not find it again.
func (d *difference) decided() bool {
	return deref(d.Resolution) == Explained || deref(d.Resolution) == WrittenOff
}

// takeBack takes back what was written off of a difference that is not so any more.
func (r *run) takeBack(b *pgx.Batch, d *difference) {
	if deref(d.Resolution) == WrittenOff {
		r.writeOff(b, d, true)
	}
}

// difference is the row of a finding.
func (r *run) difference(u *loadedUnit, f finding, now time.Time) difference {
	d := difference{
		Key: r.key(f.kind, f.subject), Kind: f.kind, Provider: r.name, Account: r.account,
		ObjectID: f.object, TransactionID: u.TransactionID, MerchantID: u.MerchantID, Currency: f.currency, Expected: f.expected,
		ActualCurrency: f.actualCurrency, Actual: f.actual, Fee: f.fee, Booked: f.booked, Evidence: u.evidence(f),
		State: Open, Owner: r.Settings.Owner, OpenedAt: now, UpdatedAt: now,
	}
	if f.entry != "" {
		d.EntryID = &f.entry
	}
	if f.kind == Fee && r.Settings.Fees == FeesClose {
		resolution, by := Automatic, matcher
		d.State, d.Resolution, d.ResolvedBy, d.Note, d.ResolvedAt = Resolved, &resolution, &by, "booked to variance, as configured", &now
	}
	return d
}

func (r *run) key(kind Kind, subject string) string {
	return strings.Join([]string{r.name, r.account, string(kind), subject}, "/")
}

// same reports whether two rows say the same.
func (d *difference) same(o difference) bool {
	return d.Currency == o.Currency && d.Expected == o.Expected && d.ActualCurrency == o.ActualCurrency && d.Actual == o.Actual &&
		d.Fee == o.Fee && d.TransactionID == o.TransactionID
}

// evidence is what a human needs to see of a unit to judge a finding.
func (u *loadedUnit) evidence(f finding) json.RawMessage {
	shown := struct {
		Why     string  `json:"why"`
		Facts   []fact  `json:"facts"`
		Entries []entry `json:"entries"`
		Asked   bool    `json:"provider_asked,omitempty"`
	}{Why: f.why, Facts: []fact{}, Entries: []entry{}, Asked: u.asked}
	for _, k := range u.facts {
		if k.ObjectID == f.object {
			shown.Facts = append(shown.Facts, k)
		}
	}
	for _, e := range u.entries {
		if e.ID == f.entry || f.object != "" && e.ObjectID == f.object {
			shown.Entries = append(shown.Entries, e)
		}
	}
	text, err := json.Marshal(shown)
	if err != nil {
		panic("reconcile: marshal evidence: " + err.Error()) // made of rows, which marshal
	}
	return text
}

// propose has an orphan refunded, once a human approves. Without the provider's payment
// object there is nothing that a refund could name: then a human sees to it there.
func (r *run) propose(b *pgx.Batch, f finding, now time.Time) {
	if f.orphan == nil || f.orphan.Reference == "" {
		return
	}
	payment.QueueProposal(b, r.NewID(), r.orphan(*f.orphan), now)
}

func (r *run) orphan(e entry) payment.Orphan {
	return payment.Orphan{
		Provider: r.name, Account: r.account, ObjectID: e.ObjectID, Reference: e.Reference, EchoedPayment: e.EchoedPayment,
		Amount: money.New(e.Gross, e.Currency), OccurredAt: e.OccurredAt, Raw: e.Raw,
	}
}

func (r *run) insert(b *pgx.Batch, d difference, f finding) {
	reference := ""
	if f.orphan != nil {
		reference = f.orphan.Reference
	}
	b.Queue(insertDifference, d.ID, d.Key, d.Kind, d.Provider, d.Account, d.ObjectID, d.EntryID, d.TransactionID, d.MerchantID, d.Currency,
		d.Expected, d.ActualCurrency, d.Actual, d.Fee, d.Booked, d.Evidence, d.State, d.Owner, d.Resolution, d.ResolvedBy, d.Note,
		reference, d.OpenedAt, d.ResolvedAt)
}

func (r *run) update(b *pgx.Batch, d difference, now time.Time) {
	b.Queue(updateDifference, d.ID, d.TransactionID, d.MerchantID, d.Currency, d.Expected, d.ActualCurrency, d.Actual, d.Fee, d.Booked,
		d.Evidence, d.State, d.Resolution, d.ResolvedBy, d.Note, d.OpenedAt, d.ResolvedAt, now)
}

func (s *Service) log(b *pgx.Batch, difference id.ID, action string, detail map[string]any, actor string, now time.Time) {
	b.Queue(insertLog, s.NewID(), difference, action, detail, actor, now)
}

// tell logs and counts what was committed.
func (r *run) tell(ctx context.Context, notes []note) {
	for _, n := range notes {
		if n.action == "resolved" {
			r.report.Closed++
		} else if n.State == Open && n.action != "changed" {
			r.report.Opened[n.Kind]++
			r.Metrics.DifferenceFound(ctx, r.name, string(n.Kind))
		}
		r.Log.WarnContext(ctx, "difference "+n.action, "difference", n.ID, "kind", n.Kind, "provider", n.Provider, "object", n.ObjectID,
			"payment", n.TransactionID, "currency", n.Currency.Code(), "expected_minor", n.Expected, "actual_minor", n.Actual, "why", n.why)
	}
}
