package listdisputes

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// dispute has the payer of a new payment complain at Stripe, and lets the core know.
func dispute(t *testing.T, w *apitest.World) (payment string) {
	t.Helper()
	p := w.Payment("automatic")
	reference := w.Text(`SELECT provider_transaction_id FROM transactions WHERE merchant_reference = $1`, p.Reference)
	if _, err := w.Stripe.Dispute(providersim.Complaint{Payment: reference, AmountMinor: 2000}); err != nil {
		t.Fatal(err)
	}
	paymentID, err := id.Payment.Parse(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	e := provider.Event{ID: "evt_test", PaymentID: paymentID, LookUp: true}
	if _, err := w.Core().ApplyEvent(t.Context(), "stripe", e, w.Env.NewID()); err != nil {
		t.Fatal(err)
	}
	return p.ID
}

func ids(a apitest.Answer) (found []string) {
	data, _ := a.Member("data").([]any)
	for _, each := range data {
		object, _ := each.(map[string]any)
		text, _ := object["payment_id"].(string)
		found = append(found, text)
	}
	return found
}

func TestDisputesArePagedAndFiltered(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	var payments []string // newest first
	for range 3 {
		w.Advance(time.Second)
		payments = append([]string{dispute(t, w)}, payments...)
	}
	first := w.Do(h, w.Request("GET", "/v1/disputes?limit=2", ""))
	rest := w.Do(h, w.Request("GET", "/v1/disputes?limit=2&cursor="+url.QueryEscape(first.Text("next_cursor")), ""))
	if got := append(ids(first), ids(rest)...); !slices.Equal(got, payments) || first.Member("has_more") != true || rest.Member("has_more") != false {
		t.Errorf("pages: %s\n%s", first.Body, rest.Body)
	}
	_, stranger := w.Merchant("Stranger")
	for query, want := range map[string][]string{
		"":                                     payments,
		"?status=OPEN":                         payments,
		"?status=WON,LOST":                     nil,
		"?status=LOST&status=OPEN":             payments,
		"?payment=" + payments[1]:              payments[1:2],
		"?payment=" + payments[1] + "&limit=1": payments[1:2],
	} {
		a := w.Do(h, w.Request("GET", "/v1/disputes"+query, ""))
		if got := ids(a); a.Status != http.StatusOK || !slices.Equal(got, want) {
			t.Errorf("%q: %d %v, want %v", query, a.Status, got, want)
		}
	}
	if a := w.Do(h, w.Request("GET", "/v1/disputes", "", "Authorization", "Bearer "+stranger.Reveal())); a.Status != http.StatusOK || len(ids(a)) != 0 {
		t.Errorf("another merchant sees %d %s", a.Status, a.Body)
	}
}

func TestGetADispute(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h, payment := w.Build(Build), dispute(t, w)
	list := w.Do(h, w.Request("GET", "/v1/disputes?payment="+payment, ""))
	data, _ := list.Member("data").([]any)
	found, _ := data[0].(map[string]any)
	name, _ := found["id"].(string)
	a := w.Do(h, w.Request("GET", "/v1/disputes/"+name, ""))
	if a.Status != http.StatusOK || a.Text("payment_id") != payment || a.Text("status") != "OPEN" || a.Member("amount") != 2000.0 || a.Text("reason") != "fraudulent" {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
	_, stranger := w.Merchant("Stranger")
	for what, c := range map[string]struct{ target, key string }{
		"another merchant's": {name, stranger.Reveal()},
		"an unknown one":     {"dp_00000000000000000000000000", ""},
		"a payment":          {payment, ""},
	} {
		var header []string
		if c.key != "" {
			header = []string{"Authorization", "Bearer " + c.key}
		}
		a := w.Do(h, w.Request("GET", "/v1/disputes/"+c.target, "", header...))
		if code, _ := a.Problem(); a.Status != http.StatusNotFound || code != fault.NotFound {
			t.Errorf("%s: got %d %s", what, a.Status, a.Body)
		}
	}
}

func TestWrongParametersAreNamed(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	before := w.Rows()
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=101": "limit", "cursor=x": "cursor", "cursor=" + strings.Repeat("A", 200): "cursor",
		"status=closed": "status", "status=": "status", "payment=17": "payment", "paymnet=1": "paymnet",
	} {
		a := w.Do(h, w.Request("GET", "/v1/disputes?"+query, ""))
		code, fields := a.Problem()
		if a.Status != http.StatusBadRequest || code != fault.InvalidRequest || len(fields) != 1 || fields[0].Name != field {
			t.Errorf("%s: got %d %s", query, a.Status, a.Body)
		}
	}
	if a := w.Do(h, w.Request("GET", "/v1/disputes", "", "Authorization", "")); a.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", a.Status)
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("reading wrote: %v became %v", before, after)
	}
}

func TestItNeedsADatabaseAndNoProvider(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	for _, name := range []string{"STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "TASKS_LOCATION", "PUBSUB_PROJECT"} {
		delete(w.Config, name)
	}
	w.Build(Build)
	delete(w.Config, "DATABASE_URL")
	if _, err := Build(t.Context(), w.Env); err == nil {
		t.Error("built without a database")
	}
}
