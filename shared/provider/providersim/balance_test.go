package providersim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func (b *bench) balance(p *stripe.BalanceTransactionListParams) (all []*stripe.BalanceTransaction) {
	b.t.Helper()
	it := b.transactions.List(p)
	for it.Next() {
		all = append(all, it.BalanceTransaction())
	}
	if err := it.Err(); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// Payouts are made at midnight UTC of what is available, whoever steps the clock.
func TestDailyPayouts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	usd := func(p *stripe.PaymentIntentParams) { p.Currency = stripe.String("usd") }
	began := b.clock.Now()
	b.create(payment(10_000, "pm_card_visa", usd)) // 2.9 % and 30: 9680 are left
	b.create(payment(10_000, "pm_card_visa"))      // 3.6 %: 9640
	b.clock.Set(began.Add(24 * time.Hour))
	late := b.create(payment(20_000, "pm_card_visa", usd))
	if _, err := b.refunds.New(refundOf(late, 20_000)); err != nil {
		t.Fatal(err)
	}
	b.clock.Set(began.Add(10 * 24 * time.Hour))
	var paid []string
	for _, tx := range b.balance(&stripe.BalanceTransactionListParams{Type: stripe.String("payout")}) {
		at := time.Unix(tx.Created, 0).UTC()
		if !at.Equal(at.Truncate(24*time.Hour)) || at.Before(began.Add(48*time.Hour)) || at.After(began.Add(72*time.Hour)) {
			t.Errorf("a payout was made at %v, of payments at %v", at, began)
		}
		members := b.balance(&stripe.BalanceTransactionListParams{Payout: stripe.String(tx.Source.ID)})
		paid = append(paid, fmt.Sprintf("%s %d in %d", tx.Currency, tx.Net, len(members)))
	}
	wantEqual(t, "payouts", strings.Join(paid, ", "), "usd -9680 in 2, jpy -9640 in 2")
	if id, amount := b.PayOut("usd"); id != "" || amount != 0 {
		t.Errorf("a balance below nothing was paid out: %s %d", id, amount)
	}
	wantEqual(t, "not paid out", len(b.balance(&stripe.BalanceTransactionListParams{}))-4, 2)
}

// asks makes a request of another process and decodes what it gets.
func asks(t *testing.T, method, url, body string, header http.Header, out any) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatalf("%s %s: %d %s", method, url, resp.StatusCode, text)
		}
	}
	return resp.StatusCode
}

func TestPlantsByOtherProcesses(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
	for name, sim := range map[string]interface {
		http.Handler
		Close()
	}{
		"stripe":     providersim.NewStripe(providersim.StripeConfig{Now: now}),
		"paypal":     providersim.NewPayPal(providersim.PayPalConfig{Now: now}),
		"gocardless": providersim.NewGoCardless(providersim.GoCardlessConfig{Now: now}),
	} {
		t.Cleanup(sim.Close)
		server := httptest.NewServer(sim)
		t.Cleanup(server.Close)
		plants := server.URL + "/_sim/plants"
		for body, want := range map[string]int{
			`{"what":"amount","by":5,"skip":1}`:                          204,
			`{"what":"orphan","amount":1000,"currency":"eur","times":3}`: 204,
			`{"what":"orphan","amount":1000,"currency":"xxx"}`:           400,
			`{"what":"orphan","currency":"eur"}`:                         400,
			`{"what":"currency"}`:                                        400,
			`{"what":"fee","kind":"payout"}`:                             400,
			`{"what":"fee","times":-1}`:                                  400,
			`{"what":"nonsense"}`:                                        400,
			`{"whatever":"fee"}`:                                         400,
		} {
			if got := asks(t, http.MethodPost, plants, body, nil, nil); got != want {
				t.Errorf("%s: %s: %d, want %d", name, body, got, want)
			}
		}
		var planted []providersim.Planted
		asks(t, http.MethodGet, plants, "", nil, &planted)
		if len(planted) != 3 || planted[2].What != providersim.PlantOrphan || planted[2].Amount != 1000 || planted[2].Currency != "eur" {
			t.Errorf("%s: planted are %+v", name, planted)
		}
	}
}

// The search refuses what PayPal refuses, and shows nothing of the last hour.
func TestTransactionSearch(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	sim := providersim.NewPayPal(providersim.PayPalConfig{Now: c.Now, ClientID: "app", ClientSecret: "hush", MaxReport: 3})
	t.Cleanup(sim.Close)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	orphan := providersim.Plant{What: providersim.PlantOrphan, Amount: 5000, Currency: "usd", Metadata: map[string]string{"custom_id": "17"}}
	if err := sim.Plant(orphan); err != nil {
		t.Fatal(err)
	}
	c.Set(c.Now().Add(30 * time.Minute))
	if err := sim.Plant(orphan); err != nil {
		t.Fatal(err)
	}
	c.Set(c.Now().Add(45 * time.Minute))

	basic := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	req := &http.Request{Header: basic}
	req.SetBasicAuth("app", "hush")
	var token struct {
		Access string `json:"access_token"`
	}
	asks(t, http.MethodPost, server.URL+"/v1/oauth2/token", "grant_type=client_credentials", basic, &token)
	bearer := http.Header{"Authorization": {"Bearer " + token.Access}}
	search := func(change url.Values) (status int, answer struct {
		Name      string
		Refreshed string `json:"last_refreshed_datetime"`
		Total     int    `json:"total_items"`
		Pages     int    `json:"total_pages"`
		Details   []struct {
			Info struct {
				Custom string `json:"custom_field"`
				Amount struct{ Value string }
				Fee    struct{ Value string } `json:"fee_amount"`
			} `json:"transaction_info"`
		} `json:"transaction_details"`
	},
	) {
		q := url.Values{"start_date": {"2026-11-23T00:00:00Z"}, "end_date": {"2026-11-23T23:59:59Z"}}
		for k, v := range change {
			q[k] = v
		}
		return asks(t, http.MethodGet, server.URL+"/v1/reporting/transactions?"+q.Encode(), "", bearer, &answer), answer
	}
	status, got := search(nil)
	if status != 200 || got.Total != 1 || got.Pages != 1 || got.Refreshed != "2026-11-23T12:15:00+0000" || len(got.Details) != 1 ||
		got.Details[0].Info.Custom != "17" || got.Details[0].Info.Fee.Value != "-2.24" { // 3.49 % and 49
		t.Errorf("a search: %d %+v", status, got)
	}
	for name, change := range map[string]url.Values{
		"a wrong time":  {"start_date": {"yesterday"}},
		"too long":      {"start_date": {"2026-10-23T00:00:00Z"}},
		"backwards":     {"end_date": {"2026-11-22T00:00:00Z"}},
		"a large page":  {"page_size": {"501"}},
		"no page":       {"page": {"0"}},
		"unknown words": {"transaction_subject": {"17"}},
	} {
		if status, got := search(change); status != 400 || got.Name != "INVALID_REQUEST" {
			t.Errorf("%s: %d %+v", name, status, got)
		}
	}
	orphan.Times = 3
	if err := sim.Plant(orphan); err != nil {
		t.Fatal(err)
	}
	c.Set(c.Now().Add(2 * time.Hour))
	if status, got := search(nil); status != 400 || got.Name != "RESULTSET_TOO_LARGE" {
		t.Errorf("a search of too much: %d %+v", status, got)
	}
	if status, got := search(url.Values{"end_date": {"2026-11-23T12:40:00Z"}, "page_size": {"1"}, "page": {"2"}}); status != 200 || got.Total != 2 || got.Pages != 2 || len(got.Details) != 1 {
		t.Errorf("the second page: %d %+v", status, got)
	}
}

// What does not fill a penny is rounded once, in the payout.
func TestPayoutItems(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	_, payment := b.paid(5005) // 50.05 and 20 pence are 70.1 tenths of a penny, rounded
	_, failed := b.paid(providersim.GoCardlessFailsLate)
	b.advance(time.Hour)
	refund := at(b.refund(201, payment, 1000, 1000, "refunds.status", "created"), "refunds.id").(string)
	b.advance(72 * time.Hour)
	payout := at(b.expect(200, "payouts.0.amount", float64(3935), "GET", "/payouts?currency=GBP", ""), "payouts.0.id").(string)
	b.expect(200, "payouts.deducted_fees", float64(70), "GET", "/payouts/"+payout, "")
	answer := b.expect(200, "meta.limit", float64(50), "GET", "/payout_items?payout="+payout, "")
	var items []string
	for _, each := range answer["payout_items"].([]any) {
		items = append(items, fmt.Sprintf("%v %v %v %v", at(each, "type"), at(each, "amount"), at(each, "links.payment"), at(each, "links.refund")))
	}
	want := []string{
		"payment_paid_out 5005.0 " + payment + " <nil>", "gocardless_fee -70.1 " + payment + " <nil>",
		"payment_paid_out 10002.0 " + failed + " <nil>", "gocardless_fee -120.0 " + failed + " <nil>",
		"payment_refunded -1000.0 " + payment + " " + refund,
		"payment_failed -10002.0 " + failed + " <nil>", "gocardless_fee 120.0 " + failed + " <nil>",
	}
	wantEqual(t, "items", strings.Join(items, "\n"), strings.Join(want, "\n"))
	page := b.expect(200, "payout_items.0.type", "payment_paid_out", "GET", "/payout_items?payout="+payout+"&limit=2", "")
	after := at(page, "meta.cursors.after").(string)
	b.expect(200, "payout_items.0.links.payment", failed, "GET", "/payout_items?payout="+payout+"&limit=2&after="+after, "")
	b.expect(400, "error.errors.0.reason", "record_not_found", "GET", "/payout_items?payout="+payout+"&after=PM1", "")
	b.expect(422, "error.errors.0.field", "payout", "GET", "/payout_items", "")
	b.expect(422, "error.errors.0.field", "limit", "GET", "/payout_items?payout="+payout+"&limit=501", "")
	b.expect(422, "error.errors.0.field", "type", "GET", "/payout_items?payout="+payout+"&type=refund", "")
	b.expect(422, "error.errors.0.field", "created_at[gte]", "GET", "/payouts?created_at[gte]=yesterday", "")
	b.expect(200, "payouts.0", nil, "GET", "/payouts?created_at[lt]=2020-01-01T00:00:00.000Z", "")
	b.advance(200 * 24 * time.Hour)
	b.expect(410, "error.errors.0.reason", "resource_gone", "GET", "/payout_items?payout="+payout, "")
	if n := b.RunDue(context.Background()); n > 0 {
		t.Errorf("%d things were due", n)
	}
}
