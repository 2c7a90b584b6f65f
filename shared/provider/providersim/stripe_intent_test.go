package providersim_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestLifeOfAPayment(t *testing.T) {
	t.Parallel()
	b := newBench(t)

	pi := b.create(payment(5000, "pm_card_visa", manual, keyed("auth-1"), func(p *stripe.PaymentIntentParams) {
		p.AddExpand("latest_charge")
	}))
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusRequiresCapture)
	wantEqual(t, "amount", pi.Amount, 5000)
	wantEqual(t, "capturable", pi.AmountCapturable, 5000)
	wantEqual(t, "metadata", pi.Metadata["order"], "17")
	wantEqual(t, "created", pi.Created, b.clock.Now().Unix())
	wantEqual(t, "charged card", pi.LatestCharge.PaymentMethodDetails.Card.Last4, "4242")
	wantEqual(t, "capture before", pi.LatestCharge.PaymentMethodDetails.Card.CaptureBefore, b.clock.Now().Add(7*24*time.Hour).Unix())
	wantEqual(t, "captured", pi.LatestCharge.Captured, false)

	pi, err := b.intents.Capture(pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(3000)})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusSucceeded)
	wantEqual(t, "received", pi.AmountReceived, 3000)
	wantEqual(t, "capturable", pi.AmountCapturable, 0)

	re, err := b.refunds.New(&stripe.RefundParams{
		PaymentIntent: stripe.String(pi.ID), Amount: stripe.Int64(1000), Reason: stripe.String("requested_by_customer"),
		Metadata: map[string]string{"refund": "r1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "refund status", re.Status, stripe.RefundStatusSucceeded)
	wantEqual(t, "refund amount", re.Amount, 1000)
	wantEqual(t, "refund metadata", re.Metadata["refund"], "r1")

	params := &stripe.ChargeParams{}
	params.AddExpand("balance_transaction")
	params.AddExpand("refunds")
	ch, err := b.charges.Get(pi.LatestCharge.ID, params)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "charge captured", ch.AmountCaptured, 3000)
	wantEqual(t, "charge refunded: the released rest and the refund", ch.AmountRefunded, 3000)
	wantEqual(t, "refunds on the charge", len(ch.Refunds.Data), 2)
	wantEqual(t, "fee", ch.BalanceTransaction.Fee, 108) // 3.6 % of 3000
	wantEqual(t, "net", ch.BalanceTransaction.Net, 2892)

	b.quiesce()
	want := []string{
		"payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated",
		"charge.captured", "charge.refunded", "payment_intent.succeeded",
		"charge.refunded", "refund.created",
	}
	if diff := cmp.Diff(want, b.receiver.names(t)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"authorize", "capture", "refund"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	first := b.Effects()[0]
	wantEqual(t, "effect payment", first.Payment, pi.ID)
	wantEqual(t, "effect key", first.IdempotencyKey, "auth-1")
	wantEqual(t, "effect amount", first.AmountMinor, 5000)
	wantEqual(t, "refunds found by their own metadata", len(b.EffectsFor("refund", "r1")), 1)
}

func TestAutomaticCapture(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(700, "pm_card_mastercard"))
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusSucceeded)
	wantEqual(t, "received", pi.AmountReceived, 700)
	b.quiesce()
	want := []string{"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"}
	if diff := cmp.Diff(want, b.receiver.names(t)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
}

func TestConfirmLater(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(&stripe.PaymentIntentParams{
		Amount: stripe.Int64(700), Currency: stripe.String("usd"), Description: stripe.String("Order 17"),
		AutomaticPaymentMethods: &stripe.PaymentIntentAutomaticPaymentMethodsParams{
			Enabled: stripe.Bool(true), AllowRedirects: stripe.String("never"),
		},
	})
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusRequiresPaymentMethod)
	wantEqual(t, "effects", len(b.Effects()), 0)

	_, err := b.intents.Confirm(pi.ID, &stripe.PaymentIntentConfirmParams{})
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	pi, err = b.intents.Confirm(pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusSucceeded)
	wantEqual(t, "description", pi.Description, "Order 17")
	_, err = b.intents.Confirm(pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")})
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	wantEqual(t, "effects", len(b.Effects()), 2)
}

func TestReturnURLIsNeededWhenMethodsMayRedirect(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	open := func(p *stripe.PaymentIntentParams) { p.PaymentMethodTypes = nil }
	_, err := b.intents.New(payment(700, "pm_card_visa", open))
	wantError(t, err, 400, "")
	b.create(payment(700, "pm_card_visa", open, func(p *stripe.PaymentIntentParams) {
		p.ReturnURL = stripe.String("https://shop.example/back")
	}))
}

func TestDeclines(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for token, want := range map[string][2]string{
		"pm_card_chargeDeclined":                           {"card_declined", "generic_decline"},
		"pm_card_visa_chargeDeclined":                      {"card_declined", "generic_decline"},
		"pm_card_chargeDeclinedInsufficientFunds":          {"card_declined", "insufficient_funds"},
		"pm_card_visa_chargeDeclinedInsufficientFunds":     {"card_declined", "insufficient_funds"},
		"pm_card_visa_chargeDeclinedLostCard":              {"card_declined", "lost_card"},
		"pm_card_visa_chargeDeclinedStolenCard":            {"card_declined", "stolen_card"},
		"pm_card_visa_chargeDeclinedFraudulent":            {"card_declined", "fraudulent"},
		"pm_card_visa_chargeDeclinedVelocityLimitExceeded": {"card_declined", "card_velocity_exceeded"},
		"pm_card_chargeDeclinedExpiredCard":                {"expired_card", "expired_card"},
		"pm_card_chargeDeclinedIncorrectCvc":               {"incorrect_cvc", "incorrect_cvc"},
		"pm_card_chargeDeclinedProcessingError":            {"processing_error", "processing_error"},
		"pm_card_visa_chargeDeclinedProcessingError":       {"processing_error", "processing_error"},
	} {
		_, err := b.intents.New(payment(900, token))
		e := wantError(t, err, 402, stripe.ErrorCode(want[0]))
		wantEqual(t, token+" type", e.Type, stripe.ErrorTypeCard)
		wantEqual(t, token+" decline code", e.DeclineCode, stripe.DeclineCode(want[1]))
		if e.PaymentIntent == nil {
			t.Fatalf("%s: the error carries no payment intent", token)
		}
		pi, err := b.intents.Get(e.PaymentIntent.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, token+" status", pi.Status, stripe.PaymentIntentStatusRequiresPaymentMethod)
		wantEqual(t, token+" last error", pi.LastPaymentError.DeclineCode, stripe.DeclineCode(want[1]))
		wantEqual(t, token+" charge of the error", e.ChargeID, pi.LatestCharge.ID)
	}
	wantEqual(t, "effects", len(b.Effects()), 0)
}

func TestDeclinedIntentCanBeConfirmedAgainUntilItIsCanceled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, err := b.intents.New(payment(900, "pm_card_chargeDeclined"))
	first := wantError(t, err, 402, "card_declined").PaymentIntent
	_, err = b.intents.New(payment(900, "pm_card_chargeDeclined"))
	second := wantError(t, err, 402, "card_declined").PaymentIntent

	pi, err := b.intents.Confirm(first.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusSucceeded)
	if pi.LastPaymentError != nil {
		t.Errorf("the last error outlived the success: %v", pi.LastPaymentError)
	}

	pi, err = b.intents.Cancel(second.ID, &stripe.PaymentIntentCancelParams{CancellationReason: stripe.String("abandoned")})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusCanceled)
	wantEqual(t, "reason", pi.CancellationReason, stripe.PaymentIntentCancellationReasonAbandoned)
	_, err = b.intents.Confirm(second.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")})
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)

	b.quiesce()
	if diff := cmp.Diff([]string{"authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestCancelReleasesTheAuthorization(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", manual))
	params := &stripe.PaymentIntentCancelParams{}
	params.AddExpand("latest_charge")
	pi, err := b.intents.Cancel(pi.ID, params)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusCanceled)
	wantEqual(t, "capturable", pi.AmountCapturable, 0)
	wantEqual(t, "canceled at", pi.CanceledAt, b.clock.Now().Unix())
	wantEqual(t, "charge refunded", pi.LatestCharge.Refunded, true)
	wantEqual(t, "charge captured", pi.LatestCharge.Captured, false)

	_, err = b.intents.Cancel(pi.ID, nil)
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	_, err = b.intents.Capture(pi.ID, nil)
	e := wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	wantEqual(t, "status in the error", e.PaymentIntent.Status, stripe.PaymentIntentStatusCanceled)

	b.quiesce()
	want := []string{
		"payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated",
		"charge.refunded", "payment_intent.canceled",
	}
	if diff := cmp.Diff(want, b.receiver.names(t)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"authorize", "void"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestSucceededIntentCannotBeCanceledOrCapturedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", manual))
	_, err := b.intents.Capture(pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(5001)})
	wantError(t, err, 400, stripe.ErrorCodeAmountTooLarge)
	if _, err = b.intents.Capture(pi.ID, nil); err != nil {
		t.Fatal(err)
	}
	_, err = b.intents.Capture(pi.ID, nil)
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	_, err = b.intents.Cancel(pi.ID, nil)
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	if diff := cmp.Diff([]string{"authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestAuthorizationExpires(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", manual))
	kept := b.create(payment(5000, "pm_card_visa", manual))
	if _, err := b.intents.Capture(kept.ID, nil); err != nil {
		t.Fatal(err)
	}
	due, ok := b.NextDue()
	wantEqual(t, "something is due", ok, true)
	wantEqual(t, "due", due, b.clock.Now().Add(7*24*time.Hour))

	b.quiesce() // so that the events of now arrive before those of next week
	b.advance(7*24*time.Hour - time.Second)
	got, err := b.intents.Get(pi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status before", got.Status, stripe.PaymentIntentStatusRequiresCapture)

	b.advance(time.Second)
	got, err = b.intents.Get(pi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status after", got.Status, stripe.PaymentIntentStatusCanceled)
	wantEqual(t, "reason", got.CancellationReason, stripe.PaymentIntentCancellationReasonAutomatic)
	_, err = b.intents.Capture(pi.ID, nil)
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	if _, ok := b.NextDue(); ok {
		t.Errorf("the captured payment still waits for its expiry")
	}
	names := b.receiver.names(t)
	if diff := cmp.Diff([]string{"charge.expired", "payment_intent.canceled"}, names[len(names)-2:]); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	effects := b.Effects()
	wantEqual(t, "last effect", effects[len(effects)-1].Kind, providersim.EffectExpire)
}

func TestExpiryIsSeenWithoutAnybodySteppingTheClock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", manual))
	b.clock.Set(b.clock.Now().Add(8 * 24 * time.Hour))
	_, err := b.intents.Capture(pi.ID, nil)
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
}

func TestProcessing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	good := b.create(payment(5000, "pm_sim_processing"))
	bad := b.create(payment(5000, "pm_sim_processingChargeDeclined"))
	gone := b.create(payment(5000, "pm_sim_processing"))
	wantEqual(t, "status", good.Status, stripe.PaymentIntentStatusProcessing)
	wantEqual(t, "effects", len(b.Effects()), 0)
	if _, err := b.intents.Cancel(gone.ID, nil); err != nil {
		t.Fatal(err)
	}
	b.advance(time.Hour)
	for id, want := range map[string]stripe.PaymentIntentStatus{
		good.ID: stripe.PaymentIntentStatusSucceeded,
		bad.ID:  stripe.PaymentIntentStatusRequiresPaymentMethod,
		gone.ID: stripe.PaymentIntentStatusCanceled,
	} {
		pi, err := b.intents.Get(id, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "status", pi.Status, want)
	}
	if diff := cmp.Diff([]string{"authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}
