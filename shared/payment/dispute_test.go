package payment

import (
	"maps"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// contest has the payer of a payment complain at Stripe, and brings what Stripe shows then.
func (r *rig) contest(p View, c providersim.Complaint) (dispute string) {
	r.t.Helper()
	c.Payment = *p.ProviderTransactionID
	dispute, err := r.sim.Dispute(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.webhook(p)
	return dispute
}

func (r *rig) decide(p View, dispute, outcome string) {
	r.t.Helper()
	r.pass(time.Minute, time.Minute)
	if err := r.sim.Decide(dispute, outcome); err != nil {
		r.t.Fatal(err)
	}
	r.webhook(p)
}

// accounts is what the ledger's accounts stand at, without those that stand at nothing.
func (r *rig) accounts() map[ledger.Account]int64 {
	r.t.Helper()
	all, err := ledger.Balances(r.t.Context(), r.Pool, ledger.Filter{})
	if err != nil {
		r.t.Fatal(err)
	}
	got := map[ledger.Account]int64{}
	for _, b := range all {
		if got[b.Account] += b.AmountMinor; got[b.Account] == 0 {
			delete(got, b.Account)
		}
	}
	return got
}

func (r *rig) wantAccounts(when string, want map[ledger.Account]int64) {
	r.t.Helper()
	if got := r.accounts(); !maps.Equal(got, want) {
		r.t.Errorf("%s the accounts stand at %v, want %v", when, got, want)
	}
}

// counted holds that the disputes' parts are what the payment says is disputed (P3).
func (r *rig) counted() {
	r.t.Helper()
	bad := r.strings(`
		SELECT t.id::text FROM transactions t
		WHERE disputed_minor <> (SELECT coalesce(sum(counted_minor), 0) FROM disputes d WHERE d.transaction_id = t.id AND status <> 'WON')
		   OR refunded_minor + refund_reserved_minor + disputed_minor > captured_minor`)
	if len(bad) > 0 {
		r.t.Errorf("payments whose disputes do not add up: %v", bad)
	}
}

func (r *rig) disputesOf(p View) []DisputeView {
	r.t.Helper()
	v, err := r.Get(r.t.Context(), r.caller.MerchantID, paymentID(r.t, p), Expand{Disputes: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return *v.Disputes
}

func TestADisputeThatIsWon(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	dispute := r.contest(p, providersim.Complaint{AmountMinor: 2000})
	p = r.get(p)
	if p.Status != Captured || p.DisputedAmount != 2000 || p.RefundableAmount != 3000 || p.ReconciliationStatus != Synced {
		t.Errorf("disputed: %+v", p)
	}
	got := r.disputesOf(p)
	if len(got) != 1 || got[0].Status != DisputeOpen || got[0].Amount != 2000 || got[0].ProviderDisputeID != dispute || got[0].PaymentID != p.ID ||
		deref(got[0].Reason) != "fraudulent" || got[0].RespondBy == nil || got[0].Provider != "stripe" {
		t.Errorf("the dispute: %+v", got)
	}
	r.wantAccounts("disputed,", map[ledger.Account]int64{
		ledger.Receivable: 3000, ledger.Payable: -3000, ledger.Disputes: 2000, ledger.DisputeReserve: -2000,
	})
	if _, err := r.refundOf(p, minor(3001)); !fault.Is(err, fault.AmountExceeds) {
		t.Errorf("a refund of what is disputed: %v", err)
	}
	r.webhook(p) // nothing new

	r.decide(p, dispute, providersim.DisputeWon)
	if p = r.get(p); p.DisputedAmount != 0 || p.RefundableAmount != 5000 {
		t.Errorf("won: %+v", p)
	}
	if got := r.disputesOf(p)[0]; got.Status != DisputeWon || got.RespondBy != nil || got.Amount != 2000 {
		t.Errorf("won: %+v", got)
	}
	r.wantAccounts("won,", map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -5000})
	r.must(r.refundOf(p, nil))
	if p = r.get(p); p.Status != Refunded {
		t.Errorf("refunded: %+v", p)
	}
	r.wantAccounts("refunded,", map[ledger.Account]int64{})
	r.wantEvents(p, event.PaymentCaptured, event.DisputeOpened, event.PaymentDisputed, event.DisputeWon, event.RefundCreated,
		event.RefundSucceeded, event.PaymentRefunded)
	r.counted()
	r.fold()
	r.gapless()
}

func TestADisputeThatIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	dispute := r.contest(p, providersim.Complaint{})
	r.decide(p, dispute, providersim.DisputeLost)
	p = r.get(p)
	if p.Status != Captured || p.DisputedAmount != 5000 || p.RefundableAmount != 0 || r.disputesOf(p)[0].Status != DisputeLost {
		t.Errorf("lost: %+v", p)
	}
	r.wantAccounts("lost,", map[ledger.Account]int64{})
	if _, err := r.refundOf(p, minor(1)); !fault.Is(err, fault.AmountExceeds) {
		t.Errorf("a refund of money that is gone: %v", err)
	}
	// The bank thinks again.
	r.decide(p, dispute, providersim.DisputeWon)
	r.wantAccounts("overturned,", map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -5000})
	if p = r.get(p); p.RefundableAmount != 5000 || r.disputesOf(p)[0].Status != DisputeWon {
		t.Errorf("overturned: %+v", p)
	}
	r.wantEvents(p, event.PaymentCaptured, event.DisputeOpened, event.PaymentDisputed, event.DisputeLost, event.DisputeWon)
	r.counted()
	r.fold()
	r.gapless()
}

// The payer has the money twice. All of it is booked, and a human has to look; if the
// refund fails after all, there is room for the dispute.
func TestADisputeAfterAFullRefund(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.PaymentMethod = "pm_card_refundFail"
	p := r.pay(in)
	r.must(r.refundOf(p, nil))
	r.contest(p, providersim.Complaint{})
	p = r.get(p)
	if p.Status != Refunded || p.DisputedAmount != 0 || p.ReconciliationStatus != ManualReview || r.disputesOf(p)[0].Status != DisputeOpen {
		t.Errorf("refunded and disputed: %+v", p)
	}
	r.wantAccounts("refunded and disputed,", map[ledger.Account]int64{
		ledger.Receivable: -5000, ledger.Payable: 5000, ledger.Disputes: 5000, ledger.DisputeReserve: -5000,
	})
	r.counted()
	r.pass(20*time.Minute, 5*time.Minute)
	r.webhook(p)
	if p = r.get(p); p.Status != Captured || p.RefundedAmount != 0 || p.DisputedAmount != 5000 {
		t.Errorf("the refund failed: %+v", p)
	}
	r.wantAccounts("the refund failed,", map[ledger.Account]int64{ledger.Disputes: 5000, ledger.DisputeReserve: -5000})
	r.counted()
	r.fold()
	r.gapless()
}

// A dispute costs what it costs, whoever wins it.
func TestADisputeHasItsFee(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.charge(ledger.Schedule{DisputeFeeMinor: 1500})
	p := r.pay(r.params(Automatic))
	dispute := r.contest(p, providersim.Complaint{AmountMinor: 2000})
	r.webhook(p)
	r.wantAccounts("disputed,", map[ledger.Account]int64{
		ledger.Receivable: 3000, ledger.Payable: -1500, ledger.Disputes: 2000, ledger.DisputeReserve: -2000, ledger.Fees: -1500,
	})
	r.decide(p, dispute, providersim.DisputeWon)
	r.wantAccounts("won,", map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -3500, ledger.Fees: -1500})
}

// An inquiry takes no money: nothing is heard of it until it does.
func TestAnInquiryIsNoDispute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	dispute := r.contest(p, providersim.Complaint{Inquiry: true})
	if got := r.disputesOf(p); len(got) != 0 || r.get(p).DisputedAmount != 0 {
		t.Errorf("an inquiry: %+v", got)
	}
	r.decide(p, dispute, providersim.DisputeEscalated)
	if got := r.disputesOf(p); len(got) != 1 || r.get(p).DisputedAmount != 5000 {
		t.Errorf("escalated: %+v", got)
	}
}

// The bank takes the money back at once, and may think better of it.
func TestAChargebackOfATransfer(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.transferred(5000)
	chargeback, err := w.bank.Dispute(providersim.Complaint{Payment: *p.ProviderTransactionID})
	if err != nil {
		t.Fatal(err)
	}
	w.hint(p, "bank")
	if got := w.get(p); got.DisputedAmount != 5000 || w.disputesOf(p)[0].Status != DisputeLost {
		t.Errorf("charged back: %+v", got)
	}
	w.wantAccounts("charged back,", map[ledger.Account]int64{})
	w.pass(time.Hour, time.Hour)
	if err := w.bank.Decide(chargeback, providersim.DisputeWon); err != nil {
		t.Fatal(err)
	}
	w.hint(p, "bank")
	if got := w.get(p); got.DisputedAmount != 0 || got.RefundableAmount != 5000 || w.disputesOf(p)[0].Status != DisputeWon {
		t.Errorf("cancelled: %+v", got)
	}
	w.wantAccounts("cancelled,", map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -5000})
	w.counted()
	w.fold()
	w.gapless()
}

// transferred is a bank transfer that has been confirmed.
func (w *town) transferred(pence int64) View {
	w.t.Helper()
	in := w.byBank()
	in.Amount = pence
	p := w.state(w.must(w.Create(w.t.Context(), w.caller, w.key("/v1/payments"), in)))
	if err := w.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), "authorise"); err != nil {
		w.t.Fatal(err)
	}
	w.pass(3*time.Hour, 10*time.Minute)
	if p = w.get(p); p.Status != Captured {
		w.t.Fatalf("confirmed: %+v", p)
	}
	return p
}

// A case at PayPal is a hint, which names the capture; what the look-up shows counts.
func TestACaseAtPayPal(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.state(w.must(w.Create(t.Context(), w.caller, w.key("/v1/payments"), w.byPayPal(Automatic))))
	w.approve(p, providersim.PayPalApproves)
	w.hint(p, "paypal")
	w.carryOn()
	dispute, err := w.paypal.Dispute(providersim.Complaint{Payment: *p.ProviderTransactionID, AmountMinor: 1500})
	if err != nil {
		t.Fatal(err)
	}
	capture := w.strings(`SELECT object_id FROM provider_facts WHERE kind = 'capture'`)[0]
	hint := provider.Event{ID: "WH-1", Reference: capture, LookUp: true}
	if effect, err := w.ApplyEvent(t.Context(), "paypal", hint, w.NewID()); err != nil {
		t.Fatal(effect, err)
	}
	if got := w.get(p); got.DisputedAmount != 1500 || w.disputesOf(p)[0].ProviderDisputeID != dispute {
		t.Errorf("a case: %+v", got)
	}
	w.pass(time.Hour, time.Hour)
	if err := w.paypal.Decide(dispute, providersim.DisputeLost); err != nil {
		t.Fatal(err)
	}
	w.hint(p, "paypal")
	if got := w.disputesOf(p)[0]; got.Status != DisputeLost || got.Amount != 1500 {
		t.Errorf("decided: %+v", got)
	}
	w.wantAccounts("lost,", map[ledger.Account]int64{ledger.Receivable: 3500, ledger.Payable: -3500})
	w.counted()
	w.fold()
}

func TestDisputesOfAMerchant(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var want []string // newest first
	var last View
	for i := range 5 {
		r.pass(time.Second, time.Second)
		last = r.pay(r.params(Automatic))
		dispute := r.contest(last, providersim.Complaint{})
		want = append([]string{r.disputesOf(last)[0].ID}, want...)
		if i%2 == 0 {
			r.decide(last, dispute, providersim.DisputeWon)
		}
	}
	list := func(merchant id.ID, f DisputeFilter) (ids []string) {
		t.Helper()
		for {
			page, err := r.ListDisputes(t.Context(), merchant, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range page.Data {
				ids = append(ids, v.ID)
			}
			if page.HasMore != (page.NextCursor != nil) {
				t.Errorf("has_more %v with cursor %v", page.HasMore, page.NextCursor)
			}
			if !page.HasMore {
				return ids
			}
			f.Cursor = *page.NextCursor
		}
	}
	mine := r.caller.MerchantID
	for name, c := range map[string]struct {
		filter DisputeFilter
		want   []string
	}{
		"all":         {DisputeFilter{Limit: 2}, want},
		"open":        {DisputeFilter{Status: []string{"OPEN"}}, []string{want[1], want[3]}},
		"won or lost": {DisputeFilter{Status: []string{"WON", "LOST"}, Limit: 1}, []string{want[0], want[2], want[4]}},
		"one's":       {DisputeFilter{Payment: paymentID(t, last)}, want[:1]},
		"nobody's":    {DisputeFilter{Payment: r.NewID()}, nil},
	} {
		if got := list(mine, c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	other := r.merchant()
	if got := list(other, DisputeFilter{}); len(got) != 0 {
		t.Errorf("another merchant sees %v", got)
	}
	dispute, err := id.Dispute.Parse(want[0])
	if err != nil {
		t.Fatal(err)
	}
	if v, err := r.Dispute(t.Context(), mine, dispute); err != nil || v.ID != want[0] {
		t.Errorf("one: %+v, %v", v, err)
	}
	if _, err := r.Dispute(t.Context(), other, dispute); !fault.Is(err, fault.NotFound) {
		t.Errorf("another merchant's: %v", err)
	}
	for _, f := range []DisputeFilter{{Limit: 101}, {Limit: -1}, {Cursor: "x"}, {Status: []string{"open"}}} {
		if _, err := r.ListDisputes(t.Context(), mine, f); !fault.Is(err, fault.InvalidRequest) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
