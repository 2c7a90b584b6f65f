package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
)

const selectPayouts = `
	SELECT ` + entryColumns + ` FROM provider_entries
	WHERE provider = $1 AND account = $2 AND kind = 'payout' AND judged_at IS NULL AND (occurred_at, id) > ($3, $4)
	ORDER BY occurred_at, id LIMIT $5`

// payouts books what the provider paid out, to the merchants of what it paid out. A payout
// that can't be explained yet waits, until what may explain it must be in the report.
func (r *run) payouts(ctx context.Context) error {
	after := lead{}
	for !r.late() {
		open, err := collect[entry](ctx, r, selectPayouts, r.name, r.account, after.OccurredAt, after.ID, batch)
		if err != nil {
			return fault.Wrap(err, "list payouts")
		}
		for _, p := range open {
			if err := r.payOut(ctx, p); err != nil {
				return fault.Wrap(err, "book payout %s of %s", p.ID, r.name)
			}
			after = lead{ID: p.ID, OccurredAt: p.OccurredAt}
		}
		if len(open) < batch {
			return nil
		}
	}
	return nil
}

const (
	// The members that the provider names; of a provider that names none, all that it had
	// not paid out before.
	selectMembers = `
		SELECT e.id, e.kind, e.object_id, e.currency, e.net_minor, e.fee_minor, e.merchant_id, e.judged_at IS NULL AS unjudged
		FROM provider_entries e WHERE e.provider = $1 AND e.account = $2 AND e.kind <> 'payout' AND e.payout_id = $3
		ORDER BY e.id`
	selectUnpaid = `
		SELECT e.id, e.kind, e.object_id, e.currency, e.net_minor, e.fee_minor, e.merchant_id, e.judged_at IS NULL AS unjudged
		FROM provider_entries e WHERE e.provider = $1 AND e.account = $2 AND e.kind <> 'payout' AND e.payout_id = ''
		  AND e.occurred_at < $3
		  AND $4 = coalesce((SELECT d.currency FROM differences d
		                     WHERE d.provider = e.provider AND d.entry_id = e.id AND d.kind = 'currency' LIMIT 1), e.currency)
		ORDER BY e.id LIMIT $5`
	setPayout  = `UPDATE provider_entries SET payout_id = $4, changed_at = $5 WHERE provider = $1 AND account = $2 AND id = ANY ($3)`
	selectPaid = `
		SELECT p.merchant_id, sum(e.amount_minor)::bigint AS net_minor, count(DISTINCT p.id) AS postings
		FROM ledger_postings p JOIN ledger_entries e ON e.posting_id = p.id
		WHERE p.provider = $1 AND p.object_id = $2 AND p.kind = 'payout' AND e.account = 'payouts' GROUP BY p.merchant_id`
	// What our facts say of amounts that the report has otherwise: the payout may have been
	// made by either. scheduled is what the merchant was charged for the object.
	selectDoubts = `
		SELECT d.id, d.kind, d.entry_id, d.merchant_id, d.currency, d.expected_minor, d.actual_minor, d.fee_minor,
			coalesce((SELECT sum(e.amount_minor) FROM ledger_postings p JOIN ledger_entries e ON e.posting_id = p.id
			          WHERE p.provider = d.provider AND p.object_id = d.object_id AND p.kind IN ('fee', 'fee_returned')
			            AND e.account = 'fees' AND p.currency = d.currency), 0)::bigint AS scheduled_minor
		FROM differences d
		WHERE d.provider = $1 AND d.account = $2 AND d.currency = $6 AND coalesce(d.resolution, '') <> 'agrees'
		  AND (d.payout_entry IS NULL OR d.payout_entry = $3)
		  AND (d.entry_id = ANY ($4) OR d.kind = 'fee' AND d.object_id = ANY ($5)
		       OR d.kind = 'missing_there' AND d.transaction_id IS NOT NULL AND EXISTS (
				SELECT 1 FROM provider_facts f WHERE f.provider = d.provider AND f.object_id = d.object_id AND f.recorded_at <= $7))
		ORDER BY array_position(ARRAY['missing_there', 'duplicate', 'amount', 'currency', 'fee'], d.kind), d.id`
	noteDoubts = `UPDATE differences SET payout_entry = $2 WHERE id = ANY ($1)`
)

// mostUnpaid bounds what is looked through for a payout whose members nobody names. Where
// there is more, it is not what the payout was made of.
const mostUnpaid = 100_000

// member is an entry that a payout pays out.
type member struct {
	ID         string             `db:"id"`
	Kind       provider.EntryKind `db:"kind"`
	ObjectID   string             `db:"object_id"`
	Currency   money.Currency     `db:"currency"`
	Net        int64              `db:"net_minor"`
	Fee        int64              `db:"fee_minor"`
	MerchantID id.ID              `db:"merchant_id"`
	Unjudged   bool               `db:"unjudged"`
}

// doubt is a difference by which a payout may not be what the report adds up to.
type doubt struct {
	ID         id.ID          `db:"id"`
	Kind       Kind           `db:"kind"`
	EntryID    *string        `db:"entry_id"`
	MerchantID id.ID          `db:"merchant_id"`
	Currency   money.Currency `db:"currency"`
	Expected   int64          `db:"expected_minor"`
	Actual     int64          `db:"actual_minor"`
	Fee        int64          `db:"fee_minor"`
	Scheduled  int64          `db:"scheduled_minor"`
}

// change is by how much more is paid out if it is our facts that are right.
func (d doubt) change() int64 {
	// What is charged for it, the provider keeps; whether it gives a fee back is left open.
	expected := d.Expected + min(d.Scheduled, 0)
	switch d.Kind {
	case MissingThere, Currency:
		return expected
	case Amount:
		return d.Expected - d.Actual
	case Fee:
		return d.Actual - d.Expected
	case Duplicate:
		return d.Fee - d.Actual
	}
	return 0
}

// paid is what was booked of a payout to a merchant.
type paid struct {
	MerchantID id.ID `db:"merchant_id"`
	Net        int64 `db:"net_minor"`
	Postings   int   `db:"postings"`
}

func (r *run) payOut(ctx context.Context, p entry) error {
	var notes []note
	err := postgres.InTx(ctx, r.Pool, func(tx pgx.Tx) error {
		notes = nil
		if err := r.fence(ctx, tx); err != nil {
			return err
		}
		members, tied, err := r.members(ctx, tx, p)
		if err != nil || slices.ContainsFunc(members, func(m member) bool { return m.Unjudged }) {
			return err // those that are not judged yet may be another merchant's
		}
		doubts, err := r.doubts(ctx, tx, p, members)
		if err != nil {
			return err
		}
		shares, believed, ok := allot(p, members, doubts)
		if !ok && !p.OccurredAt.Before(r.horizon()) {
			return nil // what is missing may still come
		}
		return r.pay(ctx, tx, paidOut{p, members, tied, shares, believed, ok}, &notes)
	})
	if err == nil {
		r.tell(ctx, notes)
	}
	return err
}

// members are the entries that a payout pays out: as the provider says, or, if it does
// not, all that may be in it.
func (r *run) members(ctx context.Context, tx pgx.Tx, p entry) (all []member, tied bool, err error) {
	if p.PayoutID != "" {
		rows, _ := tx.Query(ctx, selectMembers, r.name, r.account, p.PayoutID) // CollectRows returns the error
		if all, err = pgx.CollectRows(rows, pgx.RowToStructByName[member]); err != nil || len(all) > 0 {
			return all, true, err
		}
	}
	if p.Gross > 0 {
		return nil, false, nil
	}
	rows, _ := tx.Query(ctx, selectUnpaid, r.name, r.account, p.OccurredAt, p.Currency, mostUnpaid) // CollectRows returns the error
	all, err = pgx.CollectRows(rows, pgx.RowToStructByName[member])
	return all, false, err
}

func (r *run) doubts(ctx context.Context, tx pgx.Tx, p entry, members []member) ([]doubt, error) {
	var entries, objects []string
	for _, m := range members {
		entries = append(entries, m.ID)
		if m.ObjectID != "" {
			objects = append(objects, m.ObjectID)
		}
	}
	rows, _ := tx.Query(ctx, selectDoubts, r.name, r.account, p.ID, entries, objects, p.Currency, p.OccurredAt) // CollectRows returns the error
	return pgx.CollectRows(rows, pgx.RowToStructByName[doubt])
}

// payoutObject names a payout where objects are named.
func payoutObject(p entry) string { return "payout/" + p.ID }

// mostDoubts bounds the search for those that explain a payout.
const mostDoubts = 16

// allot gives what was paid out to the merchants of its members: as the report has them,
// or, where that is in doubt, by our facts, whichever the payout comes to. believed are
// the doubts in which our facts were right. It is not ok when nothing comes to it: then
// the rest is nobody's.
func allot(p entry, members []member, doubts []doubt) (shares map[id.ID]int64, believed []id.ID, ok bool) {
	shares = map[id.ID]int64{}
	out, sign := -p.Gross, int64(1)
	if p.Gross > 0 { // it came back, with all that it had
		sign = -1
	}
	left := out
	for _, m := range members {
		if m.Currency == p.Currency {
			shares[m.MerchantID] += sign * m.Net
			left -= sign * m.Net
		}
	}
	chosen := explain(sign*left, doubts)
	for _, d := range chosen {
		shares[d.MerchantID] += sign * d.change()
		left -= sign * d.change()
		believed = append(believed, d.ID)
	}
	// A provider that rounds the payout as a whole rounds without what it left out.
	ok = left == 0 || len(chosen) > 0 && (left == 1 || left == -1)
	shares[id.ID{}] += left
	return shares, believed, ok
}

// explain finds the doubts that come to an amount: none, or the fewest of the oldest. When
// none do, those that come to within one minor unit of it.
func explain(amount int64, doubts []doubt) []doubt {
	doubts = slices.DeleteFunc(slices.Clone(doubts), func(d doubt) bool { return d.change() == 0 })
	if len(doubts) > mostDoubts {
		doubts = doubts[:mostDoubts]
	}
	for _, tolerance := range []int64{0, 1} {
		for size := range len(doubts) + 1 {
			if size == 0 && tolerance > 0 {
				continue
			}
			if chosen, ok := choose(amount, tolerance, size, doubts); ok {
				return chosen
			}
		}
	}
	return nil
}

// choose finds so many doubts, the first ones first, that come to an amount.
func choose(amount, tolerance int64, size int, doubts []doubt) ([]doubt, bool) {
	if size == 0 {
		return nil, amount <= tolerance && amount >= -tolerance
	}
	for i := range doubts {
		if rest, ok := choose(amount-doubts[i].change(), tolerance, size-1, doubts[i+1:]); ok {
			return append([]doubt{doubts[i]}, rest...), true
		}
	}
	return nil, false
}

// paidOut is a payout with what it is made of.
type paidOut struct {
	entry
	members   []member
	tied      bool // the provider says what is in it
	shares    map[id.ID]int64
	believed  []id.ID
	explained bool
}

// pay queues what is not booked yet of a payout, and its own fee.
func (r *run) pay(ctx context.Context, tx pgx.Tx, p paidOut, notes *[]note) error {
	if !p.explained && !p.tied { // a withdrawal of some of what there was: nobody can tell whose
		p.shares, p.members = map[id.ID]int64{{}: -p.Gross}, nil
	}
	rows, _ := tx.Query(ctx, selectPaid, r.name, payoutObject(p.entry)) // CollectRows returns the error
	before, err := pgx.CollectRows(rows, pgx.RowToStructByName[paid])
	if err != nil {
		return err
	}
	unit := &loadedUnit{unit: unit{entries: []entry{p.entry}}}
	rows, _ = tx.Query(ctx, `SELECT `+differenceColumns+` FROM differences WHERE key = $1 FOR UPDATE`, r.key(Amount, payoutObject(p.entry)))
	if unit.differences, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[difference]); err != nil {
		return err
	}
	now, b := r.Now(), &pgx.Batch{}
	r.queueShares(b, p, before, now)
	ledger.Queue(b, ledger.Posting{
		ID: r.NewID(), Kind: ledger.ProviderFee, Provider: r.name, Currency: p.Currency, ObjectID: payoutObject(p.entry),
		Reference: r.feeReference(p.ID), Entries: ledger.Entries(ledger.ProviderFee, p.Fee), At: now,
	})
	if !p.tied && p.PayoutID != "" && len(p.members) > 0 {
		var ids []string
		for _, m := range p.members {
			ids = append(ids, m.ID)
		}
		b.Queue(setPayout, r.name, r.account, ids, p.PayoutID, now)
	}
	if len(p.believed) > 0 {
		b.Queue(noteDoubts, p.believed, p.ID)
	}
	v, found := matched, []finding(nil)
	if !p.explained && p.tied {
		v, found = differs, []finding{p.finding()}
	}
	b.Queue(updateEntry, r.name, r.account, p.ID, v, now, id.ID{}, id.ID{})
	*notes = r.sync(b, unit, found, now)
	return postgres.Pipeline(ctx, tx, b)
}

// finding is that of a payout which is not what its members add up to.
func (p paidOut) finding() finding {
	var total int64
	for _, m := range p.members {
		if m.Currency == p.Currency {
			total += m.Net
		}
	}
	if p.Gross < 0 {
		total = -total
	}
	return finding{
		kind: Amount, subject: payoutObject(p.entry), object: payoutObject(p.entry), entry: p.ID, currency: p.Currency, expected: total,
		actualCurrency: p.Currency, actual: p.Gross, booked: true, why: "the payout is not what its members add up to",
	}
}

// queueShares books the shares, to the difference from what is booked of them already.
func (r *run) queueShares(b *pgx.Batch, p paidOut, before []paid, now time.Time) {
	due, numbers := map[id.ID]int64{}, map[id.ID]int{}
	for m, net := range p.shares {
		due[m] += net
	}
	for _, was := range before {
		due[was.MerchantID] -= was.Net
		numbers[was.MerchantID] = was.Postings
	}
	var merchants []id.ID
	for m := range due {
		merchants = append(merchants, m)
	}
	slices.SortFunc(merchants, func(a, b id.ID) int { return slices.Compare(a[:], b[:]) })
	for _, m := range merchants {
		ledger.Queue(b, ledger.Posting{
			ID: r.NewID(), Kind: ledger.Payout, MerchantID: m, Provider: r.name, Currency: p.Currency, ObjectID: payoutObject(p.entry),
			Reference: fmt.Sprintf("%s/%s/%s/%s/%d", r.name, r.account, p.ID, m, numbers[m]+1), Entries: ledger.Entries(ledger.Payout, due[m]), At: now,
		})
	}
}
