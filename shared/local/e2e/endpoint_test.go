package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

const endpoints = "/v1/webhook-endpoints"

// endpoint is a merchant's server and what the API says of its endpoint.
type endpoint struct {
	*shop.Shop `json:"-"`
	w          *world
	path       string // in the API

	ID         string  `json:"id"`
	Secret     string  `json:"secret"`
	Enabled    bool    `json:"enabled"`
	DisabledBy *string `json:"disabled_by"`
	ReplayID   *string `json:"replay_id"`
}

// open starts another server of the merchant's, and makes an endpoint of it with such settings.
func (w *world) open(settings body) *endpoint {
	w.t.Helper()
	opened, err := shop.Open(w.Clock.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(opened.Close)
	e := &endpoint{Shop: opened, w: w}
	all := body{"url": opened.URL}
	for k, v := range settings {
		all[k] = v
	}
	e.take(w.post(http.StatusCreated, endpoints, all))
	e.path = endpoints + "/" + e.ID
	e.Trust(e.Secret)
	return e
}

func (e *endpoint) uuid() id.ID {
	e.w.t.Helper()
	u, err := id.Endpoint.Parse(e.ID)
	if err != nil {
		e.w.t.Fatal(err)
	}
	return u
}

func (e *endpoint) take(a answer) {
	e.w.t.Helper()
	if err := a.http.Into(e); err != nil {
		e.w.t.Fatal(err)
	}
}

// types lists what the server was sent and took, as it came, and holds all of it to be trusted.
func (e *endpoint) types() []string {
	e.w.t.Helper()
	types := []string{}
	for _, r := range e.Received() {
		if r.Err != nil {
			e.w.t.Errorf("a webhook that can't be trusted: %v", r.Err)
		}
		if r.Answered == http.StatusOK {
			types = append(types, r.Type)
		}
	}
	return types
}

func (e *endpoint) wantTypes(types ...string) {
	e.w.t.Helper()
	e.w.settle()
	if diff := cmp.Diff(append([]string{}, types...), e.types()); diff != "" {
		e.w.t.Errorf("events (-want +got):\n%s", diff)
	}
}

// apiDelivery is what these tests read of a delivery.
type apiDelivery struct {
	ID           string `json:"id"`
	EventID      string `json:"event_id"`
	EventType    string `json:"event_type"`
	Status       string `json:"status"`
	AttemptCount int    `json:"attempt_count"`
	Attempts     []struct {
		Outcome string `json:"outcome"`
	} `json:"attempts"`
}

type apiReplay struct {
	State     string `json:"state"`
	Reason    string `json:"reason"`
	Total     int    `json:"total"`
	Delivered int    `json:"delivered"`
}

// all reads the pages of a list, two at a time.
func all[T any](w *world, path string, query url.Values) (rows []T) {
	w.t.Helper()
	for query.Set("limit", "2"); ; {
		var page struct {
			Data       []T     `json:"data"`
			HasMore    bool    `json:"has_more"`
			NextCursor *string `json:"next_cursor"`
		}
		if err := w.get(http.StatusOK, path+"?"+query.Encode()).http.Into(&page); err != nil {
			w.t.Fatal(err)
		}
		rows = append(rows, page.Data...)
		if !page.HasMore {
			return rows
		}
		query.Set("cursor", *page.NextCursor)
	}
}

func (e *endpoint) deliveries(more url.Values) []apiDelivery {
	e.w.t.Helper()
	query := url.Values{"endpoint": {e.ID}}
	for k, v := range more {
		query[k] = v
	}
	return all[apiDelivery](e.w, "/v1/webhook-deliveries", query)
}

func (e *endpoint) replays() []apiReplay {
	e.w.t.Helper()
	return all[apiReplay](e.w, "/v1/webhook-replays", url.Values{"endpoint": {e.ID}})
}

// An endpoint's life, from the outside: what it subscribes to is what it gets.
func TestAMerchantHasAnEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	e := w.open(body{"description": "the books", "event_types": []string{"payment.*"}})
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	e.wantTypes("payment.authorized")
	w.post(http.StatusOK, "/v1/payments/"+p.ID+"/capture", body{"amount": 3000})
	w.post(http.StatusCreated, "/v1/payments/"+p.ID+"/refund", body{"amount": 1000})
	e.wantTypes("payment.authorized", "payment.captured")
	w.post(http.StatusAccepted, e.path+"/test", body{})
	e.wantTypes("payment.authorized", "payment.captured", "endpoint.test")
	if r := e.Received()[2]; r.EndpointID != e.ID {
		t.Errorf("the test is about %q", r.EndpointID)
	}
	w.wantEvents(p, "payment.authorized", "payment.captured", "refund.created", "refund.succeeded") // the other endpoint

	w.patch(http.StatusOK, e.path, body{"event_types": []string{"refund.succeeded"}})
	w.post(http.StatusCreated, "/v1/payments/"+p.ID+"/refund", body{"amount": 500})
	e.wantTypes("payment.authorized", "payment.captured", "endpoint.test", "refund.succeeded")

	listed := e.deliveries(nil)
	if len(listed) != 4 {
		t.Errorf("%d deliveries are listed", len(listed))
	}
	for _, d := range listed {
		var one apiDelivery
		if err := w.get(http.StatusOK, "/v1/webhook-deliveries/"+d.ID).http.Into(&one); err != nil {
			t.Fatal(err)
		}
		if one.Status != "DELIVERED" || one.AttemptCount != 1 || len(one.Attempts) != 1 || one.Attempts[0].Outcome != "delivered" {
			t.Errorf("%+v", one)
		}
	}
	again := listed[slices.IndexFunc(listed, func(d apiDelivery) bool { return d.EventType == "payment.captured" })]
	w.post(http.StatusAccepted, "/v1/webhook-deliveries/"+again.ID+"/redeliver", body{})
	e.wantTypes("payment.authorized", "payment.captured", "endpoint.test", "refund.succeeded", "payment.captured")
	if r := e.Received(); r[4].ID != r[1].ID || string(r[4].Body) != string(r[1].Body) {
		t.Errorf("another event was sent again: %s", r[4].Body)
	}
	if events := all[answer](w, "/v1/events", url.Values{"payment": {p.ID}}); len(events) != 6 {
		t.Errorf("%d events of the payment are listed", len(events))
	}

	w.delete(http.StatusNoContent, e.path)
	w.post(http.StatusCreated, "/v1/payments/"+p.ID+"/refund", body{"amount": 500})
	w.settle()
	if n := len(e.Received()); n != 5 {
		t.Errorf("after the end %d more events came", n-5)
	}
	w.get(http.StatusNotFound, e.path)
}

// While a secret is replaced both sign, by the public library: a merchant can change at any moment of the overlap. After
// it the old one proves nothing.
func TestASecretIsRotatedWithoutAGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	e := w.open(nil)
	old := e.Secret
	e.take(w.post(http.StatusOK, e.path+"/rotate-secret", body{"overlap_seconds": 3600}))
	if e.Secret == old {
		t.Fatal("the secret is the old one")
	}
	for _, secret := range []string{old, e.Secret} {
		e.Trust(secret)
		w.post(http.StatusAccepted, e.path+"/test", body{})
		w.settle()
	}
	e.wantTypes("endpoint.test", "endpoint.test")

	w.advance(time.Hour + time.Second)
	e.Trust(old)
	w.post(http.StatusAccepted, e.path+"/test", body{})
	w.settle()
	if got := e.Received(); len(got) != 3 || got[2].Err == nil {
		t.Fatalf("after the overlap: %+v", got)
	}
	e.Trust(e.Secret) // the merchant changes late, and loses nothing
	w.advance(2 * time.Minute)
	if got := e.Received(); len(got) != 4 || got[3].Err != nil || got[3].ID != got[2].ID {
		t.Errorf("the next attempt: %+v", got)
	}
}

// A merchant turns an endpoint off to work on its server. What happens meanwhile is kept, and sent when it is asked for.
func TestADisabledEndpointCatchesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	e := w.open(body{"ordered": true})
	e.take(w.post(http.StatusOK, e.path+"/disable", body{}))
	if e.Enabled || e.DisabledBy == nil || *e.DisabledBy != "merchant" {
		t.Errorf("disabled: %+v", e)
	}
	var made []answer
	for range 3 {
		p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
		w.post(http.StatusOK, "/v1/payments/"+p.ID+"/capture", body{})
		made = append(made, p)
	}
	w.advance(time.Hour)
	e.wantTypes()
	missed := e.deliveries(url.Values{"undelivered": {"true"}})
	if len(missed) != 6 || slices.ContainsFunc(missed, func(d apiDelivery) bool { return d.Status != "ABANDONED" || d.AttemptCount != 0 }) {
		t.Errorf("missed: %+v", missed)
	}
	e.take(w.post(http.StatusOK, e.path+"/enable", body{"replay_missed": true}))
	if !e.Enabled || e.ReplayID == nil {
		t.Fatalf("enabled: %+v", e)
	}
	w.advance(time.Minute)
	for _, p := range made {
		inOrder(t, e.Shop, p, "payment.authorized", "payment.captured")
	}
	var r apiReplay
	if err := w.get(http.StatusOK, "/v1/webhook-replays/"+*e.ReplayID).http.Into(&r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(apiReplay{"done", "enabled", 6, 6}, r); diff != "" {
		t.Errorf("the replay (-want +got):\n%s", diff)
	}
	if missed := e.deliveries(url.Values{"undelivered": {"true"}}); len(missed) != 0 {
		t.Errorf("still missed: %+v", missed)
	}
}

// An endpoint that does nothing but fail for five days is disabled. The merchant's other endpoint is told; when this one
// is mended and enabled, it gets what it missed.
func TestAnEndpointThatFailsForFiveDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{SweepSchedule: rarely, Jobs: sweepAlone})
	e := w.open(nil)
	e.Answer(down)
	p := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	w.advance(4 * 24 * time.Hour)
	w.post(http.StatusOK, "/v1/payments/"+p.ID+"/capture", body{})
	e.take(w.get(http.StatusOK, e.path))
	if !e.Enabled {
		t.Fatal("disabled after four days")
	}
	w.advance(25 * time.Hour)
	e.take(w.get(http.StatusOK, e.path))
	if e.Enabled || e.DisabledBy == nil || *e.DisabledBy != "failing" {
		t.Fatalf("after five days: %+v", e)
	}
	told := slices.DeleteFunc(w.shop.Received(), func(r shop.Webhook) bool { return r.Type != "endpoint.disabled" })
	if len(told) != 1 || told[0].EndpointID != e.ID || told[0].Err != nil {
		t.Errorf("the other endpoint was told %+v", told)
	}
	asked := len(e.Received())
	w.post(http.StatusCreated, "/v1/payments/"+p.ID+"/refund", body{"amount": 5000})
	w.advance(24 * time.Hour)
	if n := len(e.Received()); n != asked {
		t.Errorf("a disabled endpoint was asked %d times", n-asked)
	}

	e.Answer(nil)
	e.take(w.post(http.StatusOK, e.path+"/enable", body{}))
	w.advance(time.Minute)
	e.wantSet("payment.authorized", "payment.captured", "refund.created", "refund.succeeded", "payment.refunded")
}

// wantSet is wantTypes where the order is not promised.
func (e *endpoint) wantSet(types ...string) {
	e.w.t.Helper()
	got := e.types()
	slices.Sort(got)
	slices.Sort(types)
	if diff := cmp.Diff(types, got); diff != "" {
		e.w.t.Errorf("events (-want +got):\n%s", diff)
	}
}

// What is another merchant's does not exist, whatever is asked of it.
func TestAnothersWebhooksDoNotExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	e := w.open(nil)
	w.post(http.StatusAccepted, e.path+"/test", body{})
	e.wantTypes("endpoint.test")
	delivery := e.deliveries(nil)[0]
	replay := w.post(http.StatusAccepted, e.path+"/replay", body{"since": w.Clock.Now().Add(-time.Hour).UTC().Format(time.RFC3339)})

	stranger := enter(t, w.Stack)
	for _, path := range []string{
		e.path, "/v1/webhook-deliveries/" + delivery.ID, "/v1/webhook-replays/" + replay.ID, "/v1/events/" + delivery.EventID,
	} {
		stranger.get(http.StatusNotFound, path)
	}
	for _, path := range []string{
		e.path + "/rotate-secret", e.path + "/test", e.path + "/disable", e.path + "/enable",
		"/v1/webhook-replays/" + replay.ID + "/cancel", "/v1/webhook-deliveries/" + delivery.ID + "/redeliver",
	} {
		stranger.post(http.StatusNotFound, path, body{})
	}
	stranger.post(http.StatusNotFound, e.path+"/replay", body{"since": "2026-11-24T00:00:00Z"})
	stranger.patch(http.StatusNotFound, e.path, body{"ordered": true})
	stranger.delete(http.StatusNotFound, e.path)
	for _, list := range []string{"/v1/webhook-deliveries", "/v1/webhook-replays"} {
		if rows := all[answer](stranger, list, url.Values{"endpoint": {e.ID}}); len(rows) != 0 {
			t.Errorf("%s shows a stranger %v", list, rows)
		}
	}
	w.settle()
	e.wantTypes("endpoint.test")
}
