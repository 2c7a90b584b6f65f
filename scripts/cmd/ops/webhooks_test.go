package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// replayed is what replays tells a program.
type replayed struct {
	ID, State, Reason         string
	Endpoint                  string `json:"webhook_id"`
	Total, Delivered, Waiting int
	All                       bool `json:"include_delivered"`
}

// missing lists what never reached its endpoint.
func (r *rig) missing(flags ...string) []deliveryShown {
	r.t.Helper()
	return asked[[]deliveryShown](r, append([]string{"deliveries", "list", "--undelivered"}, flags...)...)
}

type deliveryShown struct {
	ID, Status string
	Payment    string `json:"payment_id"`
}

// An endpoint is down until everything is given up. An operator sees what it misses, and has it sent again.
func TestWhatAnEndpointMissedIsListedAndReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m, other := r.merchant("--webhook-url", r.endpoint.url), r.merchant()
	first := r.pay(m)
	r.notify(first)
	r.advance(time.Minute)
	r.endpoint.setDown(true)
	var lost []string
	for range 2 {
		lost = append(lost, r.pay(m))
		r.notify(lost[len(lost)-1])
		r.advance(2 * time.Minute)
	}
	shown := r.missing()
	if len(shown) != 2 || shown[0].Payment != lost[0] || shown[1].Payment != lost[1] || shown[0].Status != "EXHAUSTED" {
		t.Fatalf("undelivered: %+v, want those of %v", shown, lost)
	}
	if n := len(r.missing("--merchant", m.Merchant, "--endpoint", m.Endpoint)); n != 2 {
		t.Errorf("of the endpoint: %d", n)
	}
	if n := len(r.missing("--merchant", other.Merchant)); n != 0 {
		t.Errorf("of another merchant: %d", n)
	}
	if out := r.ops("endpoints", "list", "--failing"); !strings.Contains(out, m.Endpoint) || !strings.Contains(out, "failing") || !strings.Contains(out, r.endpoint.url) {
		t.Errorf("the failing endpoints:\n%s", out)
	}

	r.endpoint.setDown(false)
	begun := asked[replayed](r, "replays", "start", m.Endpoint, "--since", "3m")
	if begun.Endpoint != m.Endpoint || begun.Reason != "requested" {
		t.Errorf("begun: %+v", begun)
	}
	r.advance(time.Minute)
	if after := asked[replayed](r, "replays", "show", begun.ID); after.State != "done" || after.Total != 1 || after.Delivered != 1 {
		t.Errorf("the replay of three minutes: %+v", after)
	}
	all := asked[replayed](r, "replays", "start", m.Endpoint, "--since", "2027-03-01T09:00:00Z", "--all", "--events", "payment.authorized")
	r.advance(time.Minute)
	if after := asked[replayed](r, "replays", "show", all.ID); after.State != "done" || after.Total != 3 || after.Delivered != 3 || !after.All {
		t.Errorf("the replay of everything: %+v", after)
	}
	if n := r.endpoint.received(); n < 5 { // one at first, one of the first replay, three of the second
		t.Errorf("received %d", n)
	}
	if out := r.ops("deliveries", "list", "--undelivered"); !strings.Contains(out, "Everything was delivered") {
		t.Errorf("in the end:\n%s", out)
	}
	if out := r.ops("endpoints", "list", "--failing"); !strings.Contains(out, "All webhook endpoints answer") {
		t.Errorf("in the end:\n%s", out)
	}
	listed := asked[[]replayed](r, "replays", "list", m.Merchant, "--endpoint", m.Endpoint)
	if len(listed) < 2 || !strings.Contains(r.ops("replays", "list", m.Merchant), begun.ID) {
		t.Errorf("listed: %+v", listed)
	}
}

func TestAReplayIsCanceled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant("--webhook-url", r.endpoint.url)
	r.endpoint.setDown(true)
	r.notify(r.pay(m))
	r.advance(2 * time.Minute) // given up
	begun := asked[replayed](r, "replays", "start", m.Endpoint, "--since", "1h")
	if after := asked[replayed](r, "replays", "cancel", begun.ID); after.State != "canceled" {
		t.Errorf("canceled: %+v", after)
	}
	r.endpoint.setDown(false)
	r.advance(10 * time.Minute)
	if n := r.endpoint.received(); n != 0 {
		t.Errorf("it sent %d events", n)
	}
	if out := r.ops("replays", "show", begun.ID); !strings.Contains(out, "canceled") || !strings.Contains(out, m.Endpoint) {
		t.Errorf("shown:\n%s", out)
	}
}

func TestWrongReplaysAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant("--webhook-url", r.endpoint.url)
	r.refused(exitUsage, "--since TIME", "replays", "start", m.Endpoint)
	r.refused(exitUsage, "neither a time", "replays", "start", m.Endpoint, "--since", "yesterday")
	r.refused(exitUsage, "we_…", "replays", "start", m.Merchant, "--since", "1h")
	r.refused(exitFailed, "there is no we_", "replays", "start", "we_"+strings.TrimPrefix(m.Merchant, "mer_"), "--since", "1h")
	r.refused(exitFailed, "until must be after since", "replays", "start", m.Endpoint, "--since", "1h", "--until", "2h")
	r.refused(exitFailed, "there is no whr_", "replays", "show", "whr_"+strings.TrimPrefix(m.Merchant, "mer_"))
	r.refused(exitUsage, "--undelivered or --exhausted", "deliveries", "list")
	r.refused(exitUsage, "go with --undelivered", "deliveries", "list", "--exhausted", "--merchant", m.Merchant)
	if out := r.ops("replays", "list", m.Merchant); !strings.Contains(out, "no replays") {
		t.Errorf("after the refusals:\n%s", out)
	}
}

// endpointOf is an endpoint as it is listed.
func (r *rig) endpointOf(m made) (e struct {
	State, URL  string
	Undelivered int
	Why         string `json:"disabled_reason"`
},
) {
	r.t.Helper()
	out := r.ops("endpoints", "list", "--merchant", m.Merchant, "--json")
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		r.t.Fatalf("listed %s, %v", out, err)
	}
	if err := json.Unmarshal(all[0], &e); err != nil {
		r.t.Fatal(err)
	}
	return e
}

// An operator turns an endpoint off, and on again when its merchant has mended it.
func TestAnEndpointIsDisabledAndEnabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant("--webhook-url", r.endpoint.url)
	r.refused(exitUsage, "--why TEXT", "endpoints", "disable", m.Endpoint)
	r.refused(exitFailed, "there is no we_", "endpoints", "disable", "we_"+strings.TrimPrefix(m.Merchant, "mer_"), "--why", "x")
	if out := r.ops("endpoints", "disable", m.Endpoint, "--why", "it floods us with redirects"); !strings.Contains(out, "kept") {
		t.Errorf("said %s", out)
	}
	r.notify(r.pay(m))
	r.advance(time.Hour)
	if e := r.endpointOf(m); e.State != "disabled (operator)" || e.Why != "it floods us with redirects" || e.Undelivered != 1 || e.URL != r.endpoint.url {
		t.Errorf("disabled: %+v", e)
	}
	if out := r.ops("endpoints", "enable", m.Endpoint); strings.Contains(out, "replay") {
		t.Errorf("said %s", out)
	}
	r.advance(time.Hour)
	if e := r.endpointOf(m); e.State != "enabled" || e.Undelivered != 1 || r.endpoint.received() != 0 {
		t.Errorf("enabled without what it missed: %+v, received %d", e, r.endpoint.received())
	}

	r.ops("endpoints", "disable", m.Endpoint, "--why", "again")
	r.notify(r.pay(m))
	r.advance(time.Hour)
	out := r.ops("endpoints", "enable", m.Endpoint, "--replay-missed")
	replay := regexp.MustCompile(`whr_[0-9a-z]{26}`).FindString(out)
	r.advance(time.Minute)
	if after := asked[replayed](r, "replays", "show", replay); after.State != "done" || after.Reason != "enabled" || after.Total != 1 {
		t.Errorf("the replay: %+v", after)
	}
	if e := r.endpointOf(m); e.State != "enabled" || e.Undelivered != 1 || r.endpoint.received() != 1 {
		t.Errorf("enabled with what it missed: %+v, received %d", e, r.endpoint.received())
	}
}
