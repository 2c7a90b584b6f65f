package stripe_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providertest"
)

// What all providers have in common is in providertest; what is here only Stripe has.

func TestDeclines(t *testing.T) {
	t.Parallel()
	b := providertest.New(t, providertest.Stripe())
	for method, code := range map[string]string{
		"pm_card_visa_chargeDeclined":                      "card_declined",
		"pm_card_visa_chargeDeclinedInsufficientFunds":     "insufficient_funds",
		"pm_card_visa_chargeDeclinedLostCard":              "lost_or_stolen_card",
		"pm_card_visa_chargeDeclinedStolenCard":            "lost_or_stolen_card",
		"pm_card_visa_chargeDeclinedFraudulent":            "suspected_fraud",
		"pm_card_visa_chargeDeclinedVelocityLimitExceeded": "limit_exceeded",
		"pm_card_chargeDeclinedExpiredCard":                "expired_card",
		"pm_card_chargeDeclinedIncorrectCvc":               "incorrect_cvc",
		"pm_card_chargeDeclinedProcessingError":            "processing_error",
		"pm_card_unheard_of":                               "",
	} {
		r := b.Payment(providertest.Plain, false)
		r.PaymentMethod = method
		a := b.Attempt(r)
		got := b.First(a)
		if code == "" {
			b.Expect(method, got, provider.Rejected)
			if got.Refusal.ProviderCode != "resource_missing" {
				t.Errorf("refusal %+v", got.Refusal)
			}
			continue
		}
		b.Expect(method, got, provider.Declined)
		if got.Refusal.Code != code || !strings.HasPrefix(got.Reference, "pi_") || got.Facts[0].ObjectID != got.Reference {
			t.Errorf("%s: refusal %+v, reference %q, facts %+v", method, got.Refusal, got.Reference, got.Facts)
		}
		again := b.Replay(a) // the stored answer carries the object
		b.Expect(method+" again", again, provider.Declined)
		if !again.Evidence.Replayed || again.Refusal.Code != code {
			t.Errorf("%s, again: %+v", method, again.Refusal)
		}
	}
}

func TestThreeDSecure(t *testing.T) {
	t.Parallel()
	b := providertest.New(t, providertest.Stripe())
	r := b.Payment(providertest.ByPayer, false)
	made := b.Do(r, provider.RequiresAction)
	if err := b.Visit(made.Reference, "fail"); err != nil {
		t.Fatal(err)
	}
	found := b.Find(r, made.Reference)
	if providertest.Facts(found) != "authorization.failed JPY 5000" || found[0].Refusal.Code != "authentication_failed" {
		t.Errorf("not authenticated: %s, %+v", providertest.Facts(found), found[0].Refusal)
	}
	nowhere := b.Payment(providertest.ByPayer, false)
	nowhere.ReturnURL = ""
	if made := b.Do(nowhere, provider.RequiresAction); made.Facts[0].NextAction != nil {
		t.Errorf("without a way back the next action is %+v", made.Facts[0].NextAction)
	}
}

func TestPendingRefund(t *testing.T) {
	t.Parallel()
	b := providertest.New(t, providertest.Stripe())
	r := b.Payment(providertest.Plain, true)
	r.PaymentMethod = "pm_card_pendingRefund"
	reference, _ := b.Pay(r, providertest.Plain)
	refund := b.Attempt(b.Follow(r, reference, provider.Refund, 5000))
	b.Expect("refund", b.First(refund), provider.Pending)
	b.Advance(10 * time.Minute)
	if got := providertest.Summary(b.Agree(r, reference)); got != "captured, refunded" {
		t.Errorf("later: %s", got)
	}
	// The stored answer is the first one for ever, which is older than what is known.
	b.Expect("refund, replayed", b.Replay(refund), provider.Pending)
}
