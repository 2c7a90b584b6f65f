package settlement

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

const place = "projects/test/locations/here"

var (
	night = Scheduled(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)) // 02:00 in Tokyo, 17:00 UTC
	noon  = night.Add(-14 * time.Hour)                               // of the 23rd, in Tokyo
)

// rig is a Service with a database, and a Cloud Tasks whose tasks it does, under a clock
// that moves when it is told to. It begins at noon before the night.
type rig struct {
	*Service
	t     *testing.T
	clock *clock.Clock
	tasks *cloudtasks.Server
	log   *lockedBuffer
	shop  id.ID

	mu    sync.Mutex
	calls []call
}

// call is a task that came.
type call struct {
	At   time.Time
	Task Task
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigOn(t, pgtest.Pool(t))
}

func newRigOn(t *testing.T, pool *pgxpool.Pool) *rig {
	t.Helper()
	r := &rig{t: t, clock: clock.NewFrozen(noon), log: &lockedBuffer{}}
	worker := httptest.NewServer(http.HandlerFunc(r.work))
	t.Cleanup(worker.Close)
	var err error
	r.tasks, err = cloudtasks.New(cloudtasks.Options{
		Now: r.clock.Now, Wake: r.clock.Wake, Token: func(string, string) string { return "token" },
	})
	r.must(err)
	t.Cleanup(r.tasks.Close)
	r.clock.Register(r.tasks)
	_, err = r.tasks.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: place, Queue: &cloudtaskspb.Queue{
		Name:        place + "/queues/" + outbox.SettlementQueue,
		RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: -1, MinBackoff: durationpb.New(10 * time.Second), MaxBackoff: durationpb.New(5 * time.Minute)},
	}})
	r.must(err)
	tasks, err := outbox.OpenTasks(t.Context(), outbox.TasksConfig{Location: place, ServiceAccount: "tasks@test", SettleURL: worker.URL},
		r.tasks.ClientOptions()...)
	r.must(err)
	t.Cleanup(func() { _ = tasks.Close() })
	log, newID := slog.New(slog.NewJSONHandler(r.log, nil)), id.Source{Now: r.clock.Now}.New
	r.Service = &Service{
		Pool: pool, Now: r.clock.Now, NewID: newID, Tasks: tasks, Log: log,
		Payments: &payment.Service{Pool: pool, Now: r.clock.Now, NewID: newID, Name: "test", Log: log},
	}
	r.shop = r.merchant()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", r.log)
		}
	})
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// work is the function settle, in short.
func (r *rig) work(w http.ResponseWriter, req *http.Request) {
	var t Task
	err := json.NewDecoder(req.Body).Decode(&t)
	if err == nil {
		r.mu.Lock()
		r.calls = append(r.calls, call{r.Now(), t})
		r.mu.Unlock()
		err = r.Do(req.Context(), t)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// since lists the tasks that came after a number of them.
func (r *rig) since(n int) []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls[n:])
}

func (r *rig) merchant() id.ID {
	r.t.Helper()
	store := merchant.Store{DB: r.Pool, Now: r.Now, NewID: r.NewID}
	m, err := store.Create(r.t.Context(), "Shop")
	r.must(err)
	return m.ID
}

// plant makes captured payments of the shop, unless the seed has another merchant.
func (r *rig) plant(s settlementtest.Seed) {
	r.t.Helper()
	if s.Merchant.IsZero() {
		s.Merchant = r.shop
	}
	r.must(settlementtest.Plant(r.t.Context(), r.Pool, s))
}

// advance moves the clock, and does the tasks that fall due.
func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	r.must(r.clock.Advance(r.t.Context(), d))
}

// until moves the clock to a time.
func (r *rig) until(at time.Time) {
	r.t.Helper()
	r.must(r.clock.AdvanceTo(r.t.Context(), at))
}

// scheduler calls, as it does at 02:00 and at 06:00, and all that follows at once is done.
func (r *rig) scheduler() {
	r.t.Helper()
	r.must(r.Do(r.t.Context(), Task{}))
	r.advance(0)
}

// nightly moves the clock to the next 02:00 and calls.
func (r *rig) nightly() {
	r.t.Helper()
	next := Scheduled(Latest(r.Now()).AddDate(0, 0, 1))
	r.until(next)
	r.scheduler()
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.Pool.Exec(r.t.Context(), sql, args...)
	r.must(err)
}

// force is exec without triggers, by a superuser.
func (r *rig) force(sql string, args ...any) {
	r.t.Helper()
	r.must(pgx.BeginFunc(r.t.Context(), r.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(r.t.Context(), `SET LOCAL session_replication_role = replica`); err != nil {
			return err
		}
		_, err := tx.Exec(r.t.Context(), sql, args...)
		return err
	}))
}

// text reads one value as text.
func (r *rig) text(sql string, args ...any) (text string) {
	r.t.Helper()
	r.must(r.Pool.QueryRow(r.t.Context(), `SELECT coalesce((`+sql+`)::text, '')`, args...).Scan(&text))
	return text
}

// texts reads a column.
func (r *rig) texts(sql string, args ...any) []string {
	r.t.Helper()
	rows, _ := r.Pool.Query(r.t.Context(), sql, args...)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	r.must(err)
	return all
}

func (r *rig) want(want, sql string, args ...any) {
	r.t.Helper()
	if got := r.text(sql, args...); got != want {
		r.t.Errorf("%s\ngot  %s\nwant %s", sql, got, want)
	}
}

// allSettled holds the database to everything being settled exactly once.
func (r *rig) allSettled() {
	r.t.Helper()
	wrong, err := settlementtest.Undone(r.t.Context(), r.Pool)
	r.must(err)
	if len(wrong) > 0 {
		r.t.Errorf("%s", strings.Join(wrong, "\n"))
	}
	r.fold()
}

// fold holds the tables to the audit log.
func (r *rig) fold() {
	r.t.Helper()
	wrong, err := payment.AuditMismatches(context.Background(), r.Pool)
	if err != nil || len(wrong) > 0 {
		r.t.Errorf("the audit log does not give these rows back: %v %v", wrong, err)
	}
}

// manifest is the settlement's CSV.
func (r *rig) manifest(settlement id.ID) string {
	r.t.Helper()
	var out bytes.Buffer
	r.must(WriteManifest(r.t.Context(), r.Pool, settlement, &out))
	return out.String()
}

// trigger has the database raise an error of an SQLSTATE when a payment's row is changed
// for which the condition holds; without one it raises no more.
func (r *rig) trigger(sqlstate, condition string) {
	r.t.Helper()
	r.exec(`DROP TRIGGER IF EXISTS test_poison ON transactions`)
	if condition == "" {
		return
	}
	r.exec(`CREATE OR REPLACE FUNCTION test_poison() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '` + sqlstate + `'; END $$`)
	r.exec(`CREATE TRIGGER test_poison BEFORE UPDATE ON transactions FOR EACH ROW WHEN (` + condition + `) EXECUTE FUNCTION test_poison()`)
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
