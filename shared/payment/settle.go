package payment

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Settling is a payment of which a settlement pays lines.
type Settling struct {
	PaymentID id.ID
	Captured  int64 // minor units of its captures that are settled, with those of this settlement
}

// The locks are taken in the order of the ids, and whoever else locks payments holds one at
// a time.
const (
	lockPayments = `SELECT ` + paymentColumns + withPersonal + `, ` + pendingStep + ` FROM transactions
		WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE`

	settlePayments = `
		UPDATE transactions t SET version = s.version, event_sequence = s.event_sequence, previous_status = t.status,
			status = $4, updated_at = $5
		FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS s (id, version, event_sequence)
		WHERE t.id = s.id AND t.version = s.version - 1`

	insertAudits = `
		INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version, action,
			delta, actor, request_id, at)
		SELECT a.payment, a.id, a.merchant, 'payment', a.payment, 'change', a.version, $6, a.delta, $7, $8, $9
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::jsonb[]) AS a (payment, id, merchant, version, delta)`
)

// Settle moves those of the payments to SETTLED whose captures are all settled, and says
// how many. The others stay as they are: REFUNDED ones, those that are settled already, and
// those with a later capture. It is one more version with its audit row and its event each,
// in a handful of statements for all of them, in the caller's transaction.
//
// A payment that there is not is not_found, and nothing is written then.
func (s *Service) Settle(ctx context.Context, tx pgx.Tx, settlement id.ID, due []Settling, now time.Time) (moved int, err error) {
	captured := make(map[id.ID]int64, len(due))
	ids := make([]id.ID, len(due))
	for i, p := range due {
		captured[p.PaymentID], ids[i] = p.Captured, p.PaymentID
	}
	rows, _ := tx.Query(ctx, lockPayments, ids) // CollectRows returns the error
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[pendingPayment])
	if err != nil {
		return 0, fault.Wrap(err, "read the payments to settle")
	}
	if len(found) != len(due) {
		return 0, fault.New(fault.NotFound, "%d of %d payments to settle are there", len(found), len(due))
	}
	by := s.self(ctx)
	var change settled
	for _, p := range found {
		if p.Status == Captured && p.CapturedMinor+p.CaptureExcessMinor <= captured[p.ID] {
			change.add(p, s.NewID, by, now)
		}
	}
	if len(change.ids) == 0 {
		return 0, nil
	}
	b := &pgx.Batch{}
	change.queue(b, "settle:"+id.Settlement.External(settlement), by, now)
	if err := postgres.Pipeline(ctx, tx, b); err != nil {
		return 0, fault.Wrap(err, "settle payments")
	}
	return len(change.ids), nil
}

// settled is what is written of payments that become SETTLED, by columns.
type settled struct {
	ids, audits, merchants []id.ID
	versions, sequences    []int64
	deltas                 []json.RawMessage
	events                 []outbox.Event
}

func (c *settled) add(p *pendingPayment, newID func() id.ID, by Actor, now time.Time) {
	old := p.Payment
	p.move(Settled)
	p.Version, p.EventSequence, p.UpdatedAt = old.Version+1, old.EventSequence+1, now
	c.ids, c.merchants = append(c.ids, p.ID), append(c.merchants, p.MerchantID)
	c.versions, c.sequences = append(c.versions, p.Version), append(c.sequences, p.EventSequence)
	c.audits = append(c.audits, newID())
	c.deltas = append(c.deltas, encode(delta(&old, &p.Payment)))
	e := event.Event{
		ID: newID(), Type: event.PaymentSettled, Timestamp: now, Sequence: p.EventSequence, Data: EventData{Payment: p.view()},
	}
	c.events = append(c.events, outbox.Event{
		ID: e.ID, MerchantID: p.MerchantID, PaymentID: p.ID, Type: e.Type, Sequence: e.Sequence, Payload: e.Encode(),
		RequestID: by.RequestID, At: now,
	})
}

// queue writes the audit rows before the versions that ask for them: the check may be made
// before the transaction commits.
func (c *settled) queue(b *pgx.Batch, action string, by Actor, now time.Time) {
	b.Queue(insertAudits, c.ids, c.audits, c.merchants, c.versions, c.deltas, action, by.Name, by.RequestID, now)
	b.Queue(settlePayments, c.ids, c.versions, c.sequences, Settled, now).Exec(func(tag pgconn.CommandTag) error {
		if n := tag.RowsAffected(); n != int64(len(c.ids)) {
			return fault.New(fault.Internal, "%d of %d payments that are locked were moved", n, len(c.ids))
		}
		return nil
	})
	outbox.QueueAll(b, c.events)
}
