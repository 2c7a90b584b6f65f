package payment

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// audit holds the ledger against the payments, as they are now.
func (s *story) audit() {
	s.t.Helper()
	wrong, err := ledgerMismatches(s.ctx(), s.Pool, s.merchant)
	s.must(err)
	if len(wrong) > 0 {
		s.t.Fatalf("the ledger does not agree: %v", wrong)
	}
	balances, err := ledger.Balances(s.ctx(), s.Pool, ledger.Filter{MerchantID: s.merchant})
	s.must(err)
	for _, b := range balances {
		sum := s.count(`SELECT coalesce(sum(amount_minor), 0) FROM ledger_entries WHERE merchant_id = $1 AND provider = $2 AND currency = $3 AND account = $4`,
			s.merchant, b.Provider, b.Currency, b.Account)
		if int64(sum) != b.AmountMinor {
			s.t.Fatalf("%s at %s in %s stands at %d, its entries come to %d", b.Account, b.Provider, b.Currency, b.AmountMinor, sum)
		}
	}
}

// compareWithProviders holds each payment's receivable against the movements of money at
// the simulators, of which nothing of Tollgate's knows.
func (s *story) compareWithProviders() {
	s.t.Helper()
	sign := map[providersim.EffectKind]int64{
		providersim.EffectCapture: 1, providersim.EffectRefund: -1, providersim.EffectRefundReversed: 1,
		providersim.EffectDispute: -1, providersim.EffectDisputeWon: 1,
	}
	for _, p := range s.payments() {
		external := id.Payment.External(p.ID)
		var moved int64
		for _, e := range slices.Concat(s.sim.EffectsFor("tollgate_payment", external), s.paypal.EffectsFor("invoice_id", external), s.bank.EffectsFor("tollgate_payment", external)) {
			moved += sign[e.Kind] * e.AmountMinor
		}
		posted, err := ledger.Postings(s.ctx(), s.Pool, p.ID)
		s.must(err)
		var receivable, obligations int64
		for _, posting := range posted {
			receivable += posting.On(ledger.Receivable)
			obligations += posting.On(ledger.Obligations)
		}
		if receivable != moved {
			s.t.Fatalf("payment %s (%s at %s): its provider holds %d, the ledger says %d: %+v", p.ID, p.Status, p.Provider, moved, receivable, posted)
		}
		if obligations < 0 { // one that is disputed as well as refunded is given back twice
			s.t.Fatalf("payment %s (%s at %s): %d are still owed to its payer", p.ID, p.Status, p.Provider, -obligations)
		}
	}
}

// mismatches has a row for whatever the ledger says otherwise than the payments, refunds,
// disputes and provider_facts do. A refund that was of another amount than it was asked for
// stays pending in the tables, and has moved in the ledger; a dispute in another currency
// than the payment's is in neither.
const mismatches = `
	WITH payment AS (
		SELECT id, captured_minor + capture_excess_minor AS captured FROM transactions WHERE $1::uuid IS NULL OR merchant_id = $1),
	entry AS (
		SELECT e.* FROM ledger_entries e WHERE $1::uuid IS NULL OR e.merchant_id = $1),
	paid AS (
		SELECT transaction_id AS id,
			-coalesce(sum(amount_minor) FILTER (WHERE kind = 'capture'), 0) AS captured,
			coalesce(sum(amount_minor) FILTER (WHERE kind IN ('refund', 'refund_failed')), 0) AS refunded,
			coalesce(sum(amount_minor) FILTER (WHERE kind IN ('dispute_opened', 'dispute_won', 'dispute_lost')), 0) AS disputed
		FROM entry WHERE account = 'payable' GROUP BY transaction_id),
	fact AS (
		SELECT DISTINCT ON (f.transaction_id, f.provider, f.kind, f.object_id) f.transaction_id, f.provider, f.kind, f.state, f.amount_minor
		FROM payment t JOIN provider_facts f ON f.transaction_id = t.id AND (f.kind <> 'dispute' OR f.effect <> 'mismatch')
		ORDER BY f.transaction_id, f.provider, f.kind, f.object_id, f.rank DESC, f.occurred_at DESC),
	held AS (
		SELECT transaction_id AS id, provider, sum(CASE
			WHEN kind = 'capture' AND state = 'succeeded' THEN amount_minor
			WHEN kind = 'refund' AND state = 'succeeded' THEN -amount_minor
			WHEN kind = 'dispute' AND state <> 'won' THEN -amount_minor ELSE 0 END) AS minor
		FROM fact GROUP BY transaction_id, provider),
	receivable AS (
		SELECT transaction_id AS id, provider, sum(amount_minor) AS minor
		FROM entry WHERE account = 'receivable' AND transaction_id IS NOT NULL GROUP BY transaction_id, provider)
	SELECT format('captured of %s: %s, %s in the ledger', id, t.captured, p.captured) FROM payment t LEFT JOIN paid p USING (id)
	WHERE t.captured <> coalesce(p.captured, 0)
	UNION ALL
	SELECT format('refunded of %s: %s in the ledger', id, p.refunded) FROM payment t LEFT JOIN paid p USING (id)
	WHERE coalesce(p.refunded, 0) <> (SELECT coalesce(sum(r.amount_minor), 0) FROM refunds r WHERE r.transaction_id = t.id AND r.status = 'SUCCEEDED')
		AND NOT EXISTS (SELECT 1 FROM provider_facts f WHERE f.transaction_id = t.id AND f.kind = 'refund' AND f.effect = 'mismatch')
	UNION ALL
	SELECT format('disputed of %s: %s in the ledger', id, p.disputed) FROM payment t LEFT JOIN paid p USING (id)
	WHERE coalesce(p.disputed, 0) <> (SELECT coalesce(sum(d.amount_minor), 0) FROM disputes d WHERE d.transaction_id = t.id AND d.status <> 'WON')
	UNION ALL
	SELECT format('receivable of %s at %s: %s in the ledger, %s by facts', id, provider, r.minor, h.minor)
	FROM held h FULL JOIN receivable r USING (id, provider) WHERE coalesce(h.minor, 0) <> coalesce(r.minor, 0)
	UNION ALL
	SELECT format('fees of %s: %s more returned than charged', transaction_id, -sum(amount_minor)) FROM entry
	WHERE account = 'payable' AND kind IN ('fee', 'fee_returned') GROUP BY transaction_id HAVING sum(amount_minor) < 0
	UNION ALL
	SELECT format('posting %s does not balance', posting_id) FROM entry GROUP BY posting_id, currency HAVING sum(amount_minor) <> 0
	UNION ALL
	SELECT format('what waits to be settled of %s', merchant_id) FROM (
		SELECT merchant_id, amount_minor FROM entry WHERE account = 'payable'
		UNION ALL SELECT merchant_id, -amount_minor FROM unsettled_entries WHERE $1::uuid IS NULL OR merchant_id = $1) u
	GROUP BY merchant_id HAVING sum(amount_minor) <> 0`

// ledgerMismatches lists them for one merchant, or with the zero ID for all.
func ledgerMismatches(ctx context.Context, pool *pgxpool.Pool, merchant id.ID) ([]string, error) {
	rows, err := pool.Query(ctx, mismatches, merchant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// checkLedger holds the ledger against all else in the database, at the end of each test.
func (r *rig) checkLedger(pool *pgxpool.Pool) {
	r.t.Helper()
	wrong, err := ledgerMismatches(context.Background(), pool, id.ID{})
	if err != nil || len(wrong) > 0 {
		r.t.Errorf("the ledger does not agree: %v %v", wrong, err)
	}
}
