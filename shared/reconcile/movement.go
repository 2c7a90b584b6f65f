package reconcile

import (
	"cmp"
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// A family is a way in which an object moves money, once. A capture that failed after all
// is a dispute that is lost at once, as it is to its merchant.
type family string

const (
	charges       family = "charge"
	refunds       family = "refund"
	refundsFailed family = "refund_failed"
	disputes      family = "dispute"
	disputesWon   family = "dispute_won"
	others        family = "adjustment"
)

// reverse is the family that takes a family back.
var reverse = map[family]family{charges: disputes, refunds: refundsFailed, disputes: disputesWon}

func familyOf(k provider.EntryKind) family {
	switch k {
	case provider.EntryCharge, provider.EntryRefund, provider.EntryRefundFailed, provider.EntryDispute, provider.EntryDisputeWon:
		return family(k)
	}
	return others
}

// movement is what must be in the provider's report, by our facts.
type movement struct {
	object   string
	family   family
	currency money.Currency
	amount   int64 // as it moves our balance there
	known    time.Time
	paired   bool
}

// group is what is in the provider's report about one family of one object.
type group struct {
	object  string
	family  family
	entries []entry
	paired  bool
}

// movements are what the facts of a unit say has moved, each once.
func movements(facts []fact) []*movement {
	type object struct {
		id   string
		kind provider.Kind
	}
	states := map[object]map[provider.State]fact{}
	var order []object
	for _, f := range facts {
		o := object{f.ObjectID, f.Kind}
		if states[o] == nil {
			states[o] = map[provider.State]fact{}
			order = append(order, o)
		}
		states[o][f.State] = f
	}
	slices.SortFunc(order, func(a, b object) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.kind, b.kind)) })
	var all []*movement
	add := func(family family, f fact, sign int64) {
		if f.Amount != 0 {
			all = append(all, &movement{object: f.ObjectID, family: family, currency: f.Currency, amount: sign * f.Amount, known: f.RecordedAt})
		}
	}
	for _, o := range order {
		s := states[o]
		done, moved := s[provider.StateSucceeded]
		moved = moved && done.Effect != "stale"
		failed, back := s[provider.StateFailed]
		if canceled, ok := s[provider.StateCanceled]; ok && !back {
			failed, back = canceled, true
		}
		switch o.kind {
		case provider.KindCapture:
			if moved {
				add(charges, done, 1)
			}
			if _, told := states[object{o.id, provider.KindDispute}]; moved && back && !told {
				failed.Amount = done.Amount
				add(disputes, failed, -1)
			}
		case provider.KindRefund:
			if moved {
				add(refunds, done, -1)
			}
			if moved && back {
				failed.Amount = done.Amount
				add(refundsFailed, failed, 1)
			}
		case provider.KindDispute:
			taken, given := dispute(s)
			for _, f := range taken {
				add(disputes, f, -1)
			}
			for _, f := range given {
				add(disputesWon, f, 1)
			}
		}
	}
	return all
}

// dispute says what was taken for a dispute, and what came back.
func dispute(s map[provider.State]fact) (taken, given []fact) {
	open, opened := s[provider.StateOpen]
	won, isWon := s[provider.StateWon]
	lost, isLost := s[provider.StateLost]
	switch {
	case isWon && isLost && lost.OccurredAt.After(won.OccurredAt): // won, and taken again
		first := won
		if opened {
			first = open
		}
		return []fact{first, lost}, []fact{won}
	case isLost: // the amount that is lost may not be the one that was taken at first
		first := lost
		if opened {
			first.RecordedAt = minTime(open.RecordedAt, lost.RecordedAt)
		}
		taken = []fact{first}
	case opened:
		taken = []fact{open}
	case isWon:
		taken = []fact{won}
	}
	if isWon && len(taken) > 0 {
		given = []fact{won}
	}
	return taken, given
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// settledFirst has those entries come first that were paired before: when one comes twice,
// it is the new one that is too much.
func settledFirst(entries []entry) []entry {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b entry) int {
		return cmp.Compare(rank(a), rank(b))
	})
	return sorted
}

func rank(e entry) int {
	if e.Verdict != nil && *e.Verdict == matched {
		return 0
	}
	return 1
}

// groups sorts entries by object and family. Fees are no group's.
func groups(entries []entry) []*group {
	var all []*group
	for _, e := range entries {
		if e.Kind == provider.EntryFee {
			continue
		}
		f := familyOf(e.Kind)
		i := slices.IndexFunc(all, func(g *group) bool { return g.object == e.ObjectID && g.family == f && f != others })
		if i < 0 {
			i = len(all)
			all = append(all, &group{object: e.ObjectID, family: f})
		}
		all[i].entries = append(all[i].entries, e)
	}
	return all
}

// total is what the entries in a currency come to.
func (g *group) total(c money.Currency) int64 {
	var sum int64
	for _, e := range g.entries {
		if e.Currency == c {
			sum += e.Gross
		}
	}
	return sum
}
