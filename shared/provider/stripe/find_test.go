package stripe

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// routes answers GET requests by path and query, whatever the query's order.
type routes map[string]string

func sorted(uri string) string {
	path, query, _ := strings.Cut(uri, "?")
	params := strings.Split(query, "&")
	slices.Sort(params)
	return path + "?" + strings.Join(params, "&")
}

func (r routes) start(t *testing.T) (base string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	byURI := map[string]string{}
	for uri, body := range r {
		byURI[sorted(uri)] = body
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		all = append(all, req.URL.RequestURI())
		mu.Unlock()
		body, ok := byURI[sorted(req.URL.RequestURI())]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			body = errorBody(invalidRequest("resource_missing"))
		}
		w.Header().Set("Request-Id", fmt.Sprintf("req_%d", len(all)))
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}

func list(more bool, data ...fields) string {
	if data == nil {
		data = []fields{}
	}
	return string(fields{"object": "list", "url": "/v1/x", "has_more": more, "data": data}.bytes())
}

// The requests that the look-ups make.
const (
	getOurs     = "/v1/payment_intents/pi_ours?expand[0]=latest_charge"
	listRefunds = "/v1/refunds?limit=100&payment_intent=pi_ours"
)

// listIntents is bounded by five minutes before noon.
var listIntents = fmt.Sprintf("/v1/payment_intents?limit=100&created[gte]=%d", noon.Unix()-300)

var (
	byReference = provider.Query{Account: testMode, PaymentID: ourPayment, Reference: ourIn, Since: noon}
	byMetadata  = provider.Query{Account: testMode, PaymentID: ourPayment, Since: noon}
)

func other(n int) fields {
	return intentIn("succeeded").with(fields{"id": fmt.Sprintf("pi_other%d", n), "metadata": fields{"tollgate_payment": "pay_x"}})
}

func TestFind(t *testing.T) {
	t.Parallel()
	captured := "authorization.authorized pi_ours capture.succeeded ch_ours"
	second := refundIn("pending").with(fields{"id": "re_second"})
	for _, c := range []struct {
		name   string
		query  provider.Query
		routes routes
		facts  string
		doubt  string // empty when the finding is complete
	}{
		{
			name: "by reference", query: byReference, facts: captured,
			routes: routes{getOurs: string(intentIn("succeeded").bytes()), listRefunds: list(false)},
		},
		{
			name: "with refunds on two pages", query: byReference, facts: captured + " refund.succeeded re_theirs refund.pending re_second",
			routes: routes{
				getOurs: string(intentIn("succeeded").bytes()), listRefunds: list(true, refundIn("succeeded")),
				listRefunds + "&starting_after=re_theirs": list(false, second),
			},
		},
		{
			name: "releases are no refunds", query: byReference, facts: captured,
			routes: routes{
				getOurs:     string(intentIn("succeeded").bytes()),
				listRefunds: list(false, refundIn("succeeded").with(fields{"metadata": fields{}, "balance_transaction": nil})),
			},
		},
		{
			name: "by metadata, on the second page", query: byMetadata, facts: captured,
			routes: routes{
				listIntents: list(true, other(1), other(2)),
				listIntents + "&starting_after=pi_other2": list(false, other(3), intentIn("succeeded")),
				getOurs: string(intentIn("succeeded").bytes()), listRefunds: list(false),
			},
		},
		{name: "nothing there", query: byMetadata, routes: routes{listIntents: list(false, other(1))}},
		{name: "nothing at all", query: byMetadata, routes: routes{listIntents: list(false)}},
		{
			name: "made and not confirmed", query: byMetadata, facts: "authorization.pending pi_ours",
			routes: routes{
				listIntents: list(false, intentIn("requires_payment_method")),
				getOurs:     string(intentIn("requires_payment_method").bytes()), listRefunds: list(false),
			},
		},

		{name: "no payment", query: provider.Query{Since: noon}, doubt: "needs the payment's id"},
		{
			name: "nobody's", query: provider.Query{Reference: ourIn}, facts: captured,
			routes: routes{getOurs: string(intentIn("succeeded").with(fields{"metadata": fields{}}).bytes()), listRefunds: list(false)},
		},
		{name: "somebody's", query: provider.Query{Reference: ourIn}, doubt: "does not name the payment", routes: routes{getOurs: string(intentIn("succeeded").bytes())}},
		{name: "no time", query: provider.Query{PaymentID: ourPayment}, doubt: "needs a time"},
		{name: "not found", query: byReference, doubt: "status 404", routes: routes{}},
		{name: "refunds not found", query: byReference, facts: captured, doubt: "status 404", routes: routes{getOurs: string(intentIn("succeeded").bytes())}},
		{name: "another payment's", query: byReference, doubt: "does not name the payment", routes: routes{getOurs: string(intentIn("succeeded").with(fields{"metadata": fields{}}).bytes())}},
		{name: "another id", query: byReference, doubt: "does not name the payment", routes: routes{getOurs: string(intentIn("succeeded").with(fields{"id": "pi_x"}).bytes())}},
		{name: "HTML", query: byReference, doubt: "not a PaymentIntent", routes: routes{getOurs: html}},
		{name: "unknown status", query: byReference, doubt: "unknown status", routes: routes{getOurs: string(intentIn("half_done").bytes())}},
		{name: "HTML for a list", query: byMetadata, doubt: "not a list", routes: routes{listIntents: html}},
		{name: "empty object for a list", query: byMetadata, doubt: "not a list", routes: routes{listIntents: "{}"}},
		{name: "a list without data", query: byMetadata, doubt: "not a list", routes: routes{listIntents: `{"object":"list","has_more":false}`}},
		{name: "a list that does not say whether it ends", query: byMetadata, doubt: "not a list", routes: routes{listIntents: `{"object":"list","data":[]}`}},
		{name: "an empty page that promises more", query: byMetadata, doubt: "promises more", routes: routes{listIntents: list(true)}},
		{name: "null in a list", query: byMetadata, doubt: "not a PaymentIntent", routes: routes{listIntents: `{"object":"list","has_more":false,"data":[null]}`}},
		{name: "the second page is missing", query: byMetadata, doubt: "status 404", routes: routes{listIntents: list(true, other(1))}},
		{
			name: "an endless list", query: byMetadata, doubt: "more than 200 pages",
			routes: routes{listIntents: list(true, other(1)), listIntents + "&starting_after=pi_other1": list(true, other(1))},
		},
		{
			name: "a refund of another payment", query: byReference, facts: captured, doubt: "is not of pi_ours",
			routes: routes{getOurs: string(intentIn("succeeded").bytes()), listRefunds: list(false, refundIn("succeeded").with(fields{"payment_intent": "pi_x"}))},
		},
		{
			name: "a refund in limbo", query: byReference, facts: captured, doubt: "unknown status",
			routes: routes{getOurs: string(intentIn("succeeded").bytes()), listRefunds: list(false, refundIn("lost"))},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base, asked := c.routes.start(t)
			got := newAdapter(t, base, Options{}).Find(t.Context(), c.query)
			if got.Complete != (c.doubt == "") || !strings.Contains(got.Evidence.Error, c.doubt) {
				t.Errorf("complete %t, %q; want %q", got.Complete, got.Evidence.Error, c.doubt)
			}
			if diff := cmp.Diff(c.facts, summary(got.Facts)); diff != "" {
				t.Errorf("facts (-want +got):\n%s\nasked %v", diff, asked())
			}
			if strings.Contains(got.Evidence.Body, "hush") || len(got.Evidence.Body) > wire.MaxEvidenceBytes {
				t.Errorf("evidence of %d bytes: %.500s", len(got.Evidence.Body), got.Evidence.Body)
			}
			for _, uri := range asked() {
				if strings.Contains(uri, "search") {
					t.Errorf("asked the search index: %s", uri)
				}
			}
		})
	}
}

// Absence is only as good as its evidence: the listing must show in it.
func TestFindKeepsTheProofOfAbsence(t *testing.T) {
	t.Parallel()
	base, _ := routes{listIntents: list(false, other(1), other(2))}.start(t)
	got := newAdapter(t, base, Options{}).Find(t.Context(), byMetadata)
	want := fmt.Sprintf("payment_intents created since %d: listed 2, matching 0, complete true", noon.Unix()-300)
	if got.Evidence.Body != want || got.Evidence.Status != 200 || got.Evidence.RequestID != "req_1" {
		t.Errorf("evidence %+v, want %q", got.Evidence, want)
	}
}

func TestFindWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if got := newAdapter(t, "http://127.0.0.1:1", Options{}).Find(gone, byReference); got.Complete || got.Evidence.Error == "" {
		t.Errorf("complete %t, %q", got.Complete, got.Evidence.Error)
	}
	for _, raw := range []string{"", reply(500, errorBody(fields{"type": "api_error"})), reply(302, "", "Location: /")} {
		if got := newAdapter(t, cut(t, raw).base(), Options{}).Find(t.Context(), byReference); got.Complete || len(got.Facts) > 0 {
			t.Errorf("%.20q: complete %t, facts %v", raw, got.Complete, got.Facts)
		}
	}
}
