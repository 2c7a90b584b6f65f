package main

import (
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
