package inbox

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// newRow is an event as it comes in.
type newRow struct {
	ID         id.ID
	Provider   string
	Account    string
	EventID    string
	Type       string
	ObjectID   string
	PaymentID  id.ID
	Body       []byte
	State      string
	Reason     string
	RequestID  string
	ReceivedAt time.Time
}

// keptRow is what publishing needs of an event.
type keptRow struct {
	ID            id.ID  `db:"id"`
	Provider      string `db:"provider"`
	ObjectID      string `db:"object_id"`
	TransactionID id.ID  `db:"transaction_id"`
	State         string `db:"state"`
	RequestID     string `db:"request_id"`
}

func (r keptRow) finished() bool { return r.State == applied || r.State == ignored }

const keptColumns = `id, provider, object_id, transaction_id, state, request_id`

// One round trip, in one statement: the row as inserted, or as it was there already.
// A row that another request is inserting at this moment is in neither half; the
// caller asks again.
const insertEvent = `
	WITH inserted AS (
		INSERT INTO webhook_events (id, provider, account, event_id, type, object_id, transaction_id, body, state, reason,
			tries, due_at, request_id, received_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, nullif($10, ''), 0, $11, $12, $13, $14)
		ON CONFLICT (provider, event_id) DO NOTHING
		RETURNING ` + keptColumns + `
	)
	SELECT ` + keptColumns + ` FROM inserted
	UNION ALL
	SELECT ` + keptColumns + ` FROM webhook_events WHERE provider = $2 AND event_id = $4`

func insert(ctx context.Context, db postgres.DB, r newRow) (keptRow, error) {
	due, finished := new(r.ReceivedAt.Add(grace)), (*time.Time)(nil)
	if r.State == ignored {
		due, finished = nil, &r.ReceivedAt
	}
	for range 3 {
		rows, err := db.Query(ctx, insertEvent, r.ID, r.Provider, r.Account, r.EventID, r.Type, r.ObjectID, r.PaymentID,
			r.Body, r.State, r.Reason, due, r.RequestID, r.ReceivedAt, finished)
		if err != nil {
			return keptRow{}, fault.Wrap(err, "store a provider's event")
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[keptRow])
		if err != nil {
			return keptRow{}, fault.Wrap(err, "store a provider's event")
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return keptRow{}, fault.New(fault.Unavailable, "The event is being stored. Send it again.")
}

type event struct {
	ID         id.ID     `db:"id"`
	Provider   string    `db:"provider"`
	EventID    string    `db:"event_id"`
	Type       string    `db:"type"`
	Body       []byte    `db:"body"`
	State      string    `db:"state"`
	Tries      int       `db:"tries"`
	ReceivedAt time.Time `db:"received_at"`
}

const selectEvent = `
	SELECT id, provider, event_id, type, body, state, tries, received_at FROM webhook_events WHERE id = $1`

const (
	finishEvent = `
	UPDATE webhook_events SET state = $2, reason = nullif($3, ''), finished_at = $4, due_at = NULL
	WHERE id = $1 AND state IN ('stored', 'parked')`

	parkEvent = `
	UPDATE webhook_events SET state = 'parked', reason = $2, due_at = $3
	WHERE id = $1 AND state IN ('stored', 'parked')`
)

// claimDue takes what is due out of other sweeps' sight for a grace, so that what
// this one fails to publish is due again soon.
const claimDue = `
	UPDATE webhook_events SET due_at = $2
	WHERE id IN (SELECT id FROM webhook_events WHERE state IN ('stored', 'parked') AND due_at <= $1
	             ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
	RETURNING ` + keptColumns

// republished moves the next time on by the number of times so far.
const republished = `
	UPDATE webhook_events SET tries = tries + 1, due_at = $2::timestamptz + least(interval '1 minute' * 2 ^ least(tries + 1, 6), interval '1 hour')
	WHERE id = ANY ($1) AND state IN ('stored', 'parked')`

const countOpen = `SELECT count(*) FROM webhook_events WHERE state IN ('stored', 'parked')`
