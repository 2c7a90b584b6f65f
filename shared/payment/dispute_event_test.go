package payment

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// disputed is a fact about the dispute du_1, as an event brings it: without our id.
func disputed(state provider.State, amount int64, at time.Time) provider.Fact {
	f := fact(provider.KindDispute, "du_1", state, amount)
	f.NextAction, f.OccurredAt, f.Reason = nil, at, "general"
	return f
}

func (r *rig) tell(p View, facts ...provider.Fact) (effect string, err error) {
	e := provider.Event{ID: "evt_dispute", Reference: *p.ProviderTransactionID, Facts: facts}
	return r.ApplyEvent(r.t.Context(), "stripe", e, r.NewID())
}

// Events of a dispute come twice and in any order: what was decided last counts.
func TestDisputeEventsInAnyOrder(t *testing.T) {
	t.Parallel()
	at := func(hours int) time.Time { return epoch.Add(time.Duration(hours) * time.Hour) }
	open, lost, won := disputed(provider.StateOpen, 2000, at(1)), disputed(provider.StateLost, 2000, at(2)), disputed(provider.StateWon, 2000, at(3))
	again := disputed(provider.StateLost, 2000, at(4))
	for name, c := range map[string]struct {
		facts  []provider.Fact
		status DisputeStatus
		events []string
	}{
		"in order":              {[]provider.Fact{open, lost, won}, DisputeWon, []string{event.DisputeOpened, event.PaymentDisputed, event.DisputeLost, event.DisputeWon}},
		"twice":                 {[]provider.Fact{open, open, lost, lost, open}, DisputeLost, []string{event.DisputeOpened, event.PaymentDisputed, event.DisputeLost}},
		"backward":              {[]provider.Fact{won, lost, open}, DisputeWon, []string{event.DisputeOpened, event.PaymentDisputed, event.DisputeWon}},
		"the opening last":      {[]provider.Fact{lost, won, open}, DisputeWon, []string{event.DisputeOpened, event.PaymentDisputed, event.DisputeLost, event.DisputeWon}},
		"lost after it was won": {[]provider.Fact{open, won, again}, DisputeLost, []string{event.DisputeOpened, event.PaymentDisputed, event.DisputeWon, event.PaymentDisputed, event.DisputeLost}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			p := r.pay(r.params(Automatic))
			for _, f := range c.facts {
				if _, err := r.tell(p, f); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.disputesOf(p); len(got) != 1 || got[0].Status != c.status {
				t.Errorf("%+v, want it %s", got, c.status)
			}
			r.wantEvents(p, append([]string{event.PaymentCaptured}, c.events...)...)
			want := map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Payable: -5000}
			if c.status == DisputeLost {
				want = map[ledger.Account]int64{ledger.Receivable: 3000, ledger.Payable: -3000}
			}
			r.wantAccounts("at last", want)
			r.counted()
			r.fold()
			r.gapless()
		})
	}
}

// A decision may be about another amount than was contested.
func TestADisputeIsLostInPart(t *testing.T) {
	t.Parallel()
	for _, taken := range []int64{1200, 2000, 2500} {
		r := newRig(t)
		p := r.pay(r.params(Automatic))
		if _, err := r.tell(p, disputed(provider.StateOpen, 2000, epoch), disputed(provider.StateLost, taken, epoch.Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		if got := r.get(p); got.DisputedAmount != taken || r.disputesOf(p)[0].Amount != taken {
			t.Errorf("%d lost: %+v", taken, got)
		}
		r.wantAccounts(fmt.Sprint(taken, " lost,"), map[ledger.Account]int64{ledger.Receivable: 5000 - taken, ledger.Payable: taken - 5000})
		r.counted()
		r.fold()
	}
}

func TestDisputesThatCanNotBeBooked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	if _, err := r.tell(p, disputed(provider.StateOpen, 100, epoch)); !fault.Is(err, fault.NotFound) {
		t.Errorf("before the capture: %v, want that it waits", err)
	}
	r.must(r.capture(p, nil))
	foreign := disputed(provider.StateOpen, 100, epoch)
	foreign.Amount = money.New(100, money.MustParseCurrency("USD"))
	foreign.UnitCurrency = "usd"
	if effect, err := r.tell(p, foreign); err != nil || effect != "dispute.open: mismatch" {
		t.Errorf("in another currency: %q, %v", effect, err)
	}
	if got := r.get(p); got.ReconciliationStatus != ManualReview || got.DisputedAmount != 0 || len(r.disputesOf(p)) != 0 {
		t.Errorf("in another currency: %+v", got)
	}
	if got := r.strings(`SELECT effect FROM provider_facts WHERE kind = 'dispute'`); !slices.Equal(got, []string{effectMismatch}) {
		t.Errorf("recorded: %v", got)
	}
}

// What a dispute takes of money that serves no payment need not be given back to the payer
// as well, unless it is won.
func TestADisputeOfMoneyWithoutAPurpose(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	r.must(r.cancel(p))
	captured := fact(provider.KindCapture, "ch_late", provider.StateSucceeded, 5000)
	captured.Reference = *p.ProviderTransactionID
	about := func(state provider.State, hours int) provider.Fact {
		f := disputed(state, 5000, epoch.Add(time.Duration(hours)*time.Hour))
		f.Reference = *p.ProviderTransactionID
		return f
	}
	obligation := func(want string) {
		t.Helper()
		got := r.strings(`SELECT state || ' ' || amount_minor FROM obligations WHERE kind = 'refund'`)
		if !slices.Equal(got, []string{want}) {
			t.Errorf("the obligation is %v, want %s", got, want)
		}
	}
	tell := func(f provider.Fact) {
		t.Helper()
		if _, err := r.tell(p, f); err != nil {
			t.Fatal(err)
		}
	}
	tell(captured)
	obligation("open 5000")
	tell(about(provider.StateOpen, 1))
	obligation("done 5000")
	r.wantAccounts("disputed,", map[ledger.Account]int64{ledger.Disputes: 5000, ledger.DisputeReserve: -5000})
	tell(about(provider.StateLost, 2))
	r.wantAccounts("lost,", map[ledger.Account]int64{})
	tell(about(provider.StateWon, 3))
	obligation("open 5000")
	r.wantAccounts("won,", map[ledger.Account]int64{ledger.Receivable: 5000, ledger.Obligations: -5000})
	if got := r.get(p); got.Status != Canceled || got.DisputedAmount != 0 || len(r.disputesOf(p)) != 0 {
		t.Errorf("the payment: %+v", got)
	}
	r.fold()
}
