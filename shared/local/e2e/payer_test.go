package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

const back = "https://shop.example/back"

// withPayPal is a create's body for PayPal, and transfer one for a bank transfer.
func withPayPal(more body) body {
	b := pay("paypal", body{"return_url": back})
	for k, v := range more {
		b[k] = v
	}
	return b
}

func transfer(amount int64) body {
	return body{"amount": amount, "currency": "GBP", "payment_method": "bank_transfer", "return_url": back}
}

// Payers at PayPal, side by side. What the webhook of an approval sets off is a task, and comes with the next minute
// at the latest.
func TestPayersAtPayPal(t *testing.T) {
	t.Parallel()
	s := newStack(t, stack.Options{})
	for name, life := range map[string]func(*testing.T, *world){
		"Approved":                 approved,
		"Sold":                     sold,
		"Refused":                  refusedByPayPal,
		"Denied in the end":        deniedByPayPal,
		"Canceled before approval": canceledUnapproved,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			life(t, enter(t, s))
		})
	}
}

func approved(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments", withPayPal(nil))
	w.wantEffects(p, map[string]int{})
	w.payer(p, providersim.PayPalApproves)
	w.advance(time.Minute)
	w.wantEvents(p, "payment.requires_action", "payment.authorized")
	if got := w.read(p); got.Status != "AUTHORIZED" || got.Authorized != 5000 || got.NextAction != nil {
		t.Error(got)
	}
	path := "/v1/payments/" + p.ID
	if c := w.post(http.StatusOK, path+"/capture", body{"amount": 3000}); c.Status != "CAPTURED" || c.Captured != 3000 {
		t.Error(c)
	}
	if r := w.post(http.StatusCreated, path+"/refund", body{"amount": 1000}); r.Status != "SUCCEEDED" {
		t.Error(r)
	}
	if r := w.post(http.StatusCreated, path+"/refund", body{}); r.Status != "SUCCEEDED" || r.Amount != 2000 {
		t.Error(r)
	}
	w.settle()
	w.wantEvents(p, "payment.requires_action", "payment.authorized", "payment.captured", "refund.created", "refund.succeeded",
		"refund.created", "refund.succeeded", "payment.refunded")
	w.wantEffects(p, map[string]int{"authorize": 1, "capture": 1, "refund": 2})
}

func sold(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments", withPayPal(body{"capture_method": "automatic"}))
	w.payer(p, providersim.PayPalApproves)
	w.advance(time.Minute)
	w.wantEvents(p, "payment.requires_action", "payment.captured")
	if got := w.read(p); got.Status != "CAPTURED" || got.Captured != 5000 {
		t.Error(got)
	}
	if n := w.effects(p)["capture"]; n != 1 {
		t.Errorf("PayPal took the money %d times", n)
	}
}

func refusedByPayPal(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments", withPayPal(nil))
	w.payer(p, providersim.PayPalDeclined)
	w.advance(time.Minute)
	w.wantEvents(p, "payment.requires_action", "payment.failed")
	if got := w.read(p); got.Status != "FAILED" || got.Failure == nil {
		t.Error(got)
	}
	w.wantEffects(p, map[string]int{})
}

// What PayPal looks at for a while, and denies.
func deniedByPayPal(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments", withPayPal(nil))
	w.payer(p, providersim.PayPalReviewDenied)
	w.advance(time.Minute)
	if got := w.read(p); got.Status != "PENDING" {
		t.Error(got)
	}
	w.advance(time.Hour)
	w.wantEvents(p, "payment.requires_action", "payment.failed")
	w.wantEffects(p, map[string]int{})
}

// A payer who approves what was canceled meanwhile pays nothing.
func canceledUnapproved(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments", withPayPal(nil))
	if c := w.post(http.StatusOK, "/v1/payments/"+p.ID+"/cancel", body{}); c.Status != "CANCELED" {
		t.Error(c)
	}
	w.payer(p, providersim.PayPalApproves)
	w.advance(time.Minute)
	w.wantEvents(p, "payment.requires_action", "payment.canceled")
	w.wantEffects(p, map[string]int{})
}

func canceledTransfer(t *testing.T, w *world) {
	p := w.post(http.StatusAccepted, "/v1/payments", transfer(12000))
	if c := w.post(http.StatusOK, "/v1/payments/"+p.ID+"/cancel", body{}); c.Status != "CANCELED" {
		t.Error(c)
	}
	if a, err := shop.Visit(t.Context(), p.NextAction.RedirectURL, "authorise"); err != nil || a.Status != http.StatusConflict {
		t.Errorf("the payer could still authorize: %d, %v", a.Status, err)
	}
	w.wantEvents(p, "payment.requires_action", "payment.canceled")
	w.wantEffects(p, map[string]int{})
}

func transferByHand(t *testing.T, w *world) {
	b := transfer(12000)
	b["capture_method"] = "manual"
	if a := w.parse(w.Post(t.Context(), "/v1/payments", shop.NewKey(), b)); a.http.Status != http.StatusBadRequest || a.Code != "invalid_request" {
		t.Error(a)
	}
	if n := w.count(`SELECT count(*) FROM transactions WHERE merchant_id = $1`, w.merchantID); n != 0 {
		t.Errorf("%d payments", n)
	}
}

// What becomes of transfers takes from minutes to days, and may be undone.
func TestTransfers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{SweepSchedule: rarely, Jobs: sweepAlone})
	type stage struct {
		status string
		events []string
		done   map[string]int
	}
	asked := []string{"payment.requires_action"}
	after := func(more ...string) []string { return append(asked[:1:1], more...) }
	cases := map[string]struct {
		amount      int64
		outcomes    []string // of the payer's visits
		hours, days stage    // what it is a few hours and four days later
	}{
		"confirmed": {
			12000,
			[]string{"authorise"},
			stage{"CAPTURED", after("payment.captured"), map[string]int{"authorize": 1, "capture": 1}},
			stage{"CAPTURED", after("payment.captured"), map[string]int{"authorize": 1, "capture": 1}},
		},
		"confirmed after days": {
			providersim.GoCardlessSlow,
			[]string{"authorise"},
			stage{"PENDING", asked, map[string]int{"authorize": 1}},
			stage{"CAPTURED", after("payment.captured"), map[string]int{"authorize": 1, "capture": 1}},
		},
		"failed": {
			providersim.GoCardlessFails,
			[]string{"authorise"},
			stage{"FAILED", after("payment.failed"), map[string]int{"authorize": 1}},
			stage{"FAILED", after("payment.failed"), map[string]int{"authorize": 1}},
		},
		"charged back": {
			providersim.GoCardlessChargedBack,
			[]string{"authorise"},
			stage{"CAPTURED", after("payment.captured"), map[string]int{"authorize": 1, "capture": 1}},
			stage{"CAPTURED", after("payment.captured", "dispute.opened", "payment.disputed", "dispute.lost"), map[string]int{"authorize": 1, "capture": 1, "dispute": 1}},
		},
		"the payer leaves, fails and comes back": {
			12001,
			[]string{"exit", "fail", "authorise"},
			stage{"CAPTURED", after("payment.captured"), map[string]int{"authorize": 1, "capture": 1}},
			stage{"CAPTURED", after("payment.captured"), map[string]int{"authorize": 1, "capture": 1}},
		},
	}
	payments := map[string]answer{}
	for name, c := range cases {
		p := w.post(http.StatusAccepted, "/v1/payments", transfer(c.amount))
		for _, outcome := range c.outcomes {
			w.payer(p, outcome)
		}
		payments[name] = p
	}
	hold := func(when string, of func(name string) stage) {
		for name, p := range payments {
			want := of(name)
			if got := w.read(p); got.Status != want.status {
				t.Errorf("%s, %s: %v", name, when, got)
			}
			w.wantEvents(p, want.events...)
			w.wantEffects(p, want.done)
		}
	}
	w.advance(3 * time.Hour)
	hold("hours later", func(name string) stage { return cases[name].hours })
	w.advance(4 * 24 * time.Hour)
	hold("days later", func(name string) stage { return cases[name].days })
	w.refundTransfer(payments["confirmed after days"])
}

// refundTransfer gives a part of a captured transfer back, which takes a while too.
func (w *world) refundTransfer(p answer) {
	w.t.Helper()
	r := w.post(http.StatusAccepted, "/v1/payments/"+p.ID+"/refund", body{"amount": 1000})
	if r.Status != "PENDING" {
		w.t.Error(r)
	}
	w.settle()
	w.wantEvents(p, "payment.requires_action", "payment.captured", "refund.created")
	w.advance(time.Hour)
	w.wantEvents(p, "payment.requires_action", "payment.captured", "refund.created", "refund.succeeded")
	if got := w.read(p); got.Refunded != 1000 || len(got.Refunds) != 1 || got.Refunds[0].Status != "SUCCEEDED" {
		w.t.Error(got)
	}
	if n := w.effects(p)["refund"]; n != 1 {
		w.t.Errorf("the bank refunded %d times", n)
	}
}

// The payer has approved, and neither the payer comes back nor the provider says so: asking finds it out.
func TestLostApprovalsAreFoundByAsking(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	lose := providersim.Fault{Kind: providersim.WebhookLose}
	for _, inject := range []func(providersim.Rule) error{w.PayPal.Inject, w.Bank.Inject} {
		if err := inject(providersim.Rule{Event: "*", Times: 1000, Fault: lose}); err != nil {
			t.Fatal(err)
		}
	}
	ordered := w.post(http.StatusAccepted, "/v1/payments", withPayPal(nil))
	w.payer(ordered, providersim.PayPalApproves)
	transferred := w.post(http.StatusAccepted, "/v1/payments", transfer(12000))
	w.payer(transferred, "authorise")
	w.advance(time.Hour)
	w.wantEvents(ordered, "payment.requires_action", "payment.authorized")
	w.wantEffects(ordered, map[string]int{"authorize": 1})
	w.wantEvents(transferred, "payment.requires_action", "payment.captured")
	w.wantEffects(transferred, map[string]int{"authorize": 1, "capture": 1})
	if n := w.count(`SELECT count(*) FROM webhook_events WHERE provider IN ('paypal', 'bank')`); n != 0 {
		t.Errorf("%d events came all the same", n)
	}
}
