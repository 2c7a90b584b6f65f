package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	stripego "github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// reportLag: a balance transaction is there when its charge is, as far as Stripe's pages
// go. The hour is for what they don't say.
const reportLag = time.Hour

// payoutMargin widens the listing of payouts into the past: what a payout consists of is
// known only some time after it was made, and until then it is left for later.
const payoutMargin = 6 * time.Hour

// Entries reads one page of the account's balance transactions, newest first, and after
// them those of each automatic payout that was made meanwhile, which come again with the
// payout's id. A balance transaction does not name its payout, and what is in a manual
// payout can't be told: https://docs.stripe.com/payouts/reconciliation
//
// Amounts are in the currency that the account settles in. An entry of a charge that
// Stripe has converted is not in the currency of the charge.
func (a *Adapter) Entries(ctx context.Context, q provider.EntryQuery) provider.EntryPage {
	at, err := readPlace(q)
	if err != nil {
		return provider.EntryPage{Evidence: provider.Evidence{Error: "not asked: " + err.Error()}}
	}
	x := a.exchange(ctx, func(ctx context.Context) error { return a.ask(ctx, q, at) })
	page, err := at.read(x)
	if err != nil {
		page = provider.EntryPage{}
	}
	page.OK, page.RetryAfter, page.Evidence = err == nil, x.RetryAfter(a.now()), evidenceOf(x, err)
	if page.OK { // the rest is in the entries
		page.Evidence.Body = fmt.Sprintf("%s: %d entries, then %q", at, len(page.Entries), page.Next)
	}
	return page
}

// The lists that a report is read from, one after the other.
const (
	listMovements = "movements"
	listPayouts   = "payouts"
	listMembers   = "members" // of one payout
)

// place is how far the reading of a report has come.
type place struct {
	list, payout, after string
}

// String is the cursor.
func (p place) String() string { return p.list + "/" + p.payout + "/" + p.after }

func readPlace(q provider.EntryQuery) (place, error) {
	if q.Since.IsZero() || !q.Since.Before(q.Until) {
		return place{}, errors.New("a report needs a time from which and a later one until which")
	}
	if q.Cursor == "" {
		return place{list: listMovements}, nil
	}
	parts := strings.Split(q.Cursor, "/")
	if len(parts) == 3 && (parts[0] == listMovements || parts[0] == listPayouts || parts[0] == listMembers && parts[1] != "") {
		return place{parts[0], parts[1], parts[2]}, nil
	}
	return place{}, fmt.Errorf("%.60q is no cursor of this report", q.Cursor)
}

// ask requests the page. What came of it is in the exchange of ctx.
func (a *Adapter) ask(ctx context.Context, q provider.EntryQuery, at place) error {
	page := pageAfter(ctx, text(at.after))
	if at.list == listPayouts {
		page.Limit = stripego.Int64(1)
		return a.payouts.List(&stripego.PayoutListParams{ListParams: page, CreatedRange: created(q.Since.Add(-payoutMargin), q.Until)}).Err()
	}
	params := &stripego.BalanceTransactionListParams{ListParams: page, Expand: stripego.StringSlice([]string{"data.source"})}
	if at.list == listMembers {
		params.Payout = stripego.String(at.payout)
	} else {
		params.CreatedRange = created(q.Since, q.Until)
	}
	return a.movements.List(params).Err()
}

// created is half-open, in whole seconds as Stripe counts.
func created(since, until time.Time) *stripego.RangeQueryParams {
	before := until.Unix()
	if until.Nanosecond() > 0 {
		before++
	}
	return &stripego.RangeQueryParams{GreaterThanOrEqual: since.Unix(), LesserThan: before}
}

// read takes the entries out of a page, and finds where the next one is.
func (p place) read(x *wire.Exchange) (page provider.EntryPage, err error) {
	if err := x.Failed(); err != nil {
		return page, err
	}
	elements, more, err := decodeList(x.Body)
	if err != nil {
		return page, err
	}
	if p.list == listPayouts {
		return p.readPayout(elements)
	}
	last := ""
	for _, raw := range elements {
		e, err := readEntry(raw)
		if err != nil {
			return page, err
		}
		if p.list == listMembers {
			e.PayoutID = p.payout
		}
		page.Entries, last = append(page.Entries, e), e.ID
	}
	switch {
	case more:
		page.Next = place{p.list, p.payout, last}.String()
	case p.list == listMembers:
		page.Next = place{list: listPayouts, after: p.payout}.String()
	default:
		page.Next = place{list: listPayouts}.String()
	}
	return page, nil
}

// readPayout goes on to what is in the next payout, if Stripe says what that is.
func (p place) readPayout(elements []json.RawMessage) (page provider.EntryPage, err error) {
	if len(elements) == 0 {
		return page, nil // that was the last
	}
	var payout stripego.Payout
	if err := json.Unmarshal(elements[0], &payout); err != nil {
		return page, fmt.Errorf("not a payout: %w", err)
	}
	if payout.Object != "payout" || payout.ID == "" || strings.Contains(payout.ID, "/") {
		return page, fmt.Errorf("not a payout but %.40q", payout.Object)
	}
	known := payout.ReconciliationStatus == "" || payout.ReconciliationStatus == stripego.PayoutReconciliationStatusCompleted
	if payout.Automatic && known {
		page.Next = place{list: listMembers, payout: payout.ID}.String()
	} else {
		page.Next = place{list: listPayouts, after: payout.ID}.String()
	}
	return page, nil
}

// movement is what counts of a balance transaction, read apart from stripe-go, which
// would take what is not there for 0.
type movement struct {
	ID          string          `json:"id"`
	Object      string          `json:"object"`
	Amount      *int64          `json:"amount"`
	Fee         *int64          `json:"fee"`
	Net         *int64          `json:"net"`
	Currency    string          `json:"currency"`
	Created     int64           `json:"created"`
	AvailableOn int64           `json:"available_on"`
	Category    string          `json:"reporting_category"`
	Source      json.RawMessage `json:"source"`
}

// source is the object that moved the money, as far as such objects are alike.
type source struct {
	ID            string            `json:"id"`
	PaymentIntent json.RawMessage   `json:"payment_intent"`
	Charge        json.RawMessage   `json:"charge"`
	Metadata      map[string]string `json:"metadata"`
}

// entryKinds: https://docs.stripe.com/reports/reporting-categories. What is not among
// them is an adjustment.
var entryKinds = map[string]provider.EntryKind{
	"charge": provider.EntryCharge, "partial_capture_reversal": provider.EntryCharge,
	"refund": provider.EntryRefund, "refund_failure": provider.EntryRefundFailed,
	"dispute": provider.EntryDispute, "dispute_reversal": provider.EntryDisputeWon,
	"fee": provider.EntryFee, "network_cost": provider.EntryFee, "tax": provider.EntryFee,
	"payout": provider.EntryPayout, "payout_reversal": provider.EntryPayout,
}

func readEntry(raw json.RawMessage) (provider.Entry, error) {
	var m movement
	if err := json.Unmarshal(raw, &m); err != nil {
		return provider.Entry{}, fmt.Errorf("not a balance transaction: %w", err)
	}
	at, ok := instant(m.Created)
	switch {
	case m.Object != "balance_transaction" || m.ID == "" || strings.Contains(m.ID, "/"):
		return provider.Entry{}, fmt.Errorf("not a balance transaction but %.40q", m.Object)
	case m.Amount == nil || m.Fee == nil || m.Net == nil || !ok:
		return provider.Entry{}, fmt.Errorf("balance transaction %s lacks an amount or its time", m.ID)
	case *m.Net != *m.Amount-*m.Fee:
		return provider.Entry{}, fmt.Errorf("balance transaction %s: %d less %d is not %d", m.ID, *m.Amount, *m.Fee, *m.Net)
	}
	e := provider.Entry{ID: m.ID, Kind: provider.EntryAdjustment, OccurredAt: at, Raw: m.masked(raw)}
	e.AvailableAt, _ = instant(m.AvailableOn)
	if kind, known := entryKinds[m.Category]; known {
		e.Kind = kind
	}
	if err := m.amounts(&e); err != nil {
		return e, fmt.Errorf("balance transaction %s: %w", m.ID, err)
	}
	err := m.name(&e)
	return e, err
}

func (m movement) amounts(e *provider.Entry) (err error) {
	if e.Gross, err = signed(*m.Amount, m.Currency, e); err != nil {
		return err
	}
	if e.Fee, err = signed(*m.Fee, m.Currency, e); err != nil {
		return err
	}
	e.Net = e.Gross - e.Fee
	return nil
}

// signed converts what may be negative, and notes the currency.
func signed(units int64, code string, e *provider.Entry) (int64, error) {
	sign := int64(1)
	if units < 0 {
		sign = -1
	}
	amount, err := amountOf(sign*units, code)
	e.Currency = amount.Currency
	return sign * amount.Minor, err
}

// name says what the entry is about, by the object behind it.
func (m movement) name(e *provider.Entry) error {
	var s source
	if json.Unmarshal(m.Source, &s) != nil {
		s = source{ID: nameIn(m.Source)} // it can't be expanded
	}
	switch e.Kind {
	case provider.EntryPayout:
		e.PayoutID = s.ID
		return nil
	case provider.EntryFee, provider.EntryAdjustment:
		return nil
	}
	e.ObjectID, e.Reference, e.PaymentID = s.ID, nameIn(s.PaymentIntent), paymentOf(s.Metadata)
	if m.Category == "partial_capture_reversal" {
		// Stripe books the whole authorization and takes back what was not captured.
		e.ObjectID = nameIn(s.Charge)
	}
	if e.Kind == provider.EntryRefund || e.Kind == provider.EntryRefundFailed {
		// What is not ours to parse is not ours: the zero ID.
		e.RefundID, _ = id.Refund.Parse(s.Metadata[metaRefund])
	}
	if e.ObjectID == "" {
		return fmt.Errorf("balance transaction %s is a %s of nothing", m.ID, e.Kind)
	}
	return nil
}

// nameIn is the id of an object, expanded or not.
func nameIn(raw json.RawMessage) string {
	var name string
	if json.Unmarshal(raw, &name) == nil {
		return name
	}
	var expanded struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(raw, &expanded) // what is neither names nothing
	return expanded.ID
}

// masked is the balance transaction as it may be kept, with its source's name in place
// of the source.
func (m movement) masked(raw json.RawMessage) string {
	members := map[string]json.RawMessage{}
	if json.Unmarshal(raw, &members) != nil {
		return "" // it was an object a moment ago
	}
	members["source"], _ = json.Marshal(nameIn(m.Source))
	short, err := json.Marshal(members)
	if err != nil {
		return ""
	}
	return kept.Reply(short)
}
