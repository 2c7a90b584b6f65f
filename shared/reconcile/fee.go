package reconcile

import (
	"cmp"
	"slices"

	"github.com/tollgate/tollgate/shared/provider"
)

// providerFee is what an entry says was kept, to be posted.
type providerFee struct {
	entry  entry
	object string
	amount int64
}

// correction brings the fees of an object to nothing, against variance.
type correction struct {
	objectCurrency
	amount int64 // the fee charged less the provider's
	number int
}

// charged is an entry whose fee is an object's.
type charged struct {
	entry
	object string
}

// separateFees gives the fees that stand by themselves to their objects. One that is there
// again, as its object is, is part of that difference.
func (j *judgement) separateFees() {
	var fees []entry
	for _, e := range settledFirst(j.entries) {
		if e.Kind == provider.EntryFee {
			fees = append(fees, e)
		}
	}
	for i, e := range fees {
		again := slices.ContainsFunc(fees[:i], func(f entry) bool {
			return e.ObjectID != "" && f.ObjectID == e.ObjectID && f.Currency == e.Currency && f.Net == e.Net
		})
		twice := slices.IndexFunc(j.findings, func(f finding) bool {
			return f.kind == Duplicate && f.object == e.ObjectID && f.actualCurrency == e.Currency && f.fee == 0
		})
		if again && twice >= 0 && !j.charged[e.ID] {
			j.findings[twice].fee = -e.Net
			j.verdicts[e.ID] = differs
			continue
		}
		j.settle(e.ObjectID, matched, e)
	}
}

// fee has what the provider kept posted, and what differs from what was expected.
func (j *judgement) fee() {
	type sum struct {
		kept, posted int64
		back         bool // it went back to the payer
	}
	sums := map[objectCurrency]*sum{}
	var order []objectCurrency
	for _, c := range j.settled {
		amount := c.Fee
		if c.Kind == provider.EntryFee {
			amount = -c.Net
		}
		key := objectCurrency{c.object, c.Currency}
		s := sums[key]
		if s == nil {
			s = &sum{}
			sums[key] = s
			order = append(order, key)
		}
		s.kept += amount
		s.back = s.back || c.Kind == provider.EntryRefund || c.Kind == provider.EntryDispute
		if amount != 0 && !j.charged[c.ID] {
			j.fees = append(j.fees, providerFee{c.entry, c.object, amount})
			s.posted += amount
		}
	}
	slices.SortFunc(order, func(a, b objectCurrency) int {
		return cmp.Or(cmp.Compare(a.object, b.object), cmp.Compare(a.currency.Code(), b.currency.Code()))
	})
	for _, key := range order {
		if key.object == "" {
			continue // of the account as such: nothing was expected
		}
		s, books := sums[key], j.books[key]
		if left := books.scheduled + books.charged + books.corrected + s.posted; left != 0 {
			j.corrections = append(j.corrections, correction{key, -left, books.variances + 1})
		}
		expected := -books.scheduled
		if expected == 0 || expected == s.kept || j.unclean[key.object] || s.back && s.kept == 0 {
			// No fee was agreed; or it is right; or something else is wrong with it; or it is
			// about what the provider's price leaves open: whether a fee goes back too.
			continue
		}
		j.findings = append(j.findings, finding{
			kind: Fee, subject: key.object, object: key.object, currency: key.currency, expected: expected,
			actualCurrency: key.currency, actual: s.kept, booked: true, why: "the provider's fee is not the one expected",
		})
	}
}
