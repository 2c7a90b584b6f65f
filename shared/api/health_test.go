package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// patient is a function whose health a test decides.
type patient struct {
	handler http.Handler
	life    *Lifecycle
	log     *strings.Builder
	metrics *sdk.ManualReader
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{life: &Lifecycle{}, log: &strings.Builder{}, metrics: sdk.NewManualReader()}
	m, err := telemetry.NewMetrics(sdk.NewMeterProvider(sdk.WithReader(p.metrics)))
	if err != nil {
		t.Fatal(err)
	}
	env := Env{
		Now: time.Now, NewID: id.Source{Now: time.Now}.New, Log: telemetry.NewLogger(p.log, slog.LevelInfo, "x"),
		Metrics: m, Lifecycle: p.life,
	}
	p.handler = Handle(env, "x", "POST", func(*http.Request) (Response, error) { return Response{Status: http.StatusNoContent}, nil })
	return p
}

func (p *patient) ask(method, path string) (int, string) {
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec.Code, rec.Body.String()
}

// measured lists the metrics with how often each was.
func (p *patient) measured(t *testing.T) map[string]int {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := p.metrics.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					counts[m.Name] += int(point.Count)
				}
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					counts[m.Name] += int(point.Value)
				}
			}
		}
	}
	return counts
}

func TestProbes(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	var bad error
	p.life.Check(Check{Name: "schema", Probe: Startup, Within: time.Second, Do: func(context.Context) error { return bad }})
	p.life.Check(Check{Name: "database", Probe: Readiness, Within: time.Second, Do: func(context.Context) error { return bad }})
	var away error
	p.life.Check(Check{Name: "control_plane", Probe: Readiness, Within: time.Second, Optional: true, Do: func(context.Context) error { return away }})
	expect := func(path string, code int, body string) {
		t.Helper()
		if gotCode, gotBody := p.ask("GET", path); gotCode != code || gotBody != body {
			t.Errorf("%s: %d %s, want %d %s", path, gotCode, gotBody, code, body)
		}
	}
	expect("/health/startup", 200, `{"status":"ok","checks":{"schema":"ok"}}`)
	expect("/health/readiness", 200, `{"status":"ok","checks":{"control_plane":"ok","database":"ok"}}`)
	expect("/health/liveness", 200, `{"status":"ok"}`)
	away = errors.New("no Firestore at firestore.googleapis.com")
	expect("/health/readiness", 200, `{"status":"degraded","checks":{"control_plane":"degraded","database":"ok"}}`)
	bad = errors.New("no route to 10.0.0.3 for run-x@project.iam")
	expect("/health/startup", 503, `{"status":"failing","checks":{"schema":"failing"}}`)
	expect("/health/readiness", 503, `{"status":"failing","checks":{"control_plane":"degraded","database":"failing"}}`)
	expect("/health/readiness", 503, `{"status":"failing","checks":{"control_plane":"degraded","database":"failing"}}`)
	expect("/health/liveness", 200, `{"status":"ok"}`)
	bad, away = nil, nil
	expect("/health/readiness", 200, `{"status":"ok","checks":{"control_plane":"ok","database":"ok"}}`)
	p.life.draining.Store(true)
	expect("/health/readiness", 503, `{"status":"draining","checks":{"control_plane":"ok","database":"ok"}}`)
	expect("/health/startup", 200, `{"status":"ok","checks":{"schema":"ok"}}`)
	expect("/health/liveness", 200, `{"status":"ok"}`)

	// Each change is told once, and no probe is a request.
	text := p.log.String()
	for said, times := range map[string]int{
		"not healthy": 3, "healthy again": 3, "10.0.0.3": 2, "firestore.googleapis.com": 1, `"message":"request"`: 0, "Request-Id": 0,
	} {
		if got := strings.Count(text, said); got != times {
			t.Errorf("the log has %q %d times, want %d:\n%s", said, got, times, text)
		}
	}
	counts := p.measured(t)
	if counts["health_check_duration_seconds"] != 12 || counts["health_check_failures_total"] != 6 || counts["http_requests_total"] != 0 {
		t.Errorf("measured: %v", counts)
	}
}

func TestWhatIsNoProbeIsARequest(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"HEAD", "/health/startup", 200},
		{"GET", "/health/", 405},
		{"GET", "/health/other", 405},
		{"GET", "/health/startup/", 405},
		{"GET", "/Health/startup", 405},
		{"POST", "/health/startup", 204},
		{"DELETE", "/health/liveness", 405},
	} {
		if code, body := p.ask(c.method, c.path); code != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, code, body, c.want)
		}
	}
	if counts := p.measured(t); counts["http_requests_total"] != 6 {
		t.Errorf("measured: %v", counts)
	}
}

// Whatever a check does, the answer comes within the probe's time.
func TestAnswersComeInTime(t *testing.T) {
	t.Parallel()
	for probe, most := range map[Probe]time.Duration{Startup: time.Second, Readiness: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p := newPatient(t)
			never := make(chan struct{})
			p.life.Check(Check{Name: "deaf", Probe: probe, Within: time.Second, Do: func(context.Context) error { <-never; return nil }})
			p.life.Check(Check{Name: "wild", Probe: probe, Within: time.Second, Do: func(context.Context) error { panic("nil map") }})
			p.life.Check(Check{Name: "well", Probe: probe, Within: time.Second, Do: func(context.Context) error { return nil }})
			for range 3 {
				began := time.Now()
				code, body := p.ask("GET", "/health/"+string(probe))
				if took := time.Since(began); took >= most {
					t.Errorf("%s took %v, and has %v", probe, took, most)
				}
				if want := `{"status":"failing","checks":{"deaf":"failing","well":"ok","wild":"failing"}}`; code != 503 || body != want {
					t.Errorf("%s: %d %s", probe, code, body)
				}
			}
			close(never)
			synctest.Wait()
		})
	}
}

// A connection that takes longer to make than a probe waits is there for a later one, and
// however many ask, one is made.
func TestAProbeJoinsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		begun := 0
		p.life.Check(Check{Name: "schema", Probe: Startup, Within: 5 * time.Second, Do: func(ctx context.Context) error {
			begun++
			select {
			case <-time.After(1500 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				if code, body := p.ask("GET", "/health/startup"); code != 503 {
					t.Errorf("at first: %d %s", code, body)
				}
			})
		}
		asking.Wait()
		if code, body := p.ask("GET", "/health/startup"); code != 200 || begun != 1 {
			t.Errorf("then: %d %s; begun %d times", code, body, begun)
		}
	})
}

func TestPartsAreClosedInOrderAndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var life Lifecycle
		var closed []string
		never := make(chan struct{})
		part := func(name string, err error) {
			life.Closes(name, func(context.Context) error {
				closed = append(closed, name)
				return err
			})
		}
		part("telemetry", nil)
		part("database", errors.New("broken"))
		life.Closes("wild", func(context.Context) error { panic("closed twice") })
		part("topics", nil)
		var log strings.Builder
		logger := telemetry.NewLogger(&log, slog.LevelInfo, "x")
		done := strings.Join(life.Close(t.Context(), logger), " ")
		if again := life.Close(t.Context(), logger); again != nil {
			t.Errorf("closed twice: %v", again)
		}
		if got := strings.Join(closed, " "); got != "topics database telemetry" || done != "topics telemetry" {
			t.Errorf("closed %s, without trouble %s", got, done)
		}
		if said := log.String(); !strings.Contains(said, "broken") || !strings.Contains(said, "closed twice") {
			t.Errorf("the log says %s", said)
		}

		life.Closes("deaf", func(context.Context) error { <-never; return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		life.Close(ctx, logger)
		if took := time.Since(began); took != time.Second {
			t.Errorf("closing took %v", took)
		}
		close(never)

		var none *Lifecycle // as in tests that don't care
		none.Check(Check{})
		none.Closes("x", nil)
		none.Close(t.Context(), logger)
	})
}

// The platform waits longer than an answer takes, asks where it is given, and gives a
// function 150 s to start.
func TestTerraformAsksTheProbes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../terraform/modules/function/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	for p, most := range patience {
		block := regexp.MustCompile(`(?s)\b` + string(p) + `_probe"? \{.*?path = "([^"]*)"`).FindSubmatch(text)
		if block == nil || string(block[1]) != healthPath+string(p) {
			t.Errorf("terraform asks %s at %q", p, block)
			continue
		}
		number := func(argument string) int {
			found := regexp.MustCompile(argument + `\s*= (\d+)`).FindSubmatch(block[0])
			if found == nil {
				t.Fatalf("%s has no %s", p, argument)
			}
			n, err := strconv.Atoi(string(found[1]))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if given := time.Duration(number("timeout_seconds")) * time.Second; given <= most {
			t.Errorf("terraform waits %v for %s, which answers within %v", given, p, most)
		}
		if budget := number("period_seconds") * number("failure_threshold"); p == Startup && budget != 150 {
			t.Errorf("a function has %d s to start", budget)
		}
	}
}
