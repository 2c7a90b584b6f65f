package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tollgate/tollgate/shared/local/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// stand is a scheduler, a frozen clock that drives it, and an endpoint that its jobs call.
type stand struct {
	*Scheduler
	clock *clock.Clock
	url   string

	mu      sync.Mutex
	calls   []string // path and instant
	last    http.Header
	body    string
	respond func(path string) int
}

func newStand(t *testing.T) *stand {
	t.Helper()
	st := &stand{clock: clock.NewFrozen(epoch), respond: func(string) int { return http.StatusOK }}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		st.mu.Lock()
		defer st.mu.Unlock()
		st.calls = append(st.calls, r.URL.Path+"@"+st.clock.Now().Format("02T15:04:05"))
		st.last, st.body = r.Header, r.Method+" "+string(body)
		w.WriteHeader(st.respond(r.URL.Path))
	}))
	t.Cleanup(endpoint.Close)
	st.url = endpoint.URL
	var err error
	st.Scheduler, err = New(Options{
		Now: st.clock.Now, Wake: st.clock.Wake,
		Token: func(email, audience string) string { return email + " for " + audience },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	st.clock.Register(st.Scheduler)
	return st
}

func (st *stand) add(t *testing.T, j Job) {
	t.Helper()
	if j.URL == "" {
		j.URL = st.url + "/" + j.Name
	}
	if err := st.Add(j); err != nil {
		t.Fatal(err)
	}
}

func (st *stand) advance(t *testing.T, d time.Duration) {
	t.Helper()
	if err := st.clock.Advance(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func (st *stand) story() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return strings.Join(st.calls, " ")
}

func TestJobsRunOnSchedule(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.add(t, Job{Name: "settle", Schedule: "0 2 * * *", TimeZone: "Asia/Tokyo"}) // 17:00 UTC
	st.add(t, Job{Name: "reconcile", Schedule: "0 */6 * * *"})
	st.advance(t, 24*time.Hour)
	want := "/reconcile@01T12:00:00 /settle@01T17:00:00 /reconcile@01T18:00:00 /reconcile@02T00:00:00 /reconcile@02T06:00:00"
	if diff := cmp.Diff(want, st.story()); diff != "" {
		t.Error(diff)
	}
	jobs := st.Jobs()
	if jobs[0].Name != "settle" || !jobs[0].Next.Equal(time.Date(2026, 3, 2, 17, 0, 0, 0, time.UTC)) || jobs[0].LastCode != 200 {
		t.Errorf("settle stands at %+v", jobs[0])
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.add(t, Job{
		Name: "settle", Schedule: "30 9 * * *", ServiceAccount: "cron@demo", Audience: "https://settle.example",
		Body: []byte(`{}`), Headers: map[string]string{"X-Extra": "1", "User-Agent": "mine"},
	})
	st.add(t, Job{Name: "plain", Schedule: "45 9 * * *", Method: http.MethodGet})
	st.advance(t, 30*time.Minute)
	for name, want := range map[string]string{
		"X-CloudScheduler": "true", "X-CloudScheduler-JobName": "settle", "X-CloudScheduler-ScheduleTime": "2026-03-01T09:30:00Z",
		"User-Agent": "Google-Cloud-Scheduler", "Authorization": "Bearer cron@demo for https://settle.example",
		"Content-Type": "application/octet-stream", "X-Extra": "1",
	} {
		if got := st.last.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if st.body != "POST {}" {
		t.Errorf("request %s", st.body)
	}
	st.advance(t, 15*time.Minute)
	if st.body != "GET " || st.last.Get("Authorization") != "" || st.last.Get("Content-Type") != "" {
		t.Errorf("plain request %s %v", st.body, st.last)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		job  Job
		want string
	}{
		{"none", Job{}, "01T10:00:00 01T11:00:00"},
		{"counted", Job{RetryCount: 3}, "01T10:00:00 01T10:00:05 01T10:00:15 01T10:00:35 01T11:00:00"},
		{"for a while", Job{MaxRetryDuration: 20 * time.Second}, "01T10:00:00 01T10:00:05 01T10:00:15 01T10:00:35 01T11:00:00"},
		{
			"linear, capped",
			Job{RetryCount: 5, MinBackoff: time.Minute, MaxBackoff: 5 * time.Minute, MaxDoublings: 1},
			"01T10:00:00 01T10:01:00 01T10:03:00 01T10:07:00 01T10:12:00 01T10:17:00 01T11:00:00",
		},
		// The next scheduled run ends the retries of the last.
		{"past the next run", Job{RetryCount: 2, MinBackoff: 50 * time.Minute}, "01T10:00:00 01T10:50:00 01T11:00:00"},
	} {
		st := newStand(t)
		st.respond = func(string) int { return http.StatusInternalServerError }
		c.job.Name, c.job.Schedule = "j", "0 * * * *"
		st.add(t, c.job)
		st.advance(t, 2*time.Hour)
		if got := strings.ReplaceAll(st.story(), "/j@", ""); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
		if got := st.last.Get("X-CloudScheduler-ScheduleTime"); got != "2026-03-01T11:00:00Z" {
			t.Errorf("%s: schedule time %s", c.what, got)
		}
	}
}

func TestARetryKeepsItsScheduleTime(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	n := 0
	st.respond = func(string) int {
		if n++; n == 1 {
			return http.StatusServiceUnavailable
		}
		return http.StatusNoContent
	}
	st.add(t, Job{Name: "j", Schedule: "0 10 * * *", RetryCount: 5})
	st.advance(t, 2*time.Hour)
	if got := st.story(); got != "/j@01T10:00:00 /j@01T10:00:05" {
		t.Error(got)
	}
	if got := st.last.Get("X-CloudScheduler-ScheduleTime"); got != "2026-03-01T10:00:00Z" {
		t.Errorf("schedule time %s", got)
	}
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.add(t, Job{Name: "settle", Schedule: "0 12 * * *", RetryCount: 5})
	st.respond = func(string) int { return http.StatusConflict }
	code, err := st.RunNow(t.Context(), "settle")
	if code != http.StatusConflict || err != nil {
		t.Errorf("%d, %v", code, err)
	}
	st.respond = func(string) int { return http.StatusOK }
	st.advance(t, 4*time.Hour)
	if got := st.story(); got != "/settle@01T09:00:00 /settle@01T12:00:00" {
		t.Error(got)
	}
	if _, err := st.RunNow(t.Context(), "none"); err == nil {
		t.Error("ran a job that does not exist")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestDeadlineAndSkippedRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewFlowing(epoch)
		var began []string
		s, err := New(Options{Now: c.Now, Wake: c.Wake, Token: func(string, string) string { return "" }, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			began = append(began, fmt.Sprint(c.Now().Sub(epoch)))
			<-r.Context().Done() // the endpoint never answers
			return nil, r.Context().Err()
		})})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(Job{Name: "j", Schedule: "* * * * *", URL: "http://endpoint.invalid", AttemptDeadline: 150 * time.Second}); err != nil {
			t.Fatal(err)
		}
		c.Register(s)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_ = c.Run(ctx)
		s.Close()
		// Each takes two and a half minutes, so the run after it starts late and the one between is skipped.
		if diff := cmp.Diff("1m0s 3m30s 6m0s 8m30s", strings.Join(began, " ")); diff != "" {
			t.Error(diff)
		}
		if st := s.Jobs()[0]; !errors.Is(st.LastErr, context.Canceled) && !errors.Is(st.LastErr, context.DeadlineExceeded) {
			t.Errorf("stands at %+v", st)
		}
	})
}

func TestRefusedJobs(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	good := Job{Name: "j", Schedule: "0 2 * * *", TimeZone: "Asia/Tokyo", URL: st.url}
	for what, change := range map[string]func(*Job){
		"name":          func(j *Job) { j.Name = "a b" },
		"url":           func(j *Job) { j.URL = "/settle" },
		"zone":          func(j *Job) { j.TimeZone = "Asia/Nowhere" },
		"six fields":    func(j *Job) { j.Schedule = "0 0 2 * * *" },
		"zone inside":   func(j *Job) { j.Schedule = "TZ=UTC 0 2 * *" },
		"macro":         func(j *Job) { j.Schedule = "@daily" },
		"minute 60":     func(j *Job) { j.Schedule = "60 2 * * *" },
		"reversed":      func(j *Job) { j.Schedule = "9-5 2 * * *" },
		"never":         func(j *Job) { j.Schedule = "0 2 30 2 *" },
		"deadline":      func(j *Job) { j.AttemptDeadline = time.Second },
		"retries":       func(j *Job) { j.RetryCount = 6 },
		"backoff order": func(j *Job) { j.MinBackoff, j.MaxBackoff = time.Hour, time.Minute },
	} {
		j := good
		change(&j)
		if err := st.Add(j); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	st.add(t, good)
	if err := st.Add(good); err == nil {
		t.Error("added twice")
	}
	if _, err := New(Options{Now: time.Now}); err == nil {
		t.Error("a scheduler that cannot sign tokens")
	}
}

func TestCron(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schedule, zone, after, want string }{
		{"* * * * *", "UTC", "2026-03-01T09:00:00Z", "2026-03-01T09:01:00Z"},
		{"* * * * *", "UTC", "2026-03-01T09:00:59.999999Z", "2026-03-01T09:01:00Z"},
		{"0 2 * * *", "Asia/Tokyo", "2026-03-01T16:59:59Z", "2026-03-01T17:00:00Z"},
		{"0 2 * * *", "Asia/Tokyo", "2026-03-01T17:00:00Z", "2026-03-02T17:00:00Z"},
		{"0 2 1 * *", "Asia/Tokyo", "2026-03-01T00:00:00Z", "2026-03-31T17:00:00Z"}, // 1 April in Tokyo
		{"0 2 29 2 *", "Asia/Tokyo", "2026-03-01T00:00:00Z", "2028-02-28T17:00:00Z"},
		{"*/15 9-17 * * 1-5", "UTC", "2026-03-06T17:45:00Z", "2026-03-09T09:00:00Z"}, // Friday to Monday
		{"0 0 * * SUN", "UTC", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"},
		{"5,10 0 1 jan *", "UTC", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"},
		{"0 0 13 * 5", "UTC", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"},                // the 13th or a Friday
		{"30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T06:30:00Z"},   // 02:30 does not exist on the 8th
		{"0 12 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T10:00:00Z"},      // summer time begins
		{"10-30/10 0 * * *", "Asia/Kolkata", "2026-03-01T18:40:00Z", "2026-03-01T18:50:00Z"}, // 00:20 at UTC+5:30
	} {
		s, err := parse(c.schedule, c.zone)
		if err != nil {
			t.Errorf("%s: %v", c.schedule, err)
			continue
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(after).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s in %s after %s: %s, want %s", c.schedule, c.zone, c.after, got, c.want)
		}
	}
}
