package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// The test binary is also the host of the functions: started again with these, it
// serves them until it is killed, by others or, at the point that the trap file
// names, by itself.
const (
	hostVariable = "TOLLGATE_TEST_HOST"
	trapVariable = "TOLLGATE_TEST_TRAP"
)

func TestMain(m *testing.M) {
	if c := os.Getenv(hostVariable); c != "" {
		if err := host(c, os.Getenv(trapVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func host(config, trap string) error {
	var c stack.HostConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	_, err := stack.StartHost(context.Background(), c, stack.HostOptions{Log: os.Stderr, Hook: func(ctx context.Context, point string) {
		armed, err := os.ReadFile(trap)
		if err != nil || string(armed) != stack.FunctionOf(ctx)+" "+point || os.Remove(trap) != nil {
			return // os.Remove lets one caller in
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}})
	return err
}

// rig is a stack whose functions run in a process of their own.
type rig struct {
	*stack.Stack
	t        *testing.T
	config   string
	trap     string
	child    *exec.Cmd
	log      *lockedBuffer
	merchant id.ID
	key      string
	received *receiver
	keys     int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	s, err := stack.Start(t.Context(), stack.Options{
		DatabaseURL: pgtest.New(t), ExternalHost: true,
		Violation: func(err error) { t.Errorf("does not fit openapi.yaml: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	config, err := json.Marshal(s.HostConfig())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Stack: s, t: t, config: string(config), trap: filepath.Join(t.TempDir(), "trap"), log: &lockedBuffer{}, received: &receiver{}}
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("the functions said:\n%s", r.log.tail())
		}
	})
	r.revive()
	if r.merchant, r.key, err = s.CreateMerchant(t.Context(), "Crash"); err != nil {
		t.Fatal(err)
	}
	endpoint := httptest.NewServer(r.received)
	t.Cleanup(endpoint.Close)
	if _, err := s.CreateEndpoint(t.Context(), r.merchant, endpoint.URL); err != nil {
		t.Fatal(err)
	}
	return r
}

// revive starts the functions anew.
func (r *rig) revive() {
	r.t.Helper()
	r.child = exec.Command(os.Args[0])
	r.child.Env = append(os.Environ(), hostVariable+"="+r.config, trapVariable+"="+r.trap)
	r.child.Stderr = pgtest.Undenied(r.t, r.log)
	r.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.child.Start(); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	if err := r.AwaitHost(ctx); err != nil {
		r.t.Fatalf("%v\n%s", err, r.log.tail())
	}
}

func (r *rig) kill() {
	_ = r.child.Process.Kill() // it may be dead
	_ = r.child.Wait()
}

// awaitDeath waits until the functions have been killed at the trap.
func (r *rig) awaitDeath() {
	r.t.Helper()
	err := r.child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		r.t.Fatalf("the functions ended otherwise: %v\n%s", err, r.log.tail())
	}
	if _, err := os.Stat(r.trap); !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal("the trap was not sprung")
	}
}

// request is one operation as a merchant sends it, again and again under one key.
type request struct{ path, body, key string }

func (r *rig) newRequest(path, body string) request {
	r.keys++
	return request{path: path, body: body, key: fmt.Sprintf("crash-test-key-%06d", r.keys)}
}

// send makes the request; 0 means that the answer was lost.
func (r *rig) send(q request) (int, []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.GatewayURL+q.path, strings.NewReader(q.body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Idempotency-Key", q.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Request-Id") == "" {
		return 0, nil // the gateway's own
	}
	return resp.StatusCode, body
}

// view is what is read of a payment or a refund. Two are equal by ==.
type view struct {
	ID               string
	Status           string
	PaymentID        string `json:"payment_id"` // of a refund
	PendingOperation string `json:"pending_operation"`
	RefundedAmount   int64  `json:"refunded_amount"`
	NextAction       struct {
		RedirectURL string `json:"redirect_url"`
	} `json:"next_action"`
}

// do makes a request that must succeed, if only in part for now.
func (r *rig) do(q request) view {
	r.t.Helper()
	status, body := r.send(q)
	var v view
	if err := json.Unmarshal(body, &v); status > 202 || err != nil {
		r.t.Fatalf("%s was answered %d %s", q.path, status, body)
	}
	return v
}

func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	if err := r.Advance(r.t.Context(), d); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) count(kind providersim.EffectKind) int {
	n := 0
	for _, e := range slices.Concat(r.Stripe.Effects(), r.PayPal.Effects(), r.Bank.Effects()) {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (r *rig) query(dst any, sql string, args ...any) {
	r.t.Helper()
	if err := r.DB.QueryRow(r.t.Context(), sql, args...).Scan(dst); err != nil {
		r.t.Fatal(err)
	}
}

// working counts the operations that are neither done nor wait for a payer.
func (r *rig) working() (n int) {
	r.t.Helper()
	r.query(&n, `SELECT count(*) FROM transaction_saga WHERE state NOT IN ('done', 'awaiting_payer')`)
	return n
}

func (r *rig) statusOf(external string) (status string) {
	r.t.Helper()
	p, err := id.Payment.Parse(external)
	if err != nil {
		r.t.Fatal(err)
	}
	r.query(&status, `SELECT status FROM transactions WHERE id = $1`, p)
	return status
}

// foldAudit holds the audit log against the tables, and the outbox to being empty.
func (r *rig) foldAudit() {
	r.t.Helper()
	wrong, err := payment.AuditMismatches(r.t.Context(), r.DB)
	if err != nil || len(wrong) > 0 {
		r.t.Errorf("the audit log does not give these rows back: %v %v", wrong, err)
	}
	var unpublished, gaps int
	r.query(&unpublished, `SELECT count(*) FROM outbox WHERE published_at IS NULL`)
	r.query(&gaps, `SELECT count(*) FROM (SELECT 1 FROM transactions t LEFT JOIN events e ON e.transaction_id = t.id
		GROUP BY t.id HAVING count(e.id) <> t.event_sequence OR coalesce(max(e.sequence), 0) <> t.event_sequence) g`)
	if unpublished != 0 || gaps != 0 {
		r.t.Errorf("%d events unpublished, %d payments with gaps in their sequence", unpublished, gaps)
	}
}

// receiver is the merchant's endpoint.
type receiver struct {
	mu     sync.Mutex
	events map[string][]string // types by payment
}

func (e *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var event struct {
		Type string
		Data struct{ Payment struct{ ID string } }
	}
	if json.NewDecoder(req.Body).Decode(&event) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.events == nil {
		e.events = map[string][]string{}
	}
	e.events[event.Data.Payment.ID] = append(e.events[event.Data.Payment.ID], event.Type)
}

func (e *receiver) of(payment string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.events[payment])
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

func (l *lockedBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.b.Bytes()
	return string(b[max(0, len(b)-8000):])
}
