package providersim_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76"
)

func replayed(pi *stripe.PaymentIntent) bool {
	return pi.LastResponse.Header.Get("Idempotent-Replayed") == "true"
}

func TestReplayGivesTheStoredResult(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.create(payment(5000, "pm_card_visa", manual, keyed("k")))
	if _, err := b.intents.Capture(first.ID, nil); err != nil {
		t.Fatal(err)
	}
	again := b.create(payment(5000, "pm_card_visa", manual, keyed("k")))
	wantEqual(t, "first was a replay", replayed(first), false)
	wantEqual(t, "second was a replay", replayed(again), true)
	wantEqual(t, "original request", again.LastResponse.Header.Get("Original-Request"), first.LastResponse.RequestID)
	if again.LastResponse.RequestID == first.LastResponse.RequestID {
		t.Errorf("the replay has the first request's id")
	}
	if diff := cmp.Diff(string(first.LastResponse.RawJSON), string(again.LastResponse.RawJSON)); diff != "" {
		t.Errorf("the replay is not what was answered first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	wantEqual(t, "counted replays", b.Counters()["authorize.replays"], 1)
}

func TestKeyUsedForSomethingElse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", manual, keyed("k")))
	_, err := b.intents.New(payment(5001, "pm_card_visa", manual, keyed("k")))
	wantEqual(t, "other parameters", wantError(t, err, 400, "").Type, stripe.ErrorTypeIdempotency)
	params := &stripe.PaymentIntentCaptureParams{}
	params.SetIdempotencyKey("k")
	_, err = b.intents.Capture(pi.ID, params)
	wantEqual(t, "other path", wantError(t, err, 400, "").Type, stripe.ErrorTypeIdempotency)
	wantEqual(t, "effects", len(b.Effects()), 1)
}

func TestWhatAKeyKeeps(t *testing.T) {
	t.Parallel()
	b := newBench(t)

	// A decline is a result.
	_, err := b.intents.New(payment(5000, "pm_card_chargeDeclined", keyed("declined")))
	first := wantError(t, err, 402, "card_declined")
	_, err = b.intents.New(payment(5000, "pm_card_chargeDeclined", keyed("declined")))
	second := wantError(t, err, 402, "card_declined")
	wantEqual(t, "declined intent", second.PaymentIntent.ID, first.PaymentIntent.ID)

	// So is a refusal by the state of things, even when the state has moved on.
	pi := b.create(payment(5000, "pm_card_visa", manual))
	early := refundOf(pi, 100)
	early.SetIdempotencyKey("early")
	_, err = b.refunds.New(early)
	wantError(t, err, 400, "")
	if _, err = b.intents.Capture(pi.ID, nil); err != nil {
		t.Fatal(err)
	}
	_, err = b.refunds.New(early)
	wantError(t, err, 400, "")

	// A validation error is not: the key is free for the corrected request.
	_, err = b.intents.New(payment(0, "pm_card_visa", keyed("corrected")))
	wantError(t, err, 400, stripe.ErrorCodeParameterInvalidInteger)
	b.create(payment(10, "pm_card_visa", keyed("corrected")))

	// Nor are 401, 429 and 409.
	stranger := b.intents
	stranger.Key = "sk_test_wrong"
	_, err = stranger.New(payment(5000, "pm_card_visa", keyed("refused")))
	wantError(t, err, 401, "")
	_, err = b.intents.New(payment(5000, "pm_card_visa", keyed("refused"), faulty("429")))
	wantError(t, err, 429, stripe.ErrorCodeRateLimit)
	_, err = b.intents.New(payment(5000, "pm_card_visa", keyed("refused"), faulty("409")))
	wantError(t, err, 409, stripe.ErrorCodeIdempotencyKeyInUse)
	wantEqual(t, "replay", replayed(b.create(payment(5000, "pm_card_visa", keyed("refused")))), false)
}

func TestKeyInUseWhileTheFirstRequestRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := make(chan error, 1)
	go func() {
		_, err := b.intents.New(payment(5000, "pm_card_visa", keyed("k"), faulty("delay_before; for=1h")))
		first <- err
	}()
	until(t, "the first request is under way", func() bool { return b.Counters()["fault.delay_before"] == 1 })
	_, err := b.intents.New(payment(5000, "pm_card_visa", keyed("k")))
	e := wantError(t, err, 409, stripe.ErrorCodeIdempotencyKeyInUse)
	wantEqual(t, "type", e.Type, stripe.ErrorTypeIdempotency)
	wantEqual(t, "effects", len(b.Effects()), 0)
	b.Close() // ends the delay
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestKeysExpire(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.create(payment(5000, "pm_card_visa", keyed("k")))
	b.advance(24*time.Hour - time.Second)
	wantEqual(t, "still a replay", replayed(b.create(payment(5000, "pm_card_visa", keyed("k")))), true)
	b.advance(time.Second)
	second := b.create(payment(5000, "pm_card_visa", keyed("k")))
	if first.ID == second.ID || replayed(second) {
		t.Errorf("the key outlived its 24 hours")
	}
	if diff := cmp.Diff([]string{"authorize", "capture", "authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("a late retry must charge again (-want +got):\n%s", diff)
	}
}
