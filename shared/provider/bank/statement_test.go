package bank

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

func listOf(envelope, after string, elements ...map[string]any) *wire.Exchange {
	cursors := map[string]any{"before": nil, "after": nil}
	if after != "" {
		cursors["after"] = after
	}
	if elements == nil {
		elements = []map[string]any{}
	}
	body, err := json.Marshal(map[string]any{envelope: elements, "meta": map[string]any{"cursors": cursors, "limit": 500}})
	if err != nil {
		panic(err)
	}
	return &wire.Exchange{Status: http.StatusOK, Body: body}
}

func itemIn(kind, amount, payment, refund string) map[string]any {
	links := map[string]any{"payment": payment}
	if refund != "" {
		links["refund"] = refund
	}
	return map[string]any{"type": kind, "amount": amount, "links": links, "taxes": []any{}}
}

func inPayout() place {
	return place{list: listItems, payout: "PO1", currency: "GBP", at: noon.Unix()}
}

func TestWhatItemsAre(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   map[string]any
		want string
	}{
		"a payment":           {itemIn("payment_paid_out", "45.0", "PM1", ""), "charge PM1 45 PO1/payment_paid_out/PM1"},
		"failed late":         {itemIn("payment_failed", "-45.0", "PM1", ""), "dispute PM1 -45 PO1/payment_failed/PM1"},
		"charged back":        {itemIn("payment_charged_back", "-45.0", "PM1", ""), "dispute PM1 -45 PO1/payment_charged_back/PM1"},
		"refunded":            {itemIn("payment_refunded", "-10", "PM1", "RF1"), "refund RF1 -10 PO1/payment_refunded/RF1"},
		"a refund comes back": {itemIn("refund_funds_returned", "10.0", "PM1", "RF1"), "refund_failed RF1 10 PO1/refund_funds_returned/RF1"},
		"a fee":               {itemIn("gocardless_fee", "-70.4", "PM1", ""), "fee PM1 -70 PO1/gocardless_fee/PM1"},
		"half a penny":        {itemIn("gocardless_fee", "-70.5", "PM1", ""), "fee PM1 -71 PO1/gocardless_fee/PM1"},
		"a fee of nothing":    {itemIn("gocardless_fee", "-70.0", "", ""), "fee  -70 PO1/gocardless_fee"},
		"a share":             {itemIn("revenue_share", "1.0", "PM1", ""), "adjustment PM1 1 PO1/revenue_share/PM1"},
		"unheard of":          {itemIn("moon_dust", "1.0", "", ""), "adjustment  1 PO1/moon_dust"},
	} {
		page, err := inPayout().read(listOf(listItems, "", c.in))
		if err != nil || len(page.Entries) < 1 || page.Next != "" {
			t.Errorf("%s: %+v, %v", name, page, err)
			continue
		}
		e := page.Entries[0]
		got := fmt.Sprintf("%s %s %d %s", e.Kind, e.ObjectID, e.Gross, e.ID)
		if got != c.want || e.Fee != 0 || e.Net != e.Gross || e.PayoutID != "PO1" || e.Currency.Code() != "GBP" || !e.OccurredAt.Equal(noon) {
			t.Errorf("%s: %q\nwant %q: %+v", name, got, c.want, e)
		}
	}
}

// Each fee is rounded by itself; what the payout is away from that is an entry too, also
// when it comes together over several pages.
func TestFeesAreRounded(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 100} {
		p, next := inPayout(), ""
		var items []map[string]any
		for i := range 8 {
			items = append(items, itemIn("payment_paid_out", "100.0", fmt.Sprintf("PM%d", i), ""), itemIn("gocardless_fee", "-1.4", fmt.Sprintf("PM%d", i), ""))
		}
		var sum int64
		for begin := 0; begin < len(items); begin += size {
			end, after := min(begin+size, len(items)), ""
			if end < len(items) {
				after = fmt.Sprint(end)
			}
			page, err := p.read(listOf(listItems, after, items[begin:end]...))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				if e.Kind == provider.EntryFee && e.ObjectID != "" && e.Gross != -1 {
					t.Errorf("a fee of 1.4 is %d", e.Gross)
				}
				sum += e.Net
			}
			if next = page.Next; next != "" {
				q := provider.EntryQuery{Since: noon, Until: noon.Add(1), Cursor: next}
				if p, err = readPlace(q); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want := int64(789); sum != want || next != "" { // 800 less 11.2
			t.Errorf("in pages of %d it comes to %d, want %d; then %q", size, sum, want, next)
		}
	}
}

func TestPayouts(t *testing.T) {
	t.Parallel()
	in := map[string]any{"id": "PO1", "amount": 900, "currency": "EUR", "status": "paid", "created_at": "2026-11-23T12:00:00.000Z", "reference": "JANE"}
	page, err := place{list: listPayouts}.read(listOf(listPayouts, "PO/1?", in))
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	e := page.Entries[0]
	if e.Kind != provider.EntryPayout || e.ID != "PO1" || e.PayoutID != "PO1" || e.ObjectID != "" || e.Net != -900 || e.Currency.Code() != "EUR" ||
		!e.OccurredAt.Equal(noon) || strings.Contains(e.Raw, "JANE") {
		t.Errorf("%+v", e)
	}
	// Whatever is in GoCardless's cursors comes through ours.
	q := provider.EntryQuery{Since: noon, Until: noon.Add(time.Hour), Cursor: page.Next}
	p, err := readPlace(q)
	if want := (place{list: listItems, then: "PO/1?", payout: "PO1", currency: "EUR", at: noon.Unix()}); err != nil || p != want {
		t.Errorf("%+v, %v; want %+v", p, err, want)
	}
	if path := p.path(q); path != "/payout_items?limit=500&payout=PO1" {
		t.Errorf("asked for %s", path)
	}
	page, err = p.read(listOf(listItems, "", itemIn("payment_paid_out", "900.0", "PM1", "")))
	if err != nil || page.Next != "payouts/PO%2F1%3F" {
		t.Errorf("%+v, %v", page, err)
	}
	if page, err := (place{list: listPayouts}).read(listOf(listPayouts, "")); err != nil || page.Next != "" || len(page.Entries) > 0 {
		t.Errorf("without payouts: %+v, %v", page, err)
	}
	in["status"] = "bounced"
	page, err = place{list: listPayouts}.read(listOf(listPayouts, "", in))
	if err != nil || len(page.Entries) != 2 || page.Entries[0].Net+page.Entries[1].Net != 0 || page.Entries[1].ID != "PO1/bounced" {
		t.Errorf("a payout that came back: %+v, %v", page, err)
	}
}

func TestWhatNoPayoutIs(t *testing.T) {
	t.Parallel()
	whole := func(name string, value any) map[string]any {
		f := map[string]any{"id": "PO1", "amount": 900, "currency": "EUR", "created_at": "2026-11-23T12:00:00.000Z"}
		f[name] = value
		return f
	}
	for name, x := range map[string]*wire.Exchange{
		"no id":             listOf(listPayouts, "", whole("id", "")),
		"no amount":         listOf(listPayouts, "", whole("amount", nil)),
		"a foreign one":     listOf(listPayouts, "", whole("currency", "XXX")),
		"no time":           listOf(listPayouts, "", whole("created_at", nil)),
		"other things":      listOf("payments", "", whole("id", "PM1")),
		"a page":            {Status: http.StatusOK, Body: []byte("<html>")},
		"unavailable":       {Status: http.StatusServiceUnavailable, Body: []byte("<html>")},
		"promises":          listOf(listPayouts, "PO2"),
		"half of one":       {Status: http.StatusOK, Body: listOf(listPayouts, "", whole("id", "PO1")).Body[:40]},
		"nothing whatever":  {Status: http.StatusOK},
		"too often":         {Status: http.StatusTooManyRequests, Body: []byte(`{"error":{"type":"invalid_api_usage"}}`)},
		"gone for too long": {Status: http.StatusGone, Body: []byte(`{"error":{"type":"invalid_api_usage"}}`)},
	} {
		if page, err := (place{list: listPayouts}).read(x); err == nil {
			t.Errorf("%s: %+v", name, page)
		}
	}
	for name, in := range map[string]map[string]any{
		"no amount":     itemIn("payment_paid_out", "", "PM1", ""),
		"a number":      {"type": "payment_paid_out", "amount": 45, "links": map[string]any{"payment": "PM1"}},
		"hundredths":    itemIn("payment_paid_out", "45.05", "PM1", ""),
		"in words":      itemIn("payment_paid_out", "x.5", "PM1", ""),
		"no type":       itemIn("", "45.0", "PM1", ""),
		"no payment":    itemIn("payment_paid_out", "45.0", "", ""),
		"no refund":     itemIn("payment_refunded", "-45.0", "PM1", ""),
		"far too large": itemIn("payment_paid_out", "99999999999999999999.0", "PM1", ""),
	} {
		if page, err := inPayout().read(listOf(listItems, "", in)); err == nil {
			t.Errorf("an item with %s: %+v", name, page)
		}
	}
}

// An item that is there twice is two entries, and is so again the next time.
func TestTheSameItemTwice(t *testing.T) {
	t.Parallel()
	in := itemIn("payment_paid_out", "45.0", "PM1", "")
	page, err := inPayout().read(listOf(listItems, "", in, in))
	if err != nil || len(page.Entries) != 2 || page.Entries[1].ID != "PO1/payment_paid_out/PM1/2" || page.Entries[1].ObjectID != "PM1" {
		t.Errorf("%+v, %v", page, err)
	}
}
