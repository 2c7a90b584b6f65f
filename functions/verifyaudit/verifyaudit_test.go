package verifyaudit

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// verified calls the function as the scheduler does, again where a transaction of another
// test kept it from closing the period.
func verified(t *testing.T, w *apitest.World, h http.Handler) {
	t.Helper()
	for {
		rec := w.Task(h, "{}")
		if rec.Code == http.StatusNoContent {
			return
		}
		if !strings.Contains(w.Log.String(), "still open") {
			t.Fatalf("got %d %s\n%s", rec.Code, rec.Body, w.Log)
		}
	}
}

func TestADayIsSealedAndTamperingIsRaised(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Config["AUDIT_SEALS"] = "file://" + t.TempDir()
	reader := sdk.NewManualReader()
	metrics, err := telemetry.NewMetrics(sdk.NewMeterProvider(sdk.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	w.Env.Metrics = metrics
	h := w.Build(Build)
	w.Payment("automatic")
	w.Advance(24 * time.Hour)
	verified(t, w, h)
	if got := w.Text(`SELECT count(*) || ' sealed, ' || (SELECT count(*) FROM closed_periods WHERE closed_at IS NOT NULL) || ' closed, ' ||
		(SELECT count(*) FROM operator_alerts) || ' alerts' FROM audit_seals`); got != "1 sealed, 1 closed, 0 alerts" {
		t.Errorf("after a day: %s", got)
	}
	w.Exec(`
		SET session_replication_role = replica;
		UPDATE transaction_audit_log SET actor = 'operator:nobody' WHERE version = 2;
		SET session_replication_role = origin`)
	w.Advance(24 * time.Hour)
	verified(t, w, h)
	if got := w.Text(`SELECT string_agg(kind || ' ' || subject, ', ') FROM operator_alerts`); !strings.HasPrefix(got, "audit row_rewritten row ") {
		t.Errorf("raised %s", got)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	counted := false
	for _, m := range data.ScopeMetrics[0].Metrics {
		counted = counted || m.Name == "audit_findings_total"
	}
	if !counted || !strings.Contains(w.Log.String(), "the audit log does not agree") {
		t.Errorf("counted: %t, logged:\n%s", counted, w.Log)
	}
}

func TestItIsForTheSchedulerAlone(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), "AUDIT_SEALS") {
		t.Errorf("built without a place for its seals: %v", err)
	}
	w.Config["AUDIT_SEALS"] = "s3://elsewhere"
	if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), "AUDIT_SEALS") {
		t.Errorf("built with a place that is none: %v", err)
	}
	w.Config["AUDIT_SEALS"] = "file://" + t.TempDir()
	rec := httptest.NewRecorder()
	w.Build(Build).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("a stranger got %d", rec.Code)
	}
}
