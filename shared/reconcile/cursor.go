package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// cursor is how far an account was read and matched.
type cursor struct {
	ImportedTo time.Time  `db:"imported_to"`
	Since      *time.Time `db:"since"` // the times being read
	Until      *time.Time `db:"until"`
	Cursor     string     `db:"cursor"` // the provider's, in them
	FactsTo    time.Time  `db:"facts_to"`
	RereadAt   *time.Time `db:"reread_at"`
	NotBefore  *time.Time `db:"not_before"`
}

// errLeaseLost says that another run has taken over.
var errLeaseLost = errors.New("reconcile: another run has taken over")

// leaseSlack is how long a run's lease outlasts its time: its last call and its writing.
const leaseSlack = time.Minute

// beginning is how long before our first fact the reading of an account begins.
const beginning = 24 * time.Hour

const (
	// An account is read from when it was first used, not from when it was opened.
	insertCursor = `
		INSERT INTO statement_cursors (provider, account, imported_to, cursor, facts_to, created_at, updated_at)
		SELECT $1, $2, at - $4::interval, '', at - $4::interval, $3, $3
		FROM (SELECT coalesce(min(recorded_at), $3) AS at FROM provider_facts WHERE provider = $1) first
		ON CONFLICT (provider, account) DO NOTHING`
	takeCursor = `
		UPDATE statement_cursors SET lease_token = $3, lease_until = $5, updated_at = $4
		WHERE provider = $1 AND account = $2 AND (lease_until IS NULL OR lease_until <= $4)
		RETURNING imported_to, since, until, cursor, facts_to, reread_at, not_before`
	giveCursorBack = `
		UPDATE statement_cursors SET lease_token = NULL, lease_until = NULL, updated_at = $4
		WHERE provider = $1 AND account = $2 AND lease_token = $3`
	keepCursor = `
		UPDATE statement_cursors SET imported_to = $4, since = $5, until = $6, cursor = $7, facts_to = $8, reread_at = $9,
			not_before = $10, updated_at = $11
		WHERE provider = $1 AND account = $2 AND lease_token = $3`
	fenceCursor = `
		UPDATE statement_cursors SET updated_at = $4 WHERE provider = $1 AND account = $2 AND lease_token = $3`
)

// take leases the account, and reads how far it was read. It returns false when another
// run is at it.
func (r *run) take(ctx context.Context) (held bool, err error) {
	if _, err := r.Pool.Exec(ctx, insertCursor, r.name, r.account, r.began, beginning); err != nil {
		return false, fault.Wrap(err, "begin the account %s of %s", r.account, r.name)
	}
	rows, err := r.Pool.Query(ctx, takeCursor, r.name, r.account, r.token, r.began, r.began.Add(r.Settings.Time+leaseSlack))
	if err != nil {
		return false, fault.Wrap(err, "lease the account %s of %s", r.account, r.name)
	}
	r.cursor, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[cursor])
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, fault.Wrap(err, "lease the account %s of %s", r.account, r.name)
}

func (r *run) giveBack(ctx context.Context) error {
	_, err := r.Pool.Exec(ctx, giveCursorBack, r.name, r.account, r.token, r.Now())
	return fault.Wrap(err, "give the account %s of %s back", r.account, r.name)
}

// fence makes sure, in a transaction, that no other run has taken over, and that none can
// before it ends.
func (r *run) fence(ctx context.Context, tx pgx.Tx) error {
	held, err := tx.Exec(ctx, fenceCursor, r.name, r.account, r.token, r.Now())
	if err == nil && held.RowsAffected() == 0 {
		return errLeaseLost
	}
	return err
}

// keep writes the cursor down.
func (r *run) keep(ctx context.Context, tx pgx.Tx) error {
	c := r.cursor
	kept, err := tx.Exec(ctx, keepCursor, r.name, r.account, r.token, c.ImportedTo, c.Since, c.Until, c.Cursor, c.FactsTo, c.RereadAt, c.NotBefore, r.Now())
	if err == nil && kept.RowsAffected() == 0 {
		return errLeaseLost
	}
	return err
}

// owner is whose an object is.
type owner struct {
	TransactionID id.ID `db:"transaction_id"`
	MerchantID    id.ID `db:"merchant_id"`
}
