package clock

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func post(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHandler(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	var log []string
	c.Register(&diary{name: "d", clock: c, log: &log, plan: []time.Time{epoch, epoch.Add(30 * time.Hour)}})
	srv := httptest.NewServer(c.Handler())
	t.Cleanup(srv.Close)
	now := Remote(srv.URL)

	if got := now(); got != epoch {
		t.Errorf("remote time %s", got)
	}
	code, body := post(t, srv.URL+"/settle")
	if code != http.StatusOK || len(log) != 1 {
		t.Errorf("settle: %d %s, log %v", code, body, log)
	}
	code, body = post(t, srv.URL+"/advance?by=31h")
	var s Summary
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != http.StatusOK {
		t.Fatalf("advance: %d %s: %v", code, body, err)
	}
	if diff := cmp.Diff(Summary{From: epoch, To: epoch.Add(31 * time.Hour), Stops: 1}, s); diff != "" {
		t.Error(diff)
	}
	if got := now(); got != epoch.Add(31*time.Hour) {
		t.Errorf("remote time %s after the advance", got)
	}
	to := epoch.Add(40 * time.Hour)
	if code, body := post(t, srv.URL+"/advance?to="+url.QueryEscape(to.Format(time.RFC3339))); code != http.StatusOK {
		t.Errorf("advance to: %d %s", code, body)
	}
	if got := now(); got != to {
		t.Errorf("remote time %s", got)
	}
	if diff := cmp.Diff([]string{"d 0s", "d 30h0m0s"}, log); diff != "" {
		t.Error(diff)
	}
}

func TestHandlerRefusals(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	srv := httptest.NewServer(c.Handler())
	t.Cleanup(srv.Close)
	for query, want := range map[string]int{
		"":                               http.StatusBadRequest,
		"?by=soon":                       http.StatusBadRequest,
		"?by=-1h":                        http.StatusBadRequest,
		"?to=tomorrow":                   http.StatusBadRequest,
		"?by=1h&to=2030-01-01T00:00:00Z": http.StatusBadRequest,
		"?to=2020-01-01T00:00:00Z":       http.StatusInternalServerError, // only the clock knows that it is past
	} {
		if code, body := post(t, srv.URL+"/advance"+query); code != want {
			t.Errorf("%q: %d %s, want %d", query, code, body, want)
		}
	}
	if c.Now() != epoch {
		t.Errorf("clock moved to %s", c.Now())
	}
}

func TestRemoteOutlivesTheServer(t *testing.T) {
	t.Parallel()
	c := NewFrozen(epoch)
	srv := httptest.NewServer(c.Handler())
	now := Remote(srv.URL)
	heard := now()
	srv.Close()

	first := now()
	if first.Before(heard) || first.After(heard.Add(time.Minute)) {
		t.Errorf("without the server the time is %s, last heard %s", first, heard)
	}
	for second := now(); !second.After(first); second = now() {
		if t.Context().Err() != nil {
			t.Fatal("time stands still without the server")
		}
	}
}

func TestRemoteThatNeverAnsweredIsTheMachinesTime(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	before := time.Now().Truncate(time.Microsecond)
	got := Remote(srv.URL)()
	if got.Before(before) || got.After(time.Now()) {
		t.Errorf("got %s", got)
	}
}
