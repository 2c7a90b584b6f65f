package settle

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/settlement"
)

// made is the latest task of the queue.
func made(t *testing.T, w *apitest.World) (body string, at time.Time) {
	t.Helper()
	tasks := w.Tasks.Pending(apitest.SettleQueue)
	if len(tasks) == 0 {
		t.Fatalf("no task was made\n%s", w.Log)
	}
	last := tasks[len(tasks)-1]
	if deadline := last.DispatchDeadline.AsDuration(); deadline < 2*time.Minute {
		t.Errorf("a task has %s", deadline)
	}
	return string(last.GetHttpRequest().Body), last.ScheduleTime.AsTime()
}

func done(t *testing.T, w *apitest.World, h http.Handler, body string) {
	t.Helper()
	if rec := w.Task(h, body); rec.Code != http.StatusNoContent {
		t.Fatalf("%s: got %d %s\n%s", body, rec.Code, rec.Body, w.Log)
	}
}

// The scheduler has the run begun, and its task carries it to the end, with the rights that
// a function has and no more.
func TestANight(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	captured := w.Payment("automatic")
	w.Payment("manual")
	w.Env.Control = control.NewMemory()
	why := breaker.Force(t.Context(), w.Env.Control, "stripe", breaker.ForcedOpen, "test", "test", w.Clock.Now())
	if why != nil {
		t.Fatal(why)
	}
	h := w.Build(Build)
	w.Advance(24 * time.Hour)
	done(t, w, h, `{}`)
	body, _ := made(t, w)
	done(t, w, h, body)
	if got := w.Text(`SELECT string_agg(status, ' ' ORDER BY status) FROM transactions`); got != "AUTHORIZED SETTLED" {
		t.Errorf("payments are %s", got)
	}
	if got := w.Text(`SELECT status || ' ' || settled_payments || ' ' || warnings FROM batch_job_executions`); got != `SUCCEEDED 1 ["the circuit of stripe is open"]` {
		t.Errorf("the run: %s", got)
	}
	events := w.Text(`SELECT string_agg(type, ' ' ORDER BY created_at, type) FROM events WHERE type LIKE '%settle%'`)
	if events != "payment.settled settlement.completed" {
		t.Errorf("events %s of %s", events, captured.ID)
	}
	before := w.Rows()
	for range 2 {
		done(t, w, h, ``)
		done(t, w, h, body)
		done(t, w, h, `{"date":"`+settlement.Latest(w.Clock.Now()).Format(time.DateOnly)+`"}`)
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("done again:\n%v\n%v", before, after)
	}
}

func TestWhatNoRepetitionMends(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	for _, body := range []string{
		`{`, `[]`, `{"date":"yesterday"}`, `{"date":"2999-01-01"}`, `{"after":"x"}`, `{"run_id":"x"}`, `{"run_id":"` + w.Env.NewID().String() + `"}`,
	} {
		done(t, w, h, body)
	}
	if n := strings.Count(w.Log.String(), `"severity":"ERROR"`); n != 6 { // a run that there is not was overtaken
		t.Errorf("%d of them are logged\n%s", n, w.Log)
	}
}

func TestOurOwnTroubleIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Config["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/none"
	if rec := w.Task(w.Build(Build), `{}`); rec.Code < http.StatusInternalServerError {
		t.Errorf("got %d while the database is away", rec.Code)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	rec := httptest.NewRecorder()
	w.Build(Build).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}")))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("got %d", rec.Code)
	}
	delete(w.Config, "SETTLE_URL")
	if _, err := Build(context.Background(), w.Env); err == nil || !strings.Contains(err.Error(), "SETTLE_URL") {
		t.Errorf("built without a place for its tasks: %v", err)
	}
}

// A step that failed is due again in five minutes, by a task of its own.
func TestAFailureIsPutOff(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Payment("automatic")
	h := w.Build(Build)
	w.Advance(24 * time.Hour)
	done(t, w, h, `{}`)
	first, _ := made(t, w)
	w.Exec(`REVOKE SELECT ON unsettled_entries FROM tollgate_settle`)
	done(t, w, h, first)
	again, at := made(t, w)
	if wait := at.Sub(w.Clock.Now()); again == first || wait != 5*time.Minute {
		t.Errorf("%s in %s, after %s", again, wait, first)
	}
	w.Exec(`GRANT SELECT ON unsettled_entries TO tollgate_settle`)
	w.Advance(5 * time.Minute)
	done(t, w, h, again)
	var body settlement.Task
	if err := json.Unmarshal([]byte(again), &body); err != nil || body.Try != 1 {
		t.Errorf("%s", again)
	}
	if got := w.Text(`SELECT status FROM batch_job_executions`); got != "SUCCEEDED" {
		t.Errorf("the run is %s\n%s", got, w.Log)
	}
}
