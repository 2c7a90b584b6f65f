package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/telemetry"
)

// net/http holds back the last of an answer until its handler has returned; a request is in
// flight until then, and not longer.
func TestAnAnswerHasLeftBeforeItCountsAsGiven(t *testing.T) {
	t.Parallel()
	var d inFlight
	for name, c := range map[string]struct {
		length, body string
		left         bool
	}{
		"as all of ours are": {"2", "{}", true},
		"empty":              {"0", "", true},
		"a stream":           {"", "a,b,c", false}, // its end is net/http's to write
	} {
		rec := httptest.NewRecorder()
		d.counted(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if d.count() != 1 {
				t.Errorf("%s: %d requests in flight", name, d.count())
			}
			if c.length != "" {
				w.Header().Set("Content-Length", c.length)
			}
			_, _ = io.WriteString(w, c.body)
		})).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		if rec.Flushed != c.left || d.count() != 0 {
			t.Errorf("%s: left %t, %d requests in flight", name, rec.Flushed, d.count())
		}
	}
}

// What is in flight is waited for, and what begins meanwhile too, but not for ever: the
// parts are closed in any case, before the platform kills the process.
func TestDraining(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		requests func(*inFlight)
		took     time.Duration
		said     string
	}{
		"nothing": {func(*inFlight) {}, flushPause, `"in_flight":0`},
		"one, and then another": {func(d *inFlight) {
			d.begin()
			go func() {
				<-time.After(2 * time.Second)
				d.end()
				<-time.After(flushPause / 2) // while it is believed to be over
				d.begin()
				<-time.After(time.Second)
				d.end()
			}()
		}, 3*time.Second + flushPause/2 + flushPause, `"in_flight":1`},
		"one that does not end": {func(d *inFlight) { d.begin() }, drainTimeout + flushPause, "requests are broken off"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var d inFlight
			var log strings.Builder
			closed := false
			env := Env{Log: telemetry.NewLogger(&log, slog.LevelInfo, "x"), Lifecycle: &Lifecycle{}}
			env.Lifecycle.Closes("database", func(context.Context) error {
				closed = true
				return nil
			})
			c.requests(&d)
			began := time.Now()
			drain(&d, env)
			if took := time.Since(began); took != c.took || !closed || !env.Lifecycle.ends() || !strings.Contains(log.String(), c.said) {
				t.Errorf("%s: took %v, want %v; closed %t\n%s", name, took, c.took, closed, log.String())
			}
		})
	}
	if most := drainTimeout + flushPause + closeTimeout; most >= 10*time.Second {
		t.Errorf("draining takes up to %v, and SIGKILL comes after 10 s", most)
	}
}
