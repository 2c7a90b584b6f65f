package stripe

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"
	"github.com/stripe/stripe-mock/spec"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// stripeMock is Stripe's own stateless mock, which holds each request against Stripe's
// specification and answers 4xx to one that does not fit.
func stripeMock(t *testing.T) http.Handler {
	t.Helper()
	stripes, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	// Validators take seconds to build; those of other paths are not needed.
	maps.DeleteFunc(stripes.Paths, func(path spec.Path, _ map[spec.HTTPVerb]*spec.Operation) bool {
		kept := []string{"/v1/payment_intents", "/v1/refunds", "/v1/balance_transactions", "/v1/payouts"}
		return !slices.ContainsFunc(kept, func(prefix string) bool { return strings.HasPrefix(string(path), prefix) })
	})
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, stripes, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(stub.HandleRequest)
}

// sent is a request as the mock saw it, and what it made of it.
type sent struct {
	method, path, query, body, key string
	status                         int
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Every request that the adapter can make fits Stripe's specification, and says what
// it should.
func TestRequestsFitStripesSpecification(t *testing.T) {
	t.Parallel()
	mock := stripeMock(t)
	var mu sync.Mutex
	var last *sent
	all := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		out := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		mock.ServeHTTP(out, r)
		mu.Lock()
		defer mu.Unlock()
		all++
		last = &sent{r.Method, r.URL.Path, r.URL.RawQuery, string(raw), r.Header.Get("Idempotency-Key"), out.status}
		if out.status >= 400 {
			t.Errorf("%s %s %s %s: stripe-mock answers %d", last.method, last.path, last.query, last.body, out.status)
		}
	}))
	t.Cleanup(srv.Close)
	a := newAdapter(t, srv.URL, Options{})

	payment, refund := id.Payment.External(ourPayment), id.Refund.External(ourRefund)
	basics := url.Values{
		"amount": {"5000"}, "currency": {"jpy"}, "capture_method": {"manual"}, "confirm": {"true"}, "description": {"order 17"},
		"error_on_requires_action": {"false"}, "expand[0]": {"latest_charge"}, "payment_method": {"pm_card_visa"},
		"automatic_payment_methods[enabled]": {"true"}, "automatic_payment_methods[allow_redirects]": {"never"},
		"metadata[tollgate_payment]": {payment}, "metadata[tollgate_merchant]": {id.Merchant.External(ourMerchant)},
	}
	refunded := url.Values{
		"amount": {"5000"}, "payment_intent": {ourIn}, "metadata[tollgate_payment]": {payment}, "metadata[tollgate_refund]": {refund},
	}
	for _, c := range []struct {
		name string
		r    provider.Request
		path string
		want url.Values
	}{
		{"authorize", request(authorize), "/v1/payment_intents", basics},
		{"authorize and capture, with a way back", with(request(authorize), func(r *provider.Request) {
			r.AutoCapture, r.ReturnURL, r.Description = true, "https://shop.example/back?a=b", ""
		}), "/v1/payment_intents", change(basics, "capture_method", "automatic", "return_url", "https://shop.example/back?a=b",
			"description", "", "automatic_payment_methods[allow_redirects]", "")},
		{
			"authorize krona", with(request(authorize), func(r *provider.Request) { r.Amount = amount("ISK", 50) }), "/v1/payment_intents",
			change(basics, "amount", "5000", "currency", "isk"),
		},
		{
			"capture", with(request(capture), part(3000)), "/v1/payment_intents/pi_ours/capture",
			url.Values{"amount_to_capture": {"3000"}, "expand[0]": {"latest_charge"}},
		},
		{"void", request(void), "/v1/payment_intents/pi_ours/cancel", url.Values{"expand[0]": {"latest_charge"}}},
		{"refund", request(refunding), "/v1/refunds", refunded},
		{
			"refund for a reason of Stripe's", with(request(refunding), func(r *provider.Request) { r.Reason = "duplicate" }), "/v1/refunds",
			change(refunded, "reason", "duplicate"),
		},
		{
			"refund for another reason", with(request(refunding), func(r *provider.Request) { r.Reason = strings.Repeat("壊", 600) }), "/v1/refunds",
			change(refunded, "metadata[tollgate_reason]", strings.Repeat("壊", 500)),
		},
		{
			"refund for an obligation", with(request(refunding), func(r *provider.Request) { r.RefundID, r.ObligationID = id.ID{}, ourObligation }), "/v1/refunds",
			change(refunded, "metadata[tollgate_refund]", "", "metadata[tollgate_obligation]", ourObligation.String()),
		},
	} {
		last = nil
		call := firstCall(t, c.r)
		a.Execute(t.Context(), call)
		mu.Lock()
		if last == nil {
			t.Fatalf("%s: nothing was sent", c.name)
		}
		got, err := url.ParseQuery(last.body)
		if err != nil || last.path != c.path || last.key != call.Attempt().Key || got.Encode() != c.want.Encode() {
			t.Errorf("%s: %s %s, key %q, %v\n got %s\nwant %s", c.name, last.method, last.path, last.key, err, got.Encode(), c.want.Encode())
		}
		mu.Unlock()
	}

	before := all
	a.Find(t.Context(), byReference)
	a.Find(t.Context(), byMetadata)
	if all < before+2 {
		t.Errorf("the look-ups made %d requests", all-before)
	}
	// The mock's PaymentIntent is not ours, so the look-ups stop before the refunds.
	err := (&search{adapter: a, ctx: t.Context(), query: byReference}).refunds(ourIn)
	if last.path != "/v1/refunds" || last.method != http.MethodGet || last.status != http.StatusOK {
		t.Errorf("the refunds were not listed: %+v, %v", last, err)
	}
	for _, cursor := range []string{"", "movements//txn_1", "payouts//", "payouts//po_1", "members/po_1/", "members/po_1/txn_1"} {
		before := all
		page := a.Entries(t.Context(), provider.EntryQuery{Account: testMode, Since: noon.Add(-time.Hour), Until: noon, Cursor: cursor})
		if all != before+1 || page.Evidence.Status != http.StatusOK {
			t.Errorf("a report from %q: %d requests, %+v", cursor, all-before, page.Evidence)
		}
	}
}

// change returns a copy with other values; an empty one removes the parameter.
func change(v url.Values, pairs ...string) url.Values {
	all := maps.Clone(v)
	for i := 0; i < len(pairs); i += 2 {
		if all.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			all.Del(pairs[i])
		}
	}
	return all
}
