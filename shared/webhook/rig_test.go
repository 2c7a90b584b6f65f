package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

const (
	location = "projects/test/locations/asia-northeast1"
	queue    = location + "/queues/" + outbox.DeliveryQueue
)

var testKey = telemetry.Secret(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))

// rig is the service on a real database, with a Cloud Tasks whose tasks call it, a
// clock that stands still until it is moved, and the endpoint of a merchant.
type rig struct {
	*Service
	t        *testing.T
	clock    *clock.Clock
	queue    *cloudtasks.Server
	endpoint *receiver
	merchant id.ID
	payment  id.ID
	log      *lockedBuffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFrozen(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	newID := id.Source{Now: c.Now}.New
	sealer, err := seal.New(testKey)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, clock: c, endpoint: newReceiver(t), log: &lockedBuffer{}}
	worker := httptest.NewServer(http.HandlerFunc(r.work))
	t.Cleanup(worker.Close)
	r.queue = newQueue(t, c)
	tasks, err := outbox.OpenTasks(t.Context(), outbox.TasksConfig{
		Location: location, ServiceAccount: "tasks@test", DeliverURL: worker.URL,
	}, r.queue.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tasks.Close() })
	schedule, err := NewSchedule([]time.Duration{
		0, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	db := pgtest.Pool(t)
	r.Service = &Service{
		Pool: db, Now: c.Now, NewID: newID, Tasks: tasks, Schedule: schedule,
		Log: telemetry.NewLogger(r.log, slog.LevelDebug, "test"), Sealer: sealer,
		Sender: sender.New(true, c.Now),
	}
	r.merchant = outboxtest.Merchant(t, db, newID, c.Now())
	r.payment = outboxtest.Payment(t, db, r.merchant, newID, c.Now())
	return r
}

func newQueue(t *testing.T, c *clock.Clock) *cloudtasks.Server {
	t.Helper()
	s, err := cloudtasks.New(cloudtasks.Options{Now: c.Now, Wake: c.Wake, Token: func(string, string) string { return "token" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c.Register(s)
	_, err = s.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queue}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// work is deliverwebhook in short.
func (r *rig) work(w http.ResponseWriter, req *http.Request) {
	var task Task
	if err := json.NewDecoder(req.Body).Decode(&task); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := r.Do(req.Context(), task); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// subscribe makes an endpoint of the rig's merchant that leads to url.
func (r *rig) subscribe(url string, types ...string) (subscriber endpointRow, secret telemetry.Secret) {
	r.t.Helper()
	return r.subscribeAs(r.merchant, url, types...)
}

type endpointRow struct{ ID, MerchantID id.ID }

// subscribeAs is subscribe for any merchant. It inserts the rows that package endpoint
// would, which is above this one.
func (r *rig) subscribeAs(merchant id.ID, url string, types ...string) (endpointRow, telemetry.Secret) {
	r.t.Helper()
	e := endpointRow{ID: r.NewID(), MerchantID: merchant}
	secret, err := sender.NewSecret(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	sealed, err := r.Sealer.Seal(r.t.Context(), e.ID, secret)
	if err != nil {
		r.t.Fatal(err)
	}
	r.exec(`INSERT INTO webhook_endpoints (id, merchant_id, url, enabled, event_types, created_at, updated_at)
		VALUES ($1, $2, $3, true, $4, $5, $5)`, e.ID, merchant, url, append([]string{}, types...), r.Now())
	r.exec(`INSERT INTO webhook_endpoint_secrets (id, endpoint_id, sealed, created_at) VALUES ($1, $2, $3, $4)`,
		r.NewID(), e.ID, sealed, r.Now())
	return e, sender.Spell(secret)
}

// event commits an event of the rig's payment.
func (r *rig) event() outbox.Event {
	r.t.Helper()
	e, err := outboxtest.Commit(r.t.Context(), r.Pool, r.NewID, outbox.Event{PaymentID: r.payment, RequestID: "req_1", At: r.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// delivery makes an endpoint, an event, and the delivery of one to the other.
func (r *rig) delivery() id.ID {
	r.t.Helper()
	r.subscribe(r.endpoint.URL)
	return r.notified(r.event())[0].ID
}

func (r *rig) notified(e outbox.Event) []Delivery {
	r.t.Helper()
	if err := r.Notify(r.t.Context(), e.ID); err != nil {
		r.t.Fatal(err)
	}
	rows, _ := r.Pool.Query(r.t.Context(), `SELECT `+deliveryColumns+` FROM webhook_deliveries d WHERE event_id = $1`, e.ID)
	made, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

func (r *rig) get(delivery id.ID) Delivery {
	r.t.Helper()
	d, err := r.Get(r.t.Context(), delivery)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// deliver makes the attempt and fails the test if that is an error.
func (r *rig) deliver(delivery id.ID, attempt int) {
	r.t.Helper()
	if err := r.Deliver(r.t.Context(), delivery, attempt); err != nil {
		r.t.Fatalf("Deliver, attempt %d: %v", attempt, err)
	}
}

func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	if err := r.clock.Advance(r.t.Context(), d); err != nil {
		r.t.Fatal(err)
	}
}

// logRow is a row of webhook_delivery_logs.
type logRow struct {
	Attempt     int
	Outcome     sender.Outcome
	Code        int
	Body        string
	Error       string
	RequestedAt time.Time
}

func (r *rig) logged(delivery id.ID) []logRow {
	r.t.Helper()
	rows, _ := r.Pool.Query(r.t.Context(), `
		SELECT attempt, outcome, coalesce(response_code, 0) AS code, coalesce(response_body, '') AS body,
			coalesce(error, '') AS error, requested_at
		FROM webhook_delivery_logs WHERE delivery_id = $1 ORDER BY attempt`, delivery)
	log, err := pgx.CollectRows(rows, pgx.RowToStructByName[logRow])
	if err != nil {
		r.t.Fatal(err)
	}
	return log
}

// waiting lists the names of the tasks in the queue.
func (r *rig) waiting() []string {
	r.t.Helper()
	list, err := r.queue.ListTasks(r.t.Context(), &cloudtaskspb.ListTasksRequest{Parent: queue})
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, task := range list.Tasks {
		names = append(names, task.Name[strings.LastIndex(task.Name, "/")+1:])
	}
	return names
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.Pool.Exec(r.t.Context(), sql, args...); err != nil {
		r.t.Fatal(err)
	}
}

// receiver is a merchant's endpoint, which keeps what it gets and answers as told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	posts  []post
	answer http.HandlerFunc
}

type post struct {
	Header http.Header
	Body   []byte
	Host   string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{answer: func(http.ResponseWriter, *http.Request) {}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("receiver: %v", err)
		}
		r.mu.Lock()
		r.posts = append(r.posts, post{req.Header.Clone(), body, req.Host})
		answer := r.answer
		r.mu.Unlock()
		answer(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answers(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = h
}

func (r *receiver) got() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post(nil), r.posts...)
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// scrape reads the Prometheus page.
func scrape(t *testing.T, page http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// verify checks a request with the public library of Standard Webhooks.
func verify(secret telemetry.Secret, header http.Header, body []byte) error {
	w, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		return err
	}
	return w.VerifyIgnoringTimestamp(body, header) // the test's clock is not the library's
}
