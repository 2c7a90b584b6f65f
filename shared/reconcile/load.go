package reconcile

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
)

// loadedUnit is a unit with the differences that are known of it.
type loadedUnit struct {
	unit
	differences []*difference
}

const entryColumns = `id, kind, object_id, reference, echoed_payment, echoed_refund, currency, gross_minor, fee_minor, net_minor,
	payout_id, occurred_at, restated, raw, verdict, transaction_id, merchant_id, judged_at`

const (
	// That no object is '' is said in so many words: of more than 100 the planner does not
	// see it by itself, and would read the whole table for want of the index.
	selectEntries = `
		SELECT ` + entryColumns + ` FROM provider_entries
		WHERE provider = $1 AND account = $2 AND kind <> 'payout' AND object_id = ANY ($3) AND object_id <> ''`
	selectLoose = `
		SELECT ` + entryColumns + ` FROM provider_entries
		WHERE provider = $1 AND account = $2 AND kind <> 'payout' AND id = ANY ($3)`
	selectEntriesOf = `
		SELECT ` + entryColumns + ` FROM provider_entries
		WHERE provider = $1 AND account = $2 AND kind <> 'payout' AND transaction_id = ANY ($3)`
	selectOwnersOfObjects = `
		SELECT DISTINCT object_id AS key, transaction_id FROM provider_facts
		WHERE provider = $1 AND object_id = ANY ($2) AND transaction_id IS NOT NULL`
	selectOwnersByID        = `SELECT id::text AS key, id AS transaction_id FROM transactions WHERE id = ANY ($1)`
	selectOwnersByRefund    = `SELECT id::text AS key, transaction_id FROM refunds WHERE id = ANY ($1)`
	selectOwnersByReference = `
		SELECT provider_transaction_id AS key, id AS transaction_id FROM transactions
		WHERE provider = $1 AND provider_transaction_id = ANY ($2)`
	selectMerchantsOf = `SELECT id AS transaction_id, merchant_id FROM transactions WHERE id = ANY ($1)`
	factColumns       = `object_id, kind, state, rank, amount_minor, currency, effect, transaction_id, occurred_at, recorded_at`
	selectFactsOf     = `
		SELECT ` + factColumns + ` FROM provider_facts
		WHERE provider = $1 AND transaction_id = ANY ($2) AND kind IN ('capture', 'refund', 'dispute') AND object_id NOT LIKE 'attempt/%'
		ORDER BY object_id, rank, recorded_at`
	selectOrphanFacts = `
		SELECT ` + factColumns + ` FROM provider_facts
		WHERE provider = $1 AND object_id = ANY ($2) AND transaction_id IS NULL AND kind IN ('capture', 'refund', 'dispute')
		ORDER BY object_id, rank, recorded_at`
	selectBooks = `
		SELECT p.object_id, p.currency, p.kind, e.account, sum(e.amount_minor)::bigint AS amount_minor, count(DISTINCT p.id) AS postings
		FROM ledger_postings p JOIN ledger_entries e ON e.posting_id = p.id
		WHERE p.provider = $1 AND p.object_id = ANY ($2) AND e.account IN ('receivable', 'fees')
		GROUP BY 1, 2, 3, 4`
	selectCharged = `SELECT reference FROM ledger_postings WHERE kind = 'provider_fee' AND reference = ANY ($1)`
)

// keyed says which payment something names.
type keyed struct {
	Key           string `db:"key"`
	TransactionID id.ID  `db:"transaction_id"`
}

// loading is the reading of units, in as few round trips as it takes.
type loading struct {
	*run
	ctx      context.Context
	db       postgres.DB
	entries  map[string]entry
	facts    []fact
	payments map[string]id.ID // by object, by what entries echo, and by reference, each with its prefix
	byKey    map[string]*loadedUnit
	units    []*loadedUnit
}

// load reads the units that objects, and entries without one, belong to.
func (r *run) load(ctx context.Context, db postgres.DB, objects, loose []string) ([]*loadedUnit, error) {
	l := &loading{run: r, ctx: ctx, db: db, entries: map[string]entry{}, payments: map[string]id.ID{}, byKey: map[string]*loadedUnit{}}
	for _, step := range []func(objects, loose []string) error{l.readEntries, l.readOwners, l.readFacts, l.group, l.readBooks, l.readDifferences} {
		if err := step(objects, loose); err != nil {
			return nil, err
		}
	}
	return l.units, nil
}

func (l *loading) readEntries(objects, loose []string) error {
	b := &pgx.Batch{}
	b.Queue(selectEntries, l.name, l.account, objects).Query(l.addEntries)
	b.Queue(selectLoose, l.name, l.account, loose).Query(l.addEntries)
	b.Queue(selectOwnersOfObjects, l.name, objects).Query(l.addOwners("object "))
	return postgres.Pipeline(l.ctx, l.db, b)
}

func (l *loading) addEntries(rows pgx.Rows) error {
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	for _, e := range all {
		l.entries[e.ID] = e
	}
	return err
}

func (l *loading) addOwners(prefix string) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[keyed])
		for _, k := range all {
			l.payments[prefix+k.Key] = k.TransactionID
		}
		return err
	}
}

// readOwners finds the payments that entries name, whose objects no fact of ours knows.
func (l *loading) readOwners(_, _ []string) error {
	var echoed, refunds []id.ID
	var references []string
	for _, e := range l.entries {
		if !e.EchoedPayment.IsZero() {
			echoed = append(echoed, e.EchoedPayment)
		}
		if !e.EchoedRefund.IsZero() {
			refunds = append(refunds, e.EchoedRefund)
		}
		if e.Reference != "" {
			references = append(references, e.Reference)
		}
	}
	b := &pgx.Batch{}
	b.Queue(selectOwnersByID, echoed).Query(l.addOwners("payment "))
	b.Queue(selectOwnersByRefund, refunds).Query(l.addOwners("refund "))
	b.Queue(selectOwnersOfObjects, l.name, references).Query(l.addOwners("object "))
	b.Queue(selectOwnersByReference, l.name, references).Query(l.addOwners("reference "))
	return postgres.Pipeline(l.ctx, l.db, b)
}

// paymentOf is the payment that an entry is about, as far as anything says.
func (l *loading) paymentOf(e entry) id.ID {
	for _, key := range []string{
		"object " + e.ObjectID, "payment " + e.EchoedPayment.String(), "refund " + e.EchoedRefund.String(),
		"reference " + e.Reference, "object " + e.Reference,
	} {
		if p, ok := l.payments[key]; ok {
			return p
		}
	}
	if l.byKey["payment "+e.TransactionID.String()] != nil {
		return e.TransactionID // as it was found before
	}
	return id.ID{}
}

// readFacts reads all that is known of the payments, and of objects without one.
func (l *loading) readFacts(objects, _ []string) error {
	payments := l.named()
	b := &pgx.Batch{}
	collect := func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[fact])
		l.facts = append(l.facts, all...)
		return err
	}
	b.Queue(selectFactsOf, l.name, payments).Query(collect)
	b.Queue(selectOrphanFacts, l.name, objects).Query(collect)
	b.Queue(selectEntriesOf, l.name, l.account, payments).Query(l.addEntries)
	b.Queue(selectMerchantsOf, payments).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[owner])
		for _, o := range all {
			l.unitOf("payment "+o.TransactionID.String(), o)
		}
		return err
	})
	if err := postgres.Pipeline(l.ctx, l.db, b); err != nil {
		return err
	}
	// The other objects of the payments may have entries too.
	others := make([]string, 0, len(l.facts))
	for _, f := range l.facts {
		others = append(others, f.ObjectID)
		if !f.TransactionID.IsZero() {
			l.payments["object "+f.ObjectID] = f.TransactionID
		}
	}
	b = &pgx.Batch{}
	b.Queue(selectEntries, l.name, l.account, others).Query(l.addEntries)
	return postgres.Pipeline(l.ctx, l.db, b)
}

// named lists the payments that have come up, in one order.
func (l *loading) named() []id.ID {
	seen := map[id.ID]bool{}
	var all []id.ID
	for _, p := range l.payments {
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b id.ID) int { return slices.Compare(a[:], b[:]) })
	return all
}

func (l *loading) unitOf(key string, o owner) *loadedUnit {
	u := l.byKey[key]
	if u == nil {
		u = &loadedUnit{unit: unit{owner: o, books: map[objectCurrency]balance{}, charged: map[string]bool{}}}
		l.byKey[key] = u
		l.units = append(l.units, u)
	}
	return u
}

// group gives facts and entries to the units that they belong to.
func (l *loading) group(_, _ []string) error {
	for _, f := range l.facts {
		key := "object " + f.ObjectID
		if !f.TransactionID.IsZero() {
			key = "payment " + f.TransactionID.String()
		}
		u := l.unitOf(key, owner{})
		u.facts = append(u.facts, f)
	}
	entries := make([]entry, 0, len(l.entries))
	for _, e := range l.entries {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if c := a.OccurredAt.Compare(b.OccurredAt); c != 0 {
			return c
		}
		return slices.Compare([]byte(a.ID), []byte(b.ID))
	})
	for _, e := range entries {
		u := l.unitOf(l.keyOf(e), owner{})
		u.entries = append(u.entries, e)
	}
	l.units = slices.DeleteFunc(l.units, func(u *loadedUnit) bool { return len(u.facts)+len(u.entries) == 0 })
	return nil
}

// keyOf names the unit of an entry: its payment's, or its object's, or its own.
func (l *loading) keyOf(e entry) string {
	switch p := l.paymentOf(e); {
	case !p.IsZero():
		return "payment " + p.String()
	case e.ObjectID != "":
		return "object " + e.ObjectID
	}
	return "entry " + e.ID
}

// readBooks reads what the ledger has of the units' objects.
func (l *loading) readBooks(_, _ []string) error {
	of := map[string]*loadedUnit{}
	charged := map[string]func(){}
	var objects, references []string
	for _, u := range l.units {
		for _, f := range u.facts {
			of[f.ObjectID] = u
		}
		for _, e := range u.entries {
			if e.ObjectID != "" {
				of[e.ObjectID] = u
			}
			reference := l.feeReference(e.ID)
			charged[reference] = func() { u.charged[e.ID] = true }
			references = append(references, reference)
		}
	}
	for object := range of {
		objects = append(objects, object)
	}
	b := &pgx.Batch{}
	b.Queue(selectBooks, l.name, objects).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[booked])
		for _, p := range all {
			key := objectCurrency{p.ObjectID, p.Currency}
			books := of[p.ObjectID].books
			has := books[key]
			has.add(p.Kind, p.Account, p.Amount, p.Postings)
			books[key] = has
		}
		return err
	})
	b.Queue(selectCharged, references).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, reference := range all {
			charged[reference]()
		}
		return err
	})
	return postgres.Pipeline(l.ctx, l.db, b)
}

// booked is what postings of a kind have of an object on an account.
type booked struct {
	ObjectID string         `db:"object_id"`
	Currency money.Currency `db:"currency"`
	Kind     ledger.Kind    `db:"kind"`
	Account  ledger.Account `db:"account"`
	Amount   int64          `db:"amount_minor"`
	Postings int            `db:"postings"`
}

const selectDifferencesOf = `
	SELECT ` + differenceColumns + ` FROM differences
	WHERE provider = $1 AND account = $2 AND (object_id = ANY ($3) OR entry_id = ANY ($4) OR transaction_id = ANY ($5))
	ORDER BY id FOR UPDATE`

// readDifferences reads what is known to differ, and holds it until it is written.
func (l *loading) readDifferences(_, _ []string) error {
	byObject, byEntry, byPayment := map[string]*loadedUnit{}, map[string]*loadedUnit{}, map[id.ID]*loadedUnit{}
	var objects, entries []string
	var payments []id.ID
	for _, u := range l.units {
		if !u.TransactionID.IsZero() {
			byPayment[u.TransactionID] = u
			payments = append(payments, u.TransactionID)
		}
		for _, f := range u.facts {
			byObject[f.ObjectID] = u
		}
		for _, e := range u.entries {
			if e.ObjectID != "" {
				byObject[e.ObjectID] = u
			}
			byEntry[e.ID] = u
			entries = append(entries, e.ID)
		}
	}
	for object := range byObject {
		objects = append(objects, object)
	}
	rows, err := l.db.Query(l.ctx, selectDifferencesOf, l.name, l.account, objects, entries, payments)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[difference])
	for _, d := range all {
		u := byObject[d.ObjectID]
		if d.EntryID != nil && byEntry[*d.EntryID] != nil {
			u = byEntry[*d.EntryID]
		}
		if u == nil {
			u = byPayment[d.TransactionID]
		}
		u.differences = append(u.differences, d)
	}
	return err
}
