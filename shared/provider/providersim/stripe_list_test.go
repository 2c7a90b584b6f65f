package providersim_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76"
)

func TestListsByPage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var made []string // newest first, as lists are
	for range 25 {
		made = append([]string{b.create(payment(10, "pm_card_visa")).ID}, made...)
	}
	params := &stripe.PaymentIntentListParams{}
	params.Limit = stripe.Int64(7)
	params.AddExpand("data.latest_charge.balance_transaction")
	it := b.intents.List(params)
	var got []string
	for it.Next() {
		got = append(got, it.PaymentIntent().ID)
		wantEqual(t, "expanded fee", it.PaymentIntent().LatestCharge.BalanceTransaction.Amount, 10)
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, got); diff != "" {
		t.Errorf("by pages of 7 (-want +got):\n%s", diff)
	}

	back := &stripe.PaymentIntentListParams{}
	back.EndingBefore = stripe.String(made[20])
	back.Limit, back.Single = stripe.Int64(3), true
	it = b.intents.List(back)
	got = nil
	for it.Next() {
		got = append(got, it.PaymentIntent().ID)
	}
	// The library turns backward pages round, so that they run on.
	if diff := cmp.Diff([]string{made[19], made[18], made[17]}, got); diff != "" {
		t.Errorf("ending_before (-want +got):\n%s", diff)
	}

	unknown := &stripe.PaymentIntentListParams{}
	unknown.StartingAfter = stripe.String("pi_unknown")
	it = b.intents.List(unknown)
	it.Next()
	wantError(t, it.Err(), 400, stripe.ErrorCodeResourceMissing)
	tooMany := &stripe.PaymentIntentListParams{}
	tooMany.Limit = stripe.Int64(101)
	it = b.intents.List(tooMany)
	it.Next()
	wantError(t, it.Err(), 400, stripe.ErrorCodeParameterInvalidInteger)
}

func TestListsByTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	start := b.clock.Now()
	for range 4 {
		b.create(payment(10, "pm_card_visa"))
		b.advance(time.Minute)
	}
	for name, c := range map[string]struct {
		created stripe.RangeQueryParams
		want    int
	}{
		"from the second on":   {stripe.RangeQueryParams{GreaterThanOrEqual: start.Add(time.Minute).Unix()}, 3},
		"after the second":     {stripe.RangeQueryParams{GreaterThan: start.Add(time.Minute).Unix()}, 2},
		"before the third":     {stripe.RangeQueryParams{LesserThan: start.Add(2 * time.Minute).Unix()}, 2},
		"up to the third":      {stripe.RangeQueryParams{LesserThanOrEqual: start.Add(2 * time.Minute).Unix()}, 3},
		"the two in the midst": {stripe.RangeQueryParams{GreaterThan: start.Unix(), LesserThan: start.Add(3 * time.Minute).Unix()}, 2},
	} {
		it := b.intents.List(&stripe.PaymentIntentListParams{CreatedRange: &c.created})
		n := 0
		for it.Next() {
			n++
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, name, n, c.want)
	}
}

func TestEventsList(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(10, "pm_card_visa", manual))
	if _, err := b.intents.Cancel(pi.ID, nil); err != nil {
		t.Fatal(err)
	}
	names := func(p *stripe.EventListParams) (names []string) {
		it := b.events.List(p)
		for it.Next() {
			names = append(names, string(it.Event().Type))
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
		return names
	}
	if diff := cmp.Diff([]string{"charge.refunded", "charge.succeeded"}, names(&stripe.EventListParams{Type: stripe.String("charge.*")})); diff != "" {
		t.Errorf("a family (-want +got):\n%s", diff)
	}
	two := []string{"payment_intent.canceled", "payment_intent.created"}
	if diff := cmp.Diff(two, names(&stripe.EventListParams{Types: stripe.StringSlice(two)})); diff != "" {
		t.Errorf("two types (-want +got):\n%s", diff)
	}
	it := b.events.List(nil)
	it.Next()
	got, err := b.events.Get(it.Event().ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "retrieved", got.Type, "payment_intent.canceled")
	wantEqual(t, "about", got.GetObjectValue("id"), pi.ID)
}

func TestChargesAndRefundsOfAnIntent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, err := b.intents.New(payment(900, "pm_card_chargeDeclined"))
	declined := wantError(t, err, 402, "card_declined").PaymentIntent
	pi, err := b.intents.Confirm(declined.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")})
	if err != nil {
		t.Fatal(err)
	}
	other := b.create(payment(900, "pm_card_visa"))
	for _, p := range []*stripe.PaymentIntent{pi, other} {
		if _, err := b.refunds.New(refundOf(p, 100)); err != nil {
			t.Fatal(err)
		}
	}
	charges := b.charges.List(&stripe.ChargeListParams{PaymentIntent: stripe.String(pi.ID)})
	var statuses []stripe.ChargeStatus
	for charges.Next() {
		statuses = append(statuses, charges.Charge().Status)
	}
	if diff := cmp.Diff([]stripe.ChargeStatus{"succeeded", "failed"}, statuses); diff != "" {
		t.Errorf("charges (-want +got):\n%s", diff)
	}
	for _, p := range []*stripe.RefundListParams{
		{PaymentIntent: stripe.String(pi.ID)},
		{Charge: stripe.String(pi.LatestCharge.ID)},
		{Charge: stripe.String(pi.LatestCharge.ID), PaymentIntent: stripe.String(pi.ID)},
	} {
		it := b.refunds.List(p)
		n := 0
		for it.Next() {
			n++
			wantEqual(t, "refund's intent", it.Refund().PaymentIntent.ID, pi.ID)
		}
		wantEqual(t, "refunds", n, 1)
	}
}

func TestBalanceTransactions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	usd := func(p *stripe.PaymentIntentParams) { p.Currency = stripe.String("usd") }
	pi := b.create(payment(5050, "pm_card_visa", usd)) // 2.9 % is 146.45: 146 and 30
	if _, err := b.refunds.New(refundOf(pi, 50)); err != nil {
		t.Fatal(err)
	}
	yen := b.create(payment(125, "pm_card_visa")) // 3.6 % is 4.5, and a half goes up
	list := func(p *stripe.BalanceTransactionListParams) (got []*stripe.BalanceTransaction) {
		it := b.transactions.List(p)
		for it.Next() {
			got = append(got, it.BalanceTransaction())
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	charges := list(&stripe.BalanceTransactionListParams{Type: stripe.String("charge")})
	wantEqual(t, "charges", len(charges), 2)
	wantEqual(t, "fee in yen", charges[0].Fee, 5)
	wantEqual(t, "fee in cents", charges[1].Fee, 176)
	wantEqual(t, "net", charges[1].Net, 4874)
	wantEqual(t, "fee detail", charges[1].FeeDetails[0].Type, "stripe_fee")
	wantEqual(t, "status", charges[1].Status, stripe.BalanceTransactionStatusPending)
	wantEqual(t, "source", charges[0].Source.ID, yen.LatestCharge.ID)
	refunds := list(&stripe.BalanceTransactionListParams{Type: stripe.String("refund")})
	wantEqual(t, "refunds", len(refunds), 1)
	wantEqual(t, "refund", refunds[0].Net, -50)
	wantEqual(t, "by source", len(list(&stripe.BalanceTransactionListParams{Source: stripe.String(pi.LatestCharge.ID)})), 1)
	wantEqual(t, "by currency", len(list(&stripe.BalanceTransactionListParams{Currency: stripe.String("usd")})), 2)

	if id, _ := b.PayOut("usd"); id != "" {
		t.Errorf("money was paid out before it was available")
	}
	b.advance(48 * time.Hour)
	id, amount := b.PayOut("usd")
	wantEqual(t, "paid out", amount, 4824)
	paid := list(&stripe.BalanceTransactionListParams{Payout: stripe.String(id)})
	wantEqual(t, "in the payout, itself included", len(paid), 3)
	wantEqual(t, "status", paid[2].Status, stripe.BalanceTransactionStatusAvailable)
	var sum int64
	for _, tx := range paid {
		sum += tx.Net
	}
	wantEqual(t, "a payout balances what is in it", sum, 0)
}
