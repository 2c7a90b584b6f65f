package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

var circuitState = regexp.MustCompile(`(?m)^circuit_breaker_state\{provider="stripe"\} (\d)$`)

// circuit reads the state of Stripe's circuit in the metrics: 0 closed, 1 open, 2 half-open.
func (w *world) circuit() string {
	w.t.Helper()
	found := circuitState.FindStringSubmatch(w.metrics())
	if found == nil {
		w.t.Fatal("the metrics lack Stripe's circuit")
	}
	return found[1]
}

// One function finds Stripe away and opens the circuit; the others, which never called it, go by that. When Stripe is
// back, a few calls show it, and all that waited is carried out.
func TestAnOpenCircuitIsOneOfAllFunctions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	before := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	w.advance(time.Minute) // out of the window that is judged by
	if err := w.TakeAway(stripe.Name); err != nil {
		t.Fatal(err)
	}
	var waiting []answer
	turnedAway := func() {
		t.Helper()
		a := w.post(http.StatusServiceUnavailable, "/v1/payments", pay("pm_card_visa", nil))
		if a.Code != "STRIPE_UNAVAILABLE" || a.PaymentID == "" || a.http.Header.Get("Retry-After") == "" {
			t.Error(a)
		}
		waiting = append(waiting, answer{ID: a.PaymentID})
	}
	for range 10 {
		turnedAway()
	}
	if state := w.circuit(); state != "1" {
		t.Errorf("after ten failures the circuit is %s", state)
	}
	if err := w.BringBack(stripe.Name); err != nil {
		t.Fatal(err)
	}
	asked := w.Stripe.Counters()
	turnedAway()
	w.advance(2 * time.Second) // as long as an instance may know nothing of it
	w.parse(w.Post(t.Context(), "/v1/payments/"+before.ID+"/capture", "capture-while-open", body{}))
	if got := w.read(before); got.Status != "AUTHORIZED" || got.Pending != "capture" {
		t.Errorf("the capture while the circuit is open: %v", got)
	}
	now := w.Stripe.Counters()
	if now["capture.requests"] != 0 || now["authorize.requests"] != asked["authorize.requests"] {
		t.Errorf("Stripe was called while the circuit was open: %v", now)
	}
	// Stripe's trouble is not PayPal's.
	ordered := w.post(http.StatusAccepted, "/v1/payments", withPayPal(nil))
	w.payer(ordered, providersim.PayPalApproves)
	w.advance(10 * time.Second)
	w.wantEvents(ordered, "payment.requires_action", "payment.authorized")

	w.advance(5 * time.Minute)
	for _, p := range waiting {
		w.wantEvents(p, "payment.authorized")
		w.wantEffects(p, map[string]int{"authorize": 1})
	}
	w.wantEvents(before, "payment.authorized", "payment.captured")
	w.wantEffects(before, map[string]int{"authorize": 1, "capture": 1})
	w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	if state := w.circuit(); state != "0" {
		t.Errorf("with Stripe back the circuit is %s", state)
	}
}

// Without the control plane every function judges by itself, and payments go on.
func TestTheControlPlaneIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	if err := w.TakeAway(stack.ControlPlane); err != nil {
		t.Fatal(err)
	}
	before := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	w.advance(time.Minute)
	if err := w.TakeAway(stripe.Name); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		w.post(http.StatusServiceUnavailable, "/v1/payments", pay("pm_card_visa", nil))
	}
	if err := w.BringBack(stripe.Name); err != nil {
		t.Fatal(err)
	}
	asked := w.Stripe.Counters()["authorize.requests"]
	late := w.post(http.StatusServiceUnavailable, "/v1/payments", pay("pm_card_visa", nil))
	if n := w.Stripe.Counters()["authorize.requests"]; n != asked {
		t.Errorf("createpayment called Stripe %d times with its own circuit open", n-asked)
	}
	// What the others have not seen themselves they can't know.
	if c := w.post(http.StatusOK, "/v1/payments/"+before.ID+"/capture", body{}); c.Status != "CAPTURED" {
		t.Error(c)
	}
	w.advance(5 * time.Minute)
	w.wantEvents(answer{ID: late.PaymentID}, "payment.authorized")
	w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
}

// A provider that does not answer is waited for as long as is configured, and no longer.
func TestAProviderHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{Calls: map[string]string{"STRIPE_CONNECT_TIMEOUT": "1s", "STRIPE_AUTHORIZE_TIMEOUT": "50ms"}})
	deaf(w)
	w.inject(providersim.Authorize, providersim.HangAfter)
	began := time.Now()
	p := w.post(http.StatusAccepted, "/v1/payments", pay("pm_card_visa", nil))
	if took := time.Since(began); took < 50*time.Millisecond || took > patience {
		t.Errorf("the answer took %v", took)
	}
	if p.Status != "PENDING" || p.Pending != "authorize" {
		t.Error(p)
	}
	if !strings.Contains(w.metrics(), "\n"+`provider_api_timeout_total{operation="authorize",provider="stripe"} 1`+"\n") {
		t.Error("the time-out was not counted")
	}
	w.advance(30 * time.Second)
	w.wantEvents(p, "payment.authorized")
	w.wantEffects(p, map[string]int{"authorize": 1})
}

// With Stripe away a payment goes where else its merchant lets it, provably only there.
func TestAPaymentGoesElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	if err := w.TakeAway(stripe.Name); err != nil {
		t.Fatal(err)
	}
	p := w.post(http.StatusAccepted, "/v1/payments",
		pay("pm_card_visa", body{"return_url": back, "alternatives": []body{{"payment_method": "paypal"}}}))
	if p.Provider != "paypal" {
		t.Fatal(p)
	}
	if err := w.BringBack(stripe.Name); err != nil {
		t.Fatal(err)
	}
	w.payer(p, providersim.PayPalApproves)
	w.advance(time.Minute)
	w.wantEvents(p, "payment.requires_action", "payment.authorized")
	if c := w.post(http.StatusOK, "/v1/payments/"+p.ID+"/capture", body{}); c.Status != "CAPTURED" {
		t.Error(c)
	}
	w.advance(time.Hour)
	w.wantEffects(p, map[string]int{"authorize": 1, "capture": 1})
	if n := len(w.Stripe.Effects()); n != 0 {
		t.Errorf("Stripe did %d things about it", n)
	}
	var tried []string
	for _, a := range w.read(p).Attempts {
		tried = append(tried, a.Provider+" "+a.Outcome)
	}
	if len(tried) == 0 || tried[0] != "stripe not_sent" || tried[len(tried)-1] != "paypal approved" {
		t.Errorf("the attempts are %q", tried)
	}
}
