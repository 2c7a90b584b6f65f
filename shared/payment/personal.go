package payment

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// PersonalData is what a merchant says of a payment (Description, Metadata, ReturnURL) or
// of a refund (Reason) in words of its own, which may be about a person. It decides
// nothing about money. It is kept in the table personal_data, and the payment's row and
// the audit log hold its key alone: so it can be erased and the log still folds.
//
// What a merchant gives as merchant_reference is not here: it stays unique for ever, and so
// it stays. The API says that nobody should be named in it.
type PersonalData struct {
	Description string            `json:"description,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	ReturnURL   string            `json:"return_url,omitempty"`
	Reason      string            `json:"reason,omitempty"`
}

// withPersonal ends a list of columns of transactions or refunds: the personal data that the
// row points at, NULL when there is none or it was erased.
const withPersonal = `, (SELECT data FROM personal_data WHERE personal_data.id = personal_data_id) AS personal`

const insertPersonal = `
	INSERT INTO personal_data (id, merchant_id, transaction_id, data, created_at) VALUES ($1, $2, $3, $4, $5)`

func queuePersonal(b *pgx.Batch, key *id.ID, p *Payment, data *PersonalData, now time.Time) {
	if key != nil {
		b.Queue(insertPersonal, *key, p.MerchantID, p.ID, data, now)
	}
}

// keep gives personal data its key; both are nil when there is nothing to keep.
func (d PersonalData) keep(newID func() id.ID) (*id.ID, *PersonalData) {
	if d.Description == "" && len(d.Metadata) == 0 && d.ReturnURL == "" && d.Reason == "" {
		return nil, nil
	}
	key := newID()
	return &key, &d
}

// Erasure says what an erasure took away, in rows.
type Erasure struct {
	Records   int64 `json:"records"`   // of personal data: the payment's and its refunds'
	Requests  int64 `json:"requests"`  // to providers, which repeated it
	Answers   int64 `json:"answers"`   // kept for repeated requests; they are made anew
	Events    int64 `json:"events"`    // that merchants were or will be told
	Evidence  int64 `json:"evidence"`  // raw messages of providers, emptied
	Remaining int64 `json:"remaining"` // raw messages of providers, as they were
}

const (
	openWork = `
		SELECT (SELECT count(*) FROM transaction_saga WHERE transaction_id = $1 AND state <> 'done')
		     + (SELECT count(*) FROM obligations WHERE transaction_id = $1 AND state = 'open')`
	erasePersonal = `DELETE FROM personal_data WHERE transaction_id = $1`
	// Requests and answers are found by the payment's sagas, which their keys begin with: the
	// payment is locked meanwhile.
	eraseRequests = `
		UPDATE saga_attempts SET request = request - 'description' - 'return_url' - 'reason'
		WHERE saga_id IN (SELECT id FROM transaction_saga WHERE transaction_id = $1)
		  AND request ?| ARRAY['description', 'return_url', 'reason']`
	eraseAnswers = `
		UPDATE idempotency_keys SET response_body = NULL
		WHERE saga_id IN (SELECT id FROM transaction_saga WHERE transaction_id = $1) AND response_body IS NOT NULL`
	selectPayloads = `SELECT id, payload FROM events WHERE transaction_id = $1 ORDER BY id FOR UPDATE`
	updatePayload  = `UPDATE events SET payload = $2 WHERE id = $1`
	// What a provider said stays as evidence, without its words.
	eraseResponses = `
		UPDATE provider_responses SET body = '{"erased":true}'
		WHERE transaction_id = $1 AND body IS NOT NULL AND body <> '{"erased":true}'`
	eraseMessages = `
		UPDATE webhook_events SET body = '{"erased":true}'
		WHERE transaction_id = $1 AND state IN ('applied', 'ignored') AND body <> '{"erased":true}'`
	countEvidence = `
		SELECT (SELECT count(*) FROM provider_responses
		        WHERE transaction_id = $1 AND body IS NOT NULL AND body <> '{"erased":true}')
		     + (SELECT count(*) FROM webhook_events WHERE transaction_id = $1 AND body <> '{"erased":true}')`
)

// ErasePersonal erases the personal data of a payment and its refunds, with the copies that
// the database has of it: in requests to providers, in stored answers and in events. With
// evidence it also empties the raw messages of providers, of which the outcome, the status
// and the provider's own identifier stay. The erasure itself, with who and why, is a row of
// the audit log; neither may name the person.
//
// It needs rights that the functions do not have, and so is for operators. It refuses, with
// operation_in_progress, while an operation on the payment is open: what is sent again must
// equal what was sent. A payment that has none left is erased again without harm.
//
// It does not reach what has left the database: backups (for as long as they are kept),
// messages in Pub/Sub (7 days at most), and what the merchant, its webhook receivers and the
// provider hold.
func (s *Service) ErasePersonal(ctx context.Context, payment id.ID, by Actor, why string, evidence bool) (e Erasure, err error) {
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		p, err := find(ctx, tx, lockPayment, payment, id.ID{})
		if err != nil {
			return err
		}
		var open int64
		if err := tx.QueryRow(ctx, openWork, payment).Scan(&open); err != nil {
			return fault.Wrap(err, "look for open operations")
		}
		if open > 0 {
			return fault.New(fault.OperationInProgress, "An operation on the payment is open, and what is sent again must equal what was sent. Nothing was erased. Try again when it is done.")
		}
		return fault.Wrap(s.erase(ctx, tx, p, by, why, evidence, &e), "erase the personal data of payment %s", payment)
	})
	return e, err
}

func (s *Service) erase(ctx context.Context, tx pgx.Tx, p *Payment, by Actor, why string, evidence bool, e *Erasure) error {
	steps := []struct {
		sql   string
		count *int64
	}{{erasePersonal, &e.Records}, {eraseRequests, &e.Requests}, {eraseAnswers, &e.Answers}}
	if evidence {
		steps = append(steps, []struct {
			sql   string
			count *int64
		}{{eraseResponses, &e.Evidence}, {eraseMessages, &e.Evidence}}...)
	}
	for _, step := range steps {
		tag, err := tx.Exec(ctx, step.sql, p.ID)
		if err != nil {
			return err
		}
		*step.count += tag.RowsAffected()
	}
	var err error
	if e.Events, err = eraseFromEvents(ctx, tx, p.ID); err != nil {
		return err
	}
	if err := tx.QueryRow(ctx, countEvidence, p.ID).Scan(&e.Remaining); err != nil {
		return err
	}
	b := &pgx.Batch{}
	queueAudit(b, s.NewID(), auditRow{
		payment: p, object: "payment", objectID: p.ID, kind: "intent", action: "personal_data.erase",
		delta: map[string]any{"why": why, "erased": e},
	}, by, s.Now())
	return postgres.Pipeline(ctx, tx, b)
}

func eraseFromEvents(ctx context.Context, tx pgx.Tx, payment id.ID) (n int64, err error) {
	type stored struct {
		ID      id.ID
		Payload json.RawMessage
	}
	rows, err := tx.Query(ctx, selectPayloads, payment)
	if err != nil {
		return 0, err
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ev stored, err error) {
		var payload []byte
		err = row.Scan(&ev.ID, &payload)
		ev.Payload = payload
		return ev, err
	})
	if err != nil {
		return 0, err
	}
	b := &pgx.Batch{}
	for _, ev := range events {
		erased, changed, err := event.ErasePersonal(ev.Payload)
		if err != nil {
			return 0, err
		}
		if changed {
			b.Queue(updatePayload, ev.ID, []byte(erased))
			n++
		}
	}
	return n, postgres.Pipeline(ctx, tx, b)
}
