package stripe

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

func disputeIn(status string) fields {
	return fields{
		"id": "du_theirs", "object": "dispute", "amount": ourUnits, "currency": "jpy", "status": status, "reason": "fraudulent",
		"payment_intent": ourIn, "charge": "ch_ours", "created": noon.Add(-time.Hour).Unix(), "metadata": fields{},
		"evidence_details": fields{"due_by": noon.Add(time.Hour).Unix()}, "balance_transactions": []any{},
	}
}

func TestDisputesThatTookMoneyAreFacts(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, "http://127.0.0.1:1", Options{})
	for status, want := range map[string]string{
		"needs_response": "dispute.open du_theirs", "under_review": "dispute.open du_theirs", "won": "dispute.won du_theirs",
		"lost": "dispute.lost du_theirs", "warning_needs_response": "", "warning_under_review": "", "warning_closed": "",
		"prevented": "", "charge_refunded": "",
	} {
		e, err := a.ParseEvent(eventOf("charge.dispute.updated", disputeIn(status)).bytes())
		if err != nil || summary(e.Facts) != want || e.ObjectID != "du_theirs" || e.Reference != ourIn || !e.PaymentID.IsZero() || e.LookUp {
			t.Errorf("%s: %+v, %v", status, e, err)
		}
		if want == "" {
			continue
		}
		f := e.Facts[0]
		if f.Amount != yen(ourUnits) || f.Units != ourUnits || f.Reason != "fraudulent" || !f.OpenedAt.Equal(noon.Add(-time.Hour)) || !f.OccurredAt.Equal(noon) {
			t.Errorf("%s: %+v", status, f)
		}
		if open := f.State == provider.StateOpen; f.RespondBy.IsZero() == open {
			t.Errorf("%s is to be answered by %v", status, f.RespondBy)
		}
	}
	for name, object := range map[string]fields{
		"an unknown status": disputeIn("forgotten"), "no dispute": refundIn("succeeded"), "no id": disputeIn("won").with(fields{"id": ""}),
		"a strange amount": disputeIn("won").with(fields{"currency": "xxx"}),
	} {
		if e, err := a.ParseEvent(eventOf("charge.dispute.closed", object).bytes()); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
	bare := disputeIn("lost").with(fields{"payment_intent": nil})
	if e, err := a.ParseEvent(eventOf("charge.dispute.closed", bare).bytes()); err != nil || len(e.Facts) != 0 {
		t.Errorf("of a bare charge: %+v, %v", e, err)
	}
}

// The charge says whether there are disputes to list, so that most look-ups list none.
func TestFindListsDisputesWhereThereAreSome(t *testing.T) {
	t.Parallel()
	const listDisputes = "/v1/disputes?limit=100&payment_intent=pi_ours"
	captured := func(disputed bool) string {
		return string(intentIn("succeeded").with(fields{"latest_charge": fields{"id": "ch_ours", "object": "charge", "disputed": disputed}}).bytes())
	}
	find := func(r routes) (provider.Finding, int) {
		base, asked := r.start(t)
		f := newAdapter(t, base, Options{}).Find(t.Context(), byReference)
		return f, len(asked())
	}
	const taken = "authorization.authorized pi_ours capture.succeeded ch_ours"
	for name, c := range map[string]struct {
		replies  routes
		requests int
		complete bool
		facts    string
	}{
		"none":                 {routes{getOurs: captured(false), listRefunds: list(false)}, 2, true, taken},
		"one":                  {routes{getOurs: captured(true), listRefunds: list(false), listDisputes: list(false, disputeIn("lost"))}, 3, true, taken + " dispute.lost du_theirs"},
		"an inquiry":           {routes{getOurs: captured(true), listRefunds: list(false), listDisputes: list(false, disputeIn("warning_closed"))}, 3, true, taken},
		"not to be listed":     {routes{getOurs: captured(true), listRefunds: list(false)}, 3, false, taken},
		"of another":           {routes{getOurs: captured(true), listRefunds: list(false), listDisputes: list(false, disputeIn("lost").with(fields{"payment_intent": "pi_x"}))}, 3, false, taken},
		"in an unknown status": {routes{getOurs: captured(true), listRefunds: list(false), listDisputes: list(false, disputeIn("forgotten"))}, 3, false, taken},
	} {
		f, requests := find(c.replies)
		if f.Complete != c.complete || summary(f.Facts) != c.facts || requests != c.requests {
			t.Errorf("%s: complete %t, %q, %d requests, %s", name, f.Complete, summary(f.Facts), requests, f.Evidence.Error)
		}
		for _, fact := range f.Facts {
			if fact.PaymentID != ourPayment {
				t.Errorf("%s: a fact of payment %s, not %s", name, fact.PaymentID, id.Payment.External(ourPayment))
			}
		}
	}
}
