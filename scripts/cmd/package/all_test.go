package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/scripts/cmd/package/trial"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Everything that is deployed is staged once, and held to what was promised of it: the
// same bytes each time, no more than is needed, and, made into programs by the
// buildpack's own steps, functions that answer whoever calls them.
func TestEverythingThatIsDeployed(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	said := packaged(t, "--all", "--out", out)
	all := deployed(t)

	t.Run("is the same to the byte each time", func(t *testing.T) {
		t.Parallel()
		again := t.TempDir()
		if other := packaged(t, "--all", "--out", again); other != said {
			t.Errorf("once:\n%s\nand again:\n%s", said, other)
		}
		for _, name := range []string{"createpayment", "migrate"} { // an archive is made of its tree alone
			first, err := compress(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			second, err := compress(filepath.Join(again, name))
			if err != nil {
				t.Fatal(err)
			}
			if first.digest != second.digest || read(t, first.path) != read(t, second.path) {
				t.Errorf("%s.zip is another one each time", name)
			}
		}
	})
	t.Run("is what is needed and no more", func(t *testing.T) {
		t.Parallel()
		for _, s := range all {
			holdsNoMore(t, s, filepath.Join(out, s.name))
			holdsAll(t, s, filepath.Join(out, s.name))
		}
	})
	t.Run("runs", func(t *testing.T) {
		t.Parallel()
		var trees []staged
		for _, s := range all {
			trees = append(trees, staged{target: s, dir: filepath.Join(out, s.name)})
		}
		programs, err := build(t.Context(), trees, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Run("only when it is configured", func(t *testing.T) { t.Parallel(); withoutConfiguration(t, programs) })
		t.Run("as the functions of a deployment", func(t *testing.T) { t.Parallel(); asDeployment(t, programs) })
		t.Run("as the job before them", func(t *testing.T) { t.Parallel(); migrates(t, programs) })
	})
}

// A revision with a wrong configuration must not get any requests: the function names
// what is wrong and ends.
func withoutConfiguration(t *testing.T, programs []built) {
	for _, b := range programs {
		if !b.isFunction() {
			continue
		}
		said, err := trial.Run(t.Context(), b.program, map[string]string{"FUNCTION_TARGET": b.entryPoint})
		if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(said, "DATABASE_URL") {
			t.Errorf("%s without its configuration: %v\n%s", b.name, err, said)
		}
	}
}

// deployment is a stack with all of the programs in it.
type deployment struct {
	*trial.Trial
	t       *testing.T
	running map[string]*trial.Program
}

func asDeployment(t *testing.T, programs []built) {
	started, err := trial.New(t.Context(), stack.Options{
		DatabaseURL: pgtest.New(t),
		Violation:   func(err error) { t.Errorf("does not fit openapi.yaml: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{started, t, map[string]*trial.Program{}}
	t.Cleanup(d.end)
	var table bytes.Buffer
	if err := measureStarts(t.Context(), d.Trial, programs, 1, &table); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
	for _, b := range programs {
		if b.isFunction() {
			d.place(b)
		}
	}
	d.ownLogins()
	paymentID := d.live()
	d.operate(programs, paymentID)
	for name := range d.running {
		ok := 0
		for status, times := range d.Answers(name) {
			if status/100 == 2 {
				ok += times
			}
		}
		if ok == 0 {
			t.Errorf("%s has answered nobody well: %v", name, d.Answers(name))
		}
	}
	// main is not ours: what we do at SIGTERM must work all the same.
	var stopping errgroup.Group
	for name, p := range d.running {
		stopping.Go(func() error {
			if err := p.Stop(); err != nil {
				return fmt.Errorf("%s at SIGTERM: %w", name, err)
			}
			return nil
		})
	}
	if err := stopping.Wait(); err != nil {
		t.Error(err)
	}
	if asked := d.Strangers(); len(asked) > 0 {
		t.Errorf("programs asked for hosts outside: %q", asked)
	}
}

// place starts a function, has it answer the stack's calls, and looks at its health.
func (d *deployment) place(b built) {
	d.t.Helper()
	p, err := d.Start(d.t.Context(), b.name, b.entryPoint, b.program)
	if err != nil {
		d.t.Fatal(err)
	}
	d.running[b.name] = p
	if err := d.Place(b.name, p); err != nil {
		d.t.Fatal(err)
	}
	for _, probe := range []string{"readiness", "liveness"} {
		if status, body, err := p.Probe(d.t.Context(), probe); err != nil || status != http.StatusOK {
			d.t.Errorf("%s: its %s probe was answered %d %s, %v", b.name, probe, status, body, err)
		}
	}
	d.refuses(b.name, p)
}

// refuses looks at what the function says to who is nobody: a problem that names the
// request, and neither what it does nor why not.
func (d *deployment) refuses(name string, p *trial.Program) {
	d.t.Helper()
	method, path, _ := strings.Cut(cmp.Or(gates[name], "POST /"), " ")
	req, err := http.NewRequestWithContext(d.t.Context(), method, p.URL+path, strings.NewReader(`{}`))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var problem struct {
		Status int
		Code   string
	}
	want := "unauthenticated"
	if name == "ingestwebhook" { // providers have no credentials, and sign what they say
		want = "signature_invalid"
	}
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil || resp.StatusCode != problem.Status || problem.Code != want {
		d.t.Errorf("%s answered a stranger %s, %+v, %v", name, resp.Status, problem, err)
	}
	if kind, given := resp.Header.Get("Content-Type"), resp.Header.Get("Request-Id"); kind != "application/problem+json" || !strings.HasPrefix(given, "req_") {
		d.t.Errorf("%s answered a stranger as %s, Request-Id %q", name, kind, given)
	}
}

// gates are requests that get as far as a function's gate; functions that no merchant
// calls have it at every path.
var gates = map[string]string{
	"createpayment": "POST /v1/payments", "getpayment": "GET /v1/payments/pay_1", "listpayments": "GET /v1/payments",
	"capturepayment": "POST /v1/payments/pay_1/capture", "cancelpayment": "POST /v1/payments/pay_1/cancel",
	"refundpayment": "POST /v1/payments/pay_1/refund", "webhookadmin": "GET /v1/webhook-endpoints",
	"listdisputes": "GET /v1/disputes", "listsettlements": "GET /v1/settlements", "ingestwebhook": "POST /v1/provider-webhooks/stripe",
}

// ownLogins looks at who the programs are to the database: each a user of its own.
func (d *deployment) ownLogins() {
	d.t.Helper()
	rows, err := d.DB.Query(d.t.Context(), `SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()`)
	if err != nil {
		d.t.Fatal(err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.t.Fatal(err)
	}
	for name := range d.running {
		if !slices.ContainsFunc(users, func(u string) bool { return strings.HasPrefix(u, "run-"+name+"@") }) {
			d.t.Errorf("%s is not at the database as itself; there are %q", name, users)
		}
	}
}

// operate runs the operators' command as a job does: with variables and arguments, far
// from the repository.
func (d *deployment) operate(programs []built, paymentID string) {
	d.t.Helper()
	said, err := trial.Run(d.t.Context(), program(programs, "ops"), map[string]string{"DATABASE_URL": d.OperatorURL}, "payments", "show", paymentID)
	if err != nil || !strings.Contains(said, "CAPTURED") {
		d.t.Errorf("ops: %v\n%s", err, said)
	}
}

// end tells what the programs said if something went wrong.
func (d *deployment) end() {
	for name, p := range d.running {
		if d.t.Failed() {
			d.t.Logf("%s said:\n%s", name, p.Said())
		}
	}
	d.Close()
}

// payment is what is read of one, or of whatever else has an id.
type payment struct {
	ID         string
	Status     string
	Secret     string // of a webhook endpoint
	NextAction struct {
		RedirectURL string `json:"redirect_url"`
	} `json:"next_action"`
}

// live is a merchant's life in a few minutes: each function is called by whom it is
// called in production. It returns the payment that was captured.
func (d *deployment) live() (paymentID string) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	defer cancel()
	_, key, err := d.CreateMerchant(ctx, "Trial")
	if err != nil {
		d.t.Fatal(err)
	}
	m := &merchant{d.t, shop.Client{BaseURL: d.GatewayURL, APIKey: key}}
	told, err := shop.Open(time.Now)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(told.Close)
	endpoint := m.post(ctx, http.StatusCreated, "/v1/webhook-endpoints", map[string]any{"url": told.URL})
	told.Trust(endpoint.Secret)

	p := m.post(ctx, http.StatusCreated, "/v1/payments", card)
	m.post(ctx, http.StatusOK, "/v1/payments/"+p.ID+"/capture", map[string]any{})
	m.post(ctx, http.StatusCreated, "/v1/payments/"+p.ID+"/refund", map[string]any{"amount": 1000})
	canceled := m.post(ctx, http.StatusCreated, "/v1/payments", card)
	m.post(ctx, http.StatusOK, "/v1/payments/"+canceled.ID+"/cancel", map[string]any{})
	for _, path := range []string{"/v1/payments", "/v1/payments/" + p.ID, "/v1/disputes", "/v1/settlements", "/v1/webhook-endpoints"} {
		m.get(ctx, path)
	}
	d.approve(ctx, m)

	for _, job := range []string{"sweep", "settle", "reconcile", "verifyaudit"} {
		if err := d.RunJob(ctx, job); err != nil {
			d.t.Error(err)
		}
	}
	d.eventually(ctx, "the shop is told all of the payments", func() bool {
		return len(told.Events(p.ID)) >= 3 && len(told.Events(canceled.ID)) >= 2
	})
	d.eventually(ctx, "what the providers said is applied", func() bool {
		var open int
		err := d.DB.QueryRow(ctx, `SELECT count(*) FROM webhook_events WHERE state NOT IN ('applied', 'ignored')`).Scan(&open)
		return err == nil && open == 0
	})
	return p.ID
}

var card = map[string]any{"amount": 5000, "currency": "JPY", "payment_method": "pm_card_visa", "capture_method": "manual"}

// approve has a payer approve at PayPal, which leaves the rest to a webhook, and by it to
// a task.
func (d *deployment) approve(ctx context.Context, m *merchant) {
	d.t.Helper()
	p := m.post(ctx, http.StatusAccepted, "/v1/payments", map[string]any{
		"amount": 5000, "currency": "JPY", "payment_method": "paypal", "capture_method": "manual", "return_url": "https://shop.example/back",
	})
	if a, err := shop.Visit(ctx, p.NextAction.RedirectURL, providersim.PayPalApproves); err != nil || a.Status != http.StatusSeeOther {
		d.t.Fatalf("the payer's page answered %d %s, %v", a.Status, a.Body, err)
	}
	d.eventually(ctx, "the approved payment is authorized", func() bool {
		return m.get(ctx, "/v1/payments/"+p.ID).Status == "AUTHORIZED"
	})
}

// eventually waits until something is so.
func (d *deployment) eventually(ctx context.Context, what string, so func() bool) {
	d.t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-again.C:
		case <-ctx.Done():
			d.t.Fatalf("it does not come about that %s", what)
		}
	}
}

// merchant calls the API, and expects to succeed.
type merchant struct {
	t *testing.T
	shop.Client
}

func (m *merchant) post(ctx context.Context, want int, path string, body any) (p payment) {
	m.t.Helper()
	a, err := m.Post(ctx, path, shop.NewKey(), body)
	return m.take(a, err, want, path)
}

func (m *merchant) get(ctx context.Context, path string) payment {
	m.t.Helper()
	a, err := m.Get(ctx, path)
	return m.take(a, err, http.StatusOK, path)
}

func (m *merchant) take(a shop.Answer, err error, want int, path string) (p payment) {
	m.t.Helper()
	if err != nil || a.Status != want {
		m.t.Fatalf("%s was answered %d %s, %v", path, a.Status, a.Body, err)
	}
	if err := a.Into(&p); err != nil {
		m.t.Fatal(err)
	}
	return p
}

func program(programs []built, name string) string {
	return programs[slices.IndexFunc(programs, func(b built) bool { return b.name == name })].program
}

// migrates runs the migrations as a job does.
func migrates(t *testing.T, programs []built) {
	said, err := trial.Run(t.Context(), program(programs, "migrate"), map[string]string{"DATABASE_URL": pgtest.Empty(t)})
	if err != nil || !strings.Contains(said, "applied "+newestMigration(t)) {
		t.Errorf("migrate: %v\n%s", err, said)
	}
}
