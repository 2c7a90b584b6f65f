package sweep

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/reconcile"
	"github.com/tollgate/tollgate/shared/telemetry"
)

func swept(t *testing.T, w *apitest.World, h http.Handler) {
	t.Helper()
	if rec := w.Task(h, ""); rec.Code != http.StatusNoContent {
		t.Fatalf("got %d %s\n%s", rec.Code, rec.Body, w.Log)
	}
}

// What is left open by a lost reply, a decline, an event that was stored and an outbox
// row that was not published has an owner after one sweep.
func TestWhatHasNoOwnerGetsOne(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	p := w.Lost("automatic")
	w.Declined()
	event := w.Store(w.Webhook(p, "payment_intent.succeeded"))
	w.Advance(time.Hour)
	for range 2 { // the second finds nothing new: what is done is not done again
		swept(t, w, h)
		var tasks []string
		for _, task := range w.Tasks.Pending(apitest.ResumeQueue) {
			tasks = append(tasks, string(task.GetHttpRequest().GetBody()))
		}
		saga := w.Text(`SELECT id::text FROM transaction_saga WHERE state = 'unknown'`)
		obligation := w.Text(`SELECT id::text FROM obligations WHERE state = 'open'`)
		if all := strings.Join(tasks, " "); len(tasks) != 2 || !strings.Contains(all, `{"saga_id":"`+saga) || !strings.Contains(all, `{"obligation_id":"`+obligation) {
			t.Errorf("tasks %v", tasks)
		}
		published := map[string]int{}
		for _, m := range w.PubSub.Published() {
			published[m.Attributes["type"]+m.Attributes["provider"]]++
			if m.Attributes["provider"] != "" && m.Data != `{"id":"`+event.String()+`"}` {
				t.Errorf("published %+v", m)
			}
		}
		if want := map[string]int{"payment.failed": 1, "stripe": 1}; !maps.Equal(published, want) {
			t.Errorf("published %v, want %v", published, want)
		}
	}
}

func TestDeliveriesWithoutATaskGetOne(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	w.Payment("manual")
	w.Exec(`INSERT INTO webhook_endpoints (id, merchant_id, url, enabled, event_types, created_at, updated_at)
		VALUES ($1, $2, 'https://shop.example/hook', true, '{}', $3, $3)`, w.Env.NewID(), w.Shop, w.Clock.Now())
	w.Exec(`INSERT INTO webhook_deliveries (id, event_id, webhook_id, merchant_id, subject_id, transaction_id, event_type,
			sequence, event_created_at, status, attempt_count, next_retry_at, task_generation, request_id, created_at, updated_at)
		SELECT $1, e.id, w.id, e.merchant_id, e.subject_id, e.transaction_id, e.type, e.sequence, e.created_at, 'PENDING', 0, $2, 0, 'req_test', $2, $2
		FROM events e, webhook_endpoints w`, w.Env.NewID(), w.Clock.Now())
	w.Advance(10 * time.Minute)
	swept(t, w, h)
	if n := len(w.Tasks.Pending(apitest.DeliveryQueue)); n != 1 {
		t.Errorf("%d tasks", n)
	}
}

func TestStoredAnswersExpire(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	w.Payment("manual")
	const kept = `SELECT count(response_body)::text || ' of ' || count(*)::text FROM idempotency_keys`
	w.Advance(24*time.Hour - time.Second)
	swept(t, w, h)
	if got := w.Text(kept); got != "1 of 1" {
		t.Errorf("before their time: %s", got)
	}
	w.Advance(2 * time.Second)
	swept(t, w, h)
	if got := w.Text(kept); got != "0 of 1" {
		t.Errorf("after it: %s", got)
	}
}

// Pub/Sub being away fails two parts, which must not keep the others from their work.
func TestAPartThatFailsDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	w.PubSub.Fail(func(context.Context, *pubsubpb.PublishRequest) error { return errors.New("Pub/Sub is away") }, nil)
	w.Store(w.Webhook(w.Lost("automatic"), "payment_intent.succeeded"))
	w.Payment("manual")
	w.Advance(25 * time.Hour)
	rec := w.Task(h, "")
	if rec.Code < http.StatusInternalServerError {
		t.Errorf("got %d although Pub/Sub is away", rec.Code)
	}
	for _, part := range []string{"provider events: ", "outbox: "} {
		if !strings.Contains(w.Log.String(), part) {
			t.Errorf("the log does not name %s\n%s", part, w.Log)
		}
	}
	if n := len(w.Tasks.Pending(apitest.ResumeQueue)); n != 1 {
		t.Errorf("%d tasks for the open operation", n)
	}
	if got := w.Text(`SELECT count(response_body)::text FROM idempotency_keys`); got != "0" {
		t.Errorf("%s stored answers did not expire", got)
	}
	w.PubSub.Fail(nil, nil)
	w.Advance(2 * time.Minute)
	swept(t, w, h)
	if n := len(w.PubSub.Published()); n != 2 {
		t.Errorf("%d messages when Pub/Sub is back", n)
	}
}

func TestAPanicInAPartIsItsFailure(t *testing.T) {
	t.Parallel()
	_, err := run(t.Context(), part{"x", time.Second, func(context.Context) (int, error) { panic("oh") }})
	if err == nil || !strings.Contains(err.Error(), "oh") {
		t.Errorf("got %v", err)
	}
}

func TestPartsEndBeforeTheNextSweepBegins(t *testing.T) {
	t.Parallel()
	var total time.Duration
	for _, p := range (&sweeper{}).parts() {
		total += p.most
	}
	if total >= 55*time.Second { // the function's timeout
		t.Errorf("the parts may take %s", total)
	}
	_, err := run(t.Context(), part{"x", time.Millisecond, func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a part is not bounded: %v", err)
	}
}

func TestGauges(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	reader := sdk.NewManualReader()
	metrics, err := telemetry.NewMetrics(sdk.NewMeterProvider(sdk.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	w.Env.Metrics = metrics
	h := w.Build(Build)
	p := w.Lost("automatic")
	w.Declined()
	w.Store(w.Webhook(p, "payment_intent.succeeded"))
	w.Exec(`INSERT INTO differences (id, key, kind, provider, account, object_id, currency, expected_minor, actual_currency, actual_minor,
			fee_minor, booked, evidence, state, owner, note, opened_at, updated_at)
		VALUES ($1, 'test', 'orphan', 'stripe', 'test', 'ch_1', 'JPY', 0, 'JPY', 5, 0, false, '{}', 'OPEN', 'operations', '', $2, $2)`,
		w.Env.NewID(), w.Clock.Now())
	w.Exec(`INSERT INTO operator_alerts (id, kind, subject, severity, detail, times, opened_at, updated_at)
		VALUES ($1, 'test', 'test', 'warning', '{}', 1, $2, $2)`, w.Env.NewID(), w.Clock.Now())
	w.Exec(`INSERT INTO batch_job_executions (id, kind, run_date, status, scheduled_for, attempt, step, try, checkpoint, warnings,
			expected_payments, settled_payments, skipped_payments, expected_sums, settled_sums, skipped_sums, started_at, finished_at)
		VALUES ($1, 'settlement', '2027-01-15', 'SUCCEEDED', $2, 1, 0, 0, '{}', '[]', 0, 0, 0, '{}', '{}', '{}', $2, $2)`,
		w.Env.NewID(), time.Unix(1_800_000_000, 0))
	w.Exec(`INSERT INTO audit_passes (id, stage, partial, merchants, seals, rows, payments, findings, started_at, updated_at, finished_at)
		VALUES ($1, 'done', '{}', 0, 0, 0, 0, 0, $2, $2, $2)`, w.Env.NewID(), time.Unix(1_800_000_001, 0))
	w.Advance(90 * time.Second)
	swept(t, w, h)
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, m := range data.ScopeMetrics[0].Metrics {
		gauge, ok := m.Data.(metricdata.Gauge[float64])
		if !ok {
			continue
		}
		for _, point := range gauge.DataPoints {
			name := m.Name
			for _, label := range []attribute.Key{"state", "severity", "kind", "job"} {
				if value, ok := point.Attributes.Value(label); ok {
					name += "/" + value.AsString()
				}
			}
			got[name] = point.Value
		}
	}
	want := map[string]float64{
		"outbox_unpublished": 1, "outbox_oldest_unpublished_seconds": 90, "obligations_open": 1, "obligation_oldest_seconds": 90,
		"provider_events_unapplied": 1, "webhook_deliveries_waiting": 0, "webhook_endpoints/failing": 0, "webhook_endpoints/disabled": 0, "sagas_open/leased": 0, "sagas_open/scheduled": 0,
		"operator_alerts_open/warning": 1, "operator_alerts_open/critical": 0, "batch_last_success_timestamp_seconds/settlement": 1_800_000_000,
		"batch_last_success_timestamp_seconds/verifyaudit": 1_800_000_001,
		"sagas_open/awaiting_payer":                        0, "sagas_open/awaiting_provider": 0, "sagas_open/unknown": 1,
	}
	for _, kind := range reconcile.Kinds() {
		want["reconciliation_differences_open/"+string(kind)] = 0
		want["reconciliation_difference_oldest_seconds/"+string(kind)] = 0
	}
	want["reconciliation_differences_open/orphan"], want["reconciliation_difference_oldest_seconds/orphan"] = 1, 90
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestItMakesTasksForNobodyElse(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	rec := httptest.NewRecorder()
	w.Build(Build).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("a stranger got %d", rec.Code)
	}
	delete(w.Config, "STRIPE_SECRET_KEY")
	w.Build(Build)
	for _, name := range []string{"SETTLE_URL", "RESUME_URL"} {
		delete(w.Config, name)
		if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("built without %s, a place for its tasks: %v", name, err)
		}
	}
}
