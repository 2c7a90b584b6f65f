package books

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// noTrouble is a plan of no faults.
var noTrouble = providersim.Plan{}

// truth is what a provider really did about a payment: minor units.
type truth struct {
	currency                                 string
	authorized, captured, refunded, disputed int64
	released                                 bool
}

// truths are by payment, as providers know it; "" is nobody's.
func (w *world) truths() map[string]*truth {
	all := map[string]*truth{}
	for name, sim := range w.sims {
		for _, e := range sim.Effects() {
			of := e.Metadata["tollgate_payment"]
			if name == paypal.Name {
				of = e.Metadata["invoice_id"]
			}
			if all[of] == nil {
				all[of] = &truth{currency: strings.ToUpper(e.Currency)}
			}
			all[of].add(e)
		}
	}
	return all
}

func (r *truth) add(e providersim.Effect) {
	switch e.Kind {
	case providersim.EffectAuthorize:
		r.authorized += e.AmountMinor
	case providersim.EffectVoid, providersim.EffectExpire:
		r.released = true
	case providersim.EffectCapture:
		r.captured += e.AmountMinor
	case providersim.EffectRefund:
		r.refunded += e.AmountMinor
	case providersim.EffectRefundReversed:
		r.refunded -= e.AmountMinor
	case providersim.EffectDispute, providersim.EffectCaptureReversed:
		r.disputed += e.AmountMinor
	case providersim.EffectDisputeWon:
		r.disputed -= e.AmountMinor
	}
}

// wantPayments holds every payment to what its provider did. All that was captured is
// settled, or refunded whole.
func (w *world) wantPayments() {
	w.t.Helper()
	truths, statuses := w.truths(), map[string]int{}
	for _, o := range w.orders {
		p, r := w.read(o), cmp.Or(truths[o.id], &truth{currency: o.currency})
		want := []string{"FAILED", "CANCELED"}
		switch {
		case r.captured > 0 && r.refunded == r.captured:
			want = []string{"REFUNDED"}
		case r.captured > 0:
			want = []string{"SETTLED"}
		case r.authorized > 0 && !r.released && o.provider != bank.Name:
			want = []string{"AUTHORIZED"}
		}
		// What moved nothing, and no rule could prove so while the provider's key was good, is left
		// to a human too.
		asked := p.Synced == "SYNCED" || p.Synced == "MANUAL_REVIEW" && r.captured == 0
		if status, _ := p.Status.(string); !slices.Contains(want, status) || p.Pending != "" || !asked {
			w.t.Errorf("%s at %s (%s) is %v and %s, want %s; it has %q to do", o.id, o.provider, o.method, p.Status, p.Synced, want, p.Pending)
			w.tell(o)
		} else {
			statuses[status]++
		}
		if p.Captured != r.captured || p.Refunded != r.refunded || p.Disputed != r.disputed || o.currency != r.currency {
			w.t.Errorf("%s at %s (%s): captured, refunded, disputed %d %d %d; it really was %d %d %d %s", o.id, o.provider, o.method,
				p.Captured, p.Refunded, p.Disputed, r.captured, r.refunded, r.disputed, r.currency)
			w.tell(o)
		}
	}
	w.t.Logf("%d payments: %v", len(w.orders), statuses)
	known := map[string]bool{"": true}
	for _, o := range w.orders {
		known[o.id] = true
	}
	for of := range maps.Keys(truths) {
		if !known[of] {
			w.t.Errorf("a provider has moved money of %s, which nobody asked for", of)
		}
	}
}

// tell logs what became of a payment, by the audit log.
func (w *world) tell(o *order) {
	w.t.Helper()
	payment, err := id.Payment.Parse(o.id)
	check(w.t, err)
	rows, _ := w.DB.Query(w.t.Context(), `SELECT at || ' ' || object || ' ' || action || ' ' || actor || ' ' || delta::text FROM transaction_audit_log
		WHERE transaction_id = $1 ORDER BY at, id`, payment) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(w.t, err)
	w.t.Log(strings.Join(all, "\n"))
}

// wantTrouble holds the world to have been as bad as it should.
func (w *world) wantTrouble() {
	w.t.Helper()
	for name, sim := range w.sims {
		for _, kind := range troubles {
			if sim.Counters()["fault."+string(kind)] == 0 {
				w.t.Errorf("%s never came to %s", name, kind)
			}
		}
	}
}
