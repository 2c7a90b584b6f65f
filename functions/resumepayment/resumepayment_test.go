package resumepayment

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
)

func TestResumeFindsOutWhatBecameOfALostReply(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	p := w.Lost("automatic")
	saga := w.Text(`SELECT id::text FROM transaction_saga WHERE state = 'unknown'`)
	w.Advance(time.Minute)
	for range 2 { // tasks are delivered at least once
		if rec := w.Task(h, fmt.Sprintf(`{"saga_id":%q}`, saga)); rec.Code != http.StatusNoContent {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
	}
	if status := w.Text(`SELECT status FROM transactions WHERE merchant_reference = $1`, p.Reference); status != "CAPTURED" {
		t.Errorf("the payment is %s", status)
	}
	if state := w.Text(`SELECT state || ' ' || outcome FROM transaction_saga`); state != "done approved" {
		t.Errorf("the saga is %s", state)
	}
	if n := len(w.PubSub.Published()); n == 0 {
		t.Error("nobody is told")
	}
}

func TestDischargeReleasesWhatADeclineLeft(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	w.Declined()
	obligation := w.Text(`SELECT id::text FROM obligations WHERE state = 'open'`)
	w.Advance(time.Minute)
	if rec := w.Task(h, fmt.Sprintf(`{"obligation_id":%q}`, obligation)); rec.Code != http.StatusNoContent {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if state := w.Text(`SELECT state FROM obligations`); state != "done" {
		t.Errorf("the obligation is %s", state)
	}
}

func TestTasksThatNameNothingAreDropped(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	one := w.Env.NewID().String()
	for body, logged := range map[string]bool{
		"": true, "{}": true, "x": true, `{"saga_id":"1"}`: true,
		`{"saga_id":"` + one + `","obligation_id":"` + one + `"}`: true,
		`{"saga_id":"` + one + `"}`:                               false, // done, and its row is gone: nothing to do
		`{"obligation_id":"` + one + `"}`:                         false,
	} {
		before := strings.Count(w.Log.String(), "names neither")
		if rec := w.Task(h, body); rec.Code != http.StatusNoContent {
			t.Errorf("%q: got %d; no repetition mends that", body, rec.Code)
		}
		if (strings.Count(w.Log.String(), "names neither") > before) != logged {
			t.Errorf("%q: logged is not %t", body, logged)
		}
	}
}

func TestOurOwnTroubleIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Config["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/none"
	if rec := w.Task(w.Build(Build), fmt.Sprintf(`{"saga_id":%q}`, w.Env.NewID())); rec.Code != http.StatusServiceUnavailable {
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
}
