package scheduler

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/local/clock"
)

// target records when it was called, and fails as often as told.
type target struct {
	now func() time.Time

	mu    sync.Mutex
	calls []string
	fail  int
}

func (s *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, r.Header.Get("X-CloudScheduler-JobName")+" "+s.now().UTC().Format("02T15:04:05")+" "+r.Header.Get("Authorization"))
	if s.fail > 0 {
		s.fail--
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func token(email, _ string) string { return email }

func TestJobsRunByTheClock(t *testing.T) {
	t.Parallel()
	c := clock.NewFrozen(time.Date(2027, 3, 1, 16, 30, 30, 0, time.UTC)) // 01:30:30 in Tokyo
	at := &target{now: c.Now}
	server := httptest.NewServer(at)
	t.Cleanup(server.Close)
	s, err := New(c.Now, token,
		Job{Name: "settle", Schedule: "0 2,6 * * *", TimeZone: "Asia/Tokyo", URL: server.URL, Email: "s"},
		Job{Name: "reconcile", Schedule: "0 * * * *", URL: server.URL, Email: "r"})
	if err != nil {
		t.Fatal(err)
	}
	c.Register(s)
	if err := c.Advance(t.Context(), 5*time.Hour); err != nil {
		t.Fatal(err)
	}
	slices.Sort(at.calls)
	want := []string{
		"reconcile 01T17:00:00 Bearer r", "reconcile 01T18:00:00 Bearer r", "reconcile 01T19:00:00 Bearer r",
		"reconcile 01T20:00:00 Bearer r", "reconcile 01T21:00:00 Bearer r",
		"settle 01T17:00:00 Bearer s", "settle 01T21:00:00 Bearer s",
	}
	if !slices.Equal(at.calls, want) {
		t.Errorf("called %q, want %q", at.calls, want)
	}
}

func TestAFailedRunIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := clock.NewFrozen(time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC))
	at := &target{now: c.Now, fail: 2}
	server := httptest.NewServer(at)
	t.Cleanup(server.Close)
	s, err := New(c.Now, token, Job{Name: "sweep", Schedule: "* * * * *", URL: server.URL, Retries: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RunNow(t.Context(), "sweep"); err != nil || len(at.calls) != 3 {
		t.Errorf("after %d calls: %v", len(at.calls), err)
	}
	at.fail = 3
	if err := s.RunNow(t.Context(), "sweep"); err == nil || len(at.calls) != 6 {
		t.Errorf("after %d calls: %v, want an error", len(at.calls), err)
	}
	if err := s.RunNow(t.Context(), "other"); err == nil {
		t.Error("a job that does not exist ran")
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for _, j := range []Job{{Name: "x", Schedule: "61 * * * *"}, {Name: "x", Schedule: "* * * *"}, {Name: "x", Schedule: "* * * * *", TimeZone: "Mars/Base"}} {
		if _, err := New(time.Now, token, j); err == nil {
			t.Errorf("%+v was accepted", j)
		}
	}
}
