package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// Kind is the kind of a difference.
type Kind string

// The kinds.
const (
	MissingHere  Kind = "missing_here"  // the provider reports what no fact of ours knows
	MissingThere Kind = "missing_there" // we know what the provider does not report
	Amount       Kind = "amount"
	Fee          Kind = "fee" // not the one expected; booked
	Currency     Kind = "currency"
	Duplicate    Kind = "duplicate" // the provider reports it twice
	Orphan       Kind = "orphan"    // a charge that belongs to no payment of ours
	Ledger       Kind = "ledger"    // our facts and our ledger do not agree
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{MissingHere, MissingThere, Amount, Fee, Currency, Duplicate, Orphan, Ledger}
}

// finding is a difference as it is found.
type finding struct {
	kind           Kind
	subject        string // what it is about, in the key
	object, entry  string
	currency       money.Currency
	expected       int64
	actualCurrency money.Currency
	actual         int64
	fee            int64
	booked         bool
	why            string
	orphan         *entry
}

// ruling is what came of a unit.
type ruling struct {
	verdicts    map[string]verdict // by entry; one that is not in it stays to be judged
	findings    []finding
	fees        []providerFee
	corrections []correction
	ask         bool                     // nothing is to be made of it before the provider was asked for the payment
	unreported  map[money.Currency]int64 // expected in the report, and not late yet
}

// terms are what a unit is judged by, besides itself.
type terms struct {
	now     time.Time
	horizon time.Time // what was known before must be in the report by now
}

const (
	// orphanGrace is how old an entry is when it is held to belong to nobody: what it
	// belongs to may be in the middle of becoming known.
	orphanGrace = time.Hour

	// patience is how long an entry may be ahead of its object.
	patience = 7 * 24 * time.Hour
)

// judge is deterministic: the same unit in the same terms has the same ruling.
func judge(u *unit, t terms) ruling {
	j := &judgement{unit: u, terms: t, ruling: ruling{verdicts: map[string]verdict{}, unreported: map[money.Currency]int64{}}, unclean: map[string]bool{}}
	j.moves, j.groups = movements(u.facts), groups(settledFirst(u.entries))
	j.pair(func(m *movement, g *group) bool { return m.object == g.object })
	// A report may name the capture that a dispute is about, and not the dispute.
	exact := func(m *movement, g *group) bool { return disputed(m, g) && g.total(m.currency) == m.amount }
	j.pair(exact)
	j.pair(disputed)
	j.cancel()
	j.unreportedMoves()
	j.unknownEntries()
	if j.ask {
		return ruling{ask: true, unreported: j.unreported}
	}
	j.restated()
	j.fee()
	j.ledger()
	slices.SortFunc(j.findings, func(a, b finding) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.subject, b.subject)) })
	return j.ruling
}

func disputed(m *movement, g *group) bool {
	return m.family == g.family && (m.family == disputes || m.family == disputesWon)
}

type judgement struct {
	*unit
	terms
	ruling
	moves   []*movement
	groups  []*group
	settled []charged       // entries that were paired, by the object they are of
	unclean map[string]bool // objects with a difference that says enough of their fees
}

func (j *judgement) unreportedMoves() {
	for _, m := range j.moves {
		switch {
		case m.paired:
		case !m.known.Before(j.horizon):
			j.unreported[m.currency] += m.amount
		default:
			j.findings = append(j.findings, finding{
				kind: MissingThere, subject: m.object + "/" + string(m.family), object: m.object, currency: m.currency, expected: m.amount,
				actualCurrency: m.currency, why: fmt.Sprintf("the provider's report has no %s of it", m.family),
			})
			j.unclean[m.object] = true
		}
	}
}

// unknownEntries judges what the report has and our facts have not.
func (j *judgement) unknownEntries() {
	j.separateFees()
	for _, g := range j.groups {
		switch {
		case g.paired:
		case g.family == others:
			for _, e := range g.entries {
				j.differ(e, finding{kind: MissingHere, fee: e.Fee, why: "the provider has adjusted the balance"})
			}
		case j.TransactionID.IsZero():
			j.stranger(g)
		case j.pending(g):
			for _, e := range g.entries {
				j.verdicts[e.ID] = waiting
			}
		case !j.asked:
			j.ask = true
		default:
			j.absent(g, MissingHere, "the payment was asked for, and it is not there")
		}
	}
}

func (j *judgement) absent(g *group, kind Kind, why string) {
	kept, again := once(g.entries)
	for _, e := range kept {
		f := finding{kind: kind, fee: e.Fee, why: why}
		if kind == Orphan {
			f.orphan = &e
		}
		j.differ(e, f)
	}
	j.twice(again)
}

// stranger judges what belongs to no payment.
func (j *judgement) stranger(g *group) {
	newest := g.entries[len(g.entries)-1].OccurredAt
	switch {
	case newest.After(j.now.Add(-orphanGrace)): // judged by a later run
	case g.family == charges && g.entries[0].Gross > 0:
		j.absent(g, Orphan, "no payment of ours has this charge")
	default:
		j.absent(g, MissingHere, "no payment of ours has this "+string(g.family))
	}
}

// pending reports whether the object is known, and the provider may not be done with it.
func (j *judgement) pending(g *group) bool {
	if g.entries[len(g.entries)-1].OccurredAt.Before(j.now.Add(-patience)) {
		return false
	}
	var newest fact
	for _, f := range j.facts {
		if f.ObjectID == g.object && f.Rank >= newest.Rank {
			newest = f
		}
	}
	return newest.State == provider.StatePending || newest.State == provider.StateRequiresAction
}

// restated finds entries that the provider tells otherwise now. What was booked by its
// first word stays so until it is explained.
func (j *judgement) restated() {
	for _, e := range j.entries {
		if e.Restated == nil {
			continue
		}
		j.verdicts[e.ID] = differs
		f := finding{
			kind: Amount, subject: e.ID + "/restated", object: e.ObjectID, entry: e.ID, currency: e.Currency, expected: e.Gross,
			actualCurrency: e.Restated.Currency, actual: e.Restated.Gross, booked: true, why: "the provider has changed what it had reported",
		}
		switch {
		case e.Restated.Currency != e.Currency:
			f.kind = Currency
		case e.Restated.Gross == e.Gross && e.Restated.Fee != e.Fee:
			f.kind, f.expected, f.actual = Fee, e.Fee, e.Restated.Fee
		}
		j.findings = append(j.findings, f)
	}
}

// ledger finds objects of which the ledger does not have what our facts say.
func (j *judgement) ledger() {
	want := map[objectCurrency]int64{}
	for _, m := range j.moves {
		want[objectCurrency{m.object, m.currency}] += m.amount
	}
	for key, b := range j.books {
		if _, ok := want[key]; !ok && b.moved != 0 {
			want[key] = 0
		}
	}
	for key, amount := range want {
		if has := j.books[key].moved; has != amount {
			j.findings = append(j.findings, finding{
				kind: Ledger, subject: key.object + "/" + key.currency.Code(), object: key.object, currency: key.currency, expected: amount,
				actualCurrency: key.currency, actual: has, why: "the ledger does not have what our facts say",
			})
		}
	}
}
