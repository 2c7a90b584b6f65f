package books

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// account is what sums are of: a kind of movement at a provider in a currency. The kinds
// are charge, refund, refund_failed, dispute, dispute_won, fee and payout.
type account struct{ provider, currency, kind string }

// sums are minor units, as they move our balance at the provider.
type sums map[account]int64

func (s sums) add(provider, currency, kind string, amount int64) {
	a := account{provider, strings.ToUpper(currency), kind}
	if s[a] += amount; s[a] == 0 {
		delete(s, a)
	}
}

// reports adds up all that the providers report, as they say it.
func (w *world) reports() sums {
	w.t.Helper()
	for _, name := range providers {
		check(w.t, w.sims[name].SetPlan(noTrouble))
	}
	s := sums{}
	w.readStripe(s)
	w.readPayPal(s)
	w.readBank(s)
	return s
}

// ask calls a provider's API as the account holder.
func (w *world) ask(req *http.Request, into any) {
	w.t.Helper()
	resp, err := http.DefaultClient.Do(req.WithContext(w.t.Context()))
	check(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	check(w.t, err)
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s was answered %d %s", req.URL, resp.StatusCode, body)
	}
	check(w.t, json.Unmarshal(body, into))
}

func (w *world) request(method, provider, path string, form url.Values) *http.Request {
	w.t.Helper()
	target, body := w.ProviderURL(provider)+path, ""
	if method == http.MethodGet {
		target += "?" + form.Encode()
	} else {
		body = form.Encode()
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	check(w.t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

// secret is what the functions have to reach a provider.
func (w *world) secret(name string) string { return w.HostConfig().Calls[name] }

var stripeKinds = map[string]string{
	"charge": "charge", "refund": "refund", "refund_failure": "refund_failed", "dispute": "dispute", "dispute_reversal": "dispute_won",
	"payout": "payout",
}

func (w *world) readStripe(s sums) {
	w.t.Helper()
	form := url.Values{"limit": {"100"}}
	for more := true; more; {
		var page struct {
			Data []struct {
				ID       string `json:"id"`
				Category string `json:"reporting_category"`
				Currency string `json:"currency"`
				Amount   int64  `json:"amount"`
				Fee      int64  `json:"fee"`
			} `json:"data"`
			HasMore bool `json:"has_more"`
		}
		req := w.request(http.MethodGet, stripe.Name, "/v1/balance_transactions", form)
		req.Header.Set("Authorization", "Bearer "+w.secret("STRIPE_SECRET_KEY"))
		w.ask(req, &page)
		for _, t := range page.Data {
			s.add(stripe.Name, t.Currency, known(w, stripeKinds, t.Category), t.Amount)
			s.add(stripe.Name, t.Currency, "fee", -t.Fee)
			form.Set("starting_after", t.ID)
		}
		more = page.HasMore
	}
}

// known names a kind as all providers' are named here.
func known(w *world, kinds map[string]string, name string) string {
	w.t.Helper()
	kind, ok := kinds[name]
	if !ok {
		w.t.Errorf("the report has a movement of a kind that nothing has made: %q", name)
	}
	return kind
}

var paypalKinds = map[string]string{
	"T0006": "charge", "T1107": "refund", "T1100": "refund_failed", "T1201": "dispute", "T1202": "dispute_won", "T0401": "payout",
}

func (w *world) readPayPal(s sums) {
	w.t.Helper()
	login := w.request(http.MethodPost, paypal.Name, "/v1/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
	login.SetBasicAuth(w.secret("PAYPAL_CLIENT_ID"), w.secret("PAYPAL_CLIENT_SECRET"))
	var token struct {
		Access string `json:"access_token"`
	}
	w.ask(login, &token)
	type money struct {
		Currency string `json:"currency_code"`
		Value    string `json:"value"`
	}
	var page struct {
		Details []struct {
			Info struct {
				Code   string `json:"transaction_event_code"`
				Amount money  `json:"transaction_amount"`
				Fee    money  `json:"fee_amount"`
			} `json:"transaction_info"`
		} `json:"transaction_details"`
		Pages int `json:"total_pages"`
	}
	req := w.request(http.MethodGet, paypal.Name, "/v1/reporting/transactions", url.Values{
		"start_date": {stack.Epoch.Format(time.RFC3339)}, "end_date": {w.Clock.Now().UTC().Format(time.RFC3339)},
		"fields": {"all"}, "page_size": {"500"},
	})
	req.Header.Set("Authorization", "Bearer "+token.Access)
	w.ask(req, &page)
	if page.Pages != 1 {
		w.t.Fatalf("PayPal's report has %d pages, which this test does not read", page.Pages)
	}
	for _, d := range page.Details {
		s.add(paypal.Name, d.Info.Amount.Currency, known(w, paypalKinds, d.Info.Code), w.digits(d.Info.Amount.Value))
		if d.Info.Fee.Value != "" {
			s.add(paypal.Name, d.Info.Fee.Currency, "fee", w.digits(d.Info.Fee.Value))
		}
	}
}

// digits reads a decimal that has all the decimals there can be, in its smallest unit.
func (w *world) digits(decimal string) int64 {
	w.t.Helper()
	n, err := strconv.ParseInt(strings.Replace(decimal, ".", "", 1), 10, 64)
	check(w.t, err)
	return n
}

var bankKinds = map[string]string{
	"payment_paid_out": "charge", "payment_refunded": "refund", "refund_funds_returned": "refund_failed", "payment_failed": "dispute",
	"payment_charged_back": "dispute", "payment_chargeback_cancelled": "dispute_won", "gocardless_fee": "fee",
}

// readBank adds up payouts and their items. Fees are tenths of a minor unit, which a
// payout rounds, half up, as a whole.
func (w *world) readBank(s sums) {
	w.t.Helper()
	get := func(path string, form url.Values, into any) {
		req := w.request(http.MethodGet, bank.Name, path, form)
		req.Header.Set("Authorization", "Bearer "+w.secret("GOCARDLESS_ACCESS_TOKEN"))
		req.Header.Set("GoCardless-Version", "2015-07-06")
		w.ask(req, into)
	}
	var payouts struct {
		Payouts []struct {
			ID       string `json:"id"`
			Amount   int64  `json:"amount"`
			Currency string `json:"currency"`
		} `json:"payouts"`
	}
	get("/payouts", url.Values{"limit": {"500"}}, &payouts)
	for _, p := range payouts.Payouts {
		var items struct {
			Items []struct {
				Type   string `json:"type"`
				Amount string `json:"amount"`
			} `json:"payout_items"`
		}
		get("/payout_items", url.Values{"payout": {p.ID}, "limit": {"500"}}, &items)
		fees := int64(0)
		for _, i := range items.Items {
			kind, tenths := known(w, bankKinds, i.Type), w.digits(i.Amount)
			switch {
			case kind == "fee":
				fees += tenths
			case tenths%10 != 0:
				w.t.Errorf("payout %s has a %s of %s", p.ID, i.Type, i.Amount)
			default:
				s.add(bank.Name, p.Currency, kind, tenths/10)
			}
		}
		s.add(bank.Name, p.Currency, "fee", halfUp(fees))
		s.add(bank.Name, p.Currency, "payout", -p.Amount)
	}
}

// halfUp rounds tenths.
func halfUp(tenths int64) int64 {
	n := tenths + 5
	if n < 0 {
		return -((-n + 9) / 10)
	}
	return n / 10
}

// ledgerKinds are the postings that move a provider's balance, by what its report calls
// it.
var ledgerKinds = map[string]string{
	"capture": "charge", "refund": "refund", "refund_failed": "refund_failed", "dispute_opened": "dispute", "dispute_won": "dispute_won",
	"provider_fee": "fee", "payout": "payout",
}

// ledger adds up what the ledger has on receivable.
func (w *world) ledger() sums {
	w.t.Helper()
	rows, err := w.DB.Query(w.t.Context(), `SELECT provider, currency, kind, sum(amount_minor)::bigint FROM ledger_entries WHERE account = 'receivable' GROUP BY 1, 2, 3`)
	check(w.t, err)
	defer rows.Close()
	s := sums{}
	for rows.Next() {
		var provider, currency, kind string
		var amount int64
		check(w.t, rows.Scan(&provider, &currency, &kind, &amount))
		named, ok := ledgerKinds[kind]
		if !ok {
			w.t.Errorf("%d %s at %s was posted as %s, which nothing has made", amount, currency, provider, kind)
		}
		s.add(provider, currency, named, amount)
	}
	check(w.t, rows.Err())
	return s
}
