package webhook

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
)

// book is a merchant with deliveries in every state at two endpoints, one of which was
// deleted, and a stranger with as many.
type book struct {
	*rig
	endpoints []id.ID
	payments  []id.ID
	events    []outbox.Event
	rows      []Delivery // the merchant's
	stranger  id.ID
	theirs    []Delivery
}

func newBook(t *testing.T) *book {
	b := &book{rig: newRig(t)}
	b.stranger = outboxtest.Merchant(t, b.Pool, b.NewID, b.Now())
	for range 2 {
		e, _ := b.subscribe(b.endpoint.URL)
		b.endpoints = append(b.endpoints, e.ID)
	}
	other, _ := b.subscribeAs(b.stranger, b.endpoint.URL)
	b.payments = b.rig.payments(3)
	theirs := outboxtest.Payment(t, b.Pool, b.stranger, b.NewID, b.Now())
	for i, kind := range []string{
		event.PaymentCaptured, event.RefundCreated, event.RefundSucceeded, event.PaymentCaptured, event.PaymentFailed,
		event.PaymentCaptured, event.RefundFailed, event.PaymentRefunded, event.PaymentCaptured, event.PaymentAuthorized,
	} {
		if i%4 != 3 { // some happen at the same time
			b.advance(time.Second)
		}
		b.rows = append(b.rows, b.happens(b.payments[i%3], kind)...)
		b.theirs = append(b.theirs, b.happens(theirs, kind)...)
	}
	for _, d := range b.theirs {
		if d.EndpointID != other.ID {
			t.Fatal("a stranger's event was for the merchant")
		}
	}
	for i := range b.rows {
		d := &b.rows[i]
		d.Status = Statuses()[i%len(Statuses())]
		var arrived *time.Time
		if d.Status == Delivered || i%3 == 0 { // some arrived before, and are tried again
			at := b.Now()
			arrived = &at
		}
		d.DeliveredAt = arrived
		b.exec(`UPDATE webhook_deliveries SET status = $2, delivered_at = $3, next_retry_at = CASE WHEN $2 = 'PENDING' THEN $4::timestamptz END
			WHERE id = $1`, d.ID, d.Status, arrived, b.Now())
	}
	b.exec(`UPDATE webhook_endpoints SET enabled = false, disabled_at = $2, disabled_by = 'merchant', deleted_at = $2 WHERE id = $1`,
		b.endpoints[1], b.Now())
	return b
}

func (b *book) happens(payment id.ID, kind string) []Delivery {
	b.t.Helper()
	e, err := outboxtest.Commit(b.t.Context(), b.Pool, b.NewID, outbox.Event{PaymentID: payment, Type: kind, RequestID: "req_1", At: b.Now()})
	if err != nil {
		b.t.Fatal(err)
	}
	if e.MerchantID == b.merchant {
		b.events = append(b.events, e)
	}
	return b.notified(e)
}

// fits is what a filter means, said once more.
func (f *DeliveryFilter) fits(d Delivery) bool {
	return (f.EndpointID.IsZero() || f.EndpointID == d.EndpointID) &&
		(f.PaymentID.IsZero() || f.PaymentID == *d.PaymentID) &&
		(f.EventID.IsZero() || f.EventID == d.EventID) &&
		(f.ReplayID.IsZero() || d.ReplayID != nil && f.ReplayID == *d.ReplayID) &&
		(!f.Undelivered || d.DeliveredAt == nil) &&
		(len(f.Status) == 0 || slices.Contains(f.Status, string(d.Status))) &&
		event.Match(f.EventTypes, d.EventType) &&
		(f.CreatedAfter.IsZero() || d.EventAt.After(f.CreatedAfter)) &&
		(f.CreatedBefore.IsZero() || d.EventAt.Before(f.CreatedBefore))
}

func newestFirst(a, b Delivery) int {
	return cmp.Or(b.EventAt.Compare(a.EventAt), strings.Compare(b.EventID.String(), a.EventID.String()), strings.Compare(b.ID.String(), a.ID.String()))
}

// Whatever is asked for, in pages of whatever size: what fits, the newest first, nothing
// twice and nothing left out, and nothing of a stranger's.
func TestListDeliveries(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	random := rand.New(rand.NewPCG(1, 2))
	maybe := func() bool { return random.IntN(4) == 0 }
	found := 0
	for range 150 {
		f := DeliveryFilter{Limit: 1 + random.IntN(9), Undelivered: maybe()}
		if maybe() {
			f.EndpointID = b.endpoints[random.IntN(2)]
		}
		if maybe() {
			f.PaymentID = b.payments[random.IntN(3)]
		}
		if random.IntN(16) == 0 {
			f.EventID = b.events[random.IntN(len(b.events))].ID
		}
		if maybe() {
			f.Status = []string{string(Statuses()[random.IntN(5)]), string(Statuses()[random.IntN(5)])}
		}
		if maybe() {
			f.EventTypes = [][]string{{"refund.*"}, {event.PaymentCaptured, event.RefundFailed}, {"payment.*"}}[random.IntN(3)]
		}
		if maybe() {
			f.CreatedAfter = b.rows[random.IntN(len(b.rows))].EventAt
		}
		if maybe() {
			f.CreatedBefore = b.rows[random.IntN(len(b.rows))].EventAt
		}
		var want []Delivery
		for _, d := range b.rows {
			if f.fits(d) {
				want = append(want, d)
			}
		}
		slices.SortFunc(want, newestFirst)
		got := b.allPages(f)
		found += len(got)
		if diff := gocmp.Diff(names(want), names(got)); diff != "" {
			t.Fatalf("%+v (-want +got):\n%s", f, diff)
		}
	}
	if found < 300 {
		t.Errorf("only %d were found: the filters ask for too much", found)
	}
}

func names(deliveries []Delivery) []string {
	all := make([]string, len(deliveries))
	for i, d := range deliveries {
		all[i] = id.Delivery.External(d.ID) + " " + d.EventType + " " + string(d.Status)
	}
	return all
}

func (b *book) allPages(f DeliveryFilter) (all []Delivery) {
	b.t.Helper()
	for range 100 {
		page, err := b.ListDeliveries(b.t.Context(), b.merchant, f)
		if err != nil || len(page.Deliveries) > f.Limit || page.Next != "" && len(page.Deliveries) < f.Limit {
			b.t.Fatalf("%+v: %d deliveries, next %q, %v", f, len(page.Deliveries), page.Next, err)
		}
		all = append(all, page.Deliveries...)
		if page.Next == "" {
			return all
		}
		f.Cursor = page.Next
	}
	b.t.Fatalf("%+v: the pages do not end", f)
	return nil
}

func TestAnEventMeanwhileShiftsNoPage(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	first, err := b.ListDeliveries(t.Context(), b.merchant, DeliveryFilter{Limit: 3})
	if err != nil || first.Next == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	want, err := b.ListDeliveries(t.Context(), b.merchant, DeliveryFilter{Limit: 3, Cursor: first.Next})
	if err != nil {
		t.Fatal(err)
	}
	b.advance(time.Second)
	b.happens(b.payments[0], event.PaymentCaptured)
	got, err := b.ListDeliveries(t.Context(), b.merchant, DeliveryFilter{Limit: 3, Cursor: first.Next})
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// The question of what never arrived is answered by its index, however much did arrive.
func TestUndeliveredIsReadFromItsIndex(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for _, c := range []struct {
		filter DeliveryFilter
		index  string
	}{
		{DeliveryFilter{Limit: 20}, "webhook_deliveries_endpoint"},
		{DeliveryFilter{Limit: 20, Undelivered: true}, "webhook_deliveries_undelivered"},
		{DeliveryFilter{Limit: 20, Undelivered: true, EndpointID: b.endpoints[0]}, "webhook_deliveries_undelivered"},
	} {
		sql, args := c.filter.query(b.merchant, &cursor{At: b.Now().UnixMicro(), Event: b.NewID(), Delivery: b.NewID()})
		tx, err := b.Pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(t.Context()) }()
		if _, err := tx.Exec(t.Context(), `SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off`); err != nil {
			t.Fatal(err)
		}
		var plan string
		if err := tx.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+sql, args...).Scan(&plan); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan, fmt.Sprintf("%q", c.index)) || !strings.Contains(plan, "(ROW(event_created_at, event_id) <= ROW(") {
			t.Errorf("%+v is not read from %s:\n%s", c.filter, c.index, plan)
		}
	}
}

func TestListsRefuseFiltersThatFitNothing(t *testing.T) {
	t.Parallel()
	s := &Service{} // refused before anything is read
	future, _ := json.Marshal(cursor{At: 1 << 62, Event: id.ID{1}})
	foreign, _ := json.Marshal(map[string]any{"t": time.Now().UnixMicro(), "i": id.ID{1}})
	for name, c := range map[string]struct {
		filter DeliveryFilter
		field  string
	}{
		"a negative limit":   {DeliveryFilter{Limit: -1}, "limit"},
		"a large limit":      {DeliveryFilter{Limit: MaxPage + 1}, "limit"},
		"an odd status":      {DeliveryFilter{Status: []string{"PENDING", "LOST"}}, "status"},
		"an odd type":        {DeliveryFilter{EventTypes: []string{"payment.capured"}}, "event_type"},
		"no cursor":          {DeliveryFilter{Cursor: "x"}, "cursor"},
		"no base64":          {DeliveryFilter{Cursor: "!!!!"}, "cursor"},
		"a time of no year":  {DeliveryFilter{Cursor: base64.RawURLEncoding.EncodeToString(future)}, "cursor"},
		"another's cursor":   {DeliveryFilter{Cursor: base64.RawURLEncoding.EncodeToString(foreign)}, "cursor"},
		"a cursor with more": {DeliveryFilter{Cursor: cursor{At: time.Now().UnixMicro(), Event: id.ID{1}}.encode() + "AA"}, "cursor"},
	} {
		_, err := s.ListDeliveries(t.Context(), id.ID{1}, c.filter)
		f := fault.As(err)
		if !fault.Is(err, fault.InvalidRequest) || len(f.Fields) != 1 || f.Fields[0].Name != c.field {
			t.Errorf("%s: %v; want %s refused", name, err, c.field)
		}
		if len(c.filter.Status) > 0 {
			continue
		}
		field := c.field
		if field == "event_type" {
			field = "type"
		}
		_, err = s.ListEvents(t.Context(), id.ID{1}, EventFilter{Types: c.filter.EventTypes, Limit: c.filter.Limit, Cursor: c.filter.Cursor})
		if f := fault.As(err); !fault.Is(err, fault.InvalidRequest) || len(f.Fields) != 1 || f.Fields[0].Name != field {
			t.Errorf("events, %s: %v; want %s refused", name, err, field)
		}
	}
}

// The database gives up before the caller's own time is over, and who asked is told what
// to ask instead.
func TestAListThatTakesTooLongIsToBeNarrowed(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	blocker, err := b.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blocker.Rollback(t.Context()) }()
	if _, err := blocker.Exec(t.Context(), `LOCK TABLE webhook_deliveries, events`); err != nil {
		t.Fatal(err)
	}
	config := b.Pool.Config()
	config.ConnConfig.RuntimeParams["statement_timeout"] = "20"
	impatient, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer impatient.Close()
	s := &Service{Pool: impatient}
	_, deliveries := s.ListDeliveries(t.Context(), b.merchant, DeliveryFilter{})
	_, events := s.ListEvents(t.Context(), b.merchant, EventFilter{})
	for name, err := range map[string]error{"deliveries": deliveries, "events": events} {
		if f := fault.As(err); !fault.Is(err, fault.InvalidRequest) || len(f.Fields) != 1 || f.Fields[0].Name != "created_after" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGetDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.endpoint.answers(status(503))
	delivery := r.delivery()
	r.advance(time.Minute + 10*time.Second)
	d, attempts, err := r.GetDelivery(t.Context(), r.merchant, delivery)
	if diff := gocmp.Diff(r.get(delivery), d); err != nil || diff != "" || d.Attempts != 2 {
		t.Errorf("%+v, %v\n%s", d, err, diff)
	}
	if len(attempts) != 2 || attempts[0].Number != 1 || attempts[1].Number != 2 || *attempts[0].ResponseCode != 503 ||
		attempts[0].Outcome != "status_5xx" || !attempts[1].At.After(attempts[0].At) {
		t.Errorf("attempts %+v", attempts)
	}
	for name, of := range map[string][2]id.ID{"another merchant's": {r.NewID(), delivery}, "unknown": {r.merchant, r.NewID()}} {
		if _, _, err := r.GetDelivery(t.Context(), of[0], of[1]); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v; want not_found", name, err)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	slices.SortFunc(b.events, func(x, y outbox.Event) int {
		return cmp.Or(y.At.Compare(x.At), strings.Compare(y.ID.String(), x.ID.String()))
	})
	at := b.events[4].At
	for name, c := range map[string]struct {
		filter EventFilter
		fits   func(outbox.Event) bool
	}{
		"all":       {EventFilter{}, func(outbox.Event) bool { return true }},
		"a payment": {EventFilter{PaymentID: b.payments[1]}, func(e outbox.Event) bool { return e.PaymentID == b.payments[1] }},
		"types":     {EventFilter{Types: []string{"refund.*", event.PaymentFailed}}, func(e outbox.Event) bool { return event.Match([]string{"refund.*", event.PaymentFailed}, e.Type) }},
		"after":     {EventFilter{CreatedAfter: at}, func(e outbox.Event) bool { return e.At.After(at) }},
		"before":    {EventFilter{CreatedBefore: at, PaymentID: b.payments[0]}, func(e outbox.Event) bool { return e.At.Before(at) && e.PaymentID == b.payments[0] }},
	} {
		for limit := 1; limit <= 7; limit += 3 {
			var want, got []string
			for _, e := range b.events {
				if c.fits(e) {
					want = append(want, string(e.Payload))
				}
			}
			f := c.filter
			f.Limit = limit
			for more := true; more; more = f.Cursor != "" {
				page, err := b.ListEvents(t.Context(), b.merchant, f)
				if err != nil || len(page.Events) > limit {
					t.Fatalf("%s: %+v, %v", name, page, err)
				}
				for _, e := range page.Events {
					got = append(got, string(e))
				}
				f.Cursor = page.Next
			}
			if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s, by %d (-want +got):\n%s", name, limit, diff)
			}
		}
	}
	one, err := b.GetEvent(t.Context(), b.merchant, b.events[0].ID)
	if err != nil || string(one) != string(b.events[0].Payload) {
		t.Errorf("got %s, %v", one, err)
	}
	for name, of := range map[string][2]id.ID{"another merchant's": {b.stranger, b.events[0].ID}, "unknown": {b.merchant, b.NewID()}} {
		if _, err := b.GetEvent(t.Context(), of[0], of[1]); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v; want not_found", name, err)
		}
	}
}
