package drain

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/jackc/pgx/v5/pgxpool"

	_ "github.com/tollgate/tollgate/functions/createpayment" // registers where FUNCTION_TARGET names it
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// The test binary is also the function: with FUNCTION_TARGET it serves, by the main that
// the buildpack generates.
func TestMain(m *testing.M) {
	if os.Getenv("FUNCTION_TARGET") != "" {
		err := funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT"))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// patience is for what must come about on a machine that has much else to do.
const patience = time.Minute

// held is a provider that answers nobody before it is let go.
type held struct {
	next    http.Handler
	arrived chan struct{}
	release chan struct{}
}

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.arrived <- struct{}{}
	<-h.release
	h.next.ServeHTTP(w, r)
}

// rig is a function in a process of its own, with all that it takes to make payments.
type rig struct {
	t       *testing.T
	address string
	key     string
	db      *pgxpool.Pool
	stripe  *held
	child   *exec.Cmd
	said    *bytes.Buffer // to be read when it has ended
	ended   chan struct{}
}

func newRig(t *testing.T, requests int) *rig {
	t.Helper()
	database := pgtest.New(t)
	db, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	shops := merchant.Store{DB: db, Now: time.Now, NewID: id.Source{Now: time.Now}.New}
	shop, err := shops.Create(t.Context(), "Shop")
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := shops.IssueKey(t.Context(), shop.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	sim := providersim.NewStripe(providersim.StripeConfig{Now: time.Now, SecretKeys: []string{"sk_test_sim"}})
	t.Cleanup(sim.Close)
	r := &rig{
		t: t, key: key.Reveal(), db: db, ended: make(chan struct{}), said: &bytes.Buffer{},
		stripe: &held{sim, make(chan struct{}, 2*requests), make(chan struct{})},
	}
	server := httptest.NewServer(r.stripe)
	t.Cleanup(server.Close)
	r.start([]string{
		"FUNCTION_TARGET=CreatePayment", "GOOGLE_APPLICATION_CREDENTIALS=" + credentials(t),
		"HTTPS_PROXY=http://127.0.0.1:1", // Google is away: what is published after an answer is the sweep's
		"DATABASE_URL=" + pgtest.Login(t, database, "tollgate_createpayment"), "DATABASE_POOL_MAX=10",
		"STRIPE_SECRET_KEY=sk_test_sim", "STRIPE_API_BASE=" + server.URL, fmt.Sprintf("STRIPE_CONCURRENCY=%d", requests),
		"STRIPE_AUTHORIZE_TIMEOUT=20s", "STRIPE_CAPTURE_TIMEOUT=20s", "STRIPE_REFUND_TIMEOUT=20s",
		"PUBSUB_PROJECT=test", "TASKS_LOCATION=projects/test/locations/here", "TASKS_SERVICE_ACCOUNT=tasks@test.iam.gserviceaccount.com",
		"RESUME_URL=https://resumepayment.example", "OIDC_AUDIENCE=https://createpayment.example",
	})
	return r
}

func credentials(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials.json")
	const user = `{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}`
	if err := os.WriteFile(file, []byte(user), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start starts the function with this environment and no other, and waits until it may get
// its first request. A port that was free may be another's by then, so it has some tries.
func (r *rig) start(environment []string) {
	r.t.Helper()
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			r.t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_ = l.Close()
		r.address = "http://127.0.0.1:" + port
		r.said.Reset()
		r.ended = make(chan struct{})
		r.child = exec.Command(os.Args[0])
		r.child.Env = append(environment, "PORT="+port)
		r.child.Stdout, r.child.Stderr = r.said, r.said
		r.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := r.child.Start(); err != nil {
			r.t.Fatal(err)
		}
		go func(child *exec.Cmd, ended chan struct{}) {
			_ = child.Wait() // ProcessState has it
			close(ended)
		}(r.child, r.ended)
		r.t.Cleanup(func() {
			_ = r.child.Process.Kill() // it may have ended
			<-r.ended
		})
		if r.await("startup", "ok") {
			return
		}
		if !strings.Contains(r.said.String(), "address already in use") {
			break
		}
	}
	r.t.Fatalf("it does not start: %s", r.said)
}

// await waits until a probe is answered with this status of the function, on a new
// connection each time. It returns false when the function has ended.
func (r *rig) await(probe, status string) bool {
	r.t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		if _, body, err := r.send(http.MethodGet, "/health/"+probe, "", ""); err == nil && bytes.Contains(body, []byte(`{"status":"`+status+`"`)) {
			return true
		}
		select {
		case <-again.C:
		case <-r.ended:
			return false
		case <-deadline:
			r.t.Fatalf("%s was never answered with %s", probe, status)
		}
	}
}

// send makes a request on a connection of its own.
func (r *rig) send(method, path, key, body string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.address+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if key != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+r.key)
		req.Header.Set("Idempotency-Key", key)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (r *rig) create(n int) (int, []byte, error) {
	return r.send(http.MethodPost, "/v1/payments", fmt.Sprintf("drain-test-key-%06d", n),
		`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","capture_method":"manual"}`)
}

// A hundred payments are at the provider when the platform ends the instance. Each gets its
// whole answer, and so does who comes in the meantime; then all is closed, in its order.
func TestNoAnswerIsLostAtTheEnd(t *testing.T) {
	t.Parallel()
	const requests = 100
	r := newRig(t, requests)
	type answer struct {
		status int
		body   []byte
		err    error
	}
	answers := make(chan answer, requests)
	for n := range requests {
		go func() {
			status, body, err := r.create(n)
			answers <- answer{status, body, err}
		}()
	}
	deadline := time.After(patience)
	for range requests {
		select {
		case <-r.stripe.arrived:
		case a := <-answers:
			t.Fatalf("answered before the provider did: %d %s, %v", a.status, a.body, a.err)
		case <-deadline:
			t.Fatal("not all of them reach the provider")
		}
	}

	if err := r.child.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !r.await("readiness", "draining") {
		t.Errorf("it ended at once, with %d answers to give", requests)
	}
	if status, body, err := r.create(0); err != nil || status != http.StatusAccepted || !json.Valid(body) {
		t.Errorf("who asks again meanwhile gets %d %s, %v; want the payment as it is", status, body, err)
	}

	close(r.stripe.release)
	payments := map[string]bool{}
	for range requests {
		a := <-answers
		var payment struct{ ID, Status string }
		if a.err != nil || a.status != http.StatusCreated || json.Unmarshal(a.body, &payment) != nil || payment.Status != "AUTHORIZED" {
			t.Errorf("a request in flight got %d %s, %v", a.status, a.body, a.err)
		}
		payments[payment.ID] = true
	}
	if len(payments) != requests {
		t.Errorf("%d payments were answered, of %d", len(payments), requests)
	}
	<-r.ended
	said := r.said.String()
	if !r.child.ProcessState.Success() || strings.Contains(said, "not closed") || strings.Contains(said, "broken off") ||
		!strings.Contains(said, `"closed":["tasks","topics","database","telemetry"]`) {
		t.Errorf("it ended with %v, and said:\n%s", r.child.ProcessState, said)
	}
	var authorized, connections int
	err := r.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM transactions WHERE status = 'AUTHORIZED'),
		(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> current_user)`).Scan(&authorized, &connections)
	if err != nil || authorized != requests || connections != 0 {
		t.Errorf("%d authorized payments, %d connections left, %v", authorized, connections, err)
	}
}
