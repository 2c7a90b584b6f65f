package deliverwebhook

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/seal/sealtest"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// world has a merchant with an endpoint, and a delivery to it that was never tried.
type world struct {
	*apitest.World
	endpoint atomic.Pointer[http.HandlerFunc]
	posts    atomic.Int32
	delivery string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: apitest.New(t)}
	w.answers(http.StatusOK)
	shop := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.posts.Add(1)
		(*w.endpoint.Load())(rw, r)
	}))
	t.Cleanup(shop.Close)
	key := telemetry.Secret(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	w.Config["WEBHOOK_SEALING_KEY"], w.Config["WEBHOOK_ALLOW_LOCAL"] = key.Reveal(), "true"

	sealer, err := seal.New(key)
	if err != nil {
		t.Fatal(err)
	}
	endpoints := endpoint.Service{DB: w.Pool, Now: w.Env.Now, NewID: w.Env.NewID, Sealer: sealer, AllowLocal: true}
	made, _, err := endpoints.Create(t.Context(), w.Shop, endpoint.New{URL: shop.URL})
	if err != nil {
		t.Fatal(err)
	}
	payment := outboxtest.Payment(t, w.Pool, w.Shop, w.Env.NewID, w.Clock.Now())
	event, err := outboxtest.Commit(t.Context(), w.Pool, w.Env.NewID, outbox.Event{PaymentID: payment, RequestID: "req_first", At: w.Clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	w.delivery = w.insert(t, event, made.ID)
	return w
}

func (w *world) insert(t *testing.T, e outbox.Event, endpoint id.ID) string {
	t.Helper()
	delivery := w.Env.NewID()
	_, err := w.Pool.Exec(t.Context(), `
		INSERT INTO webhook_deliveries (id, event_id, webhook_id, merchant_id, subject_id, transaction_id, event_type,
			sequence, event_created_at, status, attempt_count, next_retry_at, task_generation, request_id, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $5, $6, $8, $7, 'PENDING', 0, $7, 0, 'req_first', $7, $7)`,
		delivery, e.ID, endpoint, e.MerchantID, e.PaymentID, e.Type, w.Clock.Now(), e.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	return delivery.String()
}

func (w *world) answers(code int) {
	h := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) })
	w.endpoint.Store(&h)
}

func (w *world) task(attempt int) string {
	return fmt.Sprintf(`{"delivery_id":%q,"attempt":%d}`, w.delivery, attempt)
}

func (w *world) state() string {
	return w.Text(`SELECT status || ' ' || attempt_count FROM webhook_deliveries`)
}

func TestTheMerchantsFailureIsNotOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.Build(Build)
	w.answers(http.StatusServiceUnavailable)
	for range 2 { // tasks are delivered at least once
		if rec := w.Task(h, w.task(1)); rec.Code != http.StatusNoContent {
			t.Fatalf("got %d %s; the queue would slow down", rec.Code, rec.Body)
		}
	}
	if got := w.state(); got != "PENDING 1" || w.posts.Load() != 1 {
		t.Fatalf("the delivery is %s after %d posts", got, w.posts.Load())
	}
	w.answers(http.StatusOK)
	w.Advance(time.Minute)
	if rec := w.Task(h, w.task(2)); rec.Code != http.StatusNoContent {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if got := w.state(); got != "DELIVERED 2" || w.posts.Load() != 2 {
		t.Errorf("the delivery is %s after %d posts", got, w.posts.Load())
	}
}

func TestOurOwnTroubleIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Config["WEBHOOK_SEALING_KEY"] = base64.StdEncoding.EncodeToString([]byte("another key than the secret's...")) // 32 bytes
	if rec := w.Task(w.Build(Build), w.task(1)); rec.Code != http.StatusInternalServerError {
		t.Errorf("got %d without the key", rec.Code)
	}
	w.Config["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/none"
	if rec := w.Task(w.Build(Build), w.task(1)); rec.Code < http.StatusInternalServerError {
		t.Errorf("got %d while the database is away", rec.Code)
	}
	if got := w.state(); got != "PENDING 0" || w.posts.Load() != 0 {
		t.Errorf("the delivery is %s after %d posts", got, w.posts.Load())
	}
}

// As production has it: KMS seals, and what the local key sealed goes on.
func TestSecretsOfKMSSign(t *testing.T) {
	t.Parallel()
	const kmsKey = "projects/test/locations/asia-northeast1/keyRings/tollgate/cryptoKeys/webhooks"
	w := newWorld(t)
	kms := sealtest.New(t, kmsKey)
	w.Config["WEBHOOK_KMS_KEY"], w.Env.KMS = kmsKey, kms.Options
	sealer, err := seal.Open(t.Context(), seal.Config{KMSKey: kmsKey}, w.Clock.Now, kms.Options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sealer.Close() })
	endpoint, err := id.Parse(w.Text(`SELECT id::text FROM webhook_endpoints`))
	if err != nil {
		t.Fatal(err)
	}
	key, err := sender.NewKey(sender.SchemeV1, nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := sealer.Seal(t.Context(), endpoint, key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	w.Exec(`INSERT INTO webhook_endpoint_secrets (id, endpoint_id, sealed, created_at) VALUES ($1, $2, $3, $4)`, w.Env.NewID(), endpoint, sealed, w.Clock.Now())
	var signatures atomic.Value
	answer := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { signatures.Store(r.Header.Get(sender.HeaderSignature)) })
	w.endpoint.Store(&answer)

	h := w.Build(Build)
	kms.Before(func(context.Context, any) error { return status.Error(codes.Internal, "away") })
	if rec := w.Task(h, w.task(1)); rec.Code != http.StatusInternalServerError || w.posts.Load() != 0 {
		t.Errorf("got %d after %d posts while KMS is away", rec.Code, w.posts.Load())
	}
	kms.Before(nil)
	if rec := w.Task(h, w.task(1)); rec.Code != http.StatusNoContent || w.state() != "DELIVERED 1" {
		t.Fatalf("got %d, the delivery is %s", rec.Code, w.state())
	}
	if got := strings.Fields(signatures.Load().(string)); len(got) != 2 {
		t.Errorf("signatures %q; want one by each key", got)
	}
}

func TestLoopbackIsOutOfReachInProduction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	delete(w.Config, "WEBHOOK_ALLOW_LOCAL")
	if rec := w.Task(w.Build(Build), w.task(1)); rec.Code != http.StatusNoContent {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if got := w.Text(`SELECT outcome FROM webhook_delivery_logs`); got != "refused_address" || w.posts.Load() != 0 {
		t.Errorf("the attempt's outcome is %s, after %d posts", got, w.posts.Load())
	}
}

func TestTasksThatNameNothingAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.Build(Build)
	for _, body := range []string{"", "{}", "x", `{"delivery_id":"1","attempt":1}`, w.task(0), w.task(-1), `{"attempt":1}`} {
		before := strings.Count(w.Log.String(), "names neither an attempt")
		if rec := w.Task(h, body); rec.Code != http.StatusNoContent {
			t.Errorf("%q: got %d; no repetition mends that", body, rec.Code)
		}
		if strings.Count(w.Log.String(), "names neither an attempt") == before {
			t.Errorf("%q: not logged", body)
		}
	}
	if got := w.state(); got != "PENDING 0" || w.posts.Load() != 0 {
		t.Errorf("the delivery is %s after %d posts", got, w.posts.Load())
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := httptest.NewRecorder()
	w.Build(Build).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(w.task(1))))
	if rec.Code != http.StatusUnauthorized || w.posts.Load() != 0 {
		t.Errorf("got %d after %d posts", rec.Code, w.posts.Load())
	}
}

func TestWrongConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"DATABASE_URL": "", "TASKS_LOCATION": "", "DELIVER_URL": "", "OIDC_CALLERS": "", "WEBHOOK_SCHEDULE": "soon",
		"WEBHOOK_SEALING_KEY": "c2hvcnQ=", "WEBHOOK_ALLOW_LOCAL": "perhaps",
	} {
		w := newWorld(t)
		w.Config[name] = value
		if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
}
