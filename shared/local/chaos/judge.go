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
	truth, seen, known := w.truth(), map[string]int{}, map[string]bool{}
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
		if w.unattended(p) {
			seen["unattended for 44 days: "+string(p.Status)]++
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
	w.judgeRows()
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

// judgeEnds looks for what was given up too early: nothing may happen to a payment or a
// refund that was said to have ended, nor at a provider that a payment has left, where
// providers keep to what the port counts on.
// That it was made good afterwards does not help whoever believed it.
func (w *world) judgeEnds() {
	type row struct {
		Text string `db:"text"`
	}
	const late = `
		SELECT provider || ' ' || reason AS text FROM obligations
			WHERE merchant_id = $1 AND reason ~ '^(authorized|captured)_after_(failed|canceled|failover)$'
		UNION ALL SELECT 'refund of ' || provider || ' ' || status FROM refunds WHERE merchant_id = $1 AND previous_status IN ('FAILED', 'CANCELED')`
	for _, r := range query[row](w, late, w.caller.MerchantID) {
		w.breaks("FALSE END: it was given up, and came true: %s", r.Text)
	}
}

// judgeRefunds holds each refund that a merchant asked for against what the provider gave
// back for it.
func (w *world) judgeRefunds(truth map[string][]*object) {
	type row struct {
		ID      id.ID                `db:"id"`
		Payment id.ID                `db:"transaction_id"`
		Status  payment.RefundStatus `db:"status"`
		Amount  int64                `db:"amount_minor"`
	}
	const refunds = `SELECT r.id, transaction_id, r.status, r.amount_minor FROM refunds r JOIN transactions t ON t.id = transaction_id
		WHERE r.merchant_id = $1 AND t.reconciliation_status <> 'MANUAL_REVIEW' AND NOT EXISTS (
			SELECT FROM webhook_events h WHERE h.transaction_id = t.id AND h.reason = 'the provider never confirmed it')
		ORDER BY r.created_at, r.id`
	for _, r := range query[row](w, refunds, w.caller.MerchantID) {
		var given, want int64
		for _, o := range truth[id.Payment.External(r.Payment)] {
			given += o.refunded[id.Refund.External(r.ID)]
		}
		if r.Status == payment.RefundSucceeded {
			want = r.Amount
		}
		if given != want {
			w.breaks("refund %s of %d is %s, and the provider gave %d back", id.Refund.External(r.ID), r.Amount, r.Status, given)
		}
	}
}

func (w *world) judgePayment(p booked, name string, objects []*object) {
	wrong := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		for _, o := range objects {
			text += fmt.Sprintf("; %s %s: %+v", o.provider, o.id, *o)
		}
		w.breaks("%s, %s: %s; booked %+v", name, p.Status, text, p)
	}
	var own object // where the payment is
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
	if p.Status == payment.Failed || p.Status == payment.Canceled {
		if own.live() || own.held() > 0 {
			wrong("FALSE END: the provider holds money")
		}
	}
	if p.Events != p.Sequence || p.Last != p.Sequence {
		wrong("its events have gaps")
	}
	if p.Reconciliation == string(payment.ManualReview) && !w.forHuman(p) {
		wrong("no rule makes it one for a human: %q", p.Why)
	}
	if p.Reconciliation == string(payment.ManualReview) && (p.Mismatch || w.unattended(p)) {
		return // by rule; what a human finds is not to be said here
	}
	switch p.Status {
	case payment.Failed, payment.Canceled:
	case payment.Authorized:
		if !own.live() && !p.GaveUp {
			wrong("FALSE SUCCESS: nothing is authorized")
		}
	case payment.Captured, payment.Settled, payment.Refunded:
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
	default:
		wrong("it has not ended")
	}
	if p.Reserved != 0 || p.CaptureExcess != 0 || p.RefundExcess != 0 {
		wrong("amounts are left over")
	}
}

// forHuman reports whether one of the rules by which a payment is for a human applies: it
// could not be resolved while its provider could be asked, money was taken back after it
// had been captured, a provider stated another amount, or did what it should not have
// been able to do any more.
func (w *world) forHuman(p booked) bool {
	return strings.Contains(p.Why, "unresolved") || strings.Contains(p.Why, "capture.failed") || p.Mismatch || w.unruly
}

// unattended reports whether nobody could have carried the payment on before its provider
// forgot it: PayPal's records are not believed to be whole after 45 days.
func (w *world) unattended(p booked) bool {
	return p.Provider == paypal.Name && w.calmAt.Sub(p.CreatedAt) > 44*24*time.Hour
}

// notForHumans is true of rows whose payment was not called one for a human. judgePayment
// judges which may be.
func notForHumans(column string) string {
	return `NOT EXISTS (SELECT FROM transactions t WHERE t.id = ` + column + ` AND t.reconciliation_status = 'MANUAL_REVIEW')`
}

// judgeRows checks what holds for rows, whatever providers did.
func (w *world) judgeRows() {
	type row struct {
		Text string `db:"text"`
	}
	for _, rule := range []struct{ broken, sql string }{
		{"an operation is open", `SELECT kind || ' ' || state || ' ' || provider || ' ' || tries AS text FROM transaction_saga s WHERE merchant_id = $1 AND state <> 'done' AND ` + notForHumans("s.transaction_id")},
		{"an obligation is open", `SELECT kind || ' ' || provider || ' ' || reason AS text FROM obligations WHERE merchant_id = $1 AND state = 'open'`},
		{"an obligation is done without proof", `SELECT kind || ' ' || provider AS text FROM obligations WHERE merchant_id = $1 AND state = 'done' AND proof_id IS NULL`},
		{"a refund is pending", `SELECT id::text AS text FROM refunds r WHERE merchant_id = $1 AND status = 'PENDING' AND ` + notForHumans("r.transaction_id")},
		{"a resolution has no evidence", `SELECT kind || ' ' || rule AS text FROM transaction_saga s WHERE merchant_id = $1 AND rule IS NOT NULL
			AND NOT EXISTS (SELECT FROM provider_responses r WHERE r.id = s.evidence_id)
			AND NOT EXISTS (SELECT FROM webhook_events h WHERE h.id = s.evidence_id)`},
		{"what was in doubt was resolved by no rule", `SELECT kind || ' ' || s.outcome || ': ' || (SELECT string_agg(operation || ' ' || outcome || ' ' || created_at, ', ' ORDER BY created_at)
			FROM provider_responses r WHERE r.saga_id = s.id) AS text FROM transaction_saga s WHERE merchant_id = $1
			AND state = 'done' AND rule IS NULL AND outcome NOT IN ('abandoned', 'superseded') AND EXISTS (
				SELECT FROM provider_responses r WHERE r.saga_id = s.id AND r.outcome = 'unknown' AND r.operation <> 'lookup' AND r.created_at < s.updated_at)
			AND NOT EXISTS (SELECT FROM saga_attempts a WHERE a.saga_id = s.id AND a.unsent)`},
		{"a key has no payment of its own", `SELECT key AS text FROM idempotency_keys k WHERE merchant_id = $1 AND path = '/v1/payments'
			AND (SELECT count(*) FROM idempotency_keys o WHERE o.transaction_id = k.transaction_id AND o.path = k.path) <> 1`},
		{"a request has no answer", `SELECT key AS text FROM idempotency_keys k WHERE merchant_id = $1 AND response_status IS NULL AND ` + notForHumans("k.transaction_id")},
		{"an event was not dealt with", `SELECT type || ' ' || coalesce(reason, '') AS text FROM webhook_events WHERE request_id = $2 AND state NOT IN ('applied', 'ignored')`},
	} {
		args := []any{w.caller.MerchantID}
		if rule.broken == "an event was not dealt with" {
			rule.sql, args = `SELECT type || ' ' || coalesce(reason, '') AS text FROM webhook_events WHERE request_id = $1 AND state NOT IN ('applied', 'ignored')`, []any{w.tag}
		}
		for _, r := range query[row](w, rule.sql, args...) {
			w.breaks("%s: %s", rule.broken, r.Text)
		}
	}
}

// count tells what the schedule reached.
func (w *world) count(seen map[string]int) {
	type row struct {
		What string `db:"what"`
		N    int    `db:"n"`
	}
	const counts = `
		SELECT 'resolved by ' || rule AS what, count(*)::int AS n FROM transaction_saga WHERE merchant_id = $1 AND rule IS NOT NULL GROUP BY 1
		UNION ALL SELECT 'obligation: ' || kind || ' ' || reason, count(*)::int FROM obligations WHERE merchant_id = $1 GROUP BY 1
		UNION ALL SELECT 'failover to ' || provider, count(*)::int FROM transactions WHERE merchant_id = $1 AND route ->> 'reason' = 'failover' GROUP BY 1
		UNION ALL SELECT 'ended: ' || kind || ' ' || outcome, count(*)::int FROM transaction_saga WHERE merchant_id = $1 AND state = 'done' GROUP BY 1`
	for _, r := range query[row](w, counts, w.caller.MerchantID) {
		seen[r.What] += r.N
	}
	for _, h := range w.hosts {
		for name, n := range h.Counters() {
			if len(name) > 6 && name[:6] == "fault." {
				seen[name] += int(n)
			}
		}
	}
}
