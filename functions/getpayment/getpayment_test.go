package getpayment

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
)

func TestGet(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h, p := w.Build(Build), w.Payment("automatic")
	for query, want := range map[string][]string{
		"":                 nil,
		"?expand=refunds":  {"refunds"},
		"?expand=disputes": {"disputes"},
		"?expand=refunds,disputes,events,attempts": {"refunds", "disputes", "events", "attempts"},
		"?expand=events&expand=attempts":           {"events", "attempts"},
	} {
		a := w.Do(h, w.Request("GET", "/v1/payments/"+p.ID+query, ""))
		if a.Status != http.StatusOK || a.Text("id") != p.ID || a.Text("status") != "CAPTURED" {
			t.Fatalf("%s: got %d %s", query, a.Status, a.Body)
		}
		shown := 0
		for _, list := range []string{"refunds", "disputes", "events", "attempts"} {
			if a.Member(list) != nil {
				shown++
			}
		}
		for _, list := range want {
			if _, ok := a.Member(list).([]any); !ok {
				t.Errorf("%s: without %s: %s", query, list, a.Body)
			}
		}
		if shown != len(want) {
			t.Errorf("%s: shows %d lists: %s", query, shown, a.Body)
		}
	}
}

func TestGetIsRefused(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h, p := w.Build(Build), w.Payment("manual")
	_, stranger := w.Merchant("Stranger")
	before := w.Rows()
	for name, c := range map[string]struct {
		target, key string
		status      int
		code        fault.Code
	}{
		"unknown expansion":  {p.ID + "?expand=refund", "", 400, fault.InvalidRequest},
		"empty expansion":    {p.ID + "?expand=", "", 400, fault.InvalidRequest},
		"unknown parameter":  {p.ID + "?expnad=refunds", "", 400, fault.InvalidRequest},
		"unknown payment":    {"pay_00000000000000000000000000", "", 404, fault.NotFound},
		"no identifier":      {"17", "", 404, fault.NotFound},
		"another merchant's": {p.ID, "Bearer " + stranger.Reveal(), 404, fault.NotFound},
		"wrong API key":      {p.ID, "Bearer sk_no", 401, fault.Unauthenticated},
	} {
		var header []string
		if c.key != "" {
			header = []string{"Authorization", c.key}
		}
		a := w.Do(h, w.Request("GET", "/v1/payments/"+c.target, "", header...))
		if code, _ := a.Problem(); a.Status != c.status || code != c.code {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("reading wrote: %v became %v", before, after)
	}
}

func TestItNeedsNoProvidersSecrets(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	for _, name := range []string{"STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "TASKS_LOCATION", "PUBSUB_PROJECT"} {
		delete(w.Config, name)
	}
	w.Build(Build)
	delete(w.Config, "DATABASE_URL")
	if _, err := Build(t.Context(), w.Env); err == nil {
		t.Error("built without a database")
	}
}

func TestTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Config["DATABASE_URL"] = "postgres://nobody:hunter2@127.0.0.1:1/none"
	a := w.Do(w.Build(Build), w.Request("GET", "/v1/payments/pay_00000000000000000000000000", ""))
	if code, _ := a.Problem(); a.Status != http.StatusServiceUnavailable || code != fault.Unavailable || a.Header.Get("Retry-After") != "2" {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
	if strings.Contains(string(a.Body), "127.0.0.1") || strings.Contains(w.Log.String(), "hunter2") || !strings.Contains(w.Log.String(), "connection refused") {
		t.Errorf("answered %s, logged %s", a.Body, w.Log)
	}
}
