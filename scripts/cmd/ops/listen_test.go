package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// screen is an output that can be waited for.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.text.Write(p)
}

// await waits until the screen shows the form, and returns what it found of it.
func (s *screen) await(t *testing.T, form string) []string {
	t.Helper()
	patience := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		shown, changed := s.text.String(), s.changed
		s.mu.Unlock()
		if found := regexp.MustCompile(form).FindStringSubmatch(shown); found != nil {
			return found
		}
		select {
		case <-changed:
		case <-patience:
			t.Fatalf("%s was not shown:\n%s", form, shown)
		}
	}
}

// desk is a developer's own server.
type desk struct {
	url string

	mu     sync.Mutex
	status int
	got    []*http.Request
	bodies [][]byte
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{status: http.StatusNoContent}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.got, d.bodies = append(d.got, r), append(d.bodies, body)
		w.WriteHeader(d.status)
		if d.status >= 300 {
			_, _ = io.WriteString(w, "the handler broke")
		}
	}))
	t.Cleanup(server.Close)
	d.url = server.URL + "/hook?from=tollgate"
	return d
}

func (d *desk) answers(status int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = status
}

func (d *desk) requests() ([]*http.Request, [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.got, d.bodies
}

// listening is a webhooks listen that runs until the test ends it.
type listening struct {
	*screen
	end func() (code int, problems string)
}

func (r *rig) listen(args ...string) listening {
	r.t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	l := listening{screen: newScreen()}
	var problems bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		w := world{lookup: config.Map(nil), now: nil, root: r.root, out: l.screen, problems: &problems}
		ended <- run(ctx, w, append([]string{"webhooks", "listen"}, args...))
	}()
	l.end = sync.OnceValues(func() (int, string) {
		interrupt()
		return <-ended, problems.String()
	})
	r.t.Cleanup(func() { l.end() })
	return l
}

// A developer's server gets a merchant's events at a desk, as they are, and what it answers is what Tollgate hears: a
// failure is tried again. In the end nothing is left of it.
func TestEventsAreHeardAtADesk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m, mine := r.merchant(), newDesk(t)
	l := r.listen("--forward-to", mine.url, "--merchant", m.Merchant)
	secret := l.await(t, `shown this once: (whsec_\S+)`)[1]
	endpoint := l.await(t, `come to the endpoint (we_[0-9a-z]{26}) and are forwarded to `+regexp.QuoteMeta(mine.url))[1]
	l.await(t, "Ctrl-C ends")

	p := r.pay(m)
	r.notify(p)
	r.advance(0)
	event := l.await(t, `(?m)^2027-03-01 09:00:00  --> payment.authorized  `+p+`  sequence 1  signature verified  \[(evt_[0-9a-z]{26})\]$`)[1]
	l.await(t, `(?m)^ {19}  <-- 204 No Content  \[`+event+`\]$`)

	mine.answers(http.StatusInternalServerError)
	r.notify(r.pay(m))
	r.advance(0)
	l.await(t, `<-- 500 Internal Server Error`)
	mine.answers(http.StatusOK)
	r.advance(2 * time.Minute)
	l.await(t, `--> payment.authorized .* attempt 2\]`)
	l.await(t, `<-- 200 OK  \[evt_[0-9a-z]{26}, attempt 2\]`)

	requests, bodies := mine.requests()
	if len(requests) != 3 || !bytes.Equal(bodies[1], bodies[2]) {
		t.Fatalf("the desk got %d requests", len(requests))
	}
	for i, req := range requests {
		if got := shop.Verify(secret, req.Header, bodies[i], r.clock.Now()); got.Err != nil {
			t.Errorf("request %d, as the desk got it: %v", i+1, got.Err)
		}
		if req.Method != http.MethodPost || req.URL.RequestURI() != "/hook?from=tollgate" || req.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request %d: %s %s %v", i+1, req.Method, req.URL, req.Header)
		}
	}
	// Tollgate kept what the desk said.
	var status, kept string
	err := r.pool.QueryRow(t.Context(), `
		SELECT d.status, coalesce(l.response_body, '') FROM webhook_deliveries d JOIN webhook_delivery_logs l ON l.delivery_id = d.id
		WHERE l.response_code = 500`).Scan(&status, &kept)
	if err != nil || status != "DELIVERED" || kept != "the handler broke" {
		t.Errorf("the delivery is %s, its first answer %q, %v", status, kept, err)
	}

	if code, problems := l.end(); code != exitDone || problems != "" {
		t.Errorf("it ended with %d: %s", code, problems)
	}
	l.await(t, endpoint+" is removed")
	if rows := asked[[]map[string]any](r, "endpoints", "list"); len(rows) != 0 {
		t.Errorf("it left %v", rows)
	}
}

// Without a target the events are shown and taken. Programs read lines of JSON.
func TestEventsAreShownAsJSON(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant() // the only one
	l := r.listen("--json", "--events", "payment.*")
	l.await(t, `"signing_secret":"whsec_`)
	r.notify(r.pay(m))
	r.advance(0)
	var h heard
	line := l.await(t, `(?m)^\{.*"type".*\}$`)[0]
	if err := json.Unmarshal([]byte(line), &h); err != nil || h.Type != "payment.authorized" || !h.Verified || h.Attempt != 1 || !h.At.Equal(epoch) {
		t.Errorf("%s: %v", line, err)
	}
	l.await(t, `"answered":200`)
	if code, problems := l.end(); code != exitDone || problems != "" {
		t.Errorf("it ended with %d: %s", code, problems)
	}
	for line := range strings.Lines(l.await(t, `(?s).*`)[0]) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// A target that is not there is a failure, which is shown, and nothing ends.
func TestADeskThatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	l := r.listen("--forward-to", "http://127.0.0.1:1/hook")
	l.await(t, "Ctrl-C ends")
	r.notify(r.pay(m))
	r.advance(0)
	l.await(t, `<-- no answer: .*refused`)
	var code int
	if err := r.pool.QueryRow(t.Context(), `SELECT response_code FROM webhook_delivery_logs`).Scan(&code); err != nil || code != http.StatusBadGateway {
		t.Errorf("Tollgate was answered %d, %v", code, err)
	}
}

func TestListeningIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.refused(exitFailed, "there are no merchants", "webhooks", "listen")
	m := r.merchant()
	r.refused(exitUsage, "--forward-to", "webhooks", "listen", "--forward-to", "localhost:3000")
	r.refused(exitFailed, "event_types", "webhooks", "listen", "--events", "payment.exploded")
	r.merchant()
	r.refused(exitUsage, "--merchant", "webhooks", "listen")
	r.refused(exitUsage, "mer_…", "webhooks", "listen", "--merchant", "shop")
	if rows := asked[[]map[string]any](r, "endpoints", "list", "--merchant", m.Merchant); len(rows) != 0 {
		t.Errorf("a refusal left %v", rows)
	}
	local, err := readState(r.root + "/" + stateFile)
	if err != nil {
		t.Fatal(err)
	}
	r.refused(exitFailed, "local stack alone", "webhooks", "listen", "--database-url", local.DatabaseURL)
}
