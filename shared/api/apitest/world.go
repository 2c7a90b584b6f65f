package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/local/oidc"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// What the functions are configured with.
const (
	Audience      = "https://function.example"
	Caller        = "call-from-google@demo.iam.gserviceaccount.com" // of tasks, pushes and the scheduler
	GatewayCaller = "call-from-gateway@demo.iam.gserviceaccount.com"
	WebhookSecret = "whsec_sim"
	tasksLocation = "projects/demo/locations/here"
	ResumeQueue   = tasksLocation + "/queues/provider-stripe"
	PayPalQueue   = tasksLocation + "/queues/provider-paypal"
	BankQueue     = tasksLocation + "/queues/provider-bank"
	DeliveryQueue = tasksLocation + "/queues/webhooks"
	SettleQueue   = tasksLocation + "/queues/settlement"
)

// World is what functions live in. Time stands still until Clock is advanced.
type World struct {
	Env     api.Env
	Clock   *clock.Clock
	Pool    *pgxpool.Pool
	Stripe  *providersim.Stripe
	PayPal  *providersim.PayPal     // nil without AllProviders
	Bank    *providersim.GoCardless // nil without AllProviders
	PubSub  *outboxtest.PubSub
	Tasks   *cloudtasks.Server
	Issuer  *oidc.Issuer
	Config  map[string]string // change it before building
	Log     *Log
	Shop    id.ID // a merchant
	ShopKey telemetry.Secret

	t testing.TB
}

// New makes a world with one merchant and one provider, Stripe, in it, which ends with
// the test.
func New(t testing.TB) *World {
	t.Helper()
	c := clock.NewFrozen(time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC))
	w := &World{t: t, Clock: c, PubSub: outboxtest.NewPubSub(t), Log: &Log{}}

	database := pgtest.New(t)
	pool, err := pgxpool.New(context.Background(), database)
	check(t, err)
	t.Cleanup(pool.Close)
	w.Pool = pool

	w.Issuer, err = oidc.New("https://accounts.google.com", c.Now)
	check(t, err)
	issuer := httptest.NewServer(w.Issuer.Handler())
	t.Cleanup(issuer.Close)

	w.Tasks, err = cloudtasks.New(cloudtasks.Options{Now: c.Now, Token: w.Issuer.Token})
	check(t, err)
	t.Cleanup(w.Tasks.Close)
	for _, name := range []string{ResumeQueue, PayPalQueue, BankQueue, DeliveryQueue, SettleQueue} {
		_, err = w.Tasks.CreateQueue(context.Background(), &cloudtaskspb.CreateQueueRequest{
			Parent: tasksLocation, Queue: &cloudtaskspb.Queue{Name: name},
		})
		check(t, err)
	}

	w.Stripe = providersim.NewStripe(providersim.StripeConfig{
		Now: c.Now, SecretKeys: []string{"sk_test_sim"}, WebhookSecrets: []string{WebhookSecret},
	})
	stripe := httptest.NewServer(w.Stripe)
	t.Cleanup(stripe.Close)
	t.Cleanup(w.Stripe.Close)

	w.Config = map[string]string{
		"DATABASE_URL": login(t, database), "STRIPE_SECRET_KEY": "sk_test_sim", "STRIPE_API_BASE": stripe.URL,
		"STRIPE_WEBHOOK_SECRETS": WebhookSecret, "PUBSUB_PROJECT": "test", "TASKS_LOCATION": tasksLocation,
		"TASKS_SERVICE_ACCOUNT": Caller, "RESUME_URL": Audience, "DELIVER_URL": Audience, "SETTLE_URL": Audience,
		"OIDC_JWKS_URL": issuer.URL + "/oauth2/v3/certs", "OIDC_AUDIENCE": Audience, "OIDC_CALLERS": Caller,
		"GATEWAY_CALLERS": GatewayCaller,
	}
	w.Env = api.Env{
		Lookup: func(name string) (string, bool) { return config.Map(w.Config)(name) },
		Now:    c.Now, NewID: id.Source{Now: c.Now}.New, Log: telemetry.NewLogger(w.Log, slog.LevelInfo, "test"),
		Google: w.PubSub.Options, Tasks: w.Tasks.ClientOptions(),
	}
	w.Shop, w.ShopKey = w.Merchant("Shop")
	return w
}

// login is the address by which the function under test reaches the database: as itself,
// with the rights of its role and no more. It is the one in whose folder the test is; a test
// of something else has the rights of createpayment.
func login(t testing.TB, superuser string) string {
	t.Helper()
	name := "createpayment"
	callers := make([]uintptr, 20)
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers)])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if folder := path.Dir(filepath.ToSlash(f.File)); path.Base(path.Dir(folder)) == "functions" {
			name = path.Base(folder)
		}
	}
	return pgtest.Login(t, superuser, "tollgate_"+name)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("apitest: %v", err)
	}
}

// Merchant makes one more merchant and a key of it.
func (w *World) Merchant(name string) (id.ID, telemetry.Secret) {
	w.t.Helper()
	s := merchant.Store{DB: w.Pool, Now: w.Clock.Now, NewID: w.Env.NewID}
	m, err := s.Create(context.Background(), name)
	check(w.t, err)
	_, key, err := s.IssueKey(context.Background(), m.ID, "")
	check(w.t, err)
	return m.ID, key
}

// Build builds a function from the world's configuration.
func (w *World) Build(build api.Build) http.Handler {
	w.t.Helper()
	h, err := build(context.Background(), w.Env)
	check(w.t, err)
	return h
}

// Advance moves the clock.
func (w *World) Advance(d time.Duration) {
	w.t.Helper()
	check(w.t, w.Clock.Advance(context.Background(), d))
}

// Task calls a function as Cloud Tasks and Cloud Scheduler do.
func (w *World) Task(h http.Handler, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, Audience, bytes.NewBufferString(body))
	r.Header.Set("Authorization", "Bearer "+w.Issuer.Token(Caller, Audience))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// Push calls a function as a Pub/Sub subscription does.
func (w *World) Push(h http.Handler, m outboxtest.Message) *httptest.ResponseRecorder {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{
		"message":      map[string]any{"data": []byte(m.Data), "attributes": m.Attributes, "orderingKey": m.Key, "messageId": "1"},
		"subscription": "projects/test/subscriptions/s",
	})
	check(w.t, err)
	return w.Task(h, string(body))
}

// Rows counts the rows of every table, but for the parts of partitioned ones.
func (w *World) Rows() map[string]int {
	w.t.Helper()
	ctx := context.Background()
	rows, err := w.Pool.Query(ctx, `SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition`)
	check(w.t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(w.t, err)
	counts := make(map[string]int, len(tables))
	for _, table := range tables {
		var n int
		check(w.t, w.Pool.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{table}.Sanitize()).Scan(&n))
		counts[table] = n
	}
	return counts
}

// Same reports whether nothing was written between two counts.
func Same(before, after map[string]int) bool { return maps.Equal(before, after) }

// Log gathers what is logged.
type Log struct {
	mu   sync.Mutex
	text []byte
}

var _ io.Writer = (*Log)(nil)

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

// String is all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(slices.Clone(l.text))
}
