package providersim_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76"
)

func refundOf(pi *stripe.PaymentIntent, amount int64) *stripe.RefundParams {
	return &stripe.RefundParams{PaymentIntent: stripe.String(pi.ID), Amount: stripe.Int64(amount)}
}

func TestParallelRefundsNeverExceedTheCharge(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(50, "pm_card_visa"))
	var made, refused atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_, err := b.refunds.New(refundOf(pi, 1))
			if err == nil {
				made.Add(1)
				return
			}
			if e, ok := err.(*stripe.Error); !ok || e.Code != stripe.ErrorCodeChargeAlreadyRefunded {
				t.Errorf("refused with %v", err)
			}
			refused.Add(1)
		})
	}
	wg.Wait()
	wantEqual(t, "refunds made", made.Load(), 50)
	wantEqual(t, "refunds refused", refused.Load(), 50)
	var sum int64
	for _, e := range b.Effects() {
		if e.Kind == "refund" {
			sum += e.AmountMinor
		}
	}
	wantEqual(t, "refunded", sum, 50)
}

func TestRefundRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(1000, "pm_card_visa", manual))
	_, err := b.refunds.New(refundOf(pi, 1))
	wantError(t, err, 400, "") // not captured
	if _, err = b.intents.Capture(pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(700)}); err != nil {
		t.Fatal(err)
	}
	_, err = b.refunds.New(refundOf(pi, 701))
	wantError(t, err, 400, stripe.ErrorCodeAmountTooLarge)
	_, err = b.refunds.New(refundOf(pi, 0))
	wantError(t, err, 400, stripe.ErrorCodeParameterInvalidInteger)
	_, err = b.refunds.New(refundOf(pi, -5))
	wantError(t, err, 400, stripe.ErrorCodeParameterInvalidInteger)
	_, err = b.refunds.New(&stripe.RefundParams{PaymentIntent: stripe.String(pi.ID), Reason: stripe.String("because")})
	wantError(t, err, 400, "")
	_, err = b.refunds.New(&stripe.RefundParams{})
	wantError(t, err, 400, stripe.ErrorCodeParameterMissing)
	_, err = b.refunds.New(&stripe.RefundParams{PaymentIntent: stripe.String("pi_unknown")})
	wantError(t, err, 400, stripe.ErrorCodeResourceMissing)
	_, err = b.refunds.New(&stripe.RefundParams{Charge: stripe.String("ch_unknown")})
	wantError(t, err, 400, stripe.ErrorCodeResourceMissing)

	re, err := b.refunds.New(&stripe.RefundParams{PaymentIntent: stripe.String(pi.ID)})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "a refund without amount takes all that is left", re.Amount, 700)
	_, err = b.refunds.New(refundOf(pi, 1))
	wantError(t, err, 400, stripe.ErrorCodeChargeAlreadyRefunded)
}

func TestReleasedRestLooksLikeARefund(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(1000, "pm_card_visa", manual))
	if _, err := b.intents.Capture(pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(700)}); err != nil {
		t.Fatal(err)
	}
	it := b.refunds.List(&stripe.RefundListParams{PaymentIntent: stripe.String(pi.ID)})
	var listed []*stripe.Refund
	for it.Next() {
		listed = append(listed, it.Refund())
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "refunds", len(listed), 1)
	wantEqual(t, "amount", listed[0].Amount, 300)
	wantEqual(t, "metadata", len(listed[0].Metadata), 0)
	if listed[0].BalanceTransaction != nil {
		t.Errorf("the release moved money: %v", listed[0].BalanceTransaction)
	}
	if diff := cmp.Diff([]string{"authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestRefundsThatAreDecidedLater(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pends := b.create(payment(1000, "pm_card_pendingRefund"))
	fails := b.create(payment(1000, "pm_card_refundFail"))
	pending, err := b.refunds.New(refundOf(pends, 400))
	if err != nil {
		t.Fatal(err)
	}
	failing, err := b.refunds.New(refundOf(fails, 1000))
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "pending refund", pending.Status, stripe.RefundStatusPending)
	wantEqual(t, "failing refund", failing.Status, stripe.RefundStatusSucceeded)
	_, err = b.refunds.New(refundOf(pends, 601))
	wantError(t, err, 400, stripe.ErrorCodeAmountTooLarge) // the pending one counts

	b.quiesce()
	before := len(b.receiver.names(t))
	b.advance(time.Hour)
	if pending, err = b.refunds.Get(pending.ID, nil); err != nil {
		t.Fatal(err)
	}
	params := &stripe.RefundParams{}
	params.AddExpand("failure_balance_transaction")
	if failing, err = b.refunds.Get(failing.ID, params); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "pending refund", pending.Status, stripe.RefundStatusSucceeded)
	wantEqual(t, "failing refund", failing.Status, stripe.RefundStatusFailed)
	wantEqual(t, "the money came back", failing.FailureBalanceTransaction.Net, 1000)
	counts := map[string]int{}
	for _, name := range b.receiver.names(t)[before:] {
		counts[name]++
	}
	want := map[string]int{"charge.refund.updated": 2, "refund.updated": 2, "refund.failed": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	if _, err = b.refunds.New(refundOf(fails, 1000)); err != nil {
		t.Errorf("the failed refund still counts: %v", err)
	}
}
