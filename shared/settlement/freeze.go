package settlement

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
)

// zero stands for none where ids are compared: a zero id.ID is NULL to the database.
const zero = `'00000000-0000-0000-0000-000000000000'::uuid`

// The next merchant and currency that wait to be settled: the index leads from one to the
// next, however many entries each has.
const selectGroup = `
	SELECT u.merchant_id, u.currency, m.timezone, to_char(m.settlement_cutoff, 'HH24:MI') AS cutoff
	FROM (SELECT merchant_id, currency FROM unsettled_entries WHERE (merchant_id, currency) > (coalesce($1::uuid, ` + zero + `), $2)
	      ORDER BY merchant_id, currency LIMIT 1) u
	JOIN merchants m ON m.id = u.merchant_id`

const selectOneGroup = `
	SELECT id AS merchant_id, $2::text AS currency, timezone, to_char(settlement_cutoff, 'HH24:MI') AS cutoff
	FROM merchants WHERE id = $1`

// group is what of a merchant is settled together.
type group struct {
	Merchant id.ID  `db:"merchant_id"`
	Currency string `db:"currency"`
	TimeZone string `db:"timezone"`
	CutOff   string `db:"cutoff"`
}

// freeze is the one statement that says what belongs to a settlement. An entry that is
// committed after its snapshot was taken stays in the queue, whenever it was posted. A
// business day that has its settlement gets no other. What a kind means to the merchant:
// each adds to one of the amounts, and they make up the net, as the table demands.
const freeze = `
	WITH taken AS (
		DELETE FROM unsettled_entries
		WHERE merchant_id = $2::uuid AND currency = $3::text AND posted_at < $5::timestamptz AND NOT EXISTS (
			SELECT 1 FROM settlements WHERE merchant_id = $2 AND currency = $3 AND business_date = $4)
		RETURNING posting_id, line, transaction_id, provider, kind, -amount_minor AS amount, posted_at
	), lines AS (
		INSERT INTO settlement_lines (settlement_id, number, posting_id, line, transaction_id, provider, kind, amount_minor, posted_at)
		SELECT $1::uuid, row_number() OVER (ORDER BY transaction_id, posted_at, posting_id, line), posting_id, line, transaction_id,
			provider, kind, amount, posted_at
		FROM taken
	), total AS (
		SELECT count(*) AS lines, count(DISTINCT transaction_id) AS payments, coalesce(sum(amount), 0) AS net, ` + amounts + `
		FROM taken
	)
	INSERT INTO settlements (id, job_execution_id, merchant_id, currency, business_date, cutoff_at, timezone, status,
		captured_minor, refunded_minor, fee_minor, dispute_minor, adjustment_minor, net_minor, line_count, payment_count,
		frozen_net_minor, frozen_lines, frozen_payments, skipped_net_minor, skipped_lines, skipped_payments,
		settled_payments, posting_ids, created_at)
	SELECT $1::uuid, $6::uuid, $2, $3, $4::date, $5::timestamptz, $7::text, 'PROCESSING', captured, refunded, fee, dispute, adjustment, net, lines, payments,
		net, lines, payments, 0, 0, 0, 0, '{}', $8::timestamptz
	FROM total WHERE lines > 0
	RETURNING frozen_lines`

// amounts are the sums of lines by what they mean, before signs.
const amounts = `
		coalesce(sum(amount) FILTER (WHERE kind = 'capture'), 0) AS captured,
		coalesce(-sum(amount) FILTER (WHERE kind IN ('refund', 'refund_failed')), 0) AS refunded,
		coalesce(-sum(amount) FILTER (WHERE kind IN ('fee', 'fee_returned')), 0) AS fee,
		coalesce(-sum(amount) FILTER (WHERE kind IN ('dispute_opened', 'dispute_won', 'dispute_lost')), 0) AS dispute,
		coalesce(sum(amount) FILTER (WHERE kind = 'adjustment'), 0) AS adjustment`

// freezeNext freezes what the next merchant and currency have. After the last, the run
// goes on to settle.
func (s *Service) freezeNext(ctx context.Context, tx pgx.Tx, run *Run, now time.Time) (at target, did work, err error) {
	g, err := readGroup(ctx, tx, selectGroup, run.Checkpoint.Merchant, run.Checkpoint.Currency)
	if errors.Is(err, pgx.ErrNoRows) {
		run.Checkpoint = Checkpoint{Phase: phaseSettle, Aside: run.Checkpoint.Aside}
		return target{}, work{}, nil
	}
	if err != nil {
		return target{}, work{}, fault.Wrap(err, "look for what is to be settled")
	}
	at = target{Merchant: g.Merchant, Currency: g.Currency}
	did, err = s.freeze(ctx, tx, run, g, now)
	run.Checkpoint.Merchant, run.Checkpoint.Currency = g.Merchant, g.Currency
	return at, did, err
}

// freezeAgain freezes what failed before.
func (s *Service) freezeAgain(ctx context.Context, tx pgx.Tx, run *Run, at target, now time.Time) (did work, err error) {
	g, err := readGroup(ctx, tx, selectOneGroup, at.Merchant, at.Currency)
	if err != nil {
		return work{}, fault.Wrap(err, "read the merchant")
	}
	if did, err = s.freeze(ctx, tx, run, g, now); err == nil {
		run.Checkpoint.takeUp(at)
	}
	return did, err
}

func readGroup(ctx context.Context, tx pgx.Tx, sql string, merchantID id.ID, currency string) (group, error) {
	rows, _ := tx.Query(ctx, sql, merchantID, currency) // CollectExactlyOneRow returns the error
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[group])
}

func (s *Service) freeze(ctx context.Context, tx pgx.Tx, run *Run, g group, now time.Time) (did work, err error) {
	day, err := merchant.ParseDay(g.TimeZone, g.CutOff)
	if err != nil { // a zone that there is no more; it is no fault of who called
		return work{}, &fault.Error{Detail: "find the end of the business day", Err: err}
	}
	end, date := day.Last(run.ScheduledFor)
	var lines int
	err = tx.QueryRow(ctx, freeze, s.NewID(), g.Merchant, g.Currency, date, end, run.ID, g.TimeZone, now).Scan(&lines)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) { // nothing was posted before the cut-off, or all of it is settled
		return work{}, fault.Wrap(err, "freeze what is settled")
	}
	return work{cost: least + lines/linesPerPayment}, nil
}

const (
	least           = 4  // what any step costs, in payments to be settled
	linesPerPayment = 10 // that are frozen, or summed up, in the time in which a payment is settled
)
