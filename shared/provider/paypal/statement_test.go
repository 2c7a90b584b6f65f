package paypal

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// months is longer than PayPal answers for at once.
func months() provider.EntryQuery {
	return provider.EntryQuery{Account: sandboxMode, Since: noon.AddDate(0, 0, -70), Until: noon}
}

func lately() provider.EntryQuery {
	return provider.EntryQuery{Account: sandboxMode, Since: noon.AddDate(0, 0, -7), Until: noon}
}

func firstPlace(t *testing.T, q provider.EntryQuery) place {
	t.Helper()
	p, err := readPlace(q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func transaction(code, value, currency string, more fields) fields {
	f := fields{
		"transaction_id": "1AB", "transaction_event_code": code, "transaction_status": "S", "paypal_account_id": "JANEDOE",
		"transaction_initiation_date": "2026-11-20T04:03:52+0000", "transaction_amount": fields{"currency_code": currency, "value": value},
	}
	for k, v := range more {
		f[k] = v
	}
	return f
}

func searchOf(pages int, rows ...fields) *wire.Exchange {
	details := []fields{}
	for _, row := range rows {
		details = append(details, fields{"transaction_info": row})
	}
	body, err := json.Marshal(fields{"transaction_details": details, "total_pages": pages, "last_refreshed_datetime": "2026-11-23T09:00:00+0000"})
	if err != nil {
		panic(err)
	}
	return &wire.Exchange{Status: http.StatusOK, Body: body}
}

func TestWhatTransactionsAre(t *testing.T) {
	t.Parallel()
	payment := id.Payment.External(ourPayment)
	custom := fields{"custom_field": payment}
	refund := fields{"custom_field": payment + "/" + id.Refund.External(ourRefund), "paypal_reference_id": "0CAPTURE", "paypal_reference_id_type": "TXN"}
	disputed := fields{"custom_field": payment, "paypal_reference_id": "0CAPTURE", "paypal_reference_id_type": "TXN"}
	sale := fields{
		"custom_field": payment, "paypal_reference_id": ourOrder, "paypal_reference_id_type": "ODR",
		"fee_amount": fields{"currency_code": "USD", "value": "-2.09"},
	}
	for name, c := range map[string]struct {
		in   fields
		want string
	}{
		"a sale":              {transaction("T0006", "50.00", "USD", sale), "charge 1AB " + ourOrder + " USD 5000-209 ours"},
		"without decimals":    {transaction("T0006", "5000", "JPY", custom), "charge 1AB  JPY 5000-0 ours"},
		"in forint":           {transaction("T0006", "5000", "HUF", custom), "charge 1AB  HUF 500000-0 ours"},
		"what we paid":        {transaction("T0000", "-5.00", "USD", nil), "adjustment   USD -500-0"},
		"a refund":            {transaction("T1107", "-10.00", "USD", refund), "refund 1AB  USD -1000-0 ours, refund ours"},
		"a refund comes back": {transaction("T1100", "10.00", "USD", refund), "refund_failed 0CAPTURE  USD 1000-0 ours, refund ours"},
		"a fee given back":    {transaction("T1107", "-10.00", "USD", fields{"fee_amount": fields{"currency_code": "USD", "value": "0.30"}}), "refund 1AB  USD -1000--30"},
		"a chargeback":        {transaction("T1201", "-50.00", "USD", disputed), "dispute 0CAPTURE  USD -5000-0 ours"},
		"a hold for one":      {transaction("T1110", "-50.00", "USD", disputed), "dispute 0CAPTURE  USD -5000-0 ours"},
		"and its end":         {transaction("T1111", "50.00", "USD", disputed), "dispute_won 0CAPTURE  USD 5000-0 ours"},
		"a fee":               {transaction("T0106", "-20.00", "USD", nil), "fee   USD -2000-0"},
		"a withdrawal":        {transaction("T0400", "-900.00", "USD", nil), "payout   USD -90000-0 of 1AB"},
		"a conversion":        {transaction("T0200", "900.00", "USD", nil), "adjustment   USD 90000-0"},
	} {
		page, err := firstPlace(t, lately()).read(searchOf(1, c.in), lately())
		if err != nil || len(page.Entries) != 1 || !page.AsOf.Equal(noon.Add(-3*time.Hour)) {
			t.Errorf("%s: %+v, %v", name, page, err)
			continue
		}
		e := page.Entries[0]
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
		at := time.Date(2026, 11, 20, 4, 3, 52, 0, time.UTC)
		if got != c.want || e.Net != e.Gross-e.Fee || !e.OccurredAt.Equal(at) || !strings.HasSuffix(e.ID, "/1AB") || strings.Contains(e.Raw, "JANEDOE") {
			t.Errorf("%s: %q\nwant %q: %+v", name, got, c.want, e)
		}
	}
}

// What did not move the balance, or has not yet, is left out.
func TestWhatDoesNotCount(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]fields{
		"pending":          transaction("T0006", "1.00", "USD", fields{"transaction_status": "P"}),
		"denied":           transaction("T0006", "1.00", "USD", fields{"transaction_status": "D"}),
		"an authorization": transaction("T1300", "1.00", "USD", nil),
		"at the end":       transaction("T0006", "1.00", "USD", fields{"transaction_initiation_date": firstPlace(t, lately()).to.Format(time.RFC3339)}),
	} {
		if page, err := firstPlace(t, lately()).read(searchOf(1, row), lately()); err != nil || len(page.Entries) > 0 {
			t.Errorf("%s: %+v, %v", name, page, err)
		}
	}
}

func TestWhatNoTransactionSearchIs(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]*wire.Exchange{
		"nothing":             {Status: http.StatusOK},
		"a page":              {Status: http.StatusOK, Body: []byte("<html>")},
		"an empty object":     {Status: http.StatusOK, Body: []byte("{}")},
		"half of one":         {Status: http.StatusOK, Body: searchOf(1, transaction("T0006", "1.00", "USD", nil)).Body[:100]},
		"unavailable":         {Status: http.StatusServiceUnavailable, Body: []byte("<html>")},
		"too large for a bit": {Status: http.StatusBadRequest, Body: []byte(`{"name":"INVALID_REQUEST","message":"no"}`)},
		"promises":            searchOf(2),
		"no id":               searchOf(1, transaction("T0006", "1.00", "USD", fields{"transaction_id": ""})),
		"no code":             searchOf(1, transaction("T6", "1.00", "USD", nil)),
		"no time":             searchOf(1, transaction("T0006", "1.00", "USD", fields{"transaction_initiation_date": "yesterday"})),
		"no status":           searchOf(1, transaction("T0006", "1.00", "USD", fields{"transaction_status": "?"})),
		"no amount":           searchOf(1, transaction("T0006", "", "USD", nil)),
		"a fraction":          searchOf(1, transaction("T0006", "1.005", "USD", nil)),
		"another currency":    searchOf(1, transaction("T0006", "1.00", "USD", fields{"fee_amount": fields{"currency_code": "EUR", "value": "-0.10"}})),
		"a foreign currency":  searchOf(1, transaction("T0006", "1.00", "XXX", nil)),
	} {
		if page, err := firstPlace(t, lately()).read(x, lately()); err == nil {
			t.Errorf("%s: %+v", name, page)
		}
	}
}

// A query is for 31 days at most, and for less where there is too much; the parts join
// without a gap.
func TestATimeIsAskedForInParts(t *testing.T) {
	t.Parallel()
	q := months()
	crowded := &wire.Exchange{Status: http.StatusBadRequest, Body: []byte(`{"name":"RESULTSET_TOO_LARGE","message":"too much"}`)}
	reached, asked := q.Since, 0
	for ; asked < 40; asked++ {
		p := firstPlace(t, q)
		if !p.from.Equal(reached) || p.to.Sub(p.from) > reportSpan || p.to.After(q.Until) || !p.from.Before(p.to) {
			t.Fatalf("from %v on, it asks for %s", reached, p)
		}
		x := searchOf(1)
		if p.to.Sub(p.from) > 20*24*time.Hour {
			x = crowded
		} else {
			reached = p.to
		}
		page, err := p.read(x, q)
		if err != nil {
			t.Fatal(err)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if !reached.Equal(q.Until) || asked < 4 {
		t.Errorf("after %d queries it has come to %v", asked, reached)
	}
	second := provider.EntryQuery{Since: noon, Until: noon.Add(time.Second)}
	if page, err := firstPlace(t, second).read(crowded, second); err == nil {
		t.Errorf("a second that is too much: %+v", page)
	}
	odd := firstPlace(t, provider.EntryQuery{Since: noon.Add(time.Millisecond), Until: noon.Add(1500 * time.Millisecond)})
	if !odd.from.Equal(noon) || !odd.to.Equal(noon.Add(2*time.Second)) {
		t.Errorf("parts of seconds: %s", odd)
	}
}

// PayPal's transaction ids are not unique in its report.
func TestTheSameIDTwice(t *testing.T) {
	t.Parallel()
	sale := transaction("T0006", "50.00", "USD", nil)
	page, err := firstPlace(t, lately()).read(searchOf(3, sale, sale, transaction("T1105", "1.00", "USD", nil)), lately())
	if err != nil || len(page.Entries) != 3 || page.Entries[0].ID != "T0006/1AB" || page.Entries[1].ID != "T0006/1AB/2" || page.Entries[2].ID != "T1105/1AB" ||
		page.Entries[0].ObjectID != page.Entries[1].ObjectID || !strings.HasSuffix(page.Next, "/2") {
		t.Errorf("%+v, %v", page, err)
	}
}
