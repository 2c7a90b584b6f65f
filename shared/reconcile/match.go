package reconcile

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/postgres"
)

// batch is how many objects are matched in a transaction.
const batch = 200

// horizonSlack is how much longer than the provider says an entry may take to appear: its
// clock is not ours, and a fact is recorded a moment before it is there to be read.
const horizonSlack = 5 * time.Minute

// horizon is since when facts may still be missing from what was read of the report.
func (r *run) horizon() time.Time {
	return r.cursor.ImportedTo.Add(-r.adapter.Capabilities().ReportLag - horizonSlack)
}

// match judges what there is to judge: entries that are new or have changed, facts that
// are old enough to be in the report, and objects whose differences may be over.
func (r *run) match(ctx context.Context) error {
	for _, part := range []func(context.Context) error{r.matchEntries, r.matchFacts, r.matchOpen} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

const selectUnjudged = `
	SELECT id, object_id, occurred_at FROM provider_entries
	WHERE provider = $1 AND account = $2 AND kind <> 'payout' AND judged_at IS NULL AND (occurred_at, id) > ($3, $4)
	ORDER BY occurred_at, id LIMIT $5`

const selectWaiting = `
	SELECT id, object_id, occurred_at FROM provider_entries
	WHERE provider = $1 AND account = $2 AND verdict = 'waiting' AND occurred_at < $3
	ORDER BY occurred_at, id LIMIT $4`

type lead struct {
	ID         string    `db:"id"`
	ObjectID   string    `db:"object_id"`
	OccurredAt time.Time `db:"occurred_at"`
}

func (r *run) matchEntries(ctx context.Context) error {
	after := lead{}
	for !r.late() {
		leads, err := collect[lead](ctx, r, selectUnjudged, r.name, r.account, after.OccurredAt, after.ID, batch)
		if err != nil {
			return fault.Wrap(err, "list entries to match")
		}
		if err := r.judgeLeads(ctx, leads); err != nil {
			return err
		}
		if len(leads) < batch {
			break
		}
		after = leads[len(leads)-1]
	}
	overdue, err := collect[lead](ctx, r, selectWaiting, r.name, r.account, r.Now().Add(-patience), batch)
	if err != nil {
		return fault.Wrap(err, "list entries that waited for too long")
	}
	return r.judgeLeads(ctx, overdue)
}

func (r *run) judgeLeads(ctx context.Context, leads []lead) error {
	var objects, loose []string
	for _, l := range leads {
		if l.ObjectID == "" {
			loose = append(loose, l.ID)
		} else {
			objects = append(objects, l.ObjectID)
		}
	}
	return r.judge(ctx, objects, loose)
}

// Facts are of the account that their payment was at the provider with.
const selectAged = `
	SELECT object_id, recorded_at FROM provider_facts f LEFT JOIN transactions t ON t.id = f.transaction_id
	WHERE f.provider = $1 AND recorded_at >= $3 AND recorded_at < $4 AND (recorded_at, object_id) > ($5, $6)
	  AND kind IN ('capture', 'refund', 'dispute') AND object_id NOT LIKE 'attempt/%'
	  AND (t.id IS NULL OR $2 = coalesce((SELECT c ->> 'account' FROM jsonb_array_elements(t.route -> 'candidates') c
	                                      WHERE c ->> 'provider' = f.provider LIMIT 1), t.provider_account))
	GROUP BY object_id, recorded_at ORDER BY recorded_at, object_id LIMIT $7`

type aged struct {
	ObjectID   string    `db:"object_id"`
	RecordedAt time.Time `db:"recorded_at"`
}

// slice is how much time is matched at once: a query looks through all that was recorded in
// it, for each batch anew.
const slice = 10 * time.Minute

func (r *run) matchFacts(ctx context.Context) error {
	var after aged
	for end := r.horizon(); r.cursor.FactsTo.Before(end) && !r.late(); {
		to := r.cursor.FactsTo.Truncate(slice).Add(slice)
		if to.After(end) {
			to = end
		}
		facts, err := collect[aged](ctx, r, selectAged, r.name, r.account, r.cursor.FactsTo, to, after.RecordedAt, after.ObjectID, batch)
		if err != nil {
			return fault.Wrap(err, "list facts that came of age")
		}
		var objects []string
		for _, f := range facts {
			objects = append(objects, f.ObjectID)
		}
		if err := r.judge(ctx, objects, nil); err != nil {
			return err
		}
		if len(facts) < batch {
			r.cursor.FactsTo = to
		} else {
			after = facts[len(facts)-1]
			r.cursor.FactsTo = after.RecordedAt // inclusive: others may be of the same instant
		}
		if err := postgres.InTx(ctx, r.Pool, func(tx pgx.Tx) error { return r.keep(ctx, tx) }); err != nil {
			return fault.Wrap(err, "keep how far %s was matched", r.name)
		}
	}
	return nil
}

const selectOpenObjects = `
	SELECT id, coalesce(entry_id, '') AS entry_id, object_id FROM differences
	WHERE state = 'OPEN' AND provider = $1 AND account = $2 AND object_id NOT LIKE 'payout/%' AND id > $3
	ORDER BY id LIMIT $4`

// matchOpen looks whether differences are over that nothing else leads to: a posting may
// have been made since, or a payment have become known.
func (r *run) matchOpen(ctx context.Context) error {
	var last id.ID
	for !r.late() {
		open, err := collect[struct {
			ID       id.ID  `db:"id"`
			EntryID  string `db:"entry_id"`
			ObjectID string `db:"object_id"`
		}](ctx, r, selectOpenObjects, r.name, r.account, last.String(), batch)
		if err != nil {
			return fault.Wrap(err, "list open differences")
		}
		leads := make([]lead, len(open))
		for i, d := range open {
			leads[i], last = lead{ID: d.EntryID, ObjectID: d.ObjectID}, d.ID
		}
		if err := r.judgeLeads(ctx, leads); err != nil || len(open) < batch {
			return err
		}
	}
	return nil
}

// judge judges the units that objects and entries without one belong to. Where a payment
// has to be asked for first, it is, with no transaction open, and its unit is judged after
// that; what the provider does not answer is left to a later run.
func (r *run) judge(ctx context.Context, objects, loose []string) error {
	if len(objects)+len(loose) == 0 {
		return nil
	}
	asking, err := r.settle(ctx, objects, loose, nil)
	if err != nil {
		return err
	}
	asked := map[id.ID]bool{}
	var again, againLoose []string
	for _, u := range asking {
		c, err := r.check(ctx, u.TransactionID)
		if err != nil {
			return err
		}
		if !c.Comparison.Answered() {
			continue
		}
		asked[u.TransactionID] = true
		for _, e := range u.entries {
			if e.ObjectID == "" {
				againLoose = append(againLoose, e.ID)
			} else {
				again = append(again, e.ObjectID)
			}
		}
	}
	if len(asked) == 0 {
		return nil
	}
	_, err = r.settle(ctx, again, againLoose, asked)
	return err
}

// settle judges units and writes down what came of them, in one transaction. It returns
// those whose payments have to be asked for first.
func (r *run) settle(ctx context.Context, objects, loose []string, asked map[id.ID]bool) (asking []*unit, err error) {
	var notes []note
	var judged int
	err = postgres.InTx(ctx, r.Pool, func(tx pgx.Tx) error {
		asking, notes, judged = nil, nil, 0
		if err := r.fence(ctx, tx); err != nil {
			return err
		}
		units, err := r.load(ctx, tx, objects, loose)
		if err != nil {
			return err
		}
		now, b := r.Now(), &pgx.Batch{}
		for _, u := range units {
			u.asked = asked[u.TransactionID]
			ruling := judge(&u.unit, terms{now: now, horizon: r.horizon()})
			if ruling.ask {
				if !u.asked {
					asking = append(asking, &u.unit)
				}
				continue
			}
			judged++
			notes = append(notes, r.write(b, u, ruling, now)...)
		}
		return postgres.Pipeline(ctx, tx, b)
	})
	if err != nil {
		return nil, fault.Wrap(err, "match entries of %s", r.name)
	}
	r.report.Judged += judged
	r.tell(ctx, notes)
	return asking, nil
}

const updateEntry = `
	UPDATE provider_entries SET verdict = $4, judged_at = $5, transaction_id = $6, merchant_id = $7
	WHERE provider = $1 AND account = $2 AND id = $3`

// write queues what came of a unit: only what is new.
func (r *run) write(b *pgx.Batch, u *loadedUnit, ruling ruling, now time.Time) []note {
	var payouts []string
	for _, e := range u.entries {
		v, ok := ruling.verdicts[e.ID]
		if !ok || e.JudgedAt != nil && *e.Verdict == v && e.TransactionID == u.TransactionID && e.MerchantID == u.MerchantID {
			continue
		}
		b.Queue(updateEntry, r.name, r.account, e.ID, v, now, u.TransactionID, u.MerchantID)
		if e.PayoutID != "" && e.MerchantID != u.MerchantID {
			payouts = append(payouts, e.PayoutID) // its share is another merchant's now
		}
	}
	if len(payouts) > 0 {
		b.Queue(touchPayouts, r.name, r.account, payouts)
	}
	posting := ledger.Posting{MerchantID: u.MerchantID, PaymentID: u.TransactionID, Provider: r.name, At: now}
	for _, f := range ruling.fees {
		p := posting
		p.ID, p.Kind, p.Currency, p.ObjectID = r.NewID(), ledger.ProviderFee, f.entry.Currency, f.object
		p.Reference, p.Entries = r.feeReference(f.entry.ID), ledger.Entries(p.Kind, f.amount)
		ledger.Queue(b, p)
	}
	for _, c := range ruling.corrections {
		p := posting
		p.ID, p.Kind, p.Currency, p.ObjectID = r.NewID(), ledger.FeeVariance, c.currency, c.object
		p.Reference = fmt.Sprintf("%s/%s/%s/%s/%d", r.name, r.account, c.object, c.currency.Code(), c.number)
		p.Entries = ledger.Entries(p.Kind, c.amount)
		ledger.Queue(b, p)
	}
	return r.sync(b, u, ruling.findings, now)
}

func (r *run) feeReference(entry string) string { return feeReference(r.name, r.account, entry) }

// feeReference has the fee of an entry posted once.
func feeReference(provider, account, entry string) string {
	return strings.Join([]string{provider, account, entry}, "/")
}

// collect reads rows of the pool.
func collect[T any](ctx context.Context, r *run, sql string, args ...any) ([]T, error) {
	rows, _ := r.Pool.Query(ctx, sql, args...) // CollectRows returns the error
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}
