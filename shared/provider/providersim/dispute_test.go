package providersim_test

import (
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/dispute"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// disputed lists what Stripe's own client sees of an intent's disputes, newest first.
func (b *bench) disputed(intent string) (all []*stripe.Dispute) {
	b.t.Helper()
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(b.server.URL), HTTPClient: b.http, MaxNetworkRetries: stripe.Int64(0),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	i := dispute.Client{B: backend, Key: secretKey}.List(&stripe.DisputeListParams{PaymentIntent: stripe.String(intent)})
	for i.Next() {
		all = append(all, i.Dispute())
	}
	if i.Err() != nil {
		b.t.Fatal(i.Err())
	}
	return all
}

func TestCardsWhoseHoldersComplain(t *testing.T) {
	t.Parallel()
	for card, want := range map[string]struct {
		status stripe.DisputeStatus
		reason stripe.DisputeReason
		taken  int64
	}{
		"pm_card_createDispute":                   {stripe.DisputeStatusNeedsResponse, stripe.DisputeReasonFraudulent, 5000},
		"pm_card_createDisputeProductNotReceived": {stripe.DisputeStatusNeedsResponse, stripe.DisputeReasonProductNotReceived, 5000},
		"pm_card_createDisputeInquiry":            {stripe.DisputeStatusWarningNeedsResponse, stripe.DisputeReasonProductNotReceived, 0},
	} {
		b := newBench(t)
		pi := b.create(payment(5000, card))
		b.advance(23 * time.Hour)
		wantEqual(t, card+": disputes within a day", len(b.disputed(pi.ID)), 0)
		b.advance(2 * time.Hour)
		found := b.disputed(pi.ID)
		if len(found) != 1 {
			t.Fatalf("%s: %d disputes", card, len(found))
		}
		wantEqual(t, card+": status", found[0].Status, want.status)
		wantEqual(t, card+": reason", found[0].Reason, want.reason)
		var taken int64
		for _, moved := range found[0].BalanceTransactions {
			taken -= moved.Amount
		}
		wantEqual(t, card+": taken", taken, want.taken)
		ch, err := b.charges.Get(found[0].Charge.ID, nil)
		if err != nil || !ch.Disputed {
			t.Errorf("%s: the charge is disputed: %t, %v", card, ch.Disputed, err)
		}
	}
}

func TestOtherProcessesMakeDisputes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa"))
	var made struct{ ID string }
	wantEqual(t, "opened", b.sim("POST", "disputes", `{"payment":"`+pi.ID+`","amount_minor":2000}`, &made), 200)
	wantEqual(t, "of nothing", b.sim("POST", "disputes", `{"payment":"pi_none"}`, nil), 400)
	wantEqual(t, "of more than there is", b.sim("POST", "disputes", `{"payment":"`+pi.ID+`","amount_minor":5001}`, nil), 400)
	wantEqual(t, "of an authorization", b.sim("POST", "disputes", `{"payment":"`+b.create(payment(5000, "pm_card_visa", manual)).ID+`"}`, nil), 400)

	_, err := b.refunds.New(&stripe.RefundParams{PaymentIntent: stripe.String(pi.ID)})
	if e, ok := err.(*stripe.Error); !ok || e.Code != "charge_disputed" {
		t.Errorf("a refund of what is disputed: %v", err)
	}
	wantEqual(t, "no such outcome", b.sim("POST", "disputes/"+made.ID+"?outcome=draw", "", nil), 409)
	wantEqual(t, "an escalation of no inquiry", b.sim("POST", "disputes/"+made.ID+"?outcome=escalated", "", nil), 409)
	wantEqual(t, "won", b.sim("POST", "disputes/"+made.ID+"?outcome=won", "", nil), 204)
	wantEqual(t, "won twice", b.sim("POST", "disputes/"+made.ID+"?outcome=won", "", nil), 409)
	wantEqual(t, "no such dispute", b.sim("POST", "disputes/du_none?outcome=won", "", nil), 409)
	if _, err := b.refunds.New(&stripe.RefundParams{PaymentIntent: stripe.String(pi.ID)}); err != nil {
		t.Errorf("a refund after the dispute was won: %v", err)
	}
	kinds := map[providersim.EffectKind]int{}
	for _, e := range b.Effects() {
		kinds[e.Kind]++
	}
	wantEqual(t, "taken", kinds[providersim.EffectDispute], 1)
	wantEqual(t, "given back", kinds[providersim.EffectDisputeWon], 1)
}
