package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Probe is a question of the platform's about one instance of a function, asked at
// /health/ and its name. terraform sets how often and how long.
type Probe string

// The probes.
const (
	// Startup: may it get its first request? Its schema fits, and it has a connection.
	Startup Probe = "startup"
	// Readiness: may it get more? A connection is to be had. What it can do without is
	// looked at too, and said; no provider is called.
	Readiness Probe = "readiness"
	// Liveness: does it answer at all? Nothing outside of it counts: to start it anew
	// brings back no database.
	Liveness Probe = "liveness"
)

// patience is how long an answer waits for what is checked. Together with the way there
// and back it stays below the platform's own time: 1 s, 3 s and 5 s (terraform).
var patience = map[Probe]time.Duration{
	Startup:   900 * time.Millisecond,
	Readiness: 2500 * time.Millisecond,
	Liveness:  0,
}

const healthPath = "/health/"

// The words of an answer.
const (
	healthy   = "ok"
	degraded  = "degraded" // something is away that the function goes on without
	unhealthy = "failing"
	draining  = "draining" // it ends, once what is in flight is answered
)

// health answers the probes of one function. A probe is no request: it needs no
// credentials, is neither logged nor counted as one, and passes no admission. What it
// finds is logged when it changes.
type health struct {
	env      Env
	function string
}

// probeOf is the probe that a request is; "" if it is none.
func probeOf(r *http.Request) Probe {
	name, ok := strings.CutPrefix(r.URL.Path, healthPath)
	if _, known := patience[Probe(name)]; !ok || !known || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	return Probe(name)
}

// condition is the answer to a probe. It names what was looked at and tells nothing more:
// anybody may read it.
type condition struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
}

func (h *health) serve(w http.ResponseWriter, r *http.Request, p Probe) {
	began := h.env.Now()
	// Whoever has asked may have gone; what is found holds for the next.
	ctx := context.WithoutCancel(r.Context())
	found := h.look(ctx, p)
	status := http.StatusOK
	if found.Status == unhealthy || found.Status == draining {
		status = http.StatusServiceUnavailable
	}
	body, _ := json.Marshal(found) // strings, which always marshal
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // who does not listen asks again
	h.env.Metrics.HealthCheck(ctx, h.function, string(p), h.env.Now().Sub(began))
}

func (h *health) look(ctx context.Context, p Probe) condition {
	checks := h.env.Lifecycle.of(p)
	ctx, cancel := context.WithTimeout(ctx, patience[p])
	defer cancel()
	results := make([]error, len(checks))
	var looking sync.WaitGroup
	for i, c := range checks {
		looking.Go(func() { results[i] = c.look(ctx) })
	}
	looking.Wait()

	found := condition{Status: healthy, Checks: make(map[string]string, len(checks))}
	for i, c := range checks {
		h.tell(ctx, p, c, results[i])
		switch {
		case results[i] == nil:
			found.Checks[c.Name] = healthy
		case c.Optional:
			found.Checks[c.Name] = degraded
			if found.Status == healthy {
				found.Status = degraded
			}
		default:
			found.Checks[c.Name], found.Status = unhealthy, unhealthy
		}
	}
	if p == Readiness && h.env.Lifecycle.ends() {
		found.Status = draining
	}
	return found
}

// tell counts what is not well, and logs when that changes: probes come each second.
func (h *health) tell(ctx context.Context, p Probe, c *registered, err error) {
	if err != nil {
		h.env.Metrics.HealthCheckFailed(ctx, h.function, string(p), c.Name)
	}
	if c.bad.Swap(err != nil) == (err != nil) {
		return
	}
	if err != nil {
		h.env.Log.WarnContext(ctx, "not healthy", "function", h.function, "probe", string(p), "check", c.Name, "error", err.Error())
		return
	}
	h.env.Log.InfoContext(ctx, "healthy again", "function", h.function, "probe", string(p), "check", c.Name)
}

func (l *Lifecycle) ends() bool { return l != nil && l.draining.Load() }
