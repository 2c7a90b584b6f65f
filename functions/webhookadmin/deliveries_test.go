package webhookadmin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
)

// An endpoint is down until its delivery is given up; its merchant sees that, and has it
// sent again.
func TestUndeliveredUntilRedelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.endpoint("").Text("id")
	w.answers(http.StatusServiceUnavailable)
	p := w.happen()
	w.Advance(0)
	tried := w.only("?undelivered=true&endpoint=" + e)
	if tried["status"] != "PENDING" || tried["attempt_count"] != 1.0 || tried["response_code"] != 503.0 || tried["next_retry_at"] == nil ||
		tried["transaction_id"] != p.ID || tried["event_type"] != "payment.captured" || tried["webhook_id"] != e {
		t.Errorf("while it is tried: %v", tried)
	}
	at := deliveries + "/" + tried["id"].(string)
	w.do(http.StatusConflict, "POST", at+"/redeliver", "{}")
	w.Advance(2 * time.Minute)
	given := w.do(http.StatusOK, "GET", at, "")
	attempts, _ := given.Member("attempts").([]any)
	if given.Text("status") != "EXHAUSTED" || len(attempts) != 2 || given.Member("delivered_at") != nil {
		t.Fatalf("given up: %s", given.Body)
	}
	if first, _ := attempts[0].(map[string]any); first["number"] != 1.0 || first["outcome"] != "status_5xx" || first["response_code"] != 503.0 {
		t.Errorf("the first attempt: %v", attempts[0])
	}
	w.received()

	w.answers(http.StatusOK)
	again := w.do(http.StatusAccepted, "POST", at+"/redeliver", "{}")
	if again.Text("status") != "PENDING" || again.Text("event_id") != tried["event_id"] {
		t.Errorf("redelivered: %s", again.Body)
	}
	w.Advance(time.Second)
	posts := w.received()
	if len(posts) != 1 || posts[0].header.Get("webhook-id") != tried["event_id"] {
		t.Errorf("%d posts of %v", len(posts), tried["event_id"])
	}
	if list := data(w.do(http.StatusOK, "GET", deliveries+"?undelivered=true", "")); len(list) != 0 {
		t.Errorf("undelivered: %v", list)
	}
	if d := w.do(http.StatusOK, "GET", at, ""); d.Text("status") != "DELIVERED" || d.Member("delivered_at") == nil || len(d.Member("attempts").([]any)) != 3 {
		t.Errorf("in the end: %s", d.Body)
	}
	// Also what arrived can be sent again.
	w.do(http.StatusAccepted, "POST", at+"/redeliver", "{}")
	w.Advance(time.Second)
	if posts := w.received(); len(posts) != 1 {
		t.Errorf("%d posts", len(posts))
	}
	w.do(http.StatusOK, "POST", endpoints+"/"+e+"/disable", "{}")
	w.do(http.StatusConflict, "POST", at+"/redeliver", "{}")
}

// A redelivery is in the database when the queue is away, and so is the answer's promise.
func TestRedeliveryWithoutAQueueIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("")
	w.happen()
	w.Advance(time.Second)
	at := deliveries + "/" + w.only("?status=DELIVERED")["id"].(string)
	w.Tasks.Stop()
	if a := w.do(http.StatusAccepted, "POST", at+"/redeliver", "{}"); a.Text("status") != "PENDING" {
		t.Errorf("got %s", a.Body)
	}
	w.Tasks.Start()
	w.received()
	w.Advance(5 * time.Minute)
	if made, err := w.webhooks.DueWithoutTask(t.Context(), 10); made != 1 || err != nil {
		t.Fatalf("the sweep made %d tasks, %v", made, err)
	}
	w.Advance(0)
	if posts := w.received(); len(posts) != 1 {
		t.Errorf("%d posts", len(posts))
	}
}

func TestReplays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.endpoint("").Text("id")
	w.answers(http.StatusBadRequest)
	before := w.Clock.Now()
	w.Advance(time.Second)
	for range 3 {
		w.happen()
		w.Advance(2 * time.Minute)
	}
	w.Exec(`UPDATE webhook_endpoints SET failing_since = NULL, failures = 0, open_until = NULL, probe_at = NULL`) // so that nothing begins by itself
	w.received()
	w.answers(http.StatusOK)
	start := func(body string) apitest.Answer {
		return w.do(http.StatusAccepted, "POST", endpoints+"/"+e+"/replay", body)
	}
	since := `{"since":"` + before.Format(time.RFC3339) + `"`
	none := start(since + `,"event_types":["refund.*"]}`)
	w.Advance(time.Minute)
	if a := w.do(http.StatusOK, "GET", replays+"/"+none.Text("id"), ""); a.Text("state") != "done" || a.Member("total") != 0.0 {
		t.Errorf("of refunds: %s", a.Body)
	}
	made := start(since + `,"event_types":["payment.*"]}`)
	if made.Text("state") != "collecting" || made.Text("reason") != "requested" || made.Text("webhook_id") != e || made.Member("include_delivered") != false {
		t.Errorf("made %s", made.Body)
	}
	w.Advance(time.Minute)
	done := w.do(http.StatusOK, "GET", replays+"/"+made.Text("id"), "")
	if done.Text("state") != "done" || done.Member("total") != 3.0 || done.Member("delivered") != 3.0 || done.Member("finished_at") == nil {
		t.Errorf("done %s", done.Body)
	}
	if posts := w.received(); len(posts) != 3 {
		t.Errorf("%d posts", len(posts))
	}
	took := data(w.do(http.StatusOK, "GET", deliveries+"?replay="+made.Text("id"), ""))
	if len(took) != 3 || took[0]["replay_id"] != made.Text("id") {
		t.Errorf("it took %v", took)
	}
	all := start(since + `,"include_delivered":true}`)
	if canceled := w.do(http.StatusOK, "POST", replays+"/"+all.Text("id")+"/cancel", "{}"); canceled.Text("state") != "canceled" {
		t.Errorf("canceled %s", canceled.Body)
	}
	w.do(http.StatusOK, "POST", replays+"/"+all.Text("id")+"/cancel", "{}")
	w.Advance(time.Minute)
	if posts := w.received(); len(posts) != 0 {
		t.Errorf("%d posts of a canceled replay", len(posts))
	}

	// The latest first, a page at a time.
	want := []string{all.Text("id"), made.Text("id"), none.Text("id")}
	var seen []string
	for target := replays + "?limit=2&endpoint=" + e; target != ""; {
		a := w.do(http.StatusOK, "GET", target, "")
		for _, r := range data(a) {
			seen = append(seen, r["id"].(string))
		}
		target = ""
		if next := a.Text("next_cursor"); next != "" {
			target = replays + "?limit=2&endpoint=" + e + "&cursor=" + url.QueryEscape(next)
		}
	}
	if !slices.Equal(seen, want) {
		t.Errorf("listed %v; want %v", seen, want)
	}
}

// What happens while an endpoint is disabled is kept, and sent when it is enabled.
func TestEnableReplaysWhatWasMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.endpoint("").Text("id")
	w.do(http.StatusOK, "POST", endpoints+"/"+e+"/disable", "{}")
	w.Advance(time.Hour)
	p := w.happen()
	w.Advance(time.Hour)
	if kept := w.only("?undelivered=true"); kept["status"] != "ABANDONED" || kept["transaction_id"] != p.ID {
		t.Errorf("kept %v", kept)
	}
	a := w.do(http.StatusOK, "POST", endpoints+"/"+e+"/enable", `{"replay_missed":true}`)
	w.Advance(time.Minute)
	if posts := w.received(); len(posts) != 1 {
		t.Errorf("%d posts", len(posts))
	}
	if r := w.do(http.StatusOK, "GET", replays+"/"+a.Text("replay_id"), ""); r.Text("reason") != "enabled" || r.Text("state") != "done" || r.Member("delivered") != 1.0 {
		t.Errorf("replay %s", r.Body)
	}
}

func TestListsInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.endpoint("").Text("id")
	var payments []string
	for range 5 {
		payments = append([]string{w.happen().ID}, payments...)
		w.Advance(time.Second)
	}
	for _, list := range []struct{ target, member string }{
		{deliveries + "?limit=2&endpoint=" + e + "&event_type=payment.*&status=DELIVERED,PENDING", "transaction_id"},
		{"/v1/events?limit=2&type=payment.captured,refund.*", "data.payment.id"},
	} {
		var seen []string
		target := list.target
		for page := range 3 {
			a := w.do(http.StatusOK, "GET", target, "")
			if (a.Member("has_more") == true) != (page < 2) {
				t.Fatalf("page %d: %s", page, a.Body)
			}
			for _, item := range data(a) {
				text, err := json.Marshal(item)
				check(t, err)
				seen = append(seen, apitest.Answer{Body: text}.Text(list.member))
			}
			target = list.target + "&cursor=" + url.QueryEscape(a.Text("next_cursor"))
		}
		if !slices.Equal(seen, payments) {
			t.Errorf("%s: seen %v; want %v", list.target, seen, payments)
		}
	}
	newest := payments[0]
	stamp := url.QueryEscape(w.Clock.Now().Add(-1500 * time.Millisecond).Format(time.RFC3339Nano))
	for _, query := range []string{"payment=" + newest, "created_after=" + stamp} {
		if d := w.only("?" + query); d["transaction_id"] != newest {
			t.Errorf("%s: %v", query, d)
		}
		events := data(w.do(http.StatusOK, "GET", "/v1/events?"+query, ""))
		if len(events) != 1 || w.only("?event=" + events[0]["id"].(string))["transaction_id"] != newest {
			t.Errorf("%s: %v", query, events)
		}
	}
	if list := data(w.do(http.StatusOK, "GET", deliveries+"?undelivered=true", "")); len(list) != 0 {
		t.Errorf("undelivered: %v", list)
	}
}
