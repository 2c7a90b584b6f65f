package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

var (
	usd   = money.MustParseCurrency("USD")
	eur   = money.MustParseCurrency("EUR")
	today = epoch.Add(30 * 24 * time.Hour)
	ours  = owner{TransactionID: id.ID{1}, MerchantID: id.ID{2}}
)

// told is a fact of an old time, in US dollars.
func told(object string, kind provider.Kind, state provider.State, minor int64) fact {
	f := provider.Fact{Kind: kind, State: state}
	return fact{
		ObjectID: object, Kind: kind, State: state, Rank: f.Rank(), Amount: minor, Currency: usd, Effect: "applied",
		TransactionID: ours.TransactionID, OccurredAt: epoch, RecordedAt: epoch,
	}
}

var serial atomic.Int64

func reported(object string, kind provider.EntryKind, minor, fee int64) entry {
	n := serial.Add(1)
	return entry{
		ID: fmt.Sprintf("txn_%06d", n), Kind: kind, ObjectID: object, Currency: usd, Gross: minor, Fee: fee, Net: minor - fee,
		OccurredAt: epoch.Add(time.Duration(n)),
	}
}

func in(e entry, c money.Currency) entry {
	e.Currency = c
	return e
}

// held is a unit whose ledger has all that its facts say, with a fee charged of the first
// object if there is one.
func held(o owner, fee int64, facts []fact, entries ...entry) *unit {
	u := &unit{owner: o, facts: facts, entries: entries, books: map[objectCurrency]balance{}, charged: map[string]bool{}}
	for _, m := range movements(facts) {
		key := objectCurrency{m.object, m.currency}
		b := u.books[key]
		b.moved += m.amount
		u.books[key] = b
	}
	if fee != 0 {
		key := objectCurrency{facts[0].ObjectID, usd}
		b := u.books[key]
		b.scheduled = -fee
		u.books[key] = b
	}
	return u
}

// found spells a ruling: what differs, which entries wait, and whether it asks.
func found(r ruling) string {
	var all []string
	if r.ask {
		all = append(all, "ask")
	}
	for _, f := range r.findings {
		all = append(all, fmt.Sprintf("%s %d->%d", f.kind, f.expected, f.actual))
	}
	for _, v := range r.verdicts {
		if v == waiting {
			all = append(all, "waiting")
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const (
		charge, refundEntry, refundFailed = provider.EntryCharge, provider.EntryRefund, provider.EntryRefundFailed
		disputeEntry, disputeWon          = provider.EntryDispute, provider.EntryDisputeWon
		succeeded, failed                 = provider.StateSucceeded, provider.StateFailed
	)
	captured := []fact{told("ch", provider.KindCapture, succeeded, 100)}
	refunded := append(slices.Clone(captured), told("re", provider.KindRefund, succeeded, 40))
	returned := append(slices.Clone(refunded), told("re", provider.KindRefund, failed, 40))
	open := append(slices.Clone(captured), told("dp", provider.KindDispute, provider.StateOpen, 100))
	won := append(slices.Clone(open), told("dp", provider.KindDispute, provider.StateWon, 100))
	lost := append(slices.Clone(open), told("dp", provider.KindDispute, provider.StateLost, 80))
	bounced := append(slices.Clone(captured), told("ch", provider.KindCapture, failed, 100))
	pending := append(slices.Clone(captured), told("re", provider.KindRefund, provider.StatePending, 40))
	young := slices.Clone(captured)
	young[0].RecordedAt = today
	nobody := owner{}
	fresh := reported("ch", charge, 100, 0)
	fresh.OccurredAt = today.Add(-time.Minute)
	recent := reported("re", refundEntry, -40, 0)
	recent.OccurredAt = today.Add(-time.Hour)
	again := reported("ch", charge, 100, 0)
	again.Restated = &restatement{Kind: charge, Currency: usd, Gross: 90}
	dearer := reported("ch", charge, 100, 2)
	dearer.Restated = &restatement{Kind: charge, Currency: usd, Gross: 100, Fee: 5}
	for name, c := range map[string]struct {
		unit  *unit
		asked bool
		want  string
	}{
		"a capture":                           {unit: held(ours, 0, captured, reported("ch", charge, 100, 0))},
		"a capture in two entries":            {unit: held(ours, 0, captured, reported("ch", charge, 150, 0), reported("ch", charge, -50, 0))},
		"a capture that is not there":         {unit: held(ours, 0, captured), want: "missing_there 100->0"},
		"a capture that may come":             {unit: held(ours, 0, young)},
		"a capture of another amount":         {unit: held(ours, 3, captured, reported("ch", charge, 101, 4)), want: "amount 100->101"},
		"a capture in another currency":       {unit: held(ours, 3, captured, in(reported("ch", charge, 100, 3), eur)), want: "currency 100->100"},
		"a capture that is there twice":       {unit: held(ours, 3, captured, reported("ch", charge, 100, 3), reported("ch", charge, 100, 3)), want: "duplicate 0->100"},
		"twice, and once with another amount": {unit: held(ours, 0, captured, reported("ch", charge, 101, 0), reported("ch", charge, 100, 0)), want: "duplicate 0->101"},
		"twice with another amount":           {unit: held(ours, 0, captured, reported("ch", charge, 101, 0), reported("ch", charge, 101, 0)), want: "amount 100->101; duplicate 0->101"},
		"the fee that was expected":           {unit: held(ours, 3, captured, reported("ch", charge, 100, 3))},
		"another fee":                         {unit: held(ours, 3, captured, reported("ch", charge, 100, 4)), want: "fee 3->4"},
		"a fee of its own":                    {unit: held(ours, 3, captured, reported("ch", charge, 100, 0), reported("ch", provider.EntryFee, -3, 0))},
		"a fee of its own, and all twice": {
			unit: held(ours, 3, captured, reported("ch", charge, 100, 0), reported("ch", provider.EntryFee, -3, 0), reported("ch", charge, 100, 0), reported("ch", provider.EntryFee, -3, 0)),
			want: "duplicate 0->100",
		},
		"a fee where none was agreed":          {unit: held(ours, 0, captured, reported("ch", charge, 100, 4))},
		"a refund":                             {unit: held(ours, 0, refunded, reported("ch", charge, 100, 0), reported("re", refundEntry, -40, 0))},
		"a refund that is missing there":       {unit: held(ours, 0, refunded, reported("ch", charge, 100, 0)), want: "missing_there -40->0"},
		"a refund that came back":              {unit: held(ours, 0, returned, reported("ch", charge, 100, 0), reported("re", refundEntry, -40, 0), reported("re", refundFailed, 40, 0))},
		"a refund that came back unreported":   {unit: held(ours, 0, returned, reported("ch", charge, 100, 0))},
		"one that is not known to be back":     {unit: held(ours, 0, refunded, reported("ch", charge, 100, 0), reported("re", refundEntry, -40, 0), reported("re", refundFailed, 40, 0)), asked: true, want: "missing_here 0->40"},
		"a refund that is pending for us":      {unit: held(ours, 0, pending, reported("ch", charge, 100, 0), recent), want: "waiting"},
		"pending for too long":                 {unit: held(ours, 0, pending, reported("ch", charge, 100, 0), reported("re", refundEntry, -40, 0)), asked: true, want: "missing_here 0->-40"},
		"a refund that we do not know":         {unit: held(ours, 0, captured, reported("ch", charge, 100, 0), reported("re", refundEntry, -40, 0)), want: "ask"},
		"and have asked about":                 {unit: held(ours, 0, captured, reported("ch", charge, 100, 0), reported("re", refundEntry, -40, 0)), asked: true, want: "missing_here 0->-40"},
		"a refund that failed before it moved": {unit: held(ours, 0, captured, reported("ch", charge, 100, 0), reported("re", refundEntry, -40, 0), reported("re", refundFailed, 40, 0))},
		"a dispute":                            {unit: held(ours, 0, open, reported("ch", charge, 100, 0), reported("dp", disputeEntry, -100, 15))},
		"a dispute by the name of its capture": {unit: held(ours, 0, open, reported("ch", charge, 100, 0), reported("ch", disputeEntry, -100, 15))},
		"a dispute that is missing there":      {unit: held(ours, 0, open, reported("ch", charge, 100, 0)), want: "missing_there -100->0"},
		"a dispute that was won":               {unit: held(ours, 0, won, reported("ch", charge, 100, 0), reported("dp", disputeEntry, -100, 15), reported("dp", disputeWon, 100, 0))},
		"won before it was reported":           {unit: held(ours, 0, won, reported("ch", charge, 100, 0))},
		"a dispute that was lost for less":     {unit: held(ours, 0, lost, reported("ch", charge, 100, 0), reported("dp", disputeEntry, -100, 0), reported("dp", disputeEntry, 20, 0))},
		"a transfer that bounced":              {unit: held(ours, 0, bounced, reported("ch", charge, 100, 0), reported("ch", disputeEntry, -100, 0))},
		"bounced before it was paid out":       {unit: held(ours, 0, bounced)},
		"an adjustment":                        {unit: held(nobody, 0, nil, reported("", provider.EntryAdjustment, -7, 0)), want: "missing_here 0->-7"},
		"a fee of the account":                 {unit: held(nobody, 0, nil, reported("", provider.EntryFee, -7, 0))},
		"a charge of nobody's":                 {unit: held(nobody, 0, nil, reported("ch", charge, 100, 0)), want: "orphan 0->100"},
		"a charge that is too young to tell":   {unit: held(nobody, 0, nil, fresh)},
		"a refund of nobody's":                 {unit: held(nobody, 0, nil, reported("re", refundEntry, -40, 0)), want: "missing_here 0->-40"},
		"an entry that is told otherwise now":  {unit: held(ours, 0, captured, again), want: "amount 100->90"},
		"an entry whose fee is another now":    {unit: held(ours, 0, captured, dearer), want: "fee 2->5"},
	} {
		c.unit.asked = c.asked
		r := judge(c.unit, terms{now: today, horizon: today})
		if got := found(r); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// The ledger lacks what our own facts say, or has too much.
func TestJudgeHoldsTheLedgerToOurFacts(t *testing.T) {
	t.Parallel()
	facts := []fact{told("ch", provider.KindCapture, provider.StateSucceeded, 100)}
	u := held(ours, 0, facts, reported("ch", provider.EntryCharge, 100, 0))
	u.books[objectCurrency{"ch", usd}] = balance{moved: 60}
	u.books[objectCurrency{"ch", eur}] = balance{moved: 5}
	if got := found(judge(u, terms{now: today, horizon: today})); got != "ledger 0->5; ledger 100->60" {
		t.Errorf("got %q", got)
	}
}

// Whatever the report holds: what is booked of it, what differs, what waits and what is
// still expected explain it to the minor unit; the fees of an object come to nothing; and
// when what was booked is in the ledger, there is nothing more to book.
func TestJudgeExplainsEveryMinorUnit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var facts []fact
		objects := []string{"a", "b"}
		for _, o := range objects {
			kind := rapid.SampledFrom([]provider.Kind{provider.KindCapture, provider.KindRefund, provider.KindDispute}).Draw(t, "kind")
			amount := rapid.Int64Range(1, 5).Draw(t, "amount")
			states := map[provider.Kind][]provider.State{
				provider.KindCapture: {provider.StateSucceeded, provider.StateFailed}, provider.KindRefund: {provider.StatePending, provider.StateSucceeded, provider.StateFailed},
				provider.KindDispute: {provider.StateOpen, provider.StateWon},
			}[kind]
			for _, s := range states[:rapid.IntRange(0, len(states)).Draw(t, "states")] {
				facts = append(facts, told(o, kind, s, amount))
			}
		}
		kinds := []provider.EntryKind{
			provider.EntryCharge, provider.EntryRefund, provider.EntryRefundFailed, provider.EntryDispute, provider.EntryDisputeWon, provider.EntryFee,
			provider.EntryAdjustment,
		}
		draw := func(t *rapid.T) entry {
			e := reported(rapid.SampledFrom(objects).Draw(t, "object"), rapid.SampledFrom(kinds).Draw(t, "entry"),
				rapid.Int64Range(-5, 5).Draw(t, "gross"), rapid.Int64Range(-1, 2).Draw(t, "fee"))
			e.ID = fmt.Sprintf("%d/%s", rapid.IntRange(0, 9).Draw(t, "place"), e.ID) // anywhere among the others
			if rapid.Bool().Draw(t, "in euros") {
				e.Currency = eur
			}
			return e
		}
		var entries []entry
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			entries = append(entries, draw(t))
		}
		u := held(ours, 0, facts, entries...)
		u.asked = true
		for _, o := range objects {
			b := u.books[objectCurrency{o, usd}]
			b.scheduled = -rapid.Int64Range(0, 2).Draw(t, "scheduled")
			u.books[objectCurrency{o, usd}] = b
		}
		at := terms{now: today, horizon: rapid.SampledFrom([]time.Time{epoch, today}).Draw(t, "horizon")}
		for range 3 { // each time with more entries than before, and with what was booked
			r := judge(u, at)
			charges := map[money.Currency]int64{}
			for _, e := range u.entries {
				if r.verdicts[e.ID] == "" {
					t.Fatalf("entry %+v is not judged", e)
				}
				if u.charged[e.ID] {
					charges[e.Currency] += feeOf(e)
				}
			}
			if left := unexplained(u, r, charges); len(left) > 0 {
				t.Fatalf("%v are not explained\nfacts %+v\nentries %+v\nruling %+v", left, facts, u.entries, r)
			}
			book(u, r)
			for key, b := range u.books {
				if b.charged != 0 && b.scheduled+b.charged+b.corrected != 0 {
					t.Fatalf("the fees of %+v come to %+v", key, b)
				}
			}
			again := judge(u, at)
			if len(again.fees)+len(again.corrections) > 0 || found(again) != found(r) {
				t.Fatalf("a second time: %+v, after %+v", again, r)
			}
			for range rapid.IntRange(0, 2).Draw(t, "more") {
				u.entries = append(u.entries, draw(t))
			}
			slices.SortFunc(u.entries, func(a, b entry) int { return strings.Compare(a.ID, b.ID) })
		}
	})
}

func feeOf(e entry) int64 {
	if e.Kind == provider.EntryFee {
		return -e.Net
	}
	return e.Fee
}

// unexplained is what is left of the report when all that is known is taken from it.
func unexplained(u *unit, r ruling, charged map[money.Currency]int64) map[string]int64 {
	left := map[money.Currency]int64{}
	for _, e := range u.entries {
		left[e.Currency] += e.Net
		if r.verdicts[e.ID] == waiting {
			left[e.Currency] -= e.Net
		}
	}
	for c, amount := range charged {
		left[c] += amount
	}
	for key, b := range u.books {
		left[key.currency] -= b.moved
	}
	for _, f := range r.fees {
		left[f.entry.Currency] += f.amount
	}
	for _, f := range r.findings {
		if f.booked {
			continue
		}
		left[f.currency] += f.expected
		left[f.actualCurrency] -= f.actual - f.fee
	}
	off := map[string]int64{}
	for c, amount := range left {
		if amount += r.unreported[c]; amount != 0 {
			off[c.Code()] = amount
		}
	}
	return off
}

// book does what a ruling asks for.
func book(u *unit, r ruling) {
	for i, e := range u.entries {
		if v, ok := r.verdicts[e.ID]; ok {
			u.entries[i].Verdict = &v
		}
	}
	for _, f := range r.fees {
		u.charged[f.entry.ID] = true
		key := objectCurrency{f.object, f.entry.Currency}
		b := u.books[key]
		b.add(ledger.ProviderFee, ledger.Fees, f.amount, 1)
		u.books[key] = b
	}
	for _, c := range r.corrections {
		b := u.books[c.objectCurrency]
		b.add(ledger.FeeVariance, ledger.Fees, c.amount, 1)
		u.books[c.objectCurrency] = b
	}
}

func TestExplainFindsTheFewestOfTheOldest(t *testing.T) {
	t.Parallel()
	d := func(n byte, change int64) doubt { return doubt{ID: id.ID{n}, Kind: Amount, Expected: change} }
	doubts := []doubt{d(1, 5), d(2, 3), d(3, 8), d(4, 5)}
	for amount, want := range map[int64][]byte{0: nil, 5: {1}, 8: {3}, 10: {1, 4}, 21: {1, 2, 3, 4}, 6: {1}, 7: {3}, 100: nil, 1: nil} {
		var got []byte
		for _, c := range explain(amount, doubts) {
			got = append(got, c.ID[0])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", amount, got, want)
		}
	}
}
