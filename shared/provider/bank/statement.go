package bank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// reportLag: a movement is reported as an item of the payout that it is in. Payouts are
// made every working day, of what was confirmed a day or two before; a week has room for
// holidays. https://developer.gocardless.com/payouts/reconciling-payouts
const reportLag = 7 * 24 * time.Hour

// Entries reads GoCardless's payouts, newest first, and the items of each. An entry's
// time is that of its payout, since items have none.
//
// An item's fee is an item of its own, in tenths of a minor unit. Each is rounded half up
// by itself, as a fee schedule is; what that is away from the payout, which is rounded as
// a whole, is an entry of kind fee that names no object.
//
// Items have no ids. Theirs here is made of the payout, the type and the object; one that
// is there twice is told from its like only within a page. Items of payouts older than six
// months can't be had. That a chargeback which was cancelled is an item of the type
// payment_chargeback_cancelled is a guess.
func (a *Adapter) Entries(ctx context.Context, q provider.EntryQuery) provider.EntryPage {
	at, err := readPlace(q)
	if err != nil {
		return provider.EntryPage{Evidence: provider.Evidence{Error: "not asked: " + err.Error()}}
	}
	d := a.begin(ctx)
	x := d.do(http.MethodGet, at.path(q), "", nil)
	page, err := at.read(x)
	if err != nil {
		page = provider.EntryPage{}
	} else { // the rest is in the entries
		d.seen = []string{fmt.Sprintf("%s: %d entries, then %q", at, len(page.Entries), page.Next)}
	}
	page.OK, page.RetryAfter, page.Evidence = err == nil, x.RetryAfter(a.now(), "RateLimit-Reset"), d.evidence(err)
	return page
}

// The lists that a report is read from.
const (
	listPayouts = "payouts"
	listItems   = "payout_items"
)

// place is how far the reading of a report has come.
type place struct {
	list  string
	after string // GoCardless's cursor in the list
	then  string // after the items: the cursor in the list of payouts; empty at its end

	// Of the items of a payout.
	payout, currency string
	at               int64 // when it was made, Unix time
	rest             int64 // tenths that rounding has left so far
}

// String is the cursor.
func (p place) String() string {
	parts := []string{p.list, p.after}
	if p.list == listItems {
		parts = append(parts, p.then, p.payout, p.currency, strconv.FormatInt(p.at, 10), strconv.FormatInt(p.rest, 10))
	}
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

func readPlace(q provider.EntryQuery) (p place, err error) {
	if q.Since.IsZero() || !q.Since.Before(q.Until) {
		return p, errors.New("a report needs a time from which and a later one until which")
	}
	if q.Cursor == "" {
		return place{list: listPayouts}, nil
	}
	parts := strings.Split(q.Cursor, "/")
	for i := range parts {
		part, bad := url.PathUnescape(parts[i])
		parts[i], err = part, errors.Join(err, bad)
	}
	switch {
	case err == nil && len(parts) == 2 && parts[0] == listPayouts:
		return place{list: listPayouts, after: parts[1]}, nil
	case err == nil && len(parts) == 7 && parts[0] == listItems && parts[3] != "" && currencies[parts[4]]:
		p = place{list: listItems, after: parts[1], then: parts[2], payout: parts[3], currency: parts[4]}
		p.at, err = strconv.ParseInt(parts[5], 10, 64)
		if err == nil {
			p.rest, err = strconv.ParseInt(parts[6], 10, 64)
		}
		if err == nil {
			return p, nil
		}
	}
	return place{}, fmt.Errorf("%.60q is no cursor of this report", q.Cursor)
}

// path is what to ask for.
func (p place) path(q provider.EntryQuery) string {
	query := url.Values{}
	if p.after != "" {
		query.Set("after", p.after)
	}
	if p.list == listItems {
		query.Set("payout", p.payout)
		query.Set("limit", strconv.Itoa(pageSize))
	} else {
		const iso8601 = "2006-01-02T15:04:05.000Z"
		query.Set("created_at[gte]", q.Since.UTC().Format(iso8601))
		query.Set("created_at[lt]", q.Until.UTC().Format(iso8601))
		query.Set("limit", "1")
	}
	return "/" + p.list + "?" + query.Encode()
}

// read takes the entries out of a page, and finds where the next one is.
func (p place) read(x *wire.Exchange) (page provider.EntryPage, err error) {
	if t := troubleOf(x); t != nil {
		return page, t.err
	}
	elements, after, err := decodeList(p.list, x.Body)
	switch {
	case err != nil:
		return page, err
	case p.list == listItems:
		return p.readItems(elements, after)
	case len(elements) == 0:
		return page, nil // that was the last
	}
	return p.readPayout(elements[0], after)
}

// payout is GoCardless's: https://developer.gocardless.com/api-reference/#core-endpoints-payouts
type payout struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Amount    *int64    `json:"amount"`
	Currency  string    `json:"currency"`
	Status    string    `json:"status"`
}

// readPayout goes on to what is in the payout.
func (p place) readPayout(raw json.RawMessage, after string) (page provider.EntryPage, err error) {
	var po payout
	if err := json.Unmarshal(raw, &po); err != nil {
		return page, fmt.Errorf("not a payout: %w", err)
	}
	if po.ID == "" || po.Amount == nil || po.CreatedAt.IsZero() {
		return page, fmt.Errorf("not a payout with an amount and a time: %.40q", po.ID)
	}
	amount, err := amountOf(*po.Amount, po.Currency)
	if err != nil {
		return page, fmt.Errorf("payout %s: %w", po.ID, err)
	}
	at := po.CreatedAt.UTC()
	e := provider.Entry{
		ID: po.ID, Kind: provider.EntryPayout, PayoutID: po.ID, Currency: amount.Currency, Gross: -amount.Minor, Net: -amount.Minor,
		OccurredAt: at, AvailableAt: at, Raw: kept.Reply(raw),
	}
	page.Entries = []provider.Entry{e}
	if po.Status == "bounced" {
		e.ID, e.Gross, e.Net = po.ID+"/bounced", amount.Minor, amount.Minor
		page.Entries = append(page.Entries, e)
	}
	page.Next = place{list: listItems, then: after, payout: po.ID, currency: po.Currency, at: at.Unix()}.String()
	return page, nil
}

// item is one of a payout's: https://developer.gocardless.com/api-reference/#core-endpoints-payout-items
type item struct {
	Type   string `json:"type"`
	Amount string `json:"amount"`
	Links  struct {
		Payment string `json:"payment"`
		Refund  string `json:"refund"`
	} `json:"links"`
}

// entryKinds are the types of items. A payment that fails after it was confirmed is a
// dispute that is lost at once, as its fact is. What is not among them is an adjustment.
var entryKinds = map[string]provider.EntryKind{
	"payment_paid_out": provider.EntryCharge, "payment_failed": provider.EntryDispute, "payment_charged_back": provider.EntryDispute,
	"payment_chargeback_cancelled": provider.EntryDisputeWon, "payment_refunded": provider.EntryRefund, "refund": provider.EntryRefund,
	"refund_funds_returned": provider.EntryRefundFailed, "gocardless_fee": provider.EntryFee, "app_fee": provider.EntryFee,
	"surcharge_fee": provider.EntryFee,
}

func (p place) readItems(elements []json.RawMessage, after string) (page provider.EntryPage, err error) {
	seen := map[string]int{}
	for _, raw := range elements {
		e, rest, err := p.readItem(raw)
		if err != nil {
			return page, err
		}
		p.rest += rest
		if seen[e.ID]++; seen[e.ID] > 1 {
			e.ID = fmt.Sprintf("%s/%d", e.ID, seen[e.ID])
		}
		page.Entries = append(page.Entries, e)
	}
	if after != "" {
		p.after = after
		page.Next = p.String()
		return page, nil
	}
	if units := floor(p.rest+tenths/2, tenths); units != 0 {
		page.Entries = append(page.Entries, p.entry("rounding", provider.EntryFee, units))
	}
	if p.then != "" {
		page.Next = place{list: listPayouts, after: p.then}.String()
	}
	return page, nil
}

// tenths of a minor unit are what items are counted in.
const tenths = 10

// readItem reads an item, and what is left of it after rounding.
func (p place) readItem(raw json.RawMessage) (e provider.Entry, rest int64, err error) {
	var in item
	if err := json.Unmarshal(raw, &in); err != nil {
		return e, 0, fmt.Errorf("not an item of a payout: %w", err)
	}
	exact, err := tenthsOf(in.Amount)
	if err != nil || in.Type == "" {
		return e, 0, fmt.Errorf("not an item of a payout with a type and an amount: %.40q %.40q", in.Type, in.Amount)
	}
	units := floor(exact+tenths/2, tenths)
	if exact < 0 {
		units = -floor(-exact+tenths/2, tenths)
	}
	kind, known := entryKinds[in.Type]
	if !known {
		kind = provider.EntryAdjustment
	}
	object := in.Links.Payment
	if kind == provider.EntryRefund || kind == provider.EntryRefundFailed {
		object = in.Links.Refund
	}
	if object == "" && kind != provider.EntryFee && kind != provider.EntryAdjustment {
		return e, 0, fmt.Errorf("an item %.40q of payout %s names no object", in.Type, p.payout)
	}
	e = p.entry(strings.TrimRight(in.Type+"/"+object, "/"), kind, units)
	e.ObjectID, e.Raw = object, kept.Reply(raw)
	return e, exact - units*tenths, nil
}

// entry is a member of the payout.
func (p place) entry(name string, kind provider.EntryKind, units int64) provider.Entry {
	at := time.Unix(p.at, 0).UTC()
	return provider.Entry{
		ID: p.payout + "/" + name, Kind: kind, Currency: money.MustParseCurrency(p.currency), Gross: units, Net: units,
		PayoutID: p.payout, OccurredAt: at, AvailableAt: at, Raw: "{}",
	}
}

// tenthsOf reads an amount such as "-45.5".
func tenthsOf(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, tenth, dotted := strings.Cut(digits, ".")
	if !dotted {
		tenth = "0"
	}
	if len(whole) == 0 || len(tenth) != 1 || strings.Trim(whole+tenth, "0123456789") != "" {
		return 0, errors.New("not an amount to one decimal place")
	}
	n, err := strconv.ParseInt(whole+tenth, 10, 64)
	if negative {
		n = -n
	}
	return n, err
}

// floor divides and rounds down.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
