package paypal

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

// Rules of the transaction search:
// https://developer.paypal.com/docs/api/transaction-search/v1/
const (
	// reportLag: "It takes a maximum of three hours for executed transactions to appear".
	reportLag = 3 * time.Hour

	reportSpan     = 31 * 24 * time.Hour // of one query
	reportPageSize = 500
)

// tooLarge is the error of a query that finds more than PayPal is willing to list. How
// much that is, is not documented; a shorter time finds less.
const tooLarge = "RESULTSET_TOO_LARGE"

// Entries reads one page of PayPal's transaction search: what moved the balance. The
// transactions of captures and refunds have those objects' ids; an entry about a dispute
// names the capture that is disputed, since PayPal's report does not name disputes.
//
// Withdrawals to the bank are payouts. What is in one PayPal does not say: it is whatever
// there was.
//
// PayPal does not say either whether the search goes by the time at which a transaction
// began or changed. What is pending is left out, so one that was pending for longer than
// the times of later queries overlap may be missed if it is the former.
func (a *Adapter) Entries(ctx context.Context, q provider.EntryQuery) provider.EntryPage {
	at, err := readPlace(q)
	if err != nil {
		return provider.EntryPage{Evidence: provider.Evidence{Error: "not asked: " + err.Error()}}
	}
	r := &run{adapter: a, ctx: ctx}
	began := a.now()
	x := r.get("/v1/reporting/transactions?" + at.query().Encode())
	page, err := at.read(x, q)
	if err != nil {
		page = provider.EntryPage{}
	} else { // the rest is in the entries
		r.seen = []string{fmt.Sprintf("transactions %s: %d entries, then %q", at, len(page.Entries), page.Next)}
	}
	page.OK, page.RetryAfter, page.Evidence = err == nil, r.last.RetryAfter(a.now()), r.evidence(err, a.now().Sub(began))
	return page
}

// place is how far the reading of a report has come: a page of a part of its time.
type place struct {
	from, to time.Time // half-open
	page     int
}

// String is the cursor.
func (p place) String() string { return fmt.Sprintf("%d/%d/%d", p.from.Unix(), p.to.Unix(), p.page) }

// readPlace counts in whole seconds, as PayPal's report does.
func readPlace(q provider.EntryQuery) (place, error) {
	if q.Since.IsZero() || !q.Since.Before(q.Until) {
		return place{}, errors.New("a report needs a time from which and a later one until which")
	}
	if q.Cursor == "" {
		return startAt(q.Since.UTC().Truncate(time.Second), q), nil
	}
	var numbers [3]int64
	parts := strings.Split(q.Cursor, "/")
	ok := len(parts) == len(numbers)
	for i := 0; ok && i < len(numbers); i++ {
		n, err := strconv.ParseInt(parts[i], 10, 64)
		numbers[i], ok = n, err == nil && n > 0
	}
	if !ok || numbers[0] >= numbers[1] {
		return place{}, fmt.Errorf("%.60q is no cursor of this report", q.Cursor)
	}
	return place{time.Unix(numbers[0], 0).UTC(), time.Unix(numbers[1], 0).UTC(), int(numbers[2])}, nil
}

// startAt is the first page of what can be asked for at once.
func startAt(from time.Time, q provider.EntryQuery) place {
	to := q.Until.UTC().Truncate(time.Second)
	if to.Before(q.Until) {
		to = to.Add(time.Second)
	}
	if most := from.Add(reportSpan); to.After(most) {
		to = most
	}
	return place{from, to, 1}
}

func (p place) query() url.Values {
	return url.Values{
		"start_date": {p.from.Format(time.RFC3339)}, "end_date": {p.to.Format(time.RFC3339)}, "fields": {"transaction_info"},
		"balance_affecting_records_only": {"Y"}, "page_size": {strconv.Itoa(reportPageSize)}, "page": {strconv.Itoa(p.page)},
	}
}

// report is one page of the transaction search.
type report struct {
	Details *[]struct {
		Info json.RawMessage `json:"transaction_info"`
	} `json:"transaction_details"`
	LastRefreshed string `json:"last_refreshed_datetime"`
	TotalPages    *int   `json:"total_pages"`
}

// read takes the entries out of a page, and finds where the next one is.
func (p place) read(x *wire.Exchange, q provider.EntryQuery) (page provider.EntryPage, err error) {
	if p.tooLarge(x) {
		half := p.to.Sub(p.from) / 2
		page.Next = place{p.from, p.from.Add(half.Truncate(time.Second)), 1}.String()
		return page, nil
	}
	if err := x.Failed(); err != nil {
		return page, err
	}
	var in report
	if err := json.Unmarshal(x.Body, &in); err != nil {
		return page, fmt.Errorf("not a transaction search: %w", err)
	}
	if in.Details == nil || in.TotalPages == nil {
		return page, errors.New("not a transaction search: it has no transactions, or not the number of its pages")
	}
	if len(*in.Details) == 0 && *in.TotalPages > p.page {
		return page, errors.New("a page without transactions promises more")
	}
	page.AsOf = reportTime(in.LastRefreshed)
	seen := map[string]int{}
	for _, each := range *in.Details {
		e, counts, err := readEntry(each.Info)
		if err != nil {
			return page, err
		}
		if !counts || !e.OccurredAt.Before(p.to) { // the end belongs to the next part
			continue
		}
		if seen[e.ID]++; seen[e.ID] > 1 {
			e.ID = fmt.Sprintf("%s/%d", e.ID, seen[e.ID]) // PayPal's ids are not unique in its report
		}
		page.Entries = append(page.Entries, e)
	}
	switch {
	case *in.TotalPages > p.page:
		page.Next = place{p.from, p.to, p.page + 1}.String()
	case p.to.Before(q.Until):
		page.Next = startAt(p.to, q).String()
	}
	return page, nil
}

// tooLarge reports whether a shorter time is to be asked for.
func (p place) tooLarge(x *wire.Exchange) bool {
	if !x.Answered() || x.Status != http.StatusBadRequest && x.Status != http.StatusUnprocessableEntity || p.to.Sub(p.from) < 2*time.Second {
		return false
	}
	e, err := decodeError(x.Body)
	return err == nil && (e.Name == tooLarge || e.issue() == tooLarge)
}

// row is what counts of a transaction_info.
type row struct {
	ID          string `json:"transaction_id"`
	Code        string `json:"transaction_event_code"`
	Status      string `json:"transaction_status"`
	InitiatedAt string `json:"transaction_initiation_date"`
	Amount      amount `json:"transaction_amount"`
	Fee         amount `json:"fee_amount"`
	Reference   string `json:"paypal_reference_id"`
	OfType      string `json:"paypal_reference_id_type"`
	Custom      string `json:"custom_field"`
}

// Statuses of transactions. V is of one that was reversed, which another tells; F, which
// is not on the page, of one that was refunded in part.
var (
	moved   = map[string]bool{"S": true, "V": true, "F": true}
	unmoved = map[string]bool{"P": true, "D": true}
)

// readEntry reads a transaction. It does not count when no money moved, or not yet.
func readEntry(raw json.RawMessage) (e provider.Entry, counts bool, err error) {
	var in row
	if err := json.Unmarshal(raw, &in); err != nil {
		return e, false, fmt.Errorf("not a transaction: %w", err)
	}
	at := reportTime(in.InitiatedAt)
	switch {
	case in.ID == "" || len(in.Code) != 5 || at.IsZero():
		return e, false, fmt.Errorf("not a transaction with an id, an event code and a time: %.40q", in.ID)
	case unmoved[in.Status] || strings.HasPrefix(in.Code, "T13"): // an authorization moves nothing
		return e, false, nil
	case !moved[in.Status]:
		return e, false, fmt.Errorf("transaction %s has the unknown status %.20q", in.ID, in.Status)
	}
	// Under one id there may be a payment and a hold of it.
	e = provider.Entry{ID: in.Code + "/" + in.ID, OccurredAt: at, AvailableAt: at, Raw: kept.Reply(raw)}
	if e.Gross, e.Currency, err = signed(in.Amount); err != nil {
		return e, false, fmt.Errorf("transaction %s: %w", in.ID, err)
	}
	if in.Fee.Value != "" {
		fee, currency, err := signed(in.Fee)
		if err == nil && currency != e.Currency {
			err = fmt.Errorf("its fee is in %s", currency)
		}
		if err != nil {
			return e, false, fmt.Errorf("transaction %s: %w", in.ID, err)
		}
		e.Fee = -fee
	}
	e.Net = e.Gross - e.Fee
	in.name(&e)
	return e, true, nil
}

// name says what the entry is about.
func (in row) name(e *provider.Entry) {
	payment, refund, obligation := parseCustomID(in.Custom)
	e.PaymentID, e.RefundID = payment, refund
	if in.OfType == "ODR" {
		e.Reference = in.Reference
	}
	ours := !refund.IsZero() || !obligation.IsZero()
	switch group := in.Code[:3]; {
	case group == "T00" && e.Gross > 0:
		e.Kind, e.ObjectID = provider.EntryCharge, in.ID
	case in.Code == "T1107" && e.Gross < 0:
		e.Kind, e.ObjectID = provider.EntryRefund, in.ID
	case group == "T11" && e.Gross > 0 && ours: // a guess: nothing says how a refund comes back
		e.Kind, e.ObjectID = provider.EntryRefundFailed, in.Reference
	case disputed[in.Code] && e.Gross < 0:
		e.Kind, e.ObjectID = provider.EntryDispute, in.Reference
	case disputed[in.Code]:
		e.Kind, e.ObjectID = provider.EntryDisputeWon, in.Reference
	case group == "T01", in.Code == "T1108", in.Code == "T1109":
		e.Kind = provider.EntryFee
	case group == "T04":
		e.Kind, e.PayoutID = provider.EntryPayout, in.ID
	default:
		e.Kind = provider.EntryAdjustment
	}
}

// disputed are the codes by which money is withdrawn for a dispute, or a hold for one
// made, and by which it is given back:
// https://developer.paypal.com/docs/transaction-search/transaction-event-codes/
var disputed = wire.Names("T1106 T1110 T1111 T1201 T1202 T1205 T1208")

// reportTime reads a time of the report, whose zones are without a colon; zero if it is
// none.
func reportTime(s string) time.Time {
	if t, err := time.Parse("2006-01-02T15:04:05Z0700", s); err == nil && t.Year() > 1 {
		return t.UTC()
	}
	return instant(s)
}

// signed converts an amount that may be negative to minor units.
func signed(a amount) (minor int64, currency money.Currency, err error) {
	value, negative := strings.CutPrefix(a.Value, "-")
	units, err := unitsOf(value, a.CurrencyCode)
	if err != nil {
		return 0, currency, err
	}
	m, err := amountOf(units, a.CurrencyCode)
	if negative {
		m.Minor = -m.Minor
	}
	return m.Minor, m.Currency, err
}
