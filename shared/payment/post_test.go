package payment

import (
	"context"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/period"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// charge sets the fees that the rig's merchant pays at Stripe in yen from now on.
func (r *rig) charge(s ledger.Schedule) {
	r.t.Helper()
	s.MerchantID, s.Provider, s.Currency, s.EffectiveFrom = r.caller.MerchantID, "stripe", money.MustParseCurrency("JPY"), r.Now()
	if s.Rounding == "" {
		s.Rounding = ledger.HalfUp
	}
	if err := ledger.SetSchedule(r.t.Context(), r.Pool, s, r.Now()); err != nil {
		r.t.Fatal(err)
	}
}

// wantBalances compares what the rig's merchant's accounts stand at; those at zero may be left out.
func (r *rig) wantBalances(want map[ledger.Account]int64) {
	r.t.Helper()
	all, err := ledger.Balances(r.t.Context(), r.Pool, ledger.Filter{MerchantID: r.caller.MerchantID})
	if err != nil {
		r.t.Fatal(err)
	}
	got := map[ledger.Account]int64{}
	for _, b := range all {
		got[b.Account] += b.AmountMinor
	}
	maps.DeleteFunc(got, func(_ ledger.Account, minor int64) bool { return minor == 0 })
	if !maps.Equal(got, want) {
		r.t.Errorf("balances %v, want %v", got, want)
	}
}

func TestACaptureCostsItsFee(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.charge(ledger.Schedule{BasisPoints: 360, FixedMinor: 10})
	automatic := r.pay(r.params(Automatic))
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -4810, ledger.Fees: -190})
	manual := r.pay(r.params(Manual))
	r.must(r.capture(manual, minor(1000)))
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 6000, ledger.Payable: -5764, ledger.Fees: -236})
	r.must(r.refundOf(automatic, nil)) // keeps the fee
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 1000, ledger.Payable: -764, ledger.Fees: -236})

	if err := r.clock.Advance(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	r.charge(ledger.Schedule{})
	r.pay(r.params(Automatic)) // costs nothing any more
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 6000, ledger.Payable: -5764, ledger.Fees: -236})
}

func TestRefundsReturnTheirPartOfTheFee(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.charge(ledger.Schedule{BasisPoints: 101, FixedMinor: 2, RefundReturnsFee: true}) // 50.5 and 2: 53
	p := r.pay(r.params(Automatic))
	for _, c := range []struct{ refund, receivable, fees int64 }{
		{1, 4999, -53},    // 0.01 of it
		{99, 4900, -52},   // 1.06
		{2450, 2450, -26}, // 27.03
		{2450, 0, 0},
	} {
		r.must(r.refundOf(p, minor(c.refund)))
		want := map[ledger.Account]int64{ledger.Receivable: c.receivable, ledger.Fees: c.fees, ledger.Payable: -c.receivable - c.fees}
		maps.DeleteFunc(want, func(_ ledger.Account, minor int64) bool { return minor == 0 })
		r.wantBalances(want)
	}
}

func TestARefundThatFailsTakesItsPartOfTheFeeBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.charge(ledger.Schedule{BasisPoints: 1000, RefundReturnsFee: true})
	in := r.params(Automatic)
	in.PaymentMethod = "pm_card_refundFail"
	p := r.pay(in)
	r.must(r.refundOf(p, minor(1000)))
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 4000, ledger.Payable: -3600, ledger.Fees: -400})
	r.pass(48*time.Hour, 4*time.Hour)
	if r.effects(p)[providersim.EffectRefundReversed] != 1 {
		t.Fatal("the refund did not fail")
	}
	r.webhook(p)
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -4500, ledger.Fees: -500})
	r.webhook(p) // told twice
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -4500, ledger.Fees: -500})
}

func TestADisputeCostsItsFeeWhoeverWins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.charge(ledger.Schedule{DisputeFeeMinor: 1500, RefundReturnsFee: true})
	p := r.pay(r.params(Automatic))
	dispute, err := r.sim.Dispute(providersim.Complaint{Payment: *p.ProviderTransactionID, AmountMinor: 2000})
	if err != nil {
		t.Fatal(err)
	}
	r.webhook(p)
	r.wantBalances(map[ledger.Account]int64{
		ledger.Receivable: 3000, ledger.Disputes: 2000, ledger.DisputeReserve: -2000, ledger.Payable: -1500, ledger.Fees: -1500,
	})
	if err := r.sim.Decide(dispute, providersim.DisputeWon); err != nil {
		t.Fatal(err)
	}
	r.webhook(p)
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -3500, ledger.Fees: -1500})
	r.must(r.refundOf(p, nil)) // returns the captures' fees, and there are none
	r.wantBalances(map[ledger.Account]int64{ledger.Payable: 1500, ledger.Fees: -1500})
}

// The posting is in the transaction of the change: without the one there is not the other.
func TestNothingIsCapturedThatIsNotPosted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	exec := func(sql string) {
		t.Helper()
		if _, err := r.Pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE FUNCTION out_of_order() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''out of order''; END'`)
	exec(`CREATE TRIGGER out_of_order BEFORE INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION out_of_order()`)
	if a, err := r.capture(p, nil); err == nil {
		t.Errorf("captured without its posting: %d %s", a.Status, a.Body)
	}
	if got := r.get(p); got.Status != Authorized || got.CapturedAmount != 0 || r.effects(p)[providersim.EffectCapture] != 1 {
		t.Errorf("what the provider has done is recorded without its posting: %s, captured %d", got.Status, got.CapturedAmount)
	}
	if n := r.count(`SELECT count(*) FROM provider_facts WHERE kind = 'capture'`); n != 0 {
		t.Errorf("%d facts of the capture", n)
	}
	exec(`DROP TRIGGER out_of_order ON ledger_entries`)
	r.pass(10*time.Minute, time.Minute)
	if got := r.get(p); got.Status != Captured {
		t.Errorf("in the end: %s", got.Status)
	}
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -5000})
}

// An answer that is recorded so late that its period has ended is recorded with a new time.
func TestWhatIsLateIsRecordedInAPeriodThatIsOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ended := r.Now().Add(time.Minute)
	r.Hook = func(ctx context.Context, point string) {
		if point != PointRecording || r.Now().After(ended) {
			return
		}
		if err := r.clock.Advance(ctx, 2*time.Hour); err != nil {
			t.Error(err)
		}
		if err := period.Mark(ctx, r.Pool, ended, r.Now()); err != nil {
			t.Error(err)
		}
	}
	a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Automatic)))
	if p := decode[View](t, a); a.Status != http.StatusCreated || p.Status != Captured {
		t.Errorf("answered %d %s", a.Status, a.Body)
	}
	if n := r.count(`SELECT count(*) FROM ledger_postings WHERE posted_at >= $1`, ended); n != 1 {
		t.Errorf("%d postings after the period's end, want the capture", n)
	}
	r.fold()
}

// A success that comes too late is owed to its payer until it is back with them.
func TestMoneyWithoutAPurposeIsNotTheMerchants(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.charge(ledger.Schedule{BasisPoints: 360})
	p := r.pay(r.params(Manual))
	r.must(r.cancel(p))
	late := fact("capture", "ch_late", "succeeded", 5000)
	late.PaymentID, late.Reference = paymentID(t, p), *p.ProviderTransactionID
	r.bringFact(p, late)
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Obligations: -5000})
	back := fact("refund", "re_late", "succeeded", 5000)
	back.ObligationID = r.obligation(p)
	r.bringFact(p, back)
	r.wantBalances(map[ledger.Account]int64{})
	back.State = "failed"
	r.bringFact(p, back)
	r.wantBalances(map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Obligations: -5000})
}

// bringFact brings a fact that Stripe states of the payment.
func (r *rig) bringFact(p View, f provider.Fact) {
	r.t.Helper()
	e := provider.Event{ID: "evt_fact", PaymentID: paymentID(r.t, p), Facts: []provider.Fact{f}}
	if _, err := r.ApplyEvent(r.t.Context(), "stripe", e, r.NewID()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) obligation(p View) id.ID {
	r.t.Helper()
	return mustParse(r.t, r.strings(`SELECT id::text FROM obligations WHERE transaction_id = $1 AND kind = 'refund'`, paymentID(r.t, p))[0])
}
