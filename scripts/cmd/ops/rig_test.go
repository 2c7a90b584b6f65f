package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/local/controlplane"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/settlement"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

const (
	where    = "projects/test/locations/asia-northeast1"
	resumes  = where + "/queues/provider-stripe"
	webhooks = where + "/queues/webhooks"
	settles  = where + "/queues/settlement"
)

var (
	epoch   = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)
	sealKey = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
)

// rig is a deployment that stands still: a database, a Cloud Tasks, the core in
// front of a simulated Stripe, and a clock that moves when it is told to. Its root
// has the state file of a scripts/dev.
type rig struct {
	t        *testing.T
	root     string
	clock    *clock.Clock
	tasks    *cloudtasks.Server
	sim      *providersim.Stripe
	pool     *pgxpool.Pool
	payments *payment.Service
	webhooks *webhook.Service
	endpoint *receiver
	control  *control.Memory
	keys     int

	settlements *settlement.Service
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFrozen(epoch)
	r := &rig{t: t, root: t.TempDir(), clock: c, endpoint: newReceiver(t), control: control.NewMemory()}
	clockServer := httptest.NewServer(c.Handler())
	t.Cleanup(clockServer.Close)
	controlServer := httptest.NewServer(controlplane.Handler(r.control))
	t.Cleanup(controlServer.Close)
	worker := httptest.NewServer(http.HandlerFunc(r.work))
	t.Cleanup(worker.Close)
	r.startTasks()
	url := pgtest.New(t)
	var err error
	if r.pool, err = pgxpool.New(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.pool.Close)
	made, err := outbox.OpenTasks(t.Context(), outbox.TasksConfig{
		Location: where, ServiceAccount: "tasks@test", ResumeURL: worker.URL + "/resume", DeliverURL: worker.URL + "/deliver",
		SettleURL: worker.URL + "/settle",
	}, r.tasks.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	r.startServices(made)
	r.writeState(state{
		DatabaseURL: pgtest.Login(t, url, "tollgate_operator"), TasksAddr: r.tasks.Addr(), TasksLocation: where, TasksServiceAccount: "tasks@test",
		ResumeURL: worker.URL + "/resume", DeliverURL: worker.URL + "/deliver", SettleURL: worker.URL + "/settle", SealingKey: sealKey, AuditSeals: "file://" + t.TempDir(), ClockURL: clockServer.URL, ControlURL: controlServer.URL,
	})
	return r
}

func (r *rig) startTasks() {
	r.t.Helper()
	var err error
	r.tasks, err = cloudtasks.New(cloudtasks.Options{
		Now: r.clock.Now, Wake: r.clock.Wake, Token: func(string, string) string { return "token" },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.tasks.Close)
	r.clock.Register(r.tasks)
	for _, queue := range []string{resumes, webhooks, settles} {
		_, err := r.tasks.CreateQueue(r.t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: where, Queue: &cloudtaskspb.Queue{Name: queue}})
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) startServices(tasks *outbox.Tasks) {
	r.t.Helper()
	r.sim = providersim.NewStripe(providersim.StripeConfig{Now: r.clock.Now, SecretKeys: []string{"sk_test_sim"}})
	r.t.Cleanup(r.sim.Close)
	server := httptest.NewServer(r.sim)
	r.t.Cleanup(server.Close)
	adapter, err := stripe.New(stripe.Config{SecretKey: "sk_test_sim", APIBase: server.URL}, stripe.Options{Now: r.clock.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(adapter.Close)
	log, newID := slog.New(slog.DiscardHandler), id.Source{Now: r.clock.Now}.New
	r.payments = &payment.Service{
		Pool: r.pool, Now: r.clock.Now, NewID: newID, Name: "test", Log: log, // without Tasks: only ops makes any
		Providers: map[string]provider.Adapter{"stripe": adapter},
	}
	sealer, err := seal.New(telemetry.Secret(sealKey))
	if err != nil {
		r.t.Fatal(err)
	}
	schedule, err := webhook.NewSchedule([]time.Duration{0, time.Minute})
	if err != nil {
		r.t.Fatal(err)
	}
	r.webhooks = &webhook.Service{
		Pool: r.pool, Now: r.clock.Now, NewID: newID, Tasks: tasks, Schedule: schedule, Log: log, Sealer: sealer,
		Sender: sender.New(true, r.clock.Now),
	}
	r.settlements = &settlement.Service{Pool: r.pool, Now: r.clock.Now, NewID: newID, Payments: r.payments, Tasks: tasks, Log: log}
}

func (r *rig) writeState(s state) {
	r.t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(r.root, filepath.Dir(stateFile)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.root, stateFile), text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// work is resumepayment, deliverwebhook and settle in short.
func (r *rig) work(w http.ResponseWriter, req *http.Request) {
	var err error
	switch req.URL.Path {
	case "/resume":
		var wake payment.Wake
		if err = json.NewDecoder(req.Body).Decode(&wake); err == nil {
			err = r.payments.Resume(req.Context(), wake)
		}
	case "/deliver":
		var task webhook.Task
		if err = json.NewDecoder(req.Body).Decode(&task); err == nil {
			err = r.webhooks.Do(req.Context(), task)
		}
	case "/settle":
		var task settlement.Task
		if err = json.NewDecoder(req.Body).Decode(&task); err == nil {
			err = r.settlements.Do(req.Context(), task)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// said is what a command did and said.
type said struct {
	code          int
	out, problems string
}

// try runs a command on the rig.
func (r *rig) try(args ...string) said {
	r.t.Helper()
	var out, problems bytes.Buffer
	nothing := config.Map(nil)
	machine := func() time.Time { r.t.Error("the machine's clock is read"); return time.Time{} }
	code := run(r.t.Context(), world{lookup: nothing, now: machine, root: r.root, out: &out, problems: &problems}, args)
	return said{code, out.String(), problems.String()}
}

// ops runs a command that must succeed.
func (r *rig) ops(args ...string) string {
	r.t.Helper()
	s := r.try(args...)
	if s.code != exitDone || s.problems != "" {
		r.t.Fatalf("ops %s: status %d, %s%s", strings.Join(args, " "), s.code, s.problems, s.out)
	}
	return s.out
}

// asked runs a command that must succeed, and reads its JSON.
func asked[T any](r *rig, args ...string) (v T) {
	r.t.Helper()
	out := r.ops(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		r.t.Fatalf("ops %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// refused runs a command that must fail, and change nothing that it says words about.
func (r *rig) refused(code int, words string, args ...string) {
	r.t.Helper()
	s := r.try(args...)
	if s.code != code || !strings.Contains(s.problems, words) {
		r.t.Errorf("ops %s: status %d and %q, want %d and %q", strings.Join(args, " "), s.code, s.problems, code, words)
	}
}

// merchant makes a merchant by the command.
func (r *rig) merchant(flags ...string) made {
	r.t.Helper()
	return asked[made](r, append([]string{"merchants", "create", "--name", "Demo shop"}, flags...)...)
}

// made is what merchants create tells a program.
type made struct {
	Merchant string `json:"merchant_id"`
	KeyID    string `json:"api_key_id"`
	Key      string `json:"api_key"`
	Endpoint string `json:"webhook_endpoint_id"`
	URL      string `json:"webhook_url"`
	Secret   string `json:"signing_secret"`
}

// pay makes a payment of the merchant, and returns its external id.
func (r *rig) pay(m made) string { return r.payBy(m, "pm_card_visa") }

func (r *rig) payBy(m made, method string) string {
	r.t.Helper()
	merchantID, err := id.Merchant.Parse(m.Merchant)
	if err != nil {
		r.t.Fatal(err)
	}
	r.keys++
	request := idempotency.Request{
		MerchantID: merchantID, Key: "key-" + strings.Repeat("0", 20) + string(rune('a'+r.keys)), Method: "POST", Path: "/v1/payments",
	}
	a, err := r.payments.Create(r.t.Context(), payment.Caller{MerchantID: merchantID, KeyID: r.payments.NewID()}, request,
		payment.CreateParams{Amount: 5000, Currency: "JPY", PaymentMethod: method, CaptureMethod: "manual", MerchantReference: "order-" + request.Key})
	if err != nil {
		r.t.Fatal(err)
	}
	var v struct{ ID string }
	if err := json.Unmarshal(a.Body, &v); err != nil {
		r.t.Fatal(err)
	}
	return v.ID
}

func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	if err := r.clock.Advance(r.t.Context(), d); err != nil {
		r.t.Fatal(err)
	}
}

// notify does what notifymerchant does with the events of a payment.
func (r *rig) notify(paymentID string) {
	r.t.Helper()
	payment, err := id.Payment.Parse(paymentID)
	if err != nil {
		r.t.Fatal(err)
	}
	rows, err := r.pool.Query(r.t.Context(), `SELECT id FROM events WHERE transaction_id = $1`, payment)
	if err != nil {
		r.t.Fatal(err)
	}
	var events []id.ID
	for rows.Next() {
		var e id.ID
		if err := rows.Scan(&e); err != nil {
			r.t.Fatal(err)
		}
		events = append(events, e)
	}
	for _, e := range events {
		if err := r.webhooks.Notify(r.t.Context(), e); err != nil {
			r.t.Fatal(err)
		}
	}
}

// receiver is a merchant's endpoint, up or down.
type receiver struct {
	url string

	mu   sync.Mutex
	down bool
	got  int
}

func newReceiver(t *testing.T) *receiver {
	e := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "closed for\x1b[31m cleaning")
			return
		}
		e.got++
	}))
	t.Cleanup(server.Close)
	e.url = server.URL + "/hook"
	return e
}

func (e *receiver) setDown(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

func (e *receiver) received() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got
}
