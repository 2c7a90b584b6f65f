package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// world is a stack with one merchant in it.
type world struct {
	*stack.Stack
	shop.Client
	t          *testing.T
	shop       *shop.Shop
	merchantID id.ID
}

func newStack(t *testing.T, o stack.Options) *stack.Stack {
	t.Helper()
	o.DatabaseURL = pgtest.New(t)
	o.Violation = func(err error) { t.Errorf("does not fit openapi.yaml: %v", err) }
	log := &tail{}
	o.Log = pgtest.Undenied(t, log)
	s, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("the functions' log ends:\n%s", log)
		}
	})
	return s
}

func newWorld(t *testing.T, o stack.Options) *world {
	t.Helper()
	return enter(t, newStack(t, o))
}

// enter opens a shop of the test's own in a stack.
func enter(t *testing.T, s *stack.Stack) *world {
	t.Helper()
	merchantID, apiKey, err := s.CreateMerchant(t.Context(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := shop.Open(s.Clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	secret, err := s.CreateEndpoint(t.Context(), merchantID, opened.URL)
	if err != nil {
		t.Fatal(err)
	}
	opened.Trust(secret)
	return &world{
		Stack: s, Client: shop.Client{BaseURL: s.GatewayURL, APIKey: apiKey},
		t: t, shop: opened, merchantID: merchantID,
	}
}

// rarely is for tests of many hours: a sweep each minute would take most of their time and tell no more.
const rarely = "*/10 * * * *"

// sweepAlone is for tests of many hours that count events: nights bring events of their own.
var sweepAlone = []string{"sweep"}

// body is a request's JSON object.
type body map[string]any

// answer is what these tests read of payments, refunds and problems.
type answer struct {
	ID         string `json:"id"`
	Status     any    `json:"status"` // a problem's is a number
	Code       string `json:"code"`
	Amount     int64  `json:"amount"`
	Authorized int64  `json:"authorized_amount"`
	Captured   int64  `json:"captured_amount"`
	Refunded   int64  `json:"refunded_amount"`
	Refundable int64  `json:"refundable_amount"`
	Pending    string `json:"pending_operation"`
	Sequence   int64  `json:"sequence"`
	PaymentID  string `json:"payment_id"`
	NextAction *struct {
		RedirectURL string `json:"redirect_url"`
	} `json:"next_action"`
	Failure *struct {
		Code string `json:"code"`
	} `json:"failure"`
	Provider string   `json:"provider"`
	Attempts []answer `json:"attempts"`
	Outcome  string   `json:"outcome"` // of an attempt
	Refunds  []answer `json:"refunds"`
	Events   []answer `json:"events"`

	http shop.Answer
}

func (w *world) parse(a shop.Answer, err error) answer {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	out := answer{http: a}
	if err := a.Into(&out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// post sends a request under a key of its own, and holds the answer's status against what it should be.
func (w *world) post(status int, path string, b any) answer {
	w.t.Helper()
	return w.answered(status, "POST "+path, w.parse(w.Post(w.t.Context(), path, shop.NewKey(), b)))
}

func (w *world) get(status int, path string) answer {
	w.t.Helper()
	return w.answered(status, "GET "+path, w.parse(w.Get(w.t.Context(), path)))
}

func (w *world) patch(status int, path string, b any) answer {
	w.t.Helper()
	return w.answered(status, "PATCH "+path, w.parse(w.Patch(w.t.Context(), path, b)))
}

func (w *world) delete(status int, path string) {
	w.t.Helper()
	a, err := w.Delete(w.t.Context(), path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.answered(status, "DELETE "+path, answer{http: a})
}

// answered holds an answer's status against what it should be.
func (w *world) answered(status int, to string, a answer) answer {
	w.t.Helper()
	if a.http.Status != status {
		w.t.Errorf("%s was answered %d, want %d: %s", to, a.http.Status, status, a.http.Body)
	}
	return a
}

func (w *world) read(p answer) answer {
	w.t.Helper()
	return w.get(http.StatusOK, "/v1/payments/"+p.ID+"?expand=refunds,events,attempts")
}

// pay is a create's body.
func pay(paymentMethod string, more body) body {
	b := body{"amount": 5000, "currency": "JPY", "payment_method": paymentMethod, "capture_method": "manual"}
	for k, v := range more {
		b[k] = v
	}
	return b
}

func (w *world) settle() {
	w.t.Helper()
	if err := w.Settle(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) advance(d time.Duration) {
	w.t.Helper()
	if err := w.Advance(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
}

// patience is how long, in real time, a test waits for what must come.
const patience = 30 * time.Second

// wantEvents waits until the shop was told exactly this of the payment, in this sequence from 1, and nothing that it
// can't trust.
func (w *world) wantEvents(p answer, types ...string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	err := w.shop.Await(ctx, func([]shop.Webhook) bool { return len(w.shop.Events(p.ID)) >= len(types) })
	events := w.shop.Events(p.ID)
	var got []string
	for i, e := range events {
		got = append(got, e.Type)
		if e.Sequence != int64(i+1) {
			w.t.Errorf("event %d has the sequence %d", i+1, e.Sequence)
		}
	}
	if diff := cmp.Diff(types, got); diff != "" {
		w.t.Errorf("events of %s (-want +got, %v):\n%s", p.ID, err, diff)
	}
	for _, r := range w.shop.Received() {
		if r.Err != nil {
			w.t.Errorf("a webhook that can't be trusted: %v", r.Err)
		}
	}
}

// effects counts what the simulated providers really did about a payment.
func (w *world) effects(p answer) map[string]int {
	n := map[string]int{}
	for _, e := range w.EffectsOf(p.ID) {
		n[string(e.Kind)]++
	}
	return n
}

func (w *world) wantEffects(p answer, want map[string]int) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.effects(p)); diff != "" {
		w.t.Errorf("what the providers did about %s (-want +got):\n%s", p.ID, diff)
	}
}

// metrics reads what the functions measured.
func (w *world) metrics() string {
	w.t.Helper()
	resp, err := http.Get(w.MetricsURL())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// count runs a query that counts.
func (w *world) count(sql string, args ...any) (n int) {
	w.t.Helper()
	if err := w.DB.QueryRow(w.t.Context(), sql, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.http.Status, a.http.Body) }
