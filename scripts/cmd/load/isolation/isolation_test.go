package isolation

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/instance"
	"github.com/tollgate/tollgate/shared/control/controltest"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/paypal"
)

func TestMain(m *testing.M) {
	instance.Become(nil)
	os.Exit(m.Run())
}

// What the benchmark measures happens: four processes open a circuit, probe it together and close it, and each goes on
// by itself without Firestore. How fast is no matter here.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	r, err := quick(paypal.Name).rehearse(t.Context(), worldOptions{Firestore: controltest.Start(t), DatabaseURL: pgtest.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	r.Print(&text)
	t.Logf("%s", &text)
	if !r.OK() || len(r.Verdicts) < 7 {
		t.Error("a bound was broken")
	}
	if r.Runs[0].Sick.Hung < 10 {
		t.Errorf("%d calls hung, too few to open a circuit", r.Runs[0].Sick.Hung)
	}
}

// goodReport is one in which every bound was kept.
func goodReport() *Report {
	all := func(at float64) map[string]float64 {
		return map[string]float64{"1": at, "2": at, "3": at, "4": at + 0.1}
	}
	through := spread{Payments: 2, P95: 80, Answers: map[string]int{authorized: 2}}
	beside := through
	beside.P95 = 100
	return &Report{
		Sick: "paypal", Healthy: healthy,
		Runs: []run{
			{Name: "1 alone", Healthy: through},
			{Name: "1 beside", Healthy: beside, Sick: &illness{Tripped: 13.8, Opened: all(14), Halfway: 74, Probes: 5, Closed: all(76)}},
		},
		Outage: &outage{Healthy: through, Before: through, Opened: all(14), Openers: processes, Closed: all(76), After: through},
	}
}

func TestABrokenBoundIsSeen(t *testing.T) {
	t.Parallel()
	lost := spread{Payments: 2, Answers: map[string]int{authorized: 1, "503 provider_busy": 1}}
	for broken, spoil := range map[string]func(*Report){
		"":                                     func(*Report) {},
		"isolation":                            func(r *Report) { r.Runs[1].Healthy.P95 = 104.1 },
		"1 alone: stripe":                      func(r *Report) { r.Runs[0].Healthy = lost; r.Runs[0].Healthy.P95 = 80 },
		"1 beside: opens":                      func(r *Report) { r.Runs[1].Sick.Opened["4"] = 15.1 },
		"1 beside: half-opens":                 func(r *Report) { r.Runs[1].Sick.Halfway = 73 },
		"1 beside: probes":                     func(r *Report) { r.Runs[1].Sick.Probes = 6 },
		"1 beside: closes":                     func(r *Report) { delete(r.Runs[1].Sick.Closed, "4") },
		"without Firestore: stripe":            func(r *Report) { r.Outage.Healthy = lost },
		"without Firestore: paypal":            func(r *Report) { r.Outage.Before = lost },
		"without Firestore: opens":             func(r *Report) { r.Outage.Openers = 3 },
		"without Firestore: closes":            func(r *Report) { r.Outage.Closed = nil },
		"without Firestore: paypal afterwards": func(r *Report) { r.Outage.After = spread{} },
	} {
		r := goodReport()
		spoil(r)
		r.judge(true)
		var failed []string
		for _, v := range r.Verdicts {
			if !v.OK {
				failed = append(failed, v.What)
			}
		}
		if got := strings.Join(failed, ", "); got != broken || r.OK() != (broken == "") {
			t.Errorf("broken %q, seen %q", broken, got)
		}
	}
}

// In 20 ms either way nothing is seen but the machine, so 1.3x of little does not count.
func TestTheIsolationBoundIsTheLargerOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		alone, beside float64
		ok            bool
	}{{10, 30, true}, {10, 30.1, false}, {200, 260, true}, {200, 260.1, false}} {
		r := goodReport()
		r.Runs[0].Healthy.P95, r.Runs[1].Healthy.P95 = c.alone, c.beside
		r.judge(true)
		if v := r.Verdicts[0]; v.What != "isolation" || v.OK != c.ok {
			t.Errorf("%+v: %+v", c, v)
		}
	}
}

func TestALineDiesAndCountsItsFirstCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &line{to: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
		call := func(path string, patience time.Duration) (int, time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began, w := time.Now(), httptest.NewRecorder()
			w.Code = 0
			l.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader("x")))
			return w.Code, time.Since(began)
		}
		expect := func(path string, status int, took time.Duration) {
			t.Helper()
			if s, d := call(path, time.Minute); s != status || d != took {
				t.Errorf("%s: %d after %v, want %d after %v", path, s, d, status, took)
			}
		}
		expect("/orders", http.StatusTeapot, latency)
		l.die()
		expect("/orders", 0, time.Minute)
		expect("/v1/oauth2/token", 0, time.Minute)
		l.mend(time.Second)
		expect("/v1/oauth2/token", http.StatusTeapot, latency)
		late := make(chan struct{})
		go func() {
			defer close(late)
			<-time.After(300 * time.Millisecond)
			expect("/orders", http.StatusTeapot, 700*time.Millisecond)
		}()
		expect("/orders", http.StatusTeapot, time.Second)
		<-late
		expect("/orders", http.StatusTeapot, latency)
		if hung, probes := l.seen(); hung != 1 || probes != 2 {
			t.Errorf("%d hung and %d were first, want 1 and 2", hung, probes)
		}
	})
}

// Payments come when they are due, though nothing is answered, and their times count from then.
func TestAStreamWaitsForNobody(t *testing.T) {
	t.Parallel()
	arrived, answer := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "AUTHORIZED", "next_action": nil})
	}))
	t.Cleanup(server.Close)
	host := newTarget(&instance.Process{})
	host.Host.Addresses = map[string]string{"createpayment": strings.TrimPrefix(server.URL, "http://")}
	l := newLoad(&world{instances: []*target{host}})
	from := time.Now()
	stop := l.stream(t.Context(), healthy, 200)
	for range 10 {
		<-arrived
	}
	close(answer)
	stop()
	samples := l.of(healthy, from, time.Now())
	if len(samples) < 10 {
		t.Fatalf("%d payments", len(samples))
	}
	for _, s := range samples {
		if s.Answer != authorized || s.Took < s.Late {
			t.Errorf("%+v", s)
		}
	}
	if first := samples[0].Due.Sub(from); len(host.requests) != 0 || first < 0 {
		t.Errorf("%d requests are left; the first was due %v after the beginning", len(host.requests), first)
	}
}
