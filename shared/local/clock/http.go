package clock

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Handler serves the clock to other processes and to operators:
//
//	GET  /now                     the time, RFC 3339 with its fraction, as plain text
//	POST /advance?by=31h          moves it by a Go duration
//	POST /advance?to=2026-…Z      moves it to an RFC 3339 instant
//	POST /settle                  runs what is due now
//
// The POSTs answer when everything is done, with a Summary as JSON. A wrong query is a 400, an advance that could not
// be finished a 500 that says where it stopped.
func (c *Clock) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /now", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, c.Now().Format(time.RFC3339Nano))
	})
	mux.HandleFunc("POST /advance", func(w http.ResponseWriter, r *http.Request) {
		target, err := parseTarget(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.serveAdvance(w, r, target)
	})
	mux.HandleFunc("POST /settle", func(w http.ResponseWriter, r *http.Request) {
		c.serveAdvance(w, r, func(now time.Time) time.Time { return now })
	})
	return mux
}

func (c *Clock) serveAdvance(w http.ResponseWriter, r *http.Request, target func(time.Time) time.Time) {
	s, err := c.advance(r.Context(), target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}

func parseTarget(q url.Values) (func(now time.Time) time.Time, error) {
	by, to := q.Get("by"), q.Get("to")
	switch {
	case (by == "") == (to == ""):
		return nil, errors.New("give either by (a duration such as 31h) or to (an RFC 3339 time)")
	case by != "":
		d, err := time.ParseDuration(by)
		if err == nil && d < 0 {
			err = errors.New("by: the clock cannot turn back")
		}
		return func(now time.Time) time.Time { return now.Add(d) }, err
	default:
		t, err := time.Parse(time.RFC3339, to)
		return func(time.Time) time.Time { return t }, err
	}
}

// Remote reads the clock that another process serves at baseURL; each call is one request over a kept connection, so
// an advance is seen at once. When the server cannot be reached the time flows on from the last one heard, or is the
// machine's own if none ever was: a process that outlives the clock keeps working.
func Remote(baseURL string) func() time.Time {
	r := &remote{
		url: strings.TrimSuffix(baseURL, "/") + "/now",
		client: &http.Client{
			Timeout:   2 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute},
		},
	}
	return r.now
}

type remote struct {
	url    string
	client *http.Client

	mu    sync.Mutex
	last  time.Time
	heard time.Time // the real instant, with its monotonic reading, at which last was heard
}

func (r *remote) now() time.Time {
	t, err := r.ask()

	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.last, r.heard = t, time.Now()
		return t
	}
	if r.heard.IsZero() {
		return time.Now().UTC().Truncate(time.Microsecond)
	}
	return r.last.Add(time.Since(r.heard)).Truncate(time.Microsecond)
}

func (r *remote) ask() (time.Time, error) {
	resp, err := r.client.Get(r.url)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, string(body))
	return t.UTC(), err
}
