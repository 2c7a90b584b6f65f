package settlement

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// A line says what its entry in the ledger says: an amount owed to the merchant, which
// there is negative.
const selectByProvider = `
	SELECT l.provider, count(*), sum(l.amount_minor)::bigint,
		count(*) FILTER (WHERE e.account IS DISTINCT FROM 'payable' OR e.amount_minor <> -l.amount_minor
			OR e.merchant_id <> $2 OR e.currency <> $3)
	FROM settlement_lines l LEFT JOIN ledger_entries e ON e.posting_id = l.posting_id AND e.line = l.line
	WHERE l.settlement_id = $1 GROUP BY l.provider ORDER BY l.provider`

type ofProvider struct {
	Name       string
	Lines      int64
	NetMinor   int64
	Misleading int64 // lines of which the ledger says something else
}

// The amounts are summed anew from the lines. That they are what was frozen, less what was
// skipped, the table demands.
const completeSettlement = `
	UPDATE settlements
	SET status = 'COMPLETED', captured_minor = captured, refunded_minor = refunded, fee_minor = fee, dispute_minor = dispute,
	    adjustment_minor = adjustment, net_minor = net, line_count = lines, payment_count = payments, posting_ids = $2,
	    manifest_sha256 = $3, completed_at = $4
	FROM (
		SELECT count(*) AS lines, count(DISTINCT transaction_id) AS payments, coalesce(sum(amount), 0) AS net, ` + amounts + `
		FROM (SELECT transaction_id, kind, amount_minor AS amount FROM settlement_lines WHERE settlement_id = $1) l) total
	WHERE id = $1
	RETURNING ` + viewColumns

// complete posts a settlement whose payments are all settled, and tells the merchant. From
// then on it is never changed.
func (s *Service) complete(ctx context.Context, tx pgx.Tx, of open, now time.Time) (did work, err error) {
	currency, err := money.ParseCurrency(of.Currency)
	if err != nil {
		return work{}, fault.Wrap(err, "complete a settlement")
	}
	rows, _ := tx.Query(ctx, selectByProvider, of.ID, of.Merchant, of.Currency) // CollectRows returns the error
	sums, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ofProvider])
	if err != nil {
		return work{}, fault.Wrap(err, "sum a settlement up")
	}
	b := &pgx.Batch{}
	postings := []id.ID{} // not NULL
	var lines int64
	for _, p := range sums {
		if p.Misleading > 0 {
			return work{}, fault.New(fault.Internal, "%d lines at %s are not as the ledger has them", p.Misleading, p.Name)
		}
		lines += p.Lines
		if p.NetMinor == 0 {
			continue // there is nothing to pay
		}
		posting := ledger.Posting{
			ID: s.NewID(), Kind: ledger.Settlement, MerchantID: of.Merchant, SubjectID: of.ID, Provider: p.Name, Currency: currency,
			Reference: "settlement:" + of.ID.String() + ":" + p.Name,
			Entries:   ledger.Move(ledger.Payable, ledger.Payouts, p.NetMinor), At: now,
		}
		ledger.Queue(b, posting)
		postings = append(postings, posting.ID)
	}
	digest := sha256.New()
	if err := WriteManifest(ctx, tx, of.ID, digest); err != nil {
		return work{}, err
	}
	var made View
	b.Queue(completeSettlement, of.ID, postings, digest.Sum(nil), now).QueryRow(func(row pgx.Row) (err error) {
		made, err = scanView(row)
		return err
	})
	if err := postgres.Pipeline(ctx, tx, b); err != nil {
		return work{}, fault.Wrap(err, "complete a settlement")
	}
	if lines == 0 {
		return work{cost: least}, nil // all of it was left out, and nobody need be told
	}
	b = &pgx.Batch{}
	s.announce(ctx, b, of, made, now)
	return work{cost: least + int(lines/linesPerPayment)}, postgres.Pipeline(ctx, tx, b)
}

// announce tells the merchant. The settlement has no other event.
func (s *Service) announce(ctx context.Context, b *pgx.Batch, of open, made View, now time.Time) {
	e := event.Event{
		ID: s.NewID(), Type: event.SettlementCompleted, Timestamp: now, Sequence: 1,
		Data: struct {
			Settlement View `json:"settlement"`
		}{made},
	}
	outbox.Queue(b, outbox.Event{
		ID: e.ID, MerchantID: of.Merchant, SubjectID: of.ID, Type: e.Type, Sequence: e.Sequence, Payload: e.Encode(),
		RequestID: telemetry.RequestID(ctx), At: now,
	})
}
