package core

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// withDatabase is a function that has the database at a URL, and nothing else.
func withDatabase(t *testing.T, url string) (*pgxpool.Pool, func(probe string) (status int, body string)) {
	t.Helper()
	env := api.Env{
		Now: time.Now, NewID: id.Source{Now: time.Now}.New, Log: slog.New(slog.DiscardHandler), Lifecycle: &api.Lifecycle{},
	}
	pool, err := Database(t.Context(), env, postgres.Config{URL: telemetry.Secret(url), PoolMax: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if closed := env.Lifecycle.Close(context.Background(), env.Log); len(closed) != 1 {
			t.Errorf("closed %v", closed)
		}
	})
	h := api.Handle(env, "x", "POST", func(*http.Request) (api.Response, error) { return api.Response{Status: http.StatusNoContent}, nil })
	return pool, func(probe string) (int, string) {
		began := time.Now()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/health/"+probe, nil))
		if took := time.Since(began); took >= 3*time.Second {
			t.Errorf("%s took %v", probe, took)
		}
		return rec.Code, rec.Body.String()
	}
}

const (
	mayStart  = `{"status":"ok","checks":{"schema":"ok"}}`
	mayNot    = `{"status":"failing","checks":{"schema":"failing"}}`
	isReady   = `{"status":"ok","checks":{"database":"ok"}}`
	isUnready = `{"status":"failing","checks":{"database":"failing"}}`
)

func TestHealthFollowsTheDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pool, ask := withDatabase(t, url)
	expect := func(when, probe string, status int, body string) {
		t.Helper()
		if gotStatus, gotBody := ask(probe); gotStatus != status || gotBody != body {
			t.Errorf("%s, %s: %d %s; want %d %s", when, probe, gotStatus, gotBody, status, body)
		}
	}
	expect("at the start", "startup", 200, mayStart)
	if n := pool.Stat().TotalConns(); n != 1 {
		t.Errorf("the pool starts with %d connections", n)
	}
	expect("at rest", "readiness", 200, isReady)

	var taken []*pgxpool.Conn
	for range 2 {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, conn)
	}
	expect("with every connection taken", "readiness", 503, isUnready)
	if _, err := taken[0].Exec(t.Context(), `DELETE FROM goose_db_version WHERE version_id = $1`, postgres.SchemaVersion); err != nil {
		t.Fatal(err)
	}
	for _, conn := range taken {
		conn.Release()
	}
	expect("with one to be had", "readiness", 200, isReady)
	expect("before the migration", "startup", 503, mayNot)
	expect("before the migration", "readiness", 200, isReady) // of the release before, which goes on
}

// An instance with more requests than connections is no worse than the others: who asks
// for its health gets no connection in time, since all who came before wait for one too,
// and they get theirs.
func TestABusyInstanceIsReady(t *testing.T) {
	t.Parallel()
	pool, ask := withDatabase(t, pgtest.New(t))
	// Together they need twenty times as long as a probe has.
	ctx, done := context.WithCancel(t.Context())
	var requests sync.WaitGroup
	defer requests.Wait()
	defer done()
	for range 200 {
		requests.Go(func() {
			if _, err := pool.Exec(ctx, `SELECT pg_sleep(0.2)`); err != nil && ctx.Err() == nil {
				t.Errorf("a request that waits its turn: %v", err)
			}
		})
	}
	for pool.Stat().AcquireCount() < 4 { // by now all others wait
		runtime.Gosched()
	}
	for range 2 { // so many failures take an instance away
		if status, body := ask("readiness"); status != http.StatusOK || body != isReady {
			t.Errorf("%d %s", status, body)
		}
	}
	if served := pool.Stat().AcquireCount(); served > 150 {
		t.Errorf("%d requests are done already: the probes did not have to wait", served)
	}
}

// A database that takes connections and says nothing is as good as none, and costs no probe
// its time.
func TestHealthWithoutADatabase(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for name, address := range map[string]string{"silent": silent.Addr().String(), "away": "127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, ask := withDatabase(t, "postgres://nobody@"+address+"/none?sslmode=disable")
			for probe, want := range map[string]string{"startup": mayNot, "readiness": isUnready} {
				if status, body := ask(probe); status != http.StatusServiceUnavailable || body != want {
					t.Errorf("%s: %d %s", probe, status, body)
				}
			}
			if status, body := ask("liveness"); status != http.StatusOK || body != `{"status":"ok"}` {
				t.Errorf("liveness: %d %s", status, body)
			}
		})
	}
}
