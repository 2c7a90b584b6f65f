package stack

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// condition is a function's answer to a probe.
type condition struct {
	code   int
	Status string
	Checks map[string]string
}

func probe(t *testing.T, s *Stack, function, name string) (c condition) {
	t.Helper()
	resp, err := http.Get(s.hosts.URL(function) + "/health/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err != nil {
		t.Fatalf("%s %s: %v %s", function, name, err, body)
	}
	c.code = resp.StatusCode
	return c
}

type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Every function answers its probes, by what it depends on, and goes on without the rest.
func TestEveryFunctionTellsHowItIs(t *testing.T) {
	t.Parallel()
	said := &log{}
	s, err := Start(t.Context(), Options{DatabaseURL: pgtest.New(t), Log: said})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	calls, shares := map[string]bool{}, map[string]bool{} // who calls providers, and who has the control plane
	for _, f := range functions {
		_, calls[f.name] = f.variables(s.hosts)["STRIPE_SECRET_KEY"]
		shares[f.name] = calls[f.name] || f.name == "settle"
		if got, want := probe(t, s, f.name, "startup"), (condition{200, "ok", map[string]string{"schema": "ok"}}); !cmp.Equal(got, want, unexported) {
			t.Errorf("%s starts: %+v, want %+v", f.name, got, want)
		}
		if got := probe(t, s, f.name, "liveness"); got.code != 200 || got.Status != "ok" {
			t.Errorf("%s lives: %+v", f.name, got)
		}
		want := condition{200, "ok", map[string]string{"database": "ok"}}
		if shares[f.name] {
			want.Checks["control_plane"] = "ok"
		}
		if calls[f.name] {
			maps.Copy(want.Checks, map[string]string{"stripe": "ok", "paypal": "ok", "bank": "ok"})
		}
		if got := probe(t, s, f.name, "readiness"); !cmp.Equal(got, want, unexported) {
			t.Errorf("%s is ready: %+v, want %+v", f.name, got, want)
		}
	}
	if resp, err := http.Get(s.GatewayURL + "/health/readiness"); err != nil || resp.StatusCode != http.StatusNotFound || resp.Body.Close() != nil {
		t.Errorf("through the gateway: %v, %v", resp, err)
	}
	if text := said.String(); strings.Contains(text, `"message":"request"`) || strings.Contains(text, "healthy") {
		t.Errorf("probes are in the log:\n%s", text)
	}

	// An open circuit, and then no control plane: said, and no reason to be called less.
	if err := breaker.Force(t.Context(), s.Control, stripe.Name, breaker.ForcedOpen, "op", "incident 17", s.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Advance(t.Context(), 3*time.Second); err != nil { // past the age of what the instances know
		t.Fatal(err)
	}
	if got := probe(t, s, "createpayment", "readiness"); got.code != 200 || got.Status != "degraded" || got.Checks["stripe"] != "degraded" || got.Checks["paypal"] != "ok" {
		t.Errorf("with an open circuit: %+v", got)
	}
	if got := probe(t, s, "getpayment", "readiness"); got.code != 200 || got.Status != "ok" {
		t.Errorf("who calls no provider, with an open circuit: %+v", got)
	}
	if err := s.TakeAway(ControlPlane); err != nil {
		t.Fatal(err)
	}
	for _, f := range functions {
		got, want := probe(t, s, f.name, "readiness"), "ok"
		if shares[f.name] {
			want = "degraded"
		}
		if got.code != 200 || got.Status != want || shares[f.name] && got.Checks["control_plane"] != "degraded" {
			t.Errorf("%s without the control plane: %+v", f.name, got)
		}
		if got := probe(t, s, f.name, "startup"); got.code != 200 {
			t.Errorf("%s would not start without the control plane: %+v", f.name, got)
		}
	}
	if text := said.String(); !strings.Contains(text, `"check":"control_plane"`) || !strings.Contains(text, "incident 17") {
		t.Errorf("the log does not tell what is not healthy:\n%s", text)
	}
}

var unexported = cmp.AllowUnexported(condition{})
