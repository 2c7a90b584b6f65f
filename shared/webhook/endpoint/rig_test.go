package endpoint

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/seal"
)

const good = "https://shop.example/hook"

var utc = cmp.Transformer("utc", func(t time.Time) time.Time { return t.UTC() })

// rig is the service on a real database and a Cloud Tasks whose tasks nobody runs.
type rig struct {
	*Service
	t        *testing.T
	clock    *clock.Clock
	pool     *pgxpool.Pool
	queue    *cloudtasks.Server
	log      *bytes.Buffer
	merchant id.ID
	stranger id.ID
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFrozen(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	r := &rig{t: t, clock: c, pool: pgtest.Pool(t), log: &bytes.Buffer{}}
	newID := id.Source{Now: c.Now}.New
	var err error
	r.queue, err = cloudtasks.New(cloudtasks.Options{Now: c.Now, Token: func(string, string) string { return "token" }})
	check(t, err)
	t.Cleanup(r.queue.Close)
	const location = "projects/test/locations/here"
	_, err = r.queue.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{
		Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/" + outbox.DeliveryQueue},
	})
	check(t, err)
	tasks, err := outbox.OpenTasks(t.Context(), outbox.TasksConfig{
		Location: location, ServiceAccount: "tasks@test", DeliverURL: "http://127.0.0.1:1",
	}, r.queue.ClientOptions()...)
	check(t, err)
	t.Cleanup(func() { _ = tasks.Close() })
	schedule, err := webhook.NewSchedule([]time.Duration{0, time.Minute})
	check(t, err)
	log := telemetry.NewLogger(r.log, slog.LevelDebug, "test")
	r.Service = &Service{
		DB: r.pool, Now: c.Now, NewID: newID, Sealer: sealer(t, 7), Log: log,
		Webhooks: &webhook.Service{Pool: r.pool, Now: c.Now, NewID: newID, Tasks: tasks, Schedule: schedule, Log: log},
	}
	r.merchant = outboxtest.Merchant(t, r.pool, newID, c.Now())
	r.stranger = outboxtest.Merchant(t, r.pool, newID, c.Now())
	return r
}

func sealer(t *testing.T, key byte) *seal.Sealer {
	t.Helper()
	s, err := seal.New(telemetry.Secret(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{key}, 32))))
	check(t, err)
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) create(n New) (Endpoint, telemetry.Secret) {
	r.t.Helper()
	if n.URL == "" {
		n.URL = good
	}
	e, key, err := r.Create(r.t.Context(), r.merchant, n)
	check(r.t, err)
	return e, key
}

func (r *rig) get(endpoint id.ID) Endpoint {
	r.t.Helper()
	e, err := r.Get(r.t.Context(), r.merchant, endpoint)
	check(r.t, err)
	return e
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(context.Background(), sql, args...)
	check(r.t, err)
}

func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	check(r.t, r.clock.Advance(r.t.Context(), d))
}

// rows is everything in the tables that this package writes to.
func (r *rig) rows() []string {
	r.t.Helper()
	rows, _ := r.pool.Query(r.t.Context(), `
		SELECT w::text FROM webhook_endpoints w UNION ALL SELECT s::text FROM webhook_endpoint_secrets s
		UNION ALL SELECT p::text FROM webhook_replays p UNION ALL SELECT d::text FROM webhook_deliveries d ORDER BY 1`)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(r.t, err)
	return all
}

// secrets are an endpoint's as the merchant has them, by the sealed rows, the newest first.
func (r *rig) secrets(endpoint id.ID) []string {
	r.t.Helper()
	rows, _ := r.pool.Query(r.t.Context(), `SELECT sealed FROM webhook_endpoint_secrets WHERE endpoint_id = $1 ORDER BY created_at DESC, id DESC`, endpoint)
	sealed, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	check(r.t, err)
	var all []string
	for _, s := range sealed {
		opened, err := r.Sealer.Open(r.t.Context(), endpoint, s)
		check(r.t, err)
		all = append(all, string(opened))
	}
	return all
}

// delivery makes a delivery to the endpoint in the status, made before the given time.
func (r *rig) delivery(endpoint id.ID, status webhook.Status, ago time.Duration) id.ID {
	r.t.Helper()
	at := r.Now().Add(-ago)
	payment := outboxtest.Payment(r.t, r.pool, r.merchant, r.NewID, at)
	e, err := outboxtest.Commit(r.t.Context(), r.pool, r.NewID, outbox.Event{PaymentID: payment, RequestID: "req_1", At: at})
	check(r.t, err)
	made := r.NewID()
	var next *time.Time
	if status == webhook.Pending {
		next = &at
	}
	r.exec(`INSERT INTO webhook_deliveries (id, event_id, webhook_id, merchant_id, subject_id, transaction_id, event_type,
			sequence, event_created_at, status, attempt_count, next_retry_at, task_generation, request_id, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, 0, $10, 0, 'req_1', $8, $11)`,
		made, e.ID, endpoint, r.merchant, payment, e.Type, e.Sequence, at, status, next, r.Now())
	return made
}

// refused checks that an error is the fault, about the field if one is named.
func refused(err error, code fault.Code, field string) bool {
	f := fault.As(err)
	return fault.Is(err, code) && (field == "" || len(f.Fields) == 1 && f.Fields[0].Name == field && f.Fields[0].Detail != "")
}
