package reconcile

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
)

func TestAnHourlyRun(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.AllProviders()
	w.Config["RECONCILE_RATE"] = "100"
	h := w.Build(Build)
	p := w.Payment("manual")
	w.Payment("automatic")
	w.Advance(8 * 24 * time.Hour)
	w.Stripe.RunDue(context.Background()) // the authorization has expired there
	for range 2 {
		if rec := w.Task(h, "{}"); rec.Code != http.StatusNoContent {
			t.Fatalf("got %d %s\n%s", rec.Code, rec.Body, w.Log)
		}
	}
	if status := w.Text(`SELECT status FROM transactions WHERE merchant_reference = $1`, p.Reference); status != "CANCELED" {
		t.Errorf("the payment is %s", status)
	}
	if got := w.Text(`SELECT string_agg(kind || ' ' || verdict, ', ' ORDER BY kind) FROM provider_entries`); got != "charge matched, payout matched" {
		t.Errorf("entries: %s", got)
	}
	if n := w.Text(`SELECT count(*)::text FROM differences`); n != "0" {
		t.Errorf("%s differences", n)
	}
	if n := len(w.PubSub.Published()); n == 0 {
		t.Error("nobody is told that the payment was canceled")
	}
}

func TestOurOwnTroubleShows(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Config["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/none"
	if rec := w.Task(w.Build(Build), ""); rec.Code < http.StatusInternalServerError {
		t.Errorf("got %d while the database is away", rec.Code)
	}
}

func TestStrangersAndWrongSettingsAreRefused(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	rec := httptest.NewRecorder()
	w.Build(Build).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("a stranger got %d", rec.Code)
	}
	for name, value := range map[string]string{
		"RECONCILE_RATE": "0", "RECONCILE_TIME": "1h", "RECONCILE_FEE_DIFFERENCES": "ignore", "RESUME_URL": "", "STRIPE_SECRET_KEY": "",
	} {
		was := w.Config[name]
		w.Config[name] = value
		if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("built with %s=%q: %v", name, value, err)
		}
		if w.Config[name] = was; was == "" {
			delete(w.Config, name)
		}
	}
}

func TestWaitingEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	if err := wait(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wait(ctx, time.Hour); err == nil {
		t.Error("waited for a caller who has gone")
	}
}
