package payment

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// A refund is FAILED, by an attempt's refusal, and the provider proves that it was done.
func TestARefundThatSucceedsAfterItFailedIsBooked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	inner := r.Providers["stripe"]
	r.Providers["stripe"] = &hooked{Adapter: inner, before: func(c provider.Call) *provider.Result {
		q := c.Attempt().Request
		if q.Step != provider.Refund {
			return nil
		}
		inner.Execute(t.Context(), c) // done, whatever was concluded from the reply
		rf := &provider.Refusal{Code: "x", Message: "x"}
		return &provider.Result{Outcome: provider.Declined, Refusal: rf, Facts: []provider.Fact{{
			Kind: provider.KindRefund, State: provider.StateFailed, ObjectID: provider.AttemptObject + c.Attempt().Key, PaymentID: q.PaymentID, RefundID: q.RefundID, Refusal: rf,
		}}}
	}}
	r.must(r.refundOf(p, minor(2000)))
	r.webhook(p)
	got := r.get(p)
	if got.RefundedAmount != 2000 {
		t.Errorf("the provider proves a refund of 2000; we book %d, refundable %d, reconciliation %s, facts %v", got.RefundedAmount, got.RefundableAmount,
			got.ReconciliationStatus, r.strings(`SELECT object_id || ' ' || state || ' ' || effect FROM provider_facts WHERE kind = 'refund'`))
	}
}

// stripePost is what somebody does at Stripe without Tollgate, in the dashboard say.
func (r *rig) stripePost(path string, form url.Values) {
	r.t.Helper()
	req := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	req.Header.Set("Authorization", "Bearer sk_test_sim")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	r.sim.ServeHTTP(w, req)
	if w.Code != 200 {
		r.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
}

// A refund of a part, made elsewhere, leaves the rest of the obligation open.
func TestAPartialRefundDischargesNoObligation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	r.rewind(Failed)
	r.webhook(p)
	r.stripePost("/v1/refunds", url.Values{"payment_intent": {*p.ProviderTransactionID}, "amount": {"1000"}}) // support, in the dashboard
	r.webhook(p)
	if got := r.strings(`SELECT kind || ' ' || amount_minor || ' ' || state FROM obligations WHERE kind = 'refund'`); got[0] != "refund 5000 open" {
		t.Errorf("a refund of 1000 discharged the obligation to refund 5000: %v", got)
	}
}

// An obligation is done when its refund succeeds, and not any more when that fails later.
func TestAnObligationOpensAgainWhenItsRefundFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.PaymentMethod = "pm_card_refundFail"
	p := r.pay(in)
	r.rewind(Failed)
	r.webhook(p)
	r.carryOn()
	r.pass(3*time.Hour, 30*time.Minute)
	r.webhook(p)
	if r.effects(p)[providersim.EffectRefundReversed] == 0 {
		t.Fatal("the refund did not fail")
	}
	if got := r.strings(`SELECT kind || ' ' || state FROM obligations WHERE kind = 'refund'`); got[0] != "refund open" {
		t.Errorf("the refund failed at the provider, the payer's money is still there, and the obligation is: %v; effects %v", got, r.effects(p))
	}
}

// A refund that is pending at the provider is waited for, not asked for under a new key.
func TestAPendingReleaseIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	c := clock.NewFrozen(epoch)
	sim := providersim.NewStripe(providersim.StripeConfig{Now: c.Now, SecretKeys: []string{"sk_test_sim"}, RefundDelay: 5 * 24 * time.Hour})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	t.Cleanup(sim.Close)
	r := newRigOn(t, c, sim, server.URL, pgtest.Pool(t))
	in := r.params(Automatic)
	in.PaymentMethod = "pm_card_pendingRefund"
	p := r.pay(in)
	r.rewind(Failed)
	r.webhook(p)
	r.carryOn()
	r.pass(36*time.Hour, time.Hour)
	if n := r.count(`SELECT count(DISTINCT provider_key) FROM provider_responses WHERE operation = 'refund'`); n > 1 {
		t.Errorf("while one refund is pending, %d different keys asked for it; answers %v", n, r.strings(`SELECT outcome || ' ' || count(*) FROM provider_responses WHERE operation = 'refund' GROUP BY outcome`))
	}
}
