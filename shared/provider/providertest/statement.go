package providertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Statements are what the provider's own report of the account must show.
func Statements() []Life {
	return []Life{
		{"reported: every movement once", always, everyMovementOnce, false},
		{"reported: in pages", always, manyPages, false},
		{"reported: payouts, and what is in them", always, payouts, false},
		{"reported: as it was planted", always, planted, false},
		{"reported: to nobody else", always, refusedReport, false},
	}
}

// maxPages is more than any report here has.
const maxPages = 100

// Read reads a report to its end, and merges entries that come again. Each page is read
// once; the second result is how many there were.
func (b *Bench) Read(since, until time.Time) (entries []provider.Entry, pages int) {
	b.t.Helper()
	return b.reading(since, until, func(q provider.EntryQuery) provider.EntryPage {
		page := b.adapter().Entries(b.t.Context(), q)
		if !page.OK {
			b.t.Fatalf("the report's page %q: status %d, %s", q.Cursor, page.Evidence.Status, page.Evidence.Error)
		}
		return page
	})
}

func (b *Bench) reading(since, until time.Time, read func(provider.EntryQuery) provider.EntryPage) (entries []provider.Entry, pages int) {
	b.t.Helper()
	q := provider.EntryQuery{Account: b.Adapter.Account(), Since: since, Until: until}
	at := map[string]int{}
	for range maxPages {
		page := read(q)
		pages++
		for _, e := range page.Entries {
			i, known := at[e.ID]
			if !known {
				at[e.ID] = len(entries)
				entries = append(entries, e)
				continue
			}
			if old := entries[i]; old.Kind != e.Kind || old.ObjectID != e.ObjectID || old.Gross != e.Gross || old.Fee != e.Fee ||
				old.PayoutID != "" && e.PayoutID != "" && old.PayoutID != e.PayoutID {
				b.t.Errorf("entry %s was %+v and is %+v", e.ID, old, e)
			}
			if e.PayoutID != "" {
				entries[i].PayoutID = e.PayoutID
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return entries, pages
		}
	}
	b.t.Fatalf("the report does not end: at last %q", q.Cursor)
	return nil, 0
}

// whole reads everything that was ever reported.
func (b *Bench) whole() []provider.Entry {
	b.t.Helper()
	entries, _ := b.Read(start.Add(-time.Hour), b.Now().Add(time.Second))
	return entries
}

// busyWeek makes payments of every kind, and lets the provider pay out. It returns how
// the adapter must know them.
func (b *Bench) busyWeek() (payments, refunds map[id.ID]bool) {
	b.t.Helper()
	payments, refunds = map[id.ID]bool{}, map[id.ID]bool{}
	caps := b.Adapter.Capabilities()
	refund := func(r provider.Request, reference string, minor int64) {
		next := b.Follow(r, reference, provider.Refund, minor)
		b.First(b.Attempt(next))
		refunds[next.RefundID] = true
		b.Advance(time.Hour)
	}
	for range 3 {
		r, reference := b.Paid(Plain, true)
		payments[r.PaymentID] = true
		refund(r, reference, r.Amount.Minor/5)
		refund(r, reference, r.Amount.Minor/10)
	}
	r, reference := b.Paid(RefundFails, true)
	payments[r.PaymentID] = true
	refund(r, reference, r.Amount.Minor/4)
	if caps.ManualCapture {
		r, reference = b.Paid(Plain, false)
		payments[r.PaymentID] = true
		b.Do(b.Follow(r, reference, provider.Capture, r.Amount.Minor/5*3), provider.Approved)
		voided, reference := b.Paid(Plain, false)
		b.Do(b.Follow(voided, reference, provider.Void, voided.Amount.Minor), provider.Approved)
	}
	b.Pay(b.Payment(Refused, true), Refused)
	for _, won := range []bool{false, true} {
		r, reference := b.Paid(Plain, true)
		payments[r.PaymentID] = true
		dispute, err := b.Dispute(providersim.Complaint{Payment: reference})
		if err == nil && won {
			err = b.Decide(dispute, providersim.DisputeWon)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	b.Advance(5 * 24 * time.Hour)
	return payments, refunds
}

// movements are the kinds of entries that effects come to, and their sign.
var movements = map[providersim.EffectKind]struct {
	kind provider.EntryKind
	sign int64
}{
	providersim.EffectCapture:         {provider.EntryCharge, 1},
	providersim.EffectCaptureReversed: {provider.EntryDispute, -1},
	providersim.EffectRefund:          {provider.EntryRefund, -1},
	providersim.EffectRefundReversed:  {provider.EntryRefundFailed, 1},
	providersim.EffectDispute:         {provider.EntryDispute, -1},
	providersim.EffectDisputeWon:      {provider.EntryDisputeWon, 1},
}

// happenedMoney lists what really moved the balance.
func (b *Bench) happenedMoney() (all []string) {
	for _, e := range b.Effects() {
		if m, moves := movements[e.Kind]; moves {
			all = append(all, b.movement(m.kind, e.Object, m.sign*e.AmountMinor, strings.ToUpper(e.Currency)))
		}
	}
	slices.Sort(all)
	return all
}

func (b *Bench) movement(kind provider.EntryKind, object string, amount int64, currency string) string {
	if b.CasesUnnamed && (kind == provider.EntryDispute || kind == provider.EntryDisputeWon) {
		object = "of some capture"
	}
	return fmt.Sprintf("%s %s %d %s", kind, object, amount, currency)
}

// reportedMoney lists what the report shows of it.
func (b *Bench) reportedMoney(entries []provider.Entry) (all []string) {
	for _, e := range entries {
		switch e.Kind {
		case provider.EntryCharge, provider.EntryRefund, provider.EntryRefundFailed, provider.EntryDispute, provider.EntryDisputeWon:
			all = append(all, b.movement(e.Kind, e.ObjectID, e.Gross, e.Currency.Code()))
		}
	}
	slices.Sort(all)
	return all
}

// Every charge, every refund and every refund that failed stands in the report exactly
// once, as it was, by the ids that facts have; however its time is cut up.
func everyMovementOnce(b *Bench) {
	payments, refunds := b.busyWeek()
	entries := b.whole()
	want, got := b.happenedMoney(), b.reportedMoney(entries)
	if !slices.Equal(want, got) {
		b.t.Errorf("there were\n%s\nreported are\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	fees, lost := map[string]int64{}, map[string]bool{}
	for _, e := range entries {
		if e.Kind == provider.EntryDispute || e.Kind == provider.EntryDisputeWon {
			lost[e.ObjectID] = e.Kind == provider.EntryDispute
		}
		if e.Net != e.Gross-e.Fee || e.OccurredAt.IsZero() || e.Currency.IsZero() || e.ID == "" {
			b.t.Errorf("an entry %+v", e)
		}
		fees[e.ObjectID] += e.Fee
		if e.Kind == provider.EntryFee {
			fees[e.ObjectID] -= e.Gross
		}
		isRefund := e.Kind == provider.EntryRefund || e.Kind == provider.EntryRefundFailed
		if b.ReportNames && (isRefund || e.Kind == provider.EntryCharge) && (!payments[e.PaymentID] || isRefund && !refunds[e.RefundID]) {
			b.t.Errorf("entry %s names the payment %s and the refund %s", e.ID, e.PaymentID, e.RefundID)
		}
		if strings.Contains(e.Raw, b.Credential) || !json.Valid([]byte(e.Raw)) {
			b.t.Errorf("entry %s is kept as %s", e.ID, e.Raw)
		}
	}
	for _, e := range entries {
		want := b.ReportFee(e.Gross)
		if !b.Contested && lost[e.ObjectID] {
			want = 0 // a payment that was charged back costs nothing
		}
		if e.Kind == provider.EntryCharge && fees[e.ObjectID] != want {
			b.t.Errorf("the fee of %s, %d, is %d, want %d", e.ObjectID, e.Gross, fees[e.ObjectID], want)
		}
	}
	b.inParts(entries)
}

// inParts reads the same report in parts: each entry is in one, and is the same.
func (b *Bench) inParts(whole []provider.Entry) {
	b.t.Helper()
	parts := map[string]provider.Entry{}
	cuts := []time.Time{start.Add(-time.Hour)}
	for _, e := range whole {
		cuts = append(cuts, e.OccurredAt)
	}
	cuts = append(cuts, b.Now().Add(time.Second))
	slices.SortFunc(cuts, time.Time.Compare)
	cuts = slices.Compact(cuts)
	for i := range len(cuts) - 1 {
		entries, _ := b.Read(cuts[i], cuts[i+1])
		for _, e := range entries {
			if old, twice := parts[e.ID]; twice && e.PayoutID == "" {
				b.t.Errorf("entry %s of %v is in two parts of the time, of %v too", e.ID, e.OccurredAt, old.OccurredAt)
			}
			parts[e.ID] = e
		}
	}
	var missing []string
	for _, e := range whole {
		if got, found := parts[e.ID]; !found || got.Gross != e.Gross || got.ObjectID != e.ObjectID {
			missing = append(missing, e.ID)
		}
	}
	if len(missing) > 0 || len(parts) != len(whole) {
		b.t.Errorf("in parts there are %d entries, at once %d; other or missing are %v", len(parts), len(whole), missing)
	}
}

// A report of several pages is whole, and each entry is on one.
func manyPages(b *Bench) {
	const many = 520
	currency := strings.ToLower(b.Payment(Plain, true).Amount.Currency.Code())
	b.plant(providersim.Plant{What: providersim.PlantOrphan, Amount: 1000, Currency: currency, Times: many})
	b.Advance(70 * 24 * time.Hour) // more than PayPal answers for at once
	seen := map[string]bool{}
	entries, pages := b.Read(start.Add(-time.Hour), b.Now())
	for _, e := range entries {
		if e.Kind == provider.EntryCharge {
			seen[e.ObjectID] = true
			if !e.PaymentID.IsZero() || e.Gross != 1000 {
				b.t.Fatalf("an entry of somebody else's: %+v", e)
			}
		}
	}
	if n := len(b.reportedMoney(entries)); len(seen) != many || n != many || pages < 3 {
		b.t.Errorf("%d charges, %d entries of them, on %d pages", len(seen), n, pages)
	}
}

// What is paid out is what the entries in it come to, or, where the provider does not say
// what is in it, all that there was.
func payouts(b *Bench) {
	b.busyWeek()
	b.busyWeek()
	entries := b.whole()
	out, in := map[string]int64{}, map[string]int64{}
	var open int64
	slices.SortStableFunc(entries, func(x, y provider.Entry) int { return x.OccurredAt.Compare(y.OccurredAt) })
	for _, e := range entries {
		switch {
		case e.Kind == provider.EntryPayout:
			if e.ObjectID != "" || e.PayoutID == "" || e.Net >= 0 {
				b.t.Errorf("a payout: %+v", e)
			}
			out[e.PayoutID] -= e.Net
			if !b.PayoutMembers {
				in[e.PayoutID], open = open, 0
			}
		case b.PayoutMembers && e.PayoutID != "":
			in[e.PayoutID] += e.Net
		default:
			open += e.Net
		}
	}
	if len(out) < 2 || !maps.Equal(out, in) || open != 0 {
		b.t.Errorf("paid out %v, in it is %v, left %d", out, in, open)
	}
}

func (b *Bench) plant(p providersim.Plant) {
	b.t.Helper()
	if err := b.Plant(p); err != nil {
		b.t.Fatal(err)
	}
}

// What is planted in the simulator's report shows in the adapter's, and nothing else
// does: else nobody could be tested for finding it.
func planted(b *Bench) {
	var paid []provider.Request
	for range 6 {
		r, _ := b.Paid(Plain, true)
		paid = append(paid, r)
	}
	amount, currency := paid[0].Amount.Minor, strings.ToLower(paid[0].Amount.Currency.Code())
	fee := b.ReportFee(amount)
	other := "usd"
	for _, p := range []providersim.Plant{
		{What: providersim.PlantMissing, Skip: 1},
		{What: providersim.PlantDoubled, Skip: 1},
		{What: providersim.PlantFee, Skip: 1, By: 3},
		{What: providersim.PlantAmount, Skip: 1, By: 7},
		{What: providersim.PlantOrphan, Amount: amount * 2, Currency: currency},
	} {
		b.plant(p)
	}
	inOther := b.Plant(providersim.Plant{What: providersim.PlantCurrency, Skip: 1, Currency: other}) == nil
	if err := b.Plant(providersim.Plant{What: "nonsense"}); err == nil {
		b.t.Error("nonsense was planted")
	}
	b.Advance(5 * 24 * time.Hour)
	want := map[string]int{
		fmt.Sprintf("%d %s, fee %d", amount, currency, fee):                     3, // one as it was, two of the doubled
		fmt.Sprintf("%d %s, fee %d", amount, currency, fee+3):                   1,
		fmt.Sprintf("%d %s, fee %d", amount+7, currency, fee):                   1,
		fmt.Sprintf("%d %s, fee %d", 2*amount, currency, b.ReportFee(2*amount)): 1,
	}
	if inOther {
		want[fmt.Sprintf("%d %s, fee %d", amount, other, fee)] = 1
	} else {
		want[fmt.Sprintf("%d %s, fee %d", amount, currency, fee)]++
	}
	fees, charges := map[string]int64{}, map[string][]provider.Entry{}
	for _, e := range b.whole() {
		switch e.Kind {
		case provider.EntryCharge:
			charges[e.ObjectID] = append(charges[e.ObjectID], e)
			fees[e.ObjectID] += e.Fee
		case provider.EntryFee:
			fees[e.ObjectID] -= e.Gross
		}
	}
	got := map[string]int{}
	for object, all := range charges {
		for _, e := range all {
			got[fmt.Sprintf("%d %s, fee %d", e.Gross, strings.ToLower(e.Currency.Code()), fees[object]/int64(len(all)))]++
		}
	}
	if !maps.Equal(want, got) {
		b.t.Errorf("reported are %v, want %v", got, want)
	}
	if n := len(b.Planted()); n != 5 && !inOther || n != 6 && inOther {
		b.t.Errorf("%d plants are known", n)
	}
}

// Who is not let in reads nothing; what makes no sense is not asked for.
func refusedReport(b *Bench) {
	b.Paid(Plain, true)
	b.Advance(5 * 24 * time.Hour)
	before := len(b.Sent())
	q := provider.EntryQuery{Account: b.Adapter.Account(), Since: start, Until: b.Now()}
	for name, wrong := range map[string]provider.EntryQuery{
		"without a time":    {Account: q.Account},
		"backwards":         {Account: q.Account, Since: q.Until, Until: q.Since},
		"a foreign cursor":  {Account: q.Account, Since: q.Since, Until: q.Until, Cursor: "nowhere/1"},
		"a cursor of ours?": {Account: q.Account, Since: q.Since, Until: q.Until, Cursor: "1/2/3/4/5"},
	} {
		if got := b.Adapter.Entries(b.t.Context(), wrong); got.OK || len(got.Entries) > 0 || got.Next != "" || got.Evidence.Error == "" {
			b.t.Errorf("%s: %+v", name, got)
		}
	}
	if n := len(b.Sent()) - before; n > 0 {
		b.t.Errorf("%d requests were sent for what makes no sense", n)
	}
	if b.Forget != nil {
		b.Forget()
		if got := b.Adapter.Entries(b.t.Context(), q); !got.OK {
			b.t.Errorf("after the session ran out: %+v", got.Evidence)
		}
		b.Forget()
	}
	b.SetCredentials("another")
	got := b.Adapter.Entries(b.t.Context(), q)
	if got.OK || len(got.Entries) > 0 || got.Evidence.Error == "" || strings.Contains(got.Evidence.Body+got.Evidence.Error, b.Credential) {
		b.t.Errorf("with a revoked credential: %+v", got)
	}
}
