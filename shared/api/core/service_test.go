package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// service is the payment service of a function, wired as for a deployment.
func service(t *testing.T, w *apitest.World) *payment.Service {
	t.Helper()
	c, err := config.Load[core.Config](w.Env.Lookup)
	if err != nil {
		t.Fatal(err)
	}
	s, err := core.Payments(t.Context(), w.Env, "test", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Pool.Close)
	return s
}

type answer struct {
	status int
	retry  time.Duration
	view   struct {
		Code             string
		PendingOperation string `json:"pending_operation"`
	}
}

func create(ctx context.Context, w *apitest.World, s *payment.Service, method string) (a answer, err error) {
	key := w.Env.NewID().String()
	got, err := s.Create(ctx, payment.Caller{MerchantID: w.Shop, KeyID: w.Env.NewID()},
		idempotency.Request{MerchantID: w.Shop, Key: key, Method: "POST", Path: "/v1/payments"}, payment.CreateParams{
			Amount: 5000, Currency: "JPY", PaymentMethod: method, MerchantReference: key, ReturnURL: "https://shop.example/back",
		})
	if err == nil {
		a.status, a.retry = got.Status, got.RetryAfter
		err = json.Unmarshal(got.Body, &a.view)
	}
	return a, err
}

// Stripe hangs and has no place left: that is said at once, before anything is claimed,
// and payments by PayPal go on.
func TestAHangingProviderKeepsToItsPlaces(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.AllProviders()
	w.Config["STRIPE_CONCURRENCY"] = "1"
	s := service(t, w)
	hangs := make(chan struct{})
	w.Stripe.OnHang(func() { close(hangs) })
	w.Inject(providersim.Authorize, providersim.HangAfter)
	type ended struct {
		answer
		err error
	}
	hung := make(chan ended, 1)
	go func() {
		a, err := create(context.WithoutCancel(t.Context()), w, s, "pm_card_visa")
		hung <- ended{a, err}
	}()
	<-hangs
	before := w.Rows()
	_, err := create(t.Context(), w, s, "pm_card_visa")
	if f := (*fault.Error)(nil); !fault.Is(err, fault.ProviderBusy) || !errors.As(err, &f) || f.Retry != time.Second {
		t.Errorf("without a place: %v", err)
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("rows before %v, after %v", before, after)
	}
	if a, err := create(t.Context(), w, s, "paypal"); err != nil || a.status != 202 {
		t.Errorf("by PayPal: %+v, %v", a, err)
	}
	w.Stripe.Close() // which ends what hangs
	if e := <-hung; e.err != nil || e.status != 202 || e.view.PendingOperation != "authorize" {
		t.Errorf("what hung: %+v", e)
	}
	if a, err := create(t.Context(), w, s, "pm_card_visa"); err != nil || a.status != 201 {
		t.Errorf("in the place that is free again: %+v, %v", a, err)
	}
}

// While a circuit is open nothing is sent, the payment waits, and whoever asks is told
// for how long.
func TestAnOpenCircuitIsAnswered(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	store := control.NewMemory()
	w.Env.Control = store
	s := service(t, w)
	if err := breaker.Force(t.Context(), store, "stripe", breaker.ForcedOpen, "op@example.com", "incident 17", w.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	a, err := create(t.Context(), w, s, "pm_card_visa")
	if err != nil || a.status != 503 || a.view.Code != "STRIPE_UNAVAILABLE" || a.retry != time.Minute {
		t.Errorf("got %+v, %v", a, err)
	}
	if status := w.Text(`SELECT status FROM transactions`); status != "PENDING" {
		t.Errorf("the payment is %s", status)
	}
	if effects := w.Stripe.Effects(); len(effects) != 0 || len(w.Stripe.Counters()) != 0 {
		t.Errorf("Stripe was asked: %v, %v", effects, w.Stripe.Counters())
	}
	if evidence := w.Text(`SELECT string_agg(r::text, ' ') FROM provider_responses r`); !strings.Contains(evidence, "incident 17") {
		t.Errorf("the evidence is %s", evidence)
	}
}

// What takes longer than the operation may is unknown, by the configured time.
func TestTheConfiguredTimeHolds(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Config["STRIPE_AUTHORIZE_TIMEOUT"], w.Config["STRIPE_CONNECT_TIMEOUT"] = "200ms", "200ms"
	s := service(t, w)
	w.Inject(providersim.Authorize, providersim.HangBefore)
	a, err := create(t.Context(), w, s, "pm_card_visa")
	if err != nil || a.status != 202 || a.view.PendingOperation != "authorize" {
		t.Errorf("got %+v, %v", a, err)
	}
	if evidence := w.Text(`SELECT string_agg(r::text, ' ') FROM provider_responses r`); !strings.Contains(evidence, "authorize: no answer within 400ms") {
		t.Errorf("the evidence is %s", evidence)
	}
}
