package paypal

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// caseIn is a dispute of our capture, all of it.
func caseIn(stage, status, outcome string) fields {
	f := fields{
		"dispute_id": "PP-1", "create_time": "2026-11-22T10:00:00Z", "update_time": "2026-11-23T10:00:00Z", "status": status,
		"reason": "UNAUTHORISED", "dispute_life_cycle_stage": stage, "dispute_amount": worth("5000"),
		"seller_response_due_date": "2026-12-03T10:00:00Z", "disputed_transactions": []fields{{"seller_transaction_id": "CA"}},
	}
	if outcome != "" {
		f["dispute_outcome"] = fields{"outcome_code": outcome}
	}
	return f
}

func TestDisputesThatTakeMoneyAreHints(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		object fields
		facts  string
	}{
		"an inquiry":             {caseIn("INQUIRY", "OPEN", ""), ""},
		"a resolved inquiry":     {caseIn("INQUIRY", "RESOLVED", "RESOLVED_BUYER_FAVOUR"), ""},
		"a claim":                {caseIn("CHARGEBACK", "WAITING_FOR_SELLER_RESPONSE", ""), "dispute.open PP-1"},
		"under review":           {caseIn("CHARGEBACK", "UNDER_REVIEW", ""), "dispute.open PP-1"},
		"appealed":               {caseIn("PRE_ARBITRATION", "UNDER_REVIEW", "RESOLVED_BUYER_FAVOUR"), "dispute.open PP-1"},
		"for the buyer":          {caseIn("CHARGEBACK", "RESOLVED", "RESOLVED_BUYER_FAVOUR"), "dispute.lost PP-1"},
		"accepted by the seller": {caseIn("CHARGEBACK", "RESOLVED", "ACCEPTED"), "dispute.lost PP-1"},
		"for the seller":         {caseIn("ARBITRATION", "RESOLVED", "RESOLVED_SELLER_FAVOUR"), "dispute.won PP-1"},
		"paid by PayPal":         {caseIn("CHARGEBACK", "RESOLVED", "RESOLVED_WITH_PAYOUT"), "dispute.won PP-1"},
		"given up":               {caseIn("CHARGEBACK", "RESOLVED", "CANCELED_BY_BUYER"), "dispute.won PP-1"},
	} {
		e, err := ParseEvent(eventOf("CUSTOMER.DISPUTE.UPDATED", c.object))
		if err != nil || shown(e.Facts) != c.facts || e.LookUp != (c.facts != "") || e.ObjectID != "PP-1" || e.Reference != "CA" {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		if len(e.Facts) == 0 {
			continue
		}
		f := e.Facts[0]
		if f.Amount != yen(5000) || f.Reason != "UNAUTHORISED" || f.RespondBy.IsZero() == (f.State == provider.StateOpen) ||
			!f.OccurredAt.Equal(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)) || !f.OpenedAt.Equal(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	for name, object := range map[string]fields{
		"an unknown outcome": caseIn("CHARGEBACK", "RESOLVED", "A_DRAW"), "no id": with(caseIn("CHARGEBACK", "OPEN", ""), fields{"dispute_id": ""}),
		"a strange amount": with(caseIn("CHARGEBACK", "OPEN", ""), fields{"dispute_amount": worth("1.5")}),
	} {
		if e, err := ParseEvent(eventOf("CUSTOMER.DISPUTE.RESOLVED", object)); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// A decision may take a part of what was contested. Fees are no part of it.
func TestWhatADecisionTook(t *testing.T) {
	t.Parallel()
	movement := func(party, kind, reason, value string) fields {
		return fields{"affected_party": party, "type": kind, "reason": reason, "amount": worth(value)}
	}
	object := with(caseIn("CHARGEBACK", "RESOLVED", "RESOLVED_BUYER_FAVOUR"), fields{"money_movements": []fields{
		movement("BUYER", "CREDIT", "DISPUTE_SETTLEMENT", "3000"), movement("SELLER", "DEBIT", "DISPUTE_FEE", "20"),
		movement("SELLER", "DEBIT", "DISPUTE_SETTLEMENT", "3000"),
	}})
	e, err := ParseEvent(eventOf("CUSTOMER.DISPUTE.RESOLVED", object))
	if err != nil || len(e.Facts) != 1 || e.Facts[0].Amount != yen(3000) || e.Facts[0].State != provider.StateLost {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestFindReadsTheDisputesOfACapture(t *testing.T) {
	t.Parallel()
	const (
		listed = "/v1/customer/disputes?disputed_transaction_id=CA&page_size=50"
		one    = "/v1/customer/disputes/PP-1"
		taken  = "authorization.authorized " + ourOrder + " capture.succeeded CA"
	)
	items := func(more ...fields) string {
		return text(fields{"items": append([]fields{}, more...), "links": []fields{{"rel": "self", "href": "x"}}})
	}
	for name, c := range map[string]struct {
		order    fields
		replies  map[string]string
		complete bool
		facts    string
	}{
		"not captured":       {authorizedIn("CREATED"), nil, true, "authorization.authorized " + ourOrder},
		"a pending capture":  {capturedIn("PENDING"), nil, true, "authorization.authorized " + ourOrder + " capture.pending CA"},
		"none":               {capturedIn("COMPLETED"), map[string]string{listed: items()}, true, taken},
		"not for this app":   {capturedIn("COMPLETED"), map[string]string{listed: "403"}, true, taken},
		"lost":               {capturedIn("COMPLETED"), map[string]string{listed: items(fields{"dispute_id": "PP-1"}), one: text(caseIn("CHARGEBACK", "RESOLVED", "ACCEPTED"))}, true, taken + " dispute.lost PP-1"},
		"an inquiry":         {capturedIn("REFUNDED"), map[string]string{listed: items(fields{"dispute_id": "PP-1"}), one: text(caseIn("INQUIRY", "OPEN", ""))}, true, taken},
		"not to be listed":   {capturedIn("COMPLETED"), nil, false, taken},
		"not to be fetched":  {capturedIn("COMPLETED"), map[string]string{listed: items(fields{"dispute_id": "PP-1"})}, false, taken},
		"no list":            {capturedIn("COMPLETED"), map[string]string{listed: "{}"}, false, taken},
		"several pages":      {capturedIn("COMPLETED"), map[string]string{listed: text(fields{"items": []fields{}, "links": []fields{{"rel": "next", "href": "x"}}})}, false, taken},
		"another's":          {capturedIn("COMPLETED"), map[string]string{listed: items(fields{"dispute_id": "PP-1"}), one: text(with(caseIn("CHARGEBACK", "OPEN", ""), fields{"disputed_transactions": []fields{{"seller_transaction_id": "CB"}}}))}, false, taken},
		"an unknown outcome": {capturedIn("COMPLETED"), map[string]string{listed: items(fields{"dispute_id": "PP-1"}), one: text(caseIn("CHARGEBACK", "RESOLVED", "A_DRAW"))}, false, taken},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path := r.URL.Path
			if r.URL.RawQuery != "" {
				path += "?" + r.URL.Query().Encode()
			}
			body := c.replies[path]
			switch {
			case path == "/v1/oauth2/token":
				body = `{"access_token":"hush-token","expires_in":3600}`
			case strings.HasPrefix(path, "/v2/checkout/orders/"):
				body = text(c.order)
			case body == "403":
				w.WriteHeader(http.StatusForbidden)
				body = named("NOT_AUTHORIZED")
			case body == "":
				w.WriteHeader(http.StatusNotFound)
				body = named("RESOURCE_NOT_FOUND")
			}
			_, _ = io.WriteString(w, body)
		}))
		a := newAdapter(t, server.URL, Options{})
		f := a.Find(t.Context(), provider.Query{Account: a.Account(), PaymentID: ourPayment, Reference: ourOrder, Since: a.now()})
		if f.Complete != c.complete || shown(f.Facts) != c.facts {
			t.Errorf("%s: complete %t, %q, %s", name, f.Complete, shown(f.Facts), f.Evidence.Error)
		}
		for _, fact := range f.Facts {
			if fact.PaymentID != ourPayment || fact.Reference != ourOrder {
				t.Errorf("%s: %+v", name, fact)
			}
		}
		server.Close()
	}
}
