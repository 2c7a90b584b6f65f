package bank

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

func hookOf(events ...fields) string {
	return fields{"events": events, "meta": fields{"webhook_id": "WB1"}}.text()
}

func TestParseEvents(t *testing.T) {
	t.Parallel()
	links := fields{"billing_request": "BRQ1", "payment_request_payment": "PM1"}
	body := hookOf(
		eventIn("confirmed", "payment_confirmed"),
		eventIn("fulfilled", "").with(fields{"id": "EV2", "resource_type": "billing_requests", "links": links}),
		eventIn("paid", "").with(fields{"id": "EV3", "resource_type": "refunds", "links": fields{"refund": "RF1", "payment": "PM1"}}),
		eventIn("created", "").with(fields{"id": "EV4", "resource_type": "mandates", "links": fields{"mandate": "MD1"}, "resource_metadata": fields{"tollgate_payment": 7}}),
	)
	got, err := ParseEvents([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := []provider.Event{
		{ID: "EV1", Type: "payments.confirmed", ObjectID: "PM1", PaymentID: ourPayment, OccurredAt: noon, LookUp: true},
		{ID: "EV2", Type: "billing_requests.fulfilled", ObjectID: "BRQ1", Reference: "BRQ1", PaymentID: ourPayment, OccurredAt: noon, LookUp: true},
		{ID: "EV3", Type: "refunds.paid", ObjectID: "RF1", PaymentID: ourPayment, OccurredAt: noon, LookUp: true},
		{ID: "EV4", Type: "mandates.created", OccurredAt: noon},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Each event stands by itself.
	split, err := Split([]byte(body))
	if err != nil || len(split) != len(want) {
		t.Fatalf("%d events, %v", len(split), err)
	}
	a := newAdapter(t, "https://api.gocardless.com", Options{})
	for i, raw := range split {
		one, err := a.ParseEvent(raw)
		whole := want[i]
		whole.Account = liveMode
		if diff := cmp.Diff(whole, one); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
}

func TestEventsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `[]`, `null`, `{}`, `{"events":null}`, `{"events":{}}`, `{"events":[1]}`, `{"events":[{}]}`, `{"events":[null]}`,
		hookOf(eventIn("", "")),
		hookOf(eventIn("confirmed", "").with(fields{"id": ""})),
		hookOf(eventIn("confirmed", "").with(fields{"created_at": "yesterday"})),
		hookOf(eventIn("confirmed", "").with(fields{"created_at": nil})),
		hookOf(eventIn("confirmed", ""), eventIn("confirmed", "").with(fields{"links": "PM1"})),
	} {
		if got, err := ParseEvents([]byte(body)); err == nil || got != nil {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	if got, err := ParseEvents([]byte(`{"events":[]}`)); err != nil || len(got) != 0 {
		t.Errorf("an empty webhook: %v, %v", got, err)
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add([]byte(hookOf(eventIn("confirmed", "payment_confirmed"), eventIn("paid", "").with(fields{"resource_type": "refunds"}))))
	f.Add([]byte(hookOf(eventIn("fulfilled", "").with(fields{"resource_type": "billing_requests", "resource_metadata": nil}))))
	f.Add([]byte(`{"events":[{"id":"e","created_at":"0001-01-01T00:00:00Z","resource_type":"a","action":"b"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := ParseEvents(body)
		if err != nil {
			if events != nil || !strings.HasPrefix(err.Error(), "bank: ") {
				t.Errorf("%v with %v", events, err)
			}
			return
		}
		for _, e := range events {
			if e.ID == "" || e.Type == "" || e.OccurredAt.IsZero() || e.Facts != nil {
				t.Errorf("impossible event: %+v", e)
			}
			if e.LookUp && e.PaymentID == (id.ID{}) && e.Reference == "" {
				t.Errorf("a look-up of nothing: %+v", e)
			}
		}
	})
}
