package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

var epoch = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)

// rig is reconciliation on a real database, with the real adapters in front of the three
// simulators, under a clock that stands still until it is moved. No webhooks come.
type rig struct {
	*Service
	t      *testing.T
	clock  *clock.Clock
	stripe *providersim.Stripe
	paypal *providersim.PayPal
	bank   *providersim.GoCardless
	url    string // of the simulated Stripe
	shop   payment.Caller
	keys   int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFrozen(epoch)
	r := &rig{
		t: t, clock: c,
		stripe: providersim.NewStripe(providersim.StripeConfig{Now: c.Now, SecretKeys: []string{"sk_test_sim"}}),
		paypal: providersim.NewPayPal(providersim.PayPalConfig{Now: c.Now, ClientID: "app", ClientSecret: "secret"}),
		bank:   providersim.NewGoCardless(providersim.GoCardlessConfig{Now: c.Now, AccessTokens: []string{"token"}}),
	}
	serve := func(h http.Handler, end func()) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		t.Cleanup(end)
		return server.URL
	}
	r.url = serve(r.stripe, r.stripe.Close)
	cards, err := stripe.New(stripe.Config{SecretKey: "sk_test_sim", APIBase: r.url}, stripe.Options{Now: c.Now})
	check(t, err)
	t.Cleanup(cards.Close)
	wallet, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: "secret", APIBase: serve(r.paypal, r.paypal.Close)}, paypal.Options{Now: c.Now})
	check(t, err)
	t.Cleanup(wallet.Close)
	transfers, err := bank.New(bank.Config{AccessToken: "token", APIBase: serve(r.bank, r.bank.Close)}, bank.Options{Now: c.Now})
	check(t, err)
	t.Cleanup(transfers.Close)
	pool, log := pgtest.Pool(t), slog.New(slog.DiscardHandler)
	r.Service = &Service{
		Pool: pool, Now: c.Now, NewID: id.Source{Now: c.Now}.New, Settings: Default(), Log: log,
		Payments: &payment.Service{
			Pool: pool, Now: c.Now, NewID: id.Source{Now: c.Now}.New, Name: "reconcile", Log: log,
			Providers: map[string]provider.Adapter{"stripe": cards, "paypal": wallet, "bank": transfers},
		},
		Wait: func(ctx context.Context, d time.Duration) error { return ctx.Err() },
	}
	r.shop = payment.Caller{MerchantID: r.merchant(), KeyID: r.NewID()}
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// merchant makes one that pays what the simulated providers charge.
func (r *rig) merchant() id.ID {
	r.t.Helper()
	m := r.NewID()
	r.exec(`INSERT INTO merchants (id, name, status, created_at, updated_at) VALUES ($1, 'Test', 'ACTIVE', $2, $2)`, m, r.Now())
	for _, s := range []ledger.Schedule{
		{Provider: "stripe", Currency: money.MustParseCurrency("JPY"), BasisPoints: 360, Rounding: ledger.HalfUp},
		{Provider: "stripe", Currency: money.MustParseCurrency("USD"), BasisPoints: 290, FixedMinor: 30, Rounding: ledger.HalfUp, DisputeFeeMinor: 1500},
		{Provider: "stripe", Currency: money.MustParseCurrency("EUR"), BasisPoints: 290, FixedMinor: 30, Rounding: ledger.HalfUp, DisputeFeeMinor: 1500},
		{Provider: "paypal", Currency: money.MustParseCurrency("USD"), BasisPoints: 349, FixedMinor: 49, Rounding: ledger.HalfUp},
		{Provider: "bank", Currency: money.MustParseCurrency("GBP"), BasisPoints: 100, FixedMinor: 20, Rounding: ledger.HalfUp},
	} {
		s.MerchantID, s.EffectiveFrom = m, r.Now()
		check(r.t, ledger.SetSchedule(r.t.Context(), r.Pool, s, r.Now()))
	}
	return m
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.Pool.Exec(r.t.Context(), sql, args...)
	check(r.t, err)
}

func (r *rig) strings(sql string, args ...any) []string {
	r.t.Helper()
	rows, _ := r.Pool.Query(r.t.Context(), sql, args...)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(r.t, err)
	return all
}

func (r *rig) text(sql string, args ...any) string {
	r.t.Helper()
	return strings.Join(r.strings(sql, args...), ", ")
}

func (r *rig) key(path string) idempotency.Request {
	r.keys++
	return idempotency.Request{MerchantID: r.shop.MerchantID, Key: fmt.Sprintf("key-%020d", r.keys), Method: "POST", Path: path}
}

// paying is a payment of a test, with its id read.
type paying struct {
	payment.View
	ID id.ID
}

func (r *rig) create(in payment.CreateParams) paying {
	r.t.Helper()
	a, err := r.Payments.Create(r.t.Context(), r.shop, r.key("/v1/payments"), in)
	check(r.t, err)
	var p paying
	check(r.t, json.Unmarshal(a.Body, &p.View))
	p.ID, err = id.Payment.Parse(p.View.ID)
	check(r.t, err)
	return p
}

// card makes a card payment in US dollars: captured if the method is automatic.
func (r *rig) card(minor int64, method string) paying {
	r.t.Helper()
	return r.create(payment.CreateParams{Amount: minor, Currency: "USD", PaymentMethod: "pm_card_visa", CaptureMethod: method})
}

// wallet makes a captured payment by PayPal.
func (r *rig) wallet(minor int64) paying {
	r.t.Helper()
	p := r.create(payment.CreateParams{
		Amount: minor, Currency: "USD", PaymentMethod: "paypal", CaptureMethod: "automatic", ReturnURL: "https://shop.example/back",
	})
	check(r.t, r.paypal.Approve(*p.ProviderTransactionID, providersim.PayPalApproves))
	r.pass(3*time.Minute, time.Minute)
	return r.want(p, payment.Captured)
}

// transfer makes a captured bank transfer.
func (r *rig) transfer(minor int64) paying {
	r.t.Helper()
	p := r.create(payment.CreateParams{Amount: minor, Currency: "GBP", PaymentMethod: "bank_transfer", ReturnURL: "https://shop.example/back"})
	check(r.t, r.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"))
	r.pass(90*time.Minute, 5*time.Minute)
	return r.want(p, payment.Captured)
}

func (r *rig) get(p paying) paying {
	r.t.Helper()
	v, err := r.Payments.Get(r.t.Context(), r.shop.MerchantID, p.ID, payment.Expand{Refunds: true})
	check(r.t, err)
	return paying{v, p.ID}
}

func (r *rig) want(p paying, status payment.Status) paying {
	r.t.Helper()
	if p = r.get(p); p.Status != status {
		r.t.Fatalf("payment %s is %s, want %s", p.View.ID, p.Status, status)
	}
	return p
}

func (r *rig) capture(p paying) {
	r.t.Helper()
	_, err := r.Payments.Capture(r.t.Context(), r.shop, r.key("/capture"), p.ID, payment.CaptureParams{})
	check(r.t, err)
}

func (r *rig) refund(p paying, minor int64) {
	r.t.Helper()
	_, err := r.Payments.Refund(r.t.Context(), r.shop, r.key("/refund"), p.ID, payment.RefundParams{Amount: &minor})
	check(r.t, err)
}

// advance moves the clock, and the providers, and nothing of ours.
func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	check(r.t, r.clock.Advance(r.t.Context(), d))
	r.stripe.RunDue(r.t.Context())
	r.paypal.RunDue(r.t.Context())
	r.bank.RunDue(r.t.Context())
}

// pass moves the clock on in steps and does what falls due.
func (r *rig) pass(d, step time.Duration) {
	r.t.Helper()
	for ; d > 0; d -= step {
		r.advance(step)
		r.carryOn()
	}
}

func (r *rig) carryOn() {
	r.t.Helper()
	for _, s := range r.strings(`SELECT id::text FROM transaction_saga WHERE state <> 'done' AND coalesce(lease_until, due_at) <= $1`, r.Now()) {
		saga, err := id.Parse(s)
		check(r.t, err)
		check(r.t, r.Payments.Resume(r.t.Context(), payment.Wake{SagaID: saga, Try: -1}))
	}
	for _, s := range r.strings(`SELECT id::text FROM obligations WHERE state = 'open' AND due_at <= $1`, r.Now()) {
		obligation, err := id.Parse(s)
		check(r.t, err)
		check(r.t, r.Payments.Discharge(r.t.Context(), obligation))
	}
}

// reconcileOnce runs, and returns the reports by provider.
func (r *rig) reconcileOnce() map[string]Report {
	r.t.Helper()
	reports, err := r.Run(r.t.Context())
	check(r.t, err)
	by := map[string]Report{}
	for _, report := range reports {
		by[report.Provider] = report
	}
	return by
}

// hourly runs each hour, for a time; of a longer one, each eight hours.
func (r *rig) hourly(d time.Duration) {
	r.t.Helper()
	for d > 0 {
		step := time.Hour
		if d > 8*step {
			step = 8 * time.Hour
		}
		r.pass(step, step/2)
		r.reconcileOnce()
		d -= step
	}
}

// differences lists what differs as "kind provider expected actual", in order.
func (r *rig) differences() []string {
	r.t.Helper()
	all := r.strings(`SELECT kind || ' ' || provider || ' ' || expected_minor || ' ' || currency || ' ' || actual_minor || ' ' || actual_currency
		FROM differences WHERE state = 'OPEN'`)
	slices.Sort(all)
	return all
}

func (r *rig) wantDifferences(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	if got := r.differences(); !slices.Equal(got, want) {
		r.t.Errorf("differences:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		for _, d := range r.strings(`SELECT kind || ' ' || object_id || ' ' || evidence::text FROM differences WHERE state = 'OPEN'`) {
			r.t.Log(d)
		}
	}
}

// wantSums checks that every minor unit by which our balance and a provider's differ is
// explained.
func (r *rig) wantSums() {
	r.t.Helper()
	all, err := r.Agree(r.t.Context())
	check(r.t, err)
	for _, a := range all {
		if a.Unexplained() != 0 {
			r.t.Errorf("not explained: %+v is off by %d", a, a.Unexplained())
		}
	}
}

// dump is all that reconciliation and the ledger hold.
func (r *rig) dump() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for table, columns := range map[string]string{
		"differences": "*", "difference_log": "*", "provider_entries": "*", "ledger_postings": "*", "ledger_entries": "*", "obligations": "*",
		"transactions": "*", "refunds": "*", "transaction_audit_log": "*", "provider_facts": "*", "events": "id",
	} {
		rows := r.strings(fmt.Sprintf(`SELECT to_jsonb(t)::text FROM (SELECT %s FROM %s) t`, columns, table))
		slices.Sort(rows)
		all[table] = strings.Join(rows, "\n")
	}
	return all
}

// wantQuiet runs twice more, which must change nothing.
func (r *rig) wantQuiet() {
	r.t.Helper()
	before := r.dump()
	for range 2 {
		r.reconcileOnce()
	}
	for table, rows := range r.dump() {
		if rows != before[table] {
			r.t.Errorf("%s has changed although nothing has happened:\n%s\nwas\n%s", table, rows, before[table])
		}
	}
}
