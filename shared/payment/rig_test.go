package payment

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// rig is the core on a real database, with the real Stripe adapter in front of the
// simulator, under a clock that stands still until it is moved.
type rig struct {
	*Service
	t      *testing.T
	sim    *providersim.Stripe
	clock  *clock.Clock
	caller Caller
	keys   atomic.Int64
}

var epoch = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFrozen(epoch)
	sim := providersim.NewStripe(providersim.StripeConfig{Now: c.Now, SecretKeys: []string{"sk_test_sim"}})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	t.Cleanup(sim.Close)
	return newRigOn(t, c, sim, server.URL, pgtest.Pool(t))
}

func newRigOn(t *testing.T, c *clock.Clock, sim *providersim.Stripe, url string, pool *pgxpool.Pool) *rig {
	t.Helper()
	adapter, err := stripe.New(stripe.Config{SecretKey: "sk_test_sim", APIBase: url}, stripe.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adapter.Close)
	r := &rig{t: t, sim: sim, clock: c, Service: &Service{
		Pool: pool, Now: c.Now, NewID: id.Source{Now: c.Now}.New, Name: "test",
		Providers: map[string]provider.Adapter{"stripe": adapter},
		Log:       slog.New(slog.NewJSONHandler(io.Discard, nil)),
	}}
	r.caller = Caller{MerchantID: r.merchant(), KeyID: r.NewID()}
	t.Cleanup(func() { r.checkEvents(pool) })
	t.Cleanup(func() { r.checkLedger(pool) })
	return r
}

func (r *rig) merchant() id.ID {
	r.t.Helper()
	m := r.NewID()
	_, err := r.Pool.Exec(r.t.Context(), `INSERT INTO merchants (id, name, status, created_at, updated_at) VALUES ($1, 'Test', 'ACTIVE', $2, $2)`, m, r.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// key makes a request under a key of its own.
func (r *rig) key(path string, body ...string) idempotency.Request {
	return idempotency.Request{
		MerchantID: r.caller.MerchantID, Key: fmt.Sprintf("key-%020d", r.keys.Add(1)), Method: "POST", Path: path,
		Body: []byte(strings.Join(body, "")),
	}
}

func (r *rig) params(method CaptureMethod) CreateParams {
	return CreateParams{Amount: 5000, Currency: "JPY", PaymentMethod: "pm_card_visa", CaptureMethod: string(method)}
}

// pay makes a payment and returns it as it was answered, or fails the test.
func (r *rig) pay(in CreateParams) View {
	r.t.Helper()
	return decode[View](r.t, r.must(r.Create(r.t.Context(), r.caller, r.key("/v1/payments"), in)))
}

func (r *rig) must(a idempotency.Answer, err error) idempotency.Answer {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	if a.After != nil {
		a.After(r.t.Context())
	}
	return a
}

func (r *rig) capture(p View, amount *int64) (idempotency.Answer, error) {
	return r.Capture(r.t.Context(), r.caller, r.key("/capture"), paymentID(r.t, p), CaptureParams{Amount: amount})
}

func (r *rig) cancel(p View) (idempotency.Answer, error) {
	return r.Cancel(r.t.Context(), r.caller, r.key("/cancel"), paymentID(r.t, p))
}

func (r *rig) refundOf(p View, amount *int64) (idempotency.Answer, error) {
	return r.Refund(r.t.Context(), r.caller, r.key("/refund"), paymentID(r.t, p), RefundParams{Amount: amount})
}

func (r *rig) get(p View) View {
	r.t.Helper()
	v, err := r.Get(r.t.Context(), r.caller.MerchantID, paymentID(r.t, p), Expand{Refunds: true, Events: true, Attempts: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) inject(op providersim.Operation, kind providersim.FaultKind) {
	r.t.Helper()
	if err := r.sim.Inject(providersim.Rule{Operation: op, Fault: providersim.Fault{Kind: kind}}); err != nil {
		r.t.Fatal(err)
	}
}

// carryOn resumes everything that is due, until nothing is.
func (r *rig) carryOn() {
	r.t.Helper()
	for {
		due := r.strings(`SELECT id::text FROM transaction_saga WHERE state <> 'done' AND coalesce(lease_until, due_at) <= $1`, r.Now())
		obligations := r.strings(`SELECT id::text FROM obligations WHERE state = 'open' AND due_at <= $1`, r.Now())
		if len(due)+len(obligations) == 0 {
			return
		}
		for _, s := range due {
			if err := r.Resume(r.t.Context(), Wake{SagaID: mustParse(r.t, s), Try: -1}); err != nil {
				r.t.Fatal(err)
			}
		}
		for _, s := range obligations {
			if err := r.Discharge(r.t.Context(), mustParse(r.t, s)); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// pass moves the clock on in steps and does what falls due.
func (r *rig) pass(d, step time.Duration) {
	r.t.Helper()
	for ; d > 0; d -= step {
		if err := r.clock.Advance(r.t.Context(), step); err != nil {
			r.t.Fatal(err)
		}
		r.sim.RunDue(r.t.Context())
		r.carryOn()
	}
}

// effects counts the provider's real effects on the payment, by kind.
func (r *rig) effects(p View) map[providersim.EffectKind]int {
	n := map[providersim.EffectKind]int{}
	for _, e := range r.sim.EffectsFor("tollgate_payment", p.ID) {
		n[e.Kind]++
	}
	return n
}

func (r *rig) strings(sql string, args ...any) []string {
	r.t.Helper()
	rows, err := r.Pool.Query(r.t.Context(), sql, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, s)
	}
	if rows.Err() != nil {
		r.t.Fatal(rows.Err())
	}
	return out
}

func (r *rig) count(sql string, args ...any) int {
	r.t.Helper()
	var n int
	if err := r.Pool.QueryRow(r.t.Context(), sql, args...).Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// fold checks P4 on the whole database: the audit log, folded, gives the tables back.
func (r *rig) fold() {
	r.t.Helper()
	wrong, err := AuditMismatches(r.t.Context(), r.Pool)
	if err != nil || len(wrong) > 0 {
		r.t.Errorf("folding the audit log does not give these rows back: %v %v", wrong, err)
	}
}

// gapless checks that every payment's events are numbered 1, 2, 3, … up to its counter.
func (r *rig) gapless() {
	r.t.Helper()
	bad := r.strings(`
		SELECT t.id::text FROM transactions t LEFT JOIN events e ON e.transaction_id = t.id
		GROUP BY t.id HAVING count(e.id) <> t.event_sequence OR coalesce(max(e.sequence), 0) <> t.event_sequence`)
	if len(bad) > 0 {
		r.t.Errorf("payments whose events have gaps: %v", bad)
	}
}

func (r *rig) eventTypes(p View) []string {
	r.t.Helper()
	return r.strings(`SELECT type FROM events WHERE transaction_id = $1 ORDER BY sequence`, paymentID(r.t, p))
}

func (r *rig) wantEvents(p View, want ...string) {
	r.t.Helper()
	if got := r.eventTypes(p); !slices.Equal(got, want) {
		r.t.Errorf("events of the payment: %v, want %v", got, want)
	}
}

func decode[T any](t *testing.T, a idempotency.Answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.Body, &v); err != nil {
		t.Fatalf("answer %d %s: %v", a.Status, a.Body, err)
	}
	return v
}

func paymentID(t *testing.T, p View) id.ID {
	t.Helper()
	u, err := id.Payment.Parse(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustParse(t *testing.T, s string) id.ID {
	t.Helper()
	u, err := id.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func minor(n int64) *int64 { return &n }

// webhook brings the provider's present view of the payment as an event would.
func (r *rig) webhook(p View) {
	f := r.Providers["stripe"].Find(r.t.Context(), provider.Query{
		Account: "test", PaymentID: paymentID(r.t, p), Reference: deref(p.ProviderTransactionID), Since: epoch,
	})
	_, err := r.ApplyEvent(r.t.Context(), "stripe", provider.Event{ID: "evt_test", PaymentID: paymentID(r.t, p), Facts: f.Facts}, r.NewID())
	if err != nil {
		r.t.Error(err)
	}
}
