package payment

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/saga"
)

const paymentColumns = `id, merchant_id, version, event_sequence, status, previous_status, reconciliation_status,
	currency, amount_minor, authorized_minor, captured_minor, refund_reserved_minor, refunded_minor, disputed_minor,
	capture_excess_minor, refund_excess_minor, capture_method, payment_method, provider, provider_account,
	provider_transaction_id, merchant_reference, personal_data_id, next_action,
	failure_code, failure_message, failure_provider_code, capture_before, expires_at, created_at, updated_at, route`

const insertPayment = `
	INSERT INTO transactions (` + paymentColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
		$21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)`

func queueInsertPayment(b *pgx.Batch, p *Payment) {
	b.Queue(insertPayment, p.ID, p.MerchantID, p.Version, p.EventSequence, p.Status, p.PreviousStatus,
		p.ReconciliationStatus, p.Currency, p.AmountMinor, p.AuthorizedMinor, p.CapturedMinor, p.RefundReservedMinor,
		p.RefundedMinor, p.DisputedMinor, p.CaptureExcessMinor, p.RefundExcessMinor, p.CaptureMethod, p.PaymentMethod,
		p.Provider, p.ProviderAccount, p.ProviderTransactionID, p.MerchantReference, p.PersonalDataID,
		p.NextAction, p.FailureCode, p.FailureMessage, p.FailureProviderCode, p.CaptureBefore,
		p.ExpiresAt, p.CreatedAt, p.UpdatedAt, p.Route)
	queuePersonal(b, p.PersonalDataID, p, p.Personal, p.CreatedAt)
}

// The guard on the version makes a lost update impossible even without the row
// lock, and the constraints on the amounts hold whatever the new values are.
const updatePayment = `
	UPDATE transactions SET version = $2, event_sequence = $3, status = $4, previous_status = $5,
		reconciliation_status = $6, authorized_minor = $7, captured_minor = $8, refund_reserved_minor = $9,
		refunded_minor = $10, disputed_minor = $11, capture_excess_minor = $12, refund_excess_minor = $13,
		provider_transaction_id = $14, next_action = $15, failure_code = $16, failure_message = $17,
		failure_provider_code = $18, capture_before = $19, updated_at = $20,
		provider = $21, provider_account = $22, payment_method = $23, route = $24
	WHERE id = $1 AND version = $2 - 1`

func queueUpdatePayment(b *pgx.Batch, p *Payment) {
	b.Queue(updatePayment, p.ID, p.Version, p.EventSequence, p.Status, p.PreviousStatus, p.ReconciliationStatus,
		p.AuthorizedMinor, p.CapturedMinor, p.RefundReservedMinor, p.RefundedMinor, p.DisputedMinor,
		p.CaptureExcessMinor, p.RefundExcessMinor, p.ProviderTransactionID, p.NextAction, p.FailureCode,
		p.FailureMessage, p.FailureProviderCode, p.CaptureBefore, p.UpdatedAt, p.Provider, p.ProviderAccount,
		p.PaymentMethod, p.Route)
}

const refundColumns = `id, transaction_id, merchant_id, version, status, previous_status, origin, currency, amount_minor,
	counted_minor, personal_data_id, provider, provider_refund_id, failure_code, failure_message, failure_provider_code,
	created_at, updated_at`

const insertRefund = `
	INSERT INTO refunds (` + refundColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`

func queueInsertRefund(b *pgx.Batch, p *Payment, r *Refund) {
	b.Queue(insertRefund, r.ID, r.TransactionID, r.MerchantID, r.Version, r.Status, r.PreviousStatus, r.Origin,
		r.Currency, r.AmountMinor, r.CountedMinor, r.PersonalDataID, r.Provider, r.ProviderRefundID, r.FailureCode,
		r.FailureMessage, r.FailureProviderCode, r.CreatedAt, r.UpdatedAt)
	queuePersonal(b, r.PersonalDataID, p, r.Personal, r.CreatedAt)
}

const updateRefund = `
	UPDATE refunds SET version = $2, status = $3, previous_status = $4, counted_minor = $5, provider_refund_id = $6,
		failure_code = $7, failure_message = $8, failure_provider_code = $9, updated_at = $10
	WHERE id = $1 AND version = $2 - 1`

func queueUpdateRefund(b *pgx.Batch, r *Refund) {
	b.Queue(updateRefund, r.ID, r.Version, r.Status, r.PreviousStatus, r.CountedMinor, r.ProviderRefundID,
		r.FailureCode, r.FailureMessage, r.FailureProviderCode, r.UpdatedAt)
}

const (
	selectPayment = `SELECT ` + paymentColumns + withPersonal + ` FROM transactions WHERE id = $1 AND ($2::uuid IS NULL OR merchant_id = $2)`
	lockPayment   = selectPayment + ` FOR NO KEY UPDATE`
	selectRefunds = `SELECT ` + refundColumns + withPersonal + ` FROM refunds WHERE transaction_id = $1 ORDER BY created_at, id`
	selectFacts   = `SELECT provider, object_id, state, kind, rank, amount_minor, occurred_at FROM provider_facts
		WHERE transaction_id = $1 ORDER BY recorded_at, rank`

	// The authorize saga comes along even when it is done: a create that was
	// superseded is answered when the payment reaches its end. The lock keeps anybody
	// from taking a lease between what is read here and what is written because of it;
	// it comes after the payment's, and who takes leases holds no other.
	selectSagas = `SELECT ` + saga.Columns + ` FROM transaction_saga
		WHERE transaction_id = $1 AND (state <> 'done' OR kind = 'authorize' OR id = $2)
		ORDER BY created_at, id FOR NO KEY UPDATE`
)

func errNoPayment() error {
	return fault.New(fault.NotFound, "There is no such payment. Check the identifier, and that the API key is of the merchant who made it.")
}

// find reads a payment; with a merchant, only that merchant's.
func find(ctx context.Context, db postgres.DB, sql string, payment, merchant id.ID) (*Payment, error) {
	rows, err := db.Query(ctx, sql, payment, merchant)
	if err != nil {
		return nil, fault.Wrap(err, "read the payment")
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Payment])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoPayment()
	}
	return p, fault.Wrap(err, "read the payment")
}

// load locks the payment and reads all that is known of it, with the one saga even if
// it is done. With a zero merchant it finds anybody's payment.
func (s *Service) load(ctx context.Context, tx pgx.Tx, payment, merchant, sagaID id.ID) (*dossier, error) {
	p, err := find(ctx, tx, lockPayment, payment, merchant)
	if err != nil {
		return nil, err
	}
	d := s.newDossier(p)
	b := &pgx.Batch{}
	b.Queue(selectRefunds, payment).Query(func(rows pgx.Rows) (err error) {
		d.refunds, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Refund])
		return err
	})
	b.Queue(selectDisputes, payment).Query(func(rows pgx.Rows) (err error) {
		d.disputes, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Dispute])
		return err
	})
	b.Queue(selectSagas, payment, sagaID).Query(func(rows pgx.Rows) (err error) {
		d.sagas, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[saga.Saga])
		return err
	})
	b.Queue(selectFacts, payment).Query(func(rows pgx.Rows) (err error) {
		d.known, err = pgx.CollectRows(rows, pgx.RowToStructByName[knownFact])
		return err
	})
	ledger.QueueSchedules(b, p.MerchantID, p.Currency, d.now, &d.schedules)
	ledger.QueuePostings(b, payment, &d.past)
	if err := postgres.Pipeline(ctx, tx, b); err != nil {
		return nil, fault.Wrap(err, "read what is known of the payment")
	}
	d.before()
	return d, nil
}
