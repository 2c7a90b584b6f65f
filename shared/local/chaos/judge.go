package chaos

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/paypal"
)

// booked is a payment as the core has it in the end.
type booked struct {
	ID             id.ID          `db:"id"`
	Status         payment.Status `db:"status"`
	Reconciliation string         `db:"reconciliation_status"`
	Provider       string         `db:"provider"`
	Reference      string         `db:"reference"`
	Amount         int64          `db:"amount_minor"`
	Authorized     int64          `db:"authorized_minor"`
	Captured       int64          `db:"captured_minor"`
	CaptureExcess  int64          `db:"capture_excess_minor"`
	Refunded       int64          `db:"refunded_minor"`
	RefundExcess   int64          `db:"refund_excess_minor"`
	Reserved       int64          `db:"refund_reserved_minor"`
	Disputed       int64          `db:"disputed_minor"`
	Sequence       int64          `db:"event_sequence"`
	Events         int64          `db:"events"`
	Last           int64          `db:"last"`
	GaveUp         bool           `db:"gave_up"`  // an event that a provider never confirmed was given up
	Why            string         `db:"why"`      // it is for a human
	Mismatch       bool           `db:"mismatch"` // a provider stated another amount than was asked for
	CreatedAt      time.Time      `db:"created_at"`
}

const bookedPayments = `
	SELECT t.id, status, reconciliation_status, t.provider, coalesce(provider_transaction_id, '') AS reference, amount_minor, authorized_minor,
		captured_minor, capture_excess_minor, refunded_minor, refund_excess_minor, refund_reserved_minor, disputed_minor, event_sequence,
		(SELECT count(*) FROM events e WHERE e.transaction_id = t.id) AS events,
		(SELECT coalesce(max(sequence), 0) FROM events e WHERE e.transaction_id = t.id) AS last,
		EXISTS (SELECT FROM webhook_events h WHERE h.transaction_id = t.id AND h.reason = 'the provider never confirmed it') AS gave_up,
		EXISTS (SELECT FROM provider_facts f WHERE f.transaction_id = t.id AND f.effect = 'mismatch') AS mismatch, created_at,
		coalesce((SELECT action FROM transaction_audit_log l WHERE l.transaction_id = t.id AND l.object = 'payment'
			AND l.delta ->> 'reconciliation_status' = 'MANUAL_REVIEW' ORDER BY version LIMIT 1), '') AS why
	FROM transactions t WHERE merchant_id = $1 ORDER BY created_at, id`

// judge holds what the core has against what the providers did. It returns what the
// schedule came to.
func (w *world) judge() map[string]int {
	truth, seen, known, excused := w.truth(), map[string]int{}, map[string]bool{}, map[id.ID]bool{}
	all := query[booked](w, bookedPayments, w.caller.MerchantID)
	for _, p := range all {
		name := id.Payment.External(p.ID)
		w.judgePayment(p, name, truth[name])
		known[name] = true
		seen["payments "+string(p.Status)]++
		if p.Reconciliation != string(payment.Synced) {
			seen["for a human: "+p.Why]++
		}
		if p.GaveUp {
			seen["hints given up"]++
		}
		if w.excused(p) {
			seen["left to a human: "+string(p.Status)]++
			excused[p.ID] = true
		}
	}
	for name, objects := range truth {
		if !known[name] {
			w.breaks("providers know a payment %q that the core does not: %+v", name, *objects[0])
		}
	}
	w.judgeRefunds(truth)
	if !w.unruly {
		w.judgeEnds()
	}
	w.judgeRows(excused)
	w.count(seen)
	return seen
}

// judgeSoFar holds against what the providers did what the core has of payments that
// nothing is under way about, while authorizations still stand.
func (w *world) judgeSoFar() {
	const busy = `SELECT transaction_id AS id, '' AS type FROM transaction_saga WHERE merchant_id = $1 AND state <> 'done'
		UNION SELECT transaction_id, '' FROM obligations WHERE merchant_id = $1 AND state = 'open'`
	moving, truth := map[id.ID]bool{}, w.truth()
	for _, p := range query[event](w, busy, w.caller.MerchantID) {
		moving[p.ID] = true
	}
	for _, p := range query[booked](w, bookedPayments, w.caller.MerchantID) {
		if name := id.Payment.External(p.ID); !moving[p.ID] {
			w.judgePayment(p, name, truth[name])
		}
	}
}

// judgePayment holds one payment against the objects that it has at providers.
func (w *world) judgePayment(p booked, name string, objects []*object) {
	wrong := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		for _, o := range objects {
			text += fmt.Sprintf("; %s %s: %+v", o.provider, o.id, *o)
		}
		w.breaks("%s, %s: %s; booked %+v", name, p.Status, text, p)
	}
	own := judgeObjects(p, objects, wrong)
	if (p.Status == payment.Failed || p.Status == payment.Canceled) && (own.live() || own.held() > 0) {
		wrong("FALSE END: the provider holds money")
	}
	if p.Events != p.Sequence || p.Last != p.Sequence {
		wrong("its events have gaps")
	}
	if p.Reconciliation == string(payment.ManualReview) && !w.forHuman(p) {
		wrong("no rule makes it one for a human: %q", p.Why)
	}
	if w.excused(p) {
		return
	}
	switch p.Status {
	case payment.Failed, payment.Canceled:
	case payment.Authorized:
		if !own.live() && !p.GaveUp {
			wrong("FALSE SUCCESS: nothing is authorized")
		}
	case payment.Captured, payment.Settled, payment.Refunded:
		judgeAmounts(p, own, wrong)
	default:
		wrong("it has not ended")
	}
	if p.Reserved != 0 || p.CaptureExcess != 0 || p.RefundExcess != 0 {
		wrong("amounts are left over")
	}
}

// judgeObjects looks at what was done for a payment, over all providers, and returns the
// object that the payment is at.
func judgeObjects(p booked, objects []*object, wrong func(string, ...any)) (own object) {
	charged := 0
	for _, o := range objects {
		if o.live() || o.held() > 0 {
			charged++
		}
		if o.authorizes > 1 || o.captures > 1 || o.captured > p.Amount || o.authorized > p.Amount {
			wrong("authorized or captured more than once, or more than was asked for")
		}
		for refund, n := range o.refunds {
			if n > 1 || n < 0 {
				wrong("refund %s was made %d times", refund, n)
			}
		}
		if o.held() < 0 && o.reversed == 0 { // a bank may take back what was refunded already
			wrong("more was refunded than captured")
		}
		if o.provider == p.Provider && o.id == p.Reference {
			own = *o
		} else if o.live() || o.held() != 0 && o.reversed == 0 {
			wrong("an object that the payment is not at holds money")
		}
	}
	if charged > 1 {
		wrong("DOUBLE CHARGE: %d objects hold the payer's money", charged)
	}
	return own
}

func judgeAmounts(p booked, own object, wrong func(string, ...any)) {
	if own.captured != p.Captured+p.CaptureExcess {
		wrong("FALSE SUCCESS: captured is %d at the provider", own.captured)
	}
	if own.ofMerchant() != p.Refunded+p.RefundExcess && !p.GaveUp {
		wrong("refunded is %d at the provider", own.ofMerchant())
	}
	if own.reversed > 0 && p.Disputed == 0 && p.Refunded == 0 && !p.GaveUp {
		wrong("a reversal is not booked")
	}
	if p.Status == payment.Refunded && p.Refunded != p.Captured {
		wrong("REFUNDED, but not in full")
	}
}

// forHuman reports whether one of the rules by which a payment is for a human applies: it
// could not be resolved while its provider could be asked, money was taken back after it
// had been captured, a provider stated another amount, or did what it should not have
// been able to do any more.
func (w *world) forHuman(p booked) bool {
	return strings.Contains(p.Why, "unresolved") || strings.Contains(p.Why, "capture.failed") || strings.Contains(p.Why, "dispute.") ||
		p.Mismatch || w.unruly
}

// excused reports whether it is for a human to say what became of the payment, and so not
// said here: a provider has lied about its amount, or nobody could carry it on before its
// provider forgot it (PayPal's records are not believed to be whole after 45 days).
func (w *world) excused(p booked) bool {
	unattended := p.Provider == paypal.Name && w.calmAt.Sub(p.CreatedAt) > 44*24*time.Hour
	return p.Reconciliation == string(payment.ManualReview) && (p.Mismatch || unattended)
}
