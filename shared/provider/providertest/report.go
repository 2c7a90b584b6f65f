package providertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// ReportTable has each fault befall each request of a report. A page that was disturbed
// counts for nothing, and read again with the same cursor it makes the report whole.
func ReportTable(t *testing.T, s Subject) []Row {
	kinds := faults()
	rows := make([]Row, len(s.Reports)*len(kinds))
	t.Run("reports", func(t *testing.T) {
		for i, spot := range s.Reports {
			for j, fault := range kinds {
				t.Run(spot.Name+"/"+fault, func(t *testing.T) {
					t.Parallel()
					b := New(t, s)
					b.SetWebhook("")
					rows[i*len(kinds)+j] = b.strikeReport(spot, fault)
				})
			}
		}
	})
	return rows
}

func (b *Bench) strikeReport(spot Spot, fault string) Row {
	b.t.Helper()
	r, reference := b.Paid(Plain, true)
	b.First(b.Attempt(b.Follow(r, reference, provider.Refund, r.Amount.Minor/5)))
	b.Advance(5 * 24 * time.Hour)
	until := b.Now()
	want, _ := b.Read(start.Add(-time.Hour), until)
	if spot.Stale {
		b.Forget()
	}
	b.Inject(spot.Operation, spot.Skip, fault)
	row := Row{Provider: b.subject.Name, Spot: spot.Name, Fault: fault, Looks: "whole", LooksLater: "whole"}
	got, _ := b.reading(start.Add(-time.Hour), until, func(q provider.EntryQuery) provider.EntryPage {
		page := b.adapter().Entries(b.ending(b.t.Context()), q)
		b.holds(page)
		if page.OK {
			return page
		}
		row.Looks = "counts for nothing"
		if page.RetryAfter > 0 {
			row.Looks += fmt.Sprintf(", to be left alone for %v", page.RetryAfter)
		}
		if again := b.adapter().Entries(b.t.Context(), q); again.OK {
			return again
		}
		b.t.Fatalf("read again, the page %q is not whole either", q.Cursor)
		return page
	})
	if !b.hasStruck(fault) {
		b.t.Error("the fault did not strike")
	}
	row.differs(want, got)
	if row.Looks == "whole" && strings.HasPrefix(fault, "429") || row.LooksLater != "whole" && !strings.HasPrefix(fault, string(providersim.WrongAmount)) {
		b.t.Errorf("%s, then %s", row.Looks, row.LooksLater)
	}
	return row
}

// holds checks what is true of any page.
func (b *Bench) holds(page provider.EntryPage) {
	b.t.Helper()
	if !page.OK && (len(page.Entries) > 0 || page.Next != "" || page.Evidence.Error == "") {
		b.t.Errorf("a page that does not count: %+v", page)
	}
	for _, text := range []string{page.Evidence.Body, page.Evidence.Error, page.Evidence.RequestID} {
		if strings.Contains(text, b.Credential) {
			b.t.Errorf("the evidence shows the credential: %s", text)
		}
	}
}

// differs says how the report that was read in spite of a fault is another one.
func (r *Row) differs(want, got []provider.Entry) {
	if len(want) != len(got) {
		r.LooksLater = fmt.Sprintf("%d of %d entries", len(got), len(want))
		return
	}
	for i := range want {
		if want[i].ID != got[i].ID || want[i].Gross != got[i].Gross || want[i].Fee != got[i].Fee || want[i].PayoutID != got[i].PayoutID {
			r.LooksLater = "of other amounts"
		}
	}
}
