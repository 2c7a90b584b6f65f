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
	r.child.Stderr = r.log
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

type view struct {
	ID               string
	Status           string
	PaymentID        string  `json:"payment_id"` // of a refund
	PendingOperation *string `json:"pending_operation"`
	RefundedAmount   int64   `json:"refunded_amount"`
}

// do makes a request that must succeed.
func (r *rig) do(q request) view {
	r.t.Helper()
	status, body := r.send(q)
	var v view
	if err := json.Unmarshal(body, &v); status > 201 || err != nil {
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

// operation is one of the four, with what must be true in the end.
type operation struct {
	name, function string
	prepare        func(*rig) (path, body string)
	effect         providersim.EffectKind
	status         string // of the payment
	event          string
}

var operations = []operation{
	{"create", "createpayment", func(*rig) (string, string) {
		return "/v1/payments", `{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","capture_method":"manual"}`
	}, providersim.EffectAuthorize, "AUTHORIZED", payment.EventAuthorized},
	{"capture", "capturepayment", func(r *rig) (string, string) {
		return "/v1/payments/" + r.payment("manual") + "/capture", `{}`
	}, providersim.EffectCapture, "CAPTURED", payment.EventCaptured},
	{"cancel", "cancelpayment", func(r *rig) (string, string) {
		return "/v1/payments/" + r.payment("manual") + "/cancel", `{}`
	}, providersim.EffectVoid, "CANCELED", payment.EventCanceled},
	{"refund", "refundpayment", func(r *rig) (string, string) {
		return "/v1/payments/" + r.payment("automatic") + "/refund", `{}`
	}, providersim.EffectRefund, "REFUNDED", payment.EventRefunded},
}

func (r *rig) payment(capture string) string {
	r.t.Helper()
	return r.do(r.newRequest("/v1/payments", `{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","capture_method":"`+capture+`"}`)).ID
}

var points = []string{
	payment.PointClaiming, payment.PointClaimed, payment.PointCalled, payment.PointRecording, payment.PointRecorded, payment.PointPublish,
}

func TestKilledAtEveryRecoveryPoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, op := range operations {
		for _, point := range points {
			if ok := t.Run(op.name+"/"+point, func(t *testing.T) { r.crash(t, op, point) }); !ok {
				t.FailNow() // what follows would stumble over it
			}
		}
	}
	r.t = t
	r.foldAudit()
}

func (r *rig) crash(t *testing.T, op operation, point string) {
	r.t = t
	path, body := op.prepare(r)
	if err := r.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := r.count(op.effect)
	if err := os.WriteFile(r.trap, []byte(op.function+" "+point), 0o600); err != nil {
		t.Fatal(err)
	}
	q := r.newRequest(path, body)
	status, answered := r.send(q)
	r.awaitDeath()
	if point != payment.PointPublish && status != 0 {
		t.Fatalf("killed at %s, it had answered %d %s", point, status, answered)
	}
	r.revive()
	r.advance(3 * time.Minute) // the sweep comes each minute; a lease lasts half of one

	if point != payment.PointClaiming {
		// Nobody asked again, and all the same it is carried to its end.
		if n := r.openSagas(); n != 0 {
			t.Errorf("%d operations are still open after the sweep", n)
		}
		if got := r.count(op.effect) - before; got != 1 {
			t.Errorf("the provider did it %d times, want once", got)
		}
	}
	v := r.do(q) // the merchant asks again, with the same key
	first := v
	if v = r.do(q); v != first {
		t.Errorf("two repeats differ: %+v and %+v", first, v)
	}
	if got := r.count(op.effect) - before; got != 1 {
		t.Errorf("in the end the provider did it %d times, want once", got)
	}
	r.advance(2 * time.Minute)
	paymentID := v.ID
	if v.PaymentID != "" {
		paymentID = v.PaymentID
	}
	if got := r.statusOf(paymentID); got != op.status {
		t.Errorf("the payment is %s, want %s", got, op.status)
	}
	if !slices.Contains(r.received.of(paymentID), op.event) {
		t.Errorf("the merchant was told %v, want %s among it", r.received.of(paymentID), op.event)
	}
}

func (r *rig) count(kind providersim.EffectKind) int {
	n := 0
	for _, e := range r.Stripe.Effects() {
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

func (r *rig) openSagas() (n int) {
	r.t.Helper()
	r.query(&n, `SELECT count(*) FROM transaction_saga WHERE state <> 'done'`)
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
