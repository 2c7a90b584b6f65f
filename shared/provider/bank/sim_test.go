package bank_test

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/providertest"
)

// What all providers have in common is in providertest; what is here only a transfer has.

// paid makes a payment of this many pence, which its payer authorizes.
func paid(b *providertest.Bench, pence int64) (r provider.Request, reference string) {
	r = b.Payment(providertest.Plain, true)
	r.Amount = money.New(pence, r.Amount.Currency)
	made := b.Do(r, provider.RequiresAction)
	b.Answer(made.Reference, providertest.Plain)
	return r, made.Reference
}

func TestEndings(t *testing.T) {
	t.Parallel()
	b := providertest.New(t, providertest.Bank())
	for pence, want := range map[int64]string{
		providersim.GoCardlessFails:       "authorization.failed GBP 100.01 insufficient_funds",
		providersim.GoCardlessFailsLate:   "authorization.authorized GBP 100.02, capture.succeeded GBP 100.02, capture.failed GBP 100.02 account_closed",
		providersim.GoCardlessChargedBack: "authorization.authorized GBP 100.03, capture.succeeded GBP 100.03, dispute.lost GBP 100.03 authorisation_disputed",
	} {
		r, reference := paid(b, pence)
		b.Advance(48 * time.Hour)
		facts := b.Find(r, reference)
		last := facts[len(facts)-1]
		why := last.Reason
		if last.Refusal != nil {
			why = last.Refusal.Code
		}
		if got := providertest.Facts(facts) + " " + why; got != want {
			t.Errorf("%d: %s\nwant %s", pence, got, want)
		}
	}
}

// From the payer's authorization on a transfer can't be stopped, and there is nothing to
// refund until it is confirmed; a billing request that has failed lets go of nothing.
func TestBetweenThePayerAndTheBank(t *testing.T) {
	t.Parallel()
	b := providertest.New(t, providertest.Bank())
	r, reference := paid(b, providersim.GoCardlessSlow)
	for range 2 {
		if got := providertest.Facts(b.Agree(r, reference)); got != "authorization.approved GBP 100.04" {
			t.Errorf("it is %s", got)
		}
		refused := b.Do(b.Follow(r, reference, provider.Void, r.Amount.Minor), provider.Declined)
		if refused.Refusal.Code != "invalid_provider_state" {
			t.Errorf("a void: %+v", refused.Refusal)
		}
		b.Do(b.Follow(r, reference, provider.Refund, 1), provider.Declined)
		b.Advance(71 * time.Hour)
	}

	r, reference = paid(b, providersim.GoCardlessFails)
	b.Advance(time.Hour)
	voided := b.Do(b.Follow(r, reference, provider.Void, 0), provider.Approved)
	if got := providertest.Facts(voided.Facts); got != "authorization.canceled GBP 100.01" {
		t.Errorf("a void of what failed: %s", got)
	}
}
