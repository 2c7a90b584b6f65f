package api

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/telemetry"
)

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
