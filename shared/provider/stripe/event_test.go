package stripe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/telemetry"
)

func eventOf(kind string, object any) fields {
	return fields{
		"id": "evt_1", "object": "event", "type": kind, "created": noon.Unix(), "livemode": false,
		"api_version": "2023-10-16", "data": fields{"object": object},
	}
}

func TestParseEvent(t *testing.T) {
	t.Parallel()
	theirs := fields{"metadata": fields{}}
	release := refundIn("succeeded").with(theirs).with(fields{"balance_transaction": nil})
	charge := fields{"id": "ch_ours", "object": "charge", "payment_intent": ourIn, "metadata": fields{"tollgate_payment": id.Payment.External(ourPayment)}}
	for _, c := range []struct {
		name, kind string
		object     fields
		facts      string
		objectID   string
		reference  string
		foreign    bool // names no payment of ours
	}{
		{name: "authorized", kind: "payment_intent.amount_capturable_updated", object: intentIn("requires_capture"), facts: "authorization.authorized pi_ours", objectID: ourIn, reference: ourIn},
		{name: "succeeded", kind: "payment_intent.succeeded", object: intentIn("succeeded"), facts: "authorization.authorized pi_ours capture.succeeded ch_ours", objectID: ourIn, reference: ourIn},
		{name: "failed", kind: "payment_intent.payment_failed", object: declinedIntent(), facts: "authorization.failed pi_ours", objectID: ourIn, reference: ourIn},
		{name: "canceled", kind: "payment_intent.canceled", object: intentIn("canceled"), facts: "authorization.canceled pi_ours", objectID: ourIn, reference: ourIn},
		{name: "processing", kind: "payment_intent.processing", object: intentIn("processing"), facts: "authorization.pending pi_ours", objectID: ourIn, reference: ourIn},
		{name: "created", kind: "payment_intent.created", object: intentIn("requires_confirmation"), objectID: ourIn, reference: ourIn},
		{name: "somebody else's", kind: "payment_intent.succeeded", object: intentIn("succeeded").with(theirs), objectID: ourIn, reference: ourIn, foreign: true},
		{name: "refund", kind: "refund.created", object: refundIn("pending"), facts: "refund.pending re_theirs", objectID: "re_theirs", reference: ourIn},
		{name: "refund failed", kind: "refund.failed", object: refundIn("failed"), facts: "refund.failed re_theirs", objectID: "re_theirs", reference: ourIn},
		{name: "refund, older name", kind: "charge.refund.updated", object: refundIn("succeeded"), facts: "refund.succeeded re_theirs", objectID: "re_theirs", reference: ourIn},
		{name: "refund in the dashboard", kind: "refund.created", object: refundIn("succeeded").with(theirs), facts: "refund.succeeded re_theirs", objectID: "re_theirs", reference: ourIn, foreign: true},
		{name: "release of an authorization", kind: "refund.created", object: release, objectID: "re_theirs", reference: ourIn, foreign: true},
		{name: "expiry of an authorization", kind: "refund.created", object: refundIn("succeeded").with(theirs).with(fields{"reason": "expired_uncaptured_charge"}), objectID: "re_theirs", reference: ourIn, foreign: true},
		{name: "refund of a bare charge", kind: "refund.created", object: refundIn("succeeded").with(theirs).with(fields{"payment_intent": nil}), objectID: "re_theirs", foreign: true},
		{name: "charge refunded", kind: "charge.refunded", object: charge, objectID: "ch_ours", reference: ourIn},
		{name: "charge refunded, with refunds", kind: "charge.refunded", object: charge.with(fields{"refunds": fields{"data": []any{refundIn("succeeded"), release}}}), facts: "refund.succeeded re_theirs", objectID: "ch_ours", reference: ourIn},
		{name: "charge", kind: "charge.succeeded", object: charge, objectID: "ch_ours", foreign: true},
		{name: "payout", kind: "payout.paid", object: fields{"id": "po_1", "object": "payout"}, objectID: "po_1", foreign: true},
	} {
		got, err := newAdapter(t, "http://127.0.0.1:1", Options{}).ParseEvent(eventOf(c.kind, c.object).bytes())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.facts, summary(got.Facts)); diff != "" {
			t.Errorf("%s: facts (-want +got):\n%s", c.name, diff)
		}
		want := provider.Event{
			ID: "evt_1", Account: "test", Type: c.kind, ObjectID: c.objectID, Reference: c.reference,
			PaymentID: ourPayment, Facts: got.Facts, OccurredAt: noon,
		}
		if c.foreign {
			want.PaymentID = id.ID{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		for _, f := range got.Facts {
			if f.PaymentID != want.PaymentID || f.Reference != ourIn || f.Units != ourUnits || f.Amount != yen(ourUnits) {
				t.Errorf("%s: fact %+v", c.name, f)
			}
			if f.State != provider.StateCanceled && !f.OccurredAt.Equal(noon) {
				t.Errorf("%s: occurred at %v, not when the event did", c.name, f.OccurredAt)
			}
		}
	}
}

// A refund that discharges an obligation is known by it.
func TestParseEventNamesTheObligation(t *testing.T) {
	t.Parallel()
	e, err := ParseEvent(eventOf("refund.created", refundIn("succeeded").with(fields{
		"metadata": fields{"tollgate_payment": id.Payment.External(ourPayment), "tollgate_obligation": ourObligation.String()},
	})).bytes())
	if err != nil || len(e.Facts) != 1 || e.Facts[0].ObligationID != ourObligation || !e.Facts[0].RefundID.IsZero() {
		t.Errorf("ParseEvent = %+v, %v", e, err)
	}
}

func TestEventsOfAnotherMode(t *testing.T) {
	t.Parallel()
	event := eventOf("payment_intent.succeeded", intentIn("succeeded"))
	for _, c := range []struct {
		key     string
		live    bool
		account string
		want    string
		facts   int
	}{
		{key: "sk_test_1", live: false, want: "test", facts: 2},
		{key: "rk_live_1", live: true, want: "live", facts: 2},
		{key: "sk_test_1", live: true, want: "live"},
		{key: "sk_live_1", live: false, want: "test"},
		{key: "sk_live_1", live: true, account: "acct_1", want: "acct_1/live", facts: 2},
	} {
		a, err := New(Config{SecretKey: telemetry.Secret(c.key), APIBase: "https://api.stripe.com"}, Options{Now: noon.UTC})
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.ParseEvent(event.with(fields{"livemode": c.live, "account": c.account}).bytes())
		if err != nil || got.Account != c.want || len(got.Facts) != c.facts {
			t.Errorf("%s, live %t: account %q, %d facts, %v; want %q, %d", c.key, c.live, got.Account, len(got.Facts), err, c.want, c.facts)
		}
	}
}

func TestParseEventRefuses(t *testing.T) {
	t.Parallel()
	good := eventOf("payment_intent.succeeded", intentIn("succeeded"))
	for name, c := range map[string]struct {
		body string
		says string
	}{
		"nothing":              {"", "not JSON"},
		"HTML":                 {html, "not JSON"},
		"two documents":        {string(good.bytes()) + "{}", "not JSON"},
		"null":                 {"null", "not an event"},
		"another object":       {string(good.with(fields{"object": "v2.core.event"}).bytes()), "not an event"},
		"no id":                {string(good.with(fields{"id": ""}).bytes()), "lacks its id"},
		"no type":              {string(good.with(fields{"type": nil}).bytes()), "lacks its id or type"},
		"no time":              {string(good.with(fields{"created": 0}).bytes()), "not possible"},
		"a time far away":      {string(good.with(fields{"created": 1 << 60}).bytes()), "not possible"},
		"no object":            {string(good.with(fields{"data": fields{}}).bytes()), "evt_1"},
		"object is a number":   {string(eventOf("payout.paid", 5).bytes()), "evt_1"},
		"intent is a refund":   {string(eventOf("payment_intent.succeeded", refundIn("succeeded")).bytes()), "not a PaymentIntent"},
		"refund is an intent":  {string(eventOf("refund.created", intentIn("succeeded")).bytes()), "not a refund"},
		"status is not known":  {string(eventOf("payment_intent.succeeded", intentIn("half_done")).bytes()), "unknown status"},
		"currency not known":   {string(eventOf("payment_intent.succeeded", intentIn("succeeded").with(fields{"currency": "zzz"})).bytes()), "unknown currency"},
		"negative amount":      {string(eventOf("payment_intent.succeeded", intentIn("succeeded").with(fields{"amount": -1})).bytes()), "negative"},
		"refund in limbo":      {string(eventOf("refund.updated", refundIn("lost")).bytes()), "unknown status"},
		"charge with nonsense": {string(eventOf("charge.refunded", fields{"id": "ch_1", "refunds": fields{"data": []any{5}}}).bytes()), "not a refund"},
	} {
		if e, err := ParseEvent([]byte(c.body)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v; want an error saying %q", name, e, err, c.says)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, e := range []fields{
		eventOf("payment_intent.succeeded", intentIn("succeeded")),
		eventOf("payment_intent.payment_failed", declinedIntent()),
		eventOf("payment_intent.requires_action", intentIn("requires_action").with(fields{"next_action": fields{"redirect_to_url": nil}})),
		eventOf("refund.created", refundIn("succeeded")),
		eventOf("charge.refunded", fields{"id": "ch_1", "payment_intent": fields{"id": "pi_1"}, "refunds": fields{"data": []any{refundIn("failed")}}}),
	} {
		f.Add(e.bytes())
	}
	f.Add([]byte(`{"object":"event","id":"e","type":"payment_intent.x","created":1,"data":{"object":{"object":"payment_intent","id":"p","status":"succeeded","amount":1,"amount_received":1,"currency":"isk"}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ParseEvent(body)
		if err != nil {
			if e.Facts != nil || e.ID != "" {
				t.Errorf("an error and an event: %+v", e)
			}
			return
		}
		if e.ID == "" || e.Type == "" || e.OccurredAt.IsZero() || e.Account == "" {
			t.Errorf("incomplete event: %+v", e)
		}
		for _, fact := range e.Facts {
			if fact.Rank() == 0 || fact.ObjectID == "" || fact.Reference == "" || fact.Amount.Currency.IsZero() || fact.Amount.IsNegative() {
				t.Errorf("impossible fact: %+v", fact)
			}
		}
	})
}
