// Package settlementtest gives tests and benchmarks payments that wait to be settled, many
// of them at once.
package settlementtest

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
)

// Seed says which payments there are to be.
type Seed struct {
	Name     string // tells the payments of one seed from those of another
	Merchant id.ID
	Payments int
	Currency string    // JPY when empty
	Provider string    // stripe when empty
	Amount   int64     // of the first payment, in minor units; each next one has one more. 1000 when 0
	Fee      int64     // of each; 0: none is posted
	At       time.Time // when the first was captured and posted; each next one a millisecond later
}

// UUIDv7s, from a time and what they are for: the same seed makes the same ids.
const uuid = `(lpad(to_hex((extract(epoch FROM $6::timestamptz) * 1000)::bigint + n), 12, '0') || '7' ||
	substr(md5(n || %[1]s || $1), 1, 3) || '8' || substr(md5(n || %[1]s || $1), 4, 15))::uuid`

var statements = []string{
	// Without its triggers the database takes a million rows in a minute. What they ask for is there.
	`SET LOCAL session_replication_role = replica`,

	`CREATE TEMPORARY TABLE seed ON COMMIT DROP AS
	SELECT ` + fmt.Sprintf(uuid, `'payment'`) + ` AS payment, ` + fmt.Sprintf(uuid, `'audit'`) + ` AS audit,
		` + fmt.Sprintf(uuid, `'capture'`) + ` AS capture, ` + fmt.Sprintf(uuid, `'fee'`) + ` AS fee,
		$2::uuid AS merchant, $3::text AS currency, $4::text AS provider, $5::bigint + n AS amount, $8::bigint AS fee_minor,
		$6::timestamptz + n * interval '1 millisecond' AS at, 'pi_' || $1::text || '_' || n AS object
	FROM generate_series(0, $7::int - 1) n`,

	`INSERT INTO transactions (id, merchant_id, version, event_sequence, status, previous_status, reconciliation_status, currency,
		amount_minor, authorized_minor, captured_minor, refund_reserved_minor, refunded_minor, disputed_minor,
		capture_excess_minor, refund_excess_minor, capture_method, payment_method, provider, provider_account,
		provider_transaction_id, metadata, expires_at, created_at, updated_at)
	SELECT payment, merchant, 1, 0, 'CAPTURED', 'PENDING', 'SYNCED', currency, amount, amount, amount, 0, 0, 0, 0, 0, 'automatic',
		'pm_card_visa', provider, 'acct_test', object, '{}', at + interval '15 minutes', at, at
	FROM seed`,

	`INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version, action, delta, actor,
		request_id, at)
	SELECT t.id, s.audit, t.merchant_id, 'payment', t.id, 'change', 1, 'create', to_jsonb(t), 'test', 'req_test', s.at
	FROM seed s JOIN transactions t ON t.id = s.payment`,

	`INSERT INTO ledger_postings (id, kind, merchant_id, transaction_id, provider, currency, object_id, lines, posted_at)
	SELECT capture, 'capture', merchant, payment, provider, currency, object, 2, at FROM seed
	UNION ALL SELECT fee, 'fee', merchant, payment, provider, currency, object, 2, at FROM seed WHERE fee_minor > 0`,

	`INSERT INTO ledger_entries (posting_id, line, account, amount_minor, merchant_id, provider, currency, transaction_id, kind, posted_at)
	SELECT capture, 1, 'receivable', amount, merchant, provider, currency, payment, 'capture', at FROM seed
	UNION ALL SELECT capture, 2, 'payable', -amount, merchant, provider, currency, payment, 'capture', at FROM seed
	UNION ALL SELECT fee, 1, 'payable', fee_minor, merchant, provider, currency, payment, 'fee', at FROM seed WHERE fee_minor > 0
	UNION ALL SELECT fee, 2, 'fees', -fee_minor, merchant, provider, currency, payment, 'fee', at FROM seed WHERE fee_minor > 0`,

	`INSERT INTO unsettled_entries (posting_id, line, merchant_id, currency, provider, transaction_id, kind, amount_minor, posted_at)
	SELECT e.posting_id, e.line, e.merchant_id, e.currency, e.provider, e.transaction_id, e.kind, e.amount_minor, e.posted_at
	FROM ledger_entries e WHERE e.account = 'payable' AND e.posting_id IN (SELECT capture FROM seed UNION ALL SELECT fee FROM seed)`,
}

// Plant makes captured payments of a merchant, with what the ledger and the audit log have
// of them, as a superuser can.
func Plant(ctx context.Context, db *pgxpool.Pool, s Seed) error {
	if s.Currency == "" {
		s.Currency = "JPY"
	}
	if s.Provider == "" {
		s.Provider = "stripe"
	}
	if s.Amount == 0 {
		s.Amount = 1000
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		for i, sql := range statements {
			var args []any
			if i == 1 {
				args = []any{s.Name, s.Merchant, s.Currency, s.Provider, s.Amount, s.At, s.Payments, s.Fee}
			}
			if _, err := tx.Exec(ctx, sql, args...); err != nil {
				return fmt.Errorf("settlementtest: plant payments: %w", err)
			}
		}
		return nil
	})
}

// Undone lists what is wrong with what should be settled, each exactly once, nothing left
// and nothing lost: one line each, none if all is well. Merchants' payments may have been
// planted, and nothing else may have happened to them.
func Undone(ctx context.Context, db *pgxpool.Pool) (wrong []string, err error) {
	for _, check := range []struct{ what, sql string }{
		{"payments are not SETTLED", `SELECT count(*) FROM transactions WHERE status <> 'SETTLED'`},
		{"payments were not settled in one version", `SELECT count(*) FROM transactions WHERE version <> 2 OR event_sequence <> 1`},
		{"audit rows are missing or too many", `SELECT count(*) FROM (SELECT 1 FROM transactions t LEFT JOIN transaction_audit_log l
			ON l.transaction_id = t.id AND l.version = 2 GROUP BY t.id HAVING count(l.id) <> 1) x`},
		{"events are missing or too many", `SELECT count(*) FROM (SELECT 1 FROM transactions t LEFT JOIN events e
			ON e.transaction_id = t.id AND e.type = 'payment.settled' GROUP BY t.id HAVING count(e.id) <> 1) x`},
		{"events have no outbox row", `SELECT count(*) FROM events e LEFT JOIN outbox o ON o.id = e.id WHERE o.id IS NULL`},
		{"entries wait still", `SELECT count(*) FROM unsettled_entries`},
		{"entries are in no settlement, or in two", `SELECT count(*) FROM (SELECT 1 FROM ledger_entries e LEFT JOIN settlement_lines l
			ON (l.posting_id, l.line) = (e.posting_id, e.line) WHERE e.account = 'payable' AND e.kind <> 'settlement'
			GROUP BY e.posting_id, e.line HAVING count(l.number) <> 1) x`},
		{"merchants are still owed", `SELECT count(*) FROM (SELECT 1 FROM ledger_entries WHERE account = 'payable'
			GROUP BY merchant_id, provider, currency HAVING sum(amount_minor) <> 0) x`},
		{"settlements are not COMPLETED", `SELECT count(*) FROM settlements WHERE status <> 'COMPLETED'`},
		{"settlements skipped something", `SELECT count(*) FROM settlements WHERE skipped_payments <> 0`},
		{"settlements were not announced once", `SELECT count(*) FROM (SELECT 1 FROM settlements s LEFT JOIN events e
			ON e.subject_id = s.id GROUP BY s.id HAVING count(e.id) <> 1) x`},
		{"runs did not succeed", `SELECT count(*) FROM batch_job_executions WHERE status <> 'SUCCEEDED'`},
	} {
		var n int64
		if err := db.QueryRow(ctx, check.sql).Scan(&n); err != nil {
			return nil, fmt.Errorf("settlementtest: count how many %s: %w", check.what, err)
		}
		if n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", n, check.what))
		}
	}
	return wrong, nil
}
