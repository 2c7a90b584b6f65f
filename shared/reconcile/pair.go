package reconcile

import (
	"fmt"
	"slices"
)

// pair brings what is expected and what is reported together, one by one, as they fit.
func (j *judgement) pair(fits func(*movement, *group) bool) {
	for _, m := range j.moves {
		if m.paired {
			continue
		}
		for _, g := range j.groups {
			if g.paired || g.family != m.family || !fits(m, g) {
				continue
			}
			m.paired, g.paired = true, true
			same := j.alike(m)
			j.compare(same, g)
			break
		}
	}
}

// alike is the movement with those of its object and family that are still without a
// pair: a dispute that was won and taken again moved money twice.
func (j *judgement) alike(m *movement) *movement {
	whole := *m
	for _, other := range j.moves {
		if !other.paired && other.object == m.object && other.family == m.family && other.currency == m.currency {
			other.paired = true
			whole.amount += other.amount
		}
	}
	return &whole
}

// compare judges the entries of a group by the one movement that they should tell of.
func (j *judgement) compare(m *movement, g *group) {
	if g.total(m.currency) == m.amount && !slices.ContainsFunc(g.entries, func(e entry) bool { return e.Currency != m.currency }) {
		j.settle(m.object, matched, g.entries...) // in several entries, perhaps
		return
	}
	kept, again := once(g.entries)
	inIt := slices.DeleteFunc(slices.Clone(kept), func(e entry) bool { return e.Currency != m.currency })
	switch i := slices.IndexFunc(inIt, func(e entry) bool { return e.Gross == m.amount }); {
	case len(inIt) == 0:
		j.differ(kept[0], finding{
			kind: Currency, currency: m.currency, expected: m.amount, fee: kept[0].Fee, why: fmt.Sprintf("the %s is reported in another currency", m.family),
		})
		j.unclean[m.object] = true
		again = append(again, kept[1:]...)
	case (&group{entries: inIt}).total(m.currency) == m.amount:
		j.settle(m.object, matched, inIt...)
		again = append(again, slices.DeleteFunc(kept, func(e entry) bool { return e.Currency == m.currency })...)
	case i >= 0:
		j.settle(m.object, matched, inIt[i])
		again = append(again, slices.DeleteFunc(kept, func(e entry) bool { return e.ID == inIt[i].ID })...)
	default:
		j.settle(m.object, differs, inIt...)
		j.differ(inIt[0], finding{
			kind: Amount, currency: m.currency, expected: m.amount, why: fmt.Sprintf("the %s is reported with another amount", m.family),
		})
		j.findings[len(j.findings)-1].actual = (&group{entries: inIt}).total(m.currency)
		j.unclean[m.object] = true
		again = append(again, slices.DeleteFunc(kept, func(e entry) bool { return e.Currency == m.currency })...)
	}
	j.twice(again)
}

// once tells entries from those that say the same again.
func once(entries []entry) (kept, again []entry) {
	for _, e := range entries {
		if slices.ContainsFunc(kept, func(k entry) bool { return k.Currency == e.Currency && k.Gross == e.Gross }) {
			again = append(again, e)
		} else {
			kept = append(kept, e)
		}
	}
	return kept, again
}

func (j *judgement) twice(again []entry) {
	for _, e := range again {
		j.differ(e, finding{kind: Duplicate, fee: e.Fee, why: "the provider reports it again"})
	}
}

// settle gives entries to an object: their fees are its.
func (j *judgement) settle(object string, v verdict, entries ...entry) {
	for _, e := range entries {
		j.verdicts[e.ID] = v
		j.settled = append(j.settled, charged{e, object})
	}
}

// differ finds a difference about an entry.
func (j *judgement) differ(e entry, f finding) {
	j.verdicts[e.ID] = differs
	f.subject, f.object, f.entry = e.ID, e.ObjectID, e.ID
	f.actualCurrency, f.actual = e.Currency, e.Gross
	if j.charged[e.ID] {
		f.fee = 0 // it is booked, from before the entry was in doubt
	}
	if f.currency.IsZero() {
		f.currency = e.Currency
	}
	j.findings = append(j.findings, f)
}

// cancel lets go of what came and went back without the other side knowing of it: a
// provider need not report a transfer that failed before it was paid out, nor we a refund
// that failed while it was pending.
func (j *judgement) cancel() {
	for _, a := range j.moves {
		for _, b := range j.moves {
			if !a.paired && !b.paired && a.object == b.object && reverse[a.family] == b.family && a.currency == b.currency && a.amount == -b.amount {
				a.paired, b.paired = true, true
			}
		}
	}
	for _, a := range j.groups {
		for _, b := range j.groups {
			if a.paired || b.paired || a.object == "" || a.object != b.object || reverse[a.family] != b.family ||
				len(a.entries) != 1 || len(b.entries) != 1 || a.entries[0].Currency != b.entries[0].Currency || a.entries[0].Gross != -b.entries[0].Gross {
				continue
			}
			a.paired, b.paired = true, true
			j.settle(a.object, matched, a.entries[0], b.entries[0])
		}
	}
}
