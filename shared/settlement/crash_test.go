package settlement

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

// The test binary, started again with this, is the function settle until it is killed.
const workerVariable = "TOLLGATE_TEST_SETTLE"

func TestMain(m *testing.M) {
	if c := os.Getenv(workerVariable); c != "" {
		if err := serve(c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// worker is what the function is told.
type worker struct {
	Database string
	Tasks    string        // where Cloud Tasks is
	URL      string        // of tasks for the function
	Ahead    time.Duration // of the machine's clock
	Chunk    int
}

func serve(config string) error {
	var c worker
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, c.Database)
	if err != nil {
		return err
	}
	tasks, err := outbox.OpenTasks(ctx, outbox.TasksConfig{Location: place, ServiceAccount: "tasks@test", SettleURL: c.URL},
		option.WithEndpoint(c.Tasks), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		return err
	}
	now := func() time.Time { return time.Now().Add(c.Ahead).UTC().Truncate(time.Microsecond) }
	log, newID := slog.New(slog.NewJSONHandler(os.Stderr, nil)), id.Source{Now: now}.New
	s := &Service{
		Pool: pool, Now: now, NewID: newID, Tasks: tasks, Log: log, Chunk: c.Chunk,
		Payments: &payment.Service{Pool: pool, Now: now, NewID: newID, Name: "settle", Log: log},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String()) // it serves
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var t Task
		err := json.NewDecoder(r.Body).Decode(&t)
		if err == nil {
			err = s.Do(r.Context(), t)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
}

// wreck is a settlement whose worker is killed.
type wreck struct {
	t      *testing.T
	pool   *pgxpool.Pool
	config worker
	target atomic.Pointer[url.URL] // of the worker that lives, if one does
	child  *exec.Cmd
	log    *lockedBuffer
}

func newWreck(t *testing.T, chunk int) *wreck {
	t.Helper()
	database := pgtest.New(t)
	pool, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	w := &wreck{t: t, pool: pool, log: &lockedBuffer{}}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(w.target.Load()) },
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(front.Close)
	w.config = worker{Database: database, URL: front.URL, Chunk: chunk}
	w.target.Store(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	t.Cleanup(func() {
		w.kill()
		if t.Failed() {
			t.Logf("the workers said:\n%s", w.log)
		}
	})
	return w
}

// queue starts a Cloud Tasks, which sends one task in five twice, and the run's first task.
func (w *wreck) queue() {
	w.t.Helper()
	c := clock.NewFlowing(night)
	w.config.Ahead = time.Until(night)
	server, err := cloudtasks.New(cloudtasks.Options{
		Now: c.Now, Wake: c.Wake, Token: func(string, string) string { return "token" }, Chaos: cloudtasks.Chaos{Seed: 1, TwiceOneIn: 5},
	})
	w.must(err)
	c.Register(server)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Run(ctx) }()
	w.t.Cleanup(func() { stop(); server.Close(); <-ended })
	_, err = server.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: place, Queue: &cloudtaskspb.Queue{
		Name:        place + "/queues/" + outbox.SettlementQueue,
		RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: -1, MinBackoff: durationpb.New(20 * time.Millisecond), MaxBackoff: durationpb.New(100 * time.Millisecond)},
	}})
	w.must(err)
	w.config.Tasks = server.Addr()
	tasks, err := outbox.OpenTasks(ctx, outbox.TasksConfig{Location: place, ServiceAccount: "tasks@test"}, server.ClientOptions()...)
	w.must(err)
	w.t.Cleanup(func() { _ = tasks.Close() })
	w.must(tasks.Enqueue(ctx, outbox.Task{Queue: outbox.SettlementQueue, Name: "scheduler", URL: w.config.URL, Body: []byte(`{}`)}))
}

func (w *wreck) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// revive starts a worker.
func (w *wreck) revive() {
	w.t.Helper()
	config, err := json.Marshal(w.config)
	w.must(err)
	w.child = exec.Command(os.Args[0])
	w.child.Env = append(os.Environ(), workerVariable+"="+string(config))
	w.child.Stderr = w.log
	w.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := w.child.StdoutPipe()
	w.must(err)
	w.must(w.child.Start())
	address, err := bufio.NewReader(said).ReadString('\n')
	w.must(err)
	target, err := url.Parse(address[:len(address)-1])
	w.must(err)
	w.target.Store(target)
}

func (w *wreck) kill() {
	if w.child == nil {
		return
	}
	_ = w.child.Process.Kill()
	_ = w.child.Wait()
	w.child = nil
}

// await waits until the query says yes.
func (w *wreck) await(sql string, args ...any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for {
		var yes bool
		w.must(w.pool.QueryRow(ctx, sql, args...).Scan(&yes))
		if yes {
			return
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			w.t.Fatalf("in vain: %s", sql)
		}
	}
}

// Killed at twenty random moments, a settlement ends with each payment settled exactly once.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	const kills, payments = 20, 2000
	w := newWreck(t, 20)
	shops := make([]id.ID, 3)
	for n := range shops {
		shops[n] = id.ID{0x01, 15: byte(n + 1)}
		_, err := w.pool.Exec(t.Context(), `INSERT INTO merchants (id, name, status, created_at, updated_at) VALUES ($1, 'Shop', 'ACTIVE', $2, $2)`, shops[n], noon)
		w.must(err)
		w.must(settlementtest.Plant(t.Context(), w.pool, settlementtest.Seed{
			Name: fmt.Sprint("shop ", n), Merchant: shops[n], Payments: payments / len(shops), Fee: 7, At: noon,
		}))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w.queue()
	for n := range kills {
		w.revive()
		// Spread over the whole run: beginning before there is a run, and ending with its last settlement.
		w.await(`SELECT coalesce(sum(settled_payments), 0) >= $1 FROM settlements`, n*payments/kills)
		<-time.After(time.Duration(random.IntN(40_000)) * time.Microsecond)
		w.kill()
	}
	w.revive()
	w.await(`SELECT EXISTS (SELECT 1 FROM batch_job_executions WHERE status = 'SUCCEEDED')`)
	wrong, err := settlementtest.Undone(t.Context(), w.pool)
	w.must(err)
	mismatches, err := payment.AuditMismatches(t.Context(), w.pool)
	w.must(err)
	if len(wrong)+len(mismatches) > 0 {
		t.Errorf("%q, and the audit log does not fold: %q", wrong, mismatches)
	}
	var attempt, expected, settled int
	w.must(w.pool.QueryRow(t.Context(), `SELECT attempt, expected_payments, settled_payments FROM batch_job_executions`).Scan(&attempt, &expected, &settled))
	if attempt != 1 || expected != payments/3*3 || settled != expected {
		t.Errorf("attempt %d: %d of %d settled", attempt, settled, expected)
	}
}
