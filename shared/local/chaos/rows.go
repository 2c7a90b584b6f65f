package chaos

import (
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
)

// judgeEnds looks for what was given up too early: nothing may happen to a payment or a
// refund that was said to have ended, nor at a provider that a payment has left, where
// providers keep to what the port counts on.
// That it was made good afterwards does not help whoever believed it.
func (w *world) judgeEnds() {
	const late = `
		SELECT provider || ' ' || reason FROM obligations
			WHERE merchant_id = $1 AND reason ~ '^(authorized|captured)_after_(failed|canceled|failover)$'
		UNION ALL SELECT 'refund of ' || provider || ' ' || status FROM refunds WHERE merchant_id = $1 AND previous_status IN ('FAILED', 'CANCELED')`
	for _, text := range w.texts(late, w.caller.MerchantID) {
		w.breaks("FALSE END: it was given up, and came true: %s", text)
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

// judgeRows checks what holds for rows, whatever providers did; but for payments that are
// left to a human, which may wait for them.
func (w *world) judgeRows(excused map[id.ID]bool) {
	type row struct {
		Payment id.ID  `db:"payment"`
		Text    string `db:"text"`
	}
	for _, rule := range []struct{ broken, sql string }{
		{"an operation is open", `SELECT transaction_id AS payment, kind || ' ' || state || ' ' || provider || ' ' || tries AS text
			FROM transaction_saga WHERE merchant_id = $1 AND state <> 'done'`},
		{"a refund is pending", `SELECT transaction_id AS payment, id::text AS text FROM refunds WHERE merchant_id = $1 AND status = 'PENDING'`},
		{"a request has no answer", `SELECT transaction_id AS payment, key AS text FROM idempotency_keys
			WHERE merchant_id = $1 AND response_status IS NULL`},
	} {
		for _, r := range query[row](w, rule.sql, w.caller.MerchantID) {
			if !excused[r.Payment] {
				w.breaks("%s: %s", rule.broken, r.Text)
			}
		}
	}
	for _, rule := range []struct{ broken, sql string }{
		{"an obligation is open", `SELECT kind || ' ' || provider || ' ' || reason FROM obligations WHERE merchant_id = $1 AND state = 'open'`},
		{"an obligation is done without proof", `SELECT kind || ' ' || provider FROM obligations
			WHERE merchant_id = $1 AND state = 'done' AND proof_id IS NULL`},
		{"a resolution has no evidence", `SELECT kind || ' ' || rule FROM transaction_saga s WHERE merchant_id = $1 AND rule IS NOT NULL
			AND NOT EXISTS (SELECT FROM provider_responses r WHERE r.id = s.evidence_id)
			AND NOT EXISTS (SELECT FROM webhook_events h WHERE h.id = s.evidence_id)`},
		{"what was in doubt was resolved by no rule", resolvedByNoRule},
		{"a key has no payment of its own", `SELECT key FROM idempotency_keys k WHERE merchant_id = $1 AND path = '/v1/payments'
			AND (SELECT count(*) FROM idempotency_keys o WHERE o.transaction_id = k.transaction_id AND o.path = k.path) <> 1`},
	} {
		for _, text := range w.texts(rule.sql, w.caller.MerchantID) {
			w.breaks("%s: %s", rule.broken, text)
		}
	}
	const open = `SELECT type || ' ' || coalesce(reason, '') FROM webhook_events WHERE request_id = $1 AND state NOT IN ('applied', 'ignored')`
	for _, text := range w.texts(open, w.tag) {
		w.breaks("an event was not dealt with: %s", text)
	}
}

// resolvedByNoRule are operations of which a call left doubt before they ended, with all
// that was heard of them.
const resolvedByNoRule = `
	SELECT kind || ' ' || s.outcome || ': ' || (SELECT string_agg(operation || ' ' || outcome || ' ' || created_at, ', ' ORDER BY created_at)
		FROM provider_responses r WHERE r.saga_id = s.id)
	FROM transaction_saga s
	WHERE merchant_id = $1 AND state = 'done' AND rule IS NULL AND outcome NOT IN ('abandoned', 'superseded')
	  AND EXISTS (SELECT FROM provider_responses r WHERE r.saga_id = s.id AND r.outcome = 'unknown' AND r.operation <> 'lookup'
	              AND r.created_at < s.updated_at)
	  AND NOT EXISTS (SELECT FROM saga_attempts a WHERE a.saga_id = s.id AND a.unsent)`

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
