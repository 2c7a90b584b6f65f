package stripe

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// movementOf is a balance transaction of a category.
func movementOf(category string, amount, fee int64, currency string, source any) fields {
	return fields{
		"id": "txn_1", "object": "balance_transaction", "amount": amount, "fee": fee, "net": amount - fee, "currency": currency,
		"created": noon.Unix(), "available_on": noon.Add(48 * time.Hour).Unix(), "reporting_category": category, "source": source,
		"description": "for Jane Doe",
	}
}

func metadataOf(refund bool) fields {
	m := fields{"tollgate_payment": id.Payment.External(ourPayment)}
	if refund {
		m["tollgate_refund"] = id.Refund.External(ourRefund)
	}
	return m
}

func chargeSource() fields {
	return fields{"id": "ch_1", "object": "charge", "payment_intent": ourIn, "metadata": metadataOf(false), "billing_details": fields{"name": "Jane Doe"}}
}

func refundSource() fields {
	return fields{"id": "re_1", "object": "refund", "payment_intent": fields{"id": ourIn}, "charge": "ch_1", "metadata": metadataOf(true)}
}

func readMovement(t *testing.T, f fields) (provider.Entry, error) {
	t.Helper()
	page, err := place{list: listMovements}.read(&wire.Exchange{Status: http.StatusOK, Body: []byte(list(false, f))})
	if err != nil {
		return provider.Entry{}, err
	}
	if len(page.Entries) != 1 || page.Next != "payouts//" {
		t.Fatalf("a page of one: %+v", page)
	}
	return page.Entries[0], nil
}

func TestWhatBalanceTransactionsAre(t *testing.T) {
	t.Parallel()
	dispute := fields{"id": "du_1", "object": "dispute", "payment_intent": ourIn, "charge": "ch_1", "metadata": fields{}}
	for name, c := range map[string]struct {
		in   fields
		want string
	}{
		"charge":        {movementOf("charge", 5000, 180, "jpy", chargeSource()), "charge ch_1 pi_ours JPY 5000-180 ours"},
		"of three":      {movementOf("charge", 5120, 180, "kwd", chargeSource()), "charge ch_1 pi_ours KWD 5120-180 ours"},
		"in hundreds":   {movementOf("charge", 500000, 100, "isk", chargeSource()), "charge ch_1 pi_ours ISK 5000-1 ours"},
		"not captured":  {movementOf("partial_capture_reversal", -2000, 0, "jpy", refundSource()), "charge ch_1 pi_ours JPY -2000-0 ours"},
		"refund":        {movementOf("refund", -1000, 0, "usd", refundSource()), "refund re_1 pi_ours USD -1000-0 ours, refund ours"},
		"fee back":      {movementOf("refund", -1000, -30, "usd", refundSource()), "refund re_1 pi_ours USD -1000--30 ours, refund ours"},
		"refund failed": {movementOf("refund_failure", 1000, 0, "usd", refundSource()), "refund_failed re_1 pi_ours USD 1000-0 ours, refund ours"},
		"disputed":      {movementOf("dispute", -5000, 1500, "usd", dispute), "dispute du_1 pi_ours USD -5000-1500"},
		"won":           {movementOf("dispute_reversal", 5000, 0, "usd", dispute), "dispute_won du_1 pi_ours USD 5000-0"},
		"payout":        {movementOf("payout", -900, 0, "usd", fields{"id": "po_1", "object": "payout"}), "payout   USD -900-0 of po_1"},
		"a fee":         {movementOf("fee", -25, 0, "usd", nil), "fee   USD -25-0"},
		"unheard of":    {movementOf("moon_dust", 25, 0, "usd", "md_1"), "adjustment   USD 25-0"},
	} {
		e, err := readMovement(t, c.in)
		got := fmt.Sprintf("%s %s %s %s %d-%d", e.Kind, e.ObjectID, e.Reference, e.Currency, e.Gross, e.Fee)
		if e.PaymentID == ourPayment {
			got += " ours"
		}
		if e.RefundID == ourRefund {
			got += ", refund ours"
		}
		if e.PayoutID != "" {
			got += " of " + e.PayoutID
		}
		if err != nil || got != c.want || e.ID != "txn_1" || e.Net != e.Gross-e.Fee || !e.OccurredAt.Equal(noon) || !e.AvailableAt.Equal(noon.Add(48*time.Hour)) {
			t.Errorf("%s: %q, %v\nwant %q: %+v", name, got, err, c.want, e)
		}
		if strings.Contains(e.Raw, "Jane") || !strings.Contains(e.Raw, `"reporting_category":"`) || strings.Contains(e.Raw, "metadata") {
			t.Errorf("%s is kept as %s", name, e.Raw)
		}
	}
}

func TestWhatNoBalanceTransactionIs(t *testing.T) {
	t.Parallel()
	whole := movementOf("charge", 5000, 180, "jpy", chargeSource())
	for name, f := range map[string]fields{
		"another object":      whole.with(fields{"object": "charge"}),
		"no id":               whole.with(fields{"id": ""}),
		"no amount":           whole.with(fields{"amount": nil}),
		"no fee":              whole.with(fields{"fee": nil}),
		"an amount too large": whole.with(fields{"amount": 5001}),
		"no time":             whole.with(fields{"created": 0}),
		"no currency":         whole.with(fields{"currency": ""}),
		"of nothing":          whole.with(fields{"source": nil}),
		"a fraction":          movementOf("charge", 5050, 0, "isk", chargeSource()),
	} {
		if e, err := readMovement(t, f); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
	for name, body := range map[string]string{
		"nothing": "", "no list": "{}", "half a list": list(false, whole)[:300], "an empty page that promises more": list(true),
	} {
		for _, kind := range []string{listMovements, listPayouts, listMembers} {
			if page, err := (place{list: kind, payout: "po_1"}).read(&wire.Exchange{Status: http.StatusOK, Body: []byte(body)}); err == nil {
				t.Errorf("%s of %s: %+v", name, kind, page)
			}
		}
	}
}

// What a payout consists of is asked for only when Stripe says that it can tell.
func TestWhichPayoutsAreOpened(t *testing.T) {
	t.Parallel()
	payout := fields{"id": "po_1", "object": "payout", "automatic": true, "reconciliation_status": "completed"}
	for name, c := range map[string]struct{ body, want string }{
		"known":        {list(false, payout), "members/po_1/"},
		"not stated":   {list(false, payout.with(fields{"reconciliation_status": nil})), "members/po_1/"},
		"not yet":      {list(true, payout.with(fields{"reconciliation_status": "in_progress"})), "payouts//po_1"},
		"made by hand": {list(true, payout.with(fields{"automatic": false})), "payouts//po_1"},
		"the last":     {list(false), ""},
	} {
		page, err := place{list: listPayouts}.read(&wire.Exchange{Status: http.StatusOK, Body: []byte(c.body)})
		if err != nil || page.Next != c.want || len(page.Entries) > 0 {
			t.Errorf("%s: %+v, %v; want %q", name, page, err, c.want)
		}
	}
	for _, f := range []fields{payout.with(fields{"object": "refund"}), payout.with(fields{"id": ""}), payout.with(fields{"id": "po/1"})} {
		if page, err := (place{list: listPayouts}).read(&wire.Exchange{Status: http.StatusOK, Body: []byte(list(false, f))}); err == nil {
			t.Errorf("%v: %+v", f, page)
		}
	}
}

func TestReportsAreHalfOpen(t *testing.T) {
	t.Parallel()
	exact := created(noon.Add(-time.Hour), noon)
	if exact.GreaterThanOrEqual != noon.Add(-time.Hour).Unix() || exact.LesserThan != noon.Unix() {
		t.Errorf("whole seconds: %+v", exact)
	}
	if odd := created(noon, noon.Add(time.Nanosecond)); odd.GreaterThanOrEqual != noon.Unix() || odd.LesserThan != noon.Unix()+1 {
		t.Errorf("a nanosecond: %+v", odd)
	}
	if c := money.MustParseCurrency("ISK"); c.Exponent() != 0 {
		t.Errorf("ISK has %d decimals: the cases above are of another one", c.Exponent())
	}
}
