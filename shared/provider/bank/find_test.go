package bank

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

const getRequests = "GET /billing_requests"

func query(reference string) provider.Query {
	return provider.Query{Account: sandboxMode, PaymentID: ourPayment, Reference: reference, Since: noon}
}

func TestFind(t *testing.T) {
	t.Parallel()
	const captured = "authorization.authorized BRQ1 capture.succeeded PM1"
	other := requestIn(pending).with(fields{"id": "BRQ0", "metadata": fields{}, "payment_request": nil})
	old := requestIn(pending).with(fields{"id": "BRQ9", "created_at": noon.Add(-time.Hour).Format(time.RFC3339)})
	for _, c := range []struct {
		name      string
		reference string
		query     func(*provider.Query)
		replies   script
		facts     string
		doubt     string // why it is not complete
	}{
		{name: "captured", reference: "BRQ1", facts: captured},
		{name: "refunded", reference: "BRQ1", replies: script{listRefunds: list("refunds", refundIn("paid"))}, facts: captured + " refund.succeeded RF1"},
		{name: "open", reference: "BRQ1", replies: script{getRequest: ok("billing_requests", requestIn(pending))}, facts: "authorization.requires_action BRQ1"},
		{name: "searched", replies: script{getRequests: list("billing_requests", other, requestIn(fulfilled), old)}, facts: captured},
		{name: "made by another clock", replies: script{getRequests: list("billing_requests", requestIn(fulfilled).with(fields{"created_at": noon.Add(-4 * time.Minute).Format(time.RFC3339)}))}, facts: captured},
		{name: "nothing there", replies: script{getRequests: list("billing_requests", other)}},
		{name: "nothing at all", replies: script{getRequests: list("billing_requests")}},
		{name: "too old", replies: script{getRequests: list("billing_requests", old, requestIn(fulfilled))}},
		{name: "without a payment", query: func(q *provider.Query) { q.PaymentID = id.ID{} }, doubt: "payment's id"},
		{name: "somebody's", reference: "BRQ1", query: func(q *provider.Query) { q.PaymentID = id.ID{} }, doubt: "does not name the payment"},
		{name: "without a time", query: func(q *provider.Query) { q.Since = time.Time{} }, doubt: "since when"},
		{name: "another's", reference: "BRQ1", replies: script{getRequest: ok("billing_requests", requestIn(fulfilled).with(fields{"metadata": fields{}}))}, doubt: "does not name"},
		{name: "another one", reference: "BRQ1", replies: script{getRequest: ok("billing_requests", requestIn(fulfilled).with(fields{"id": "BRQ2"}))}, doubt: "does not name"},
		{name: "gone", reference: "BRQ1", replies: script{getRequest: refusal(404, "invalid_api_usage", "resource_not_found")}, doubt: "404"},
		{name: "HTML", reference: "BRQ1", replies: script{getRequest: answer{200, html}}, doubt: "not an answer"},
		{name: "payment away", reference: "BRQ1", replies: script{getPayment: answer{503, html}}, doubt: "503"},
		{name: "refunds away", reference: "BRQ1", replies: script{listRefunds: answer{503, html}}, facts: captured, doubt: "503"},
		{name: "one refund unreadable", reference: "BRQ1", replies: script{listRefunds: list("refunds", refundIn("paid"), fields{})}, facts: captured + " refund.succeeded RF1", doubt: "not a refund"},
		{name: "refund of another", reference: "BRQ1", replies: script{listRefunds: list("refunds", refundIn("paid").with(fields{"links": fields{"payment": "PM2"}}))}, facts: captured, doubt: "not of PM1"},
		{name: "no list", replies: script{getRequests: answer{200, `{}`}}, doubt: "not a list"},
		{name: "no cursors", replies: script{getRequests: answer{200, `{"billing_requests":[],"meta":{}}`}}, doubt: "not a list"},
		{name: "a list of something else", replies: script{getRequests: list("payments")}, doubt: "not a list"},
		{name: "a list of numbers", replies: script{getRequests: answer{200, `{"billing_requests":[1],"meta":{"cursors":{}}}`}}, doubt: "not a billing request"},
		{name: "an element without a time", replies: script{getRequests: list("billing_requests", other.with(fields{"created_at": nil}))}, doubt: "without id or time"},
		{name: "ours is damaged", replies: script{getRequests: list("billing_requests", requestIn(pending).with(fields{"payment_request": nil}))}, doubt: "not a billing request"},
		{name: "an empty page promises more", replies: script{getRequests: answer{200, `{"billing_requests":[],"meta":{"cursors":{"after":"x"}}}`}}, doubt: "promises more"},
		{name: "the list has no end", replies: script{getRequests: answer{200, fields{"billing_requests": []any{other}, "meta": fields{"cursors": fields{"after": "x"}}}.text()}}, doubt: "more than 200 pages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := newDesk(t, well().with(c.replies))
			q := query(c.reference)
			if c.query != nil {
				c.query(&q)
			}
			got := newAdapter(t, server.URL, Options{}).Find(t.Context(), q)
			if got.Complete != (c.doubt == "") || !strings.Contains(got.Evidence.Error, c.doubt) {
				t.Errorf("complete %t: %q", got.Complete, got.Evidence.Error)
			}
			if facts := names(got.Facts); facts != c.facts {
				t.Errorf("facts %q, want %q", facts, c.facts)
			}
			if strings.Contains(got.Evidence.Body, "hush") {
				t.Errorf("evidence shows too much: %s", got.Evidence.Body)
			}
		})
	}
}

func TestFindFollowsCursors(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		each, after := requestIn(pending), any("one")
		switch r.URL.Query().Get("after") {
		case "one":
			each, after = each.with(fields{"id": "BRQ2"}), "two"
		case "two":
			each, after = each.with(fields{"id": "BRQ3"}), nil
		}
		if r.URL.Query().Get("limit") != "500" {
			t.Errorf("asked %s", r.URL)
		}
		_, _ = fmt.Fprint(w, fields{"billing_requests": []any{each}, "meta": fields{"cursors": fields{"after": after}}}.text())
	}))
	t.Cleanup(server.Close)
	got := newAdapter(t, server.URL, Options{}).Find(t.Context(), query(""))
	want := "authorization.requires_action BRQ1 authorization.requires_action BRQ2 authorization.requires_action BRQ3"
	if !got.Complete || names(got.Facts) != want {
		t.Errorf("%s; %q", names(got.Facts), got.Evidence.Error)
	}
}
