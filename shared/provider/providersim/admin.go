package providersim

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// adminMux serves /_sim/, by which other processes do what Go code does with the
// simulator's methods. It asks for no key: it is for loopback.
func (g *rig) adminMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/plan", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, g.Plan())
	})
	mux.HandleFunc("PUT /_sim/plan", func(w http.ResponseWriter, r *http.Request) {
		var p Plan
		adminChange(w, r, &p, func() error { return g.SetPlan(p) })
	})
	mux.HandleFunc("POST /_sim/plan/inject", func(w http.ResponseWriter, r *http.Request) {
		var rule Rule
		adminChange(w, r, &rule, func() error { return g.Inject(rule) })
	})
	mux.HandleFunc("PUT /_sim/webhook", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			URL string `json:"url"`
		}
		adminChange(w, r, &in, func() error { g.SetWebhook(in.URL); return nil })
	})
	mux.HandleFunc("GET /_sim/effects", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Has("key") {
			writeJSON(w, http.StatusOK, g.EffectsFor(q.Get("key"), q.Get("value")))
			return
		}
		writeJSON(w, http.StatusOK, g.Effects())
	})
	mux.HandleFunc("GET /_sim/counters", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, g.Counters())
	})
	mux.HandleFunc("GET /_sim/due", func(w http.ResponseWriter, r *http.Request) {
		var out struct {
			Now     time.Time  `json:"now"`
			NextDue *time.Time `json:"next_due"`
		}
		out.Now = g.now()
		if at, ok := g.NextDue(); ok {
			out.NextDue = &at
		}
		writeJSON(w, http.StatusOK, out)
	})
	mux.HandleFunc("POST /_sim/due/run", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]int{"ran": g.RunDue(r.Context())})
	})
	mux.HandleFunc("POST /_sim/quiesce", func(w http.ResponseWriter, r *http.Request) {
		if err := g.Quiesce(r.Context()); err != nil {
			adminError(w, http.StatusServiceUnavailable, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// adminChange reads a JSON body into v and makes the change.
func adminChange(w http.ResponseWriter, r *http.Request, v any, change func() error) {
	if err := decodeStrict(r, v); err != nil {
		adminError(w, http.StatusBadRequest, err)
		return
	}
	if err := change(); err != nil {
		adminError(w, http.StatusBadRequest, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// decodeStrict reads a JSON body that has no unknown fields.
func decodeStrict(r *http.Request, v any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxRequestBytes))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

var errNotTaken = errors.New("the simulated account does not take this amount or currency")

func adminError(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("providersim: " + err.Error()) // only our own types come here
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
