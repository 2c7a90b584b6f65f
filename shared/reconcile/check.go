package reconcile

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
)

const (
	// openFor is for how long a payment has been open when it is first asked about.
	openFor = 15 * time.Minute

	// Not before so long is a payment asked about again: each hourly run asks for those
	// that agree, and less often for those that a human is to look at.
	againAfter    = 50 * time.Minute
	disputedAfter = 6 * time.Hour

	// silences is after how many look-ups in a row without an answer the provider is left
	// alone until the next run.
	silences = 3
)

// Those that something has come up about come first, then those that were not asked about
// for longest.
const selectOpen = `
	SELECT t.id FROM transactions t LEFT JOIN payment_reconciliations r ON r.transaction_id = t.id
	WHERE t.provider = $1 AND t.provider_account = $2
	  AND (t.reconciliation_status = 'PENDING_RECONCILIATION'
	       OR t.status IN ('PENDING', 'AUTHORIZED') AND t.created_at <= $3 AND (r.next_at IS NULL OR r.next_at <= $4))
	ORDER BY t.reconciliation_status <> 'PENDING_RECONCILIATION', r.checked_at NULLS FIRST, t.created_at, t.id LIMIT $5`

// checkOpen asks for the payments that are open for too long, and those that are to be
// held against the provider anew.
func (r *run) checkOpen(ctx context.Context) error {
	now := r.Now()
	rows, err := r.Pool.Query(ctx, selectOpen, r.name, r.account, now.Add(-openFor), now, r.Settings.Payments)
	if err != nil {
		return fault.Wrap(err, "list open payments")
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[id.ID])
	if err != nil {
		return fault.Wrap(err, "list open payments")
	}
	// However many they are, the report has its half of the time: the next run goes on with
	// those that were not asked about for longest.
	return r.checkEach(ctx, open, r.began.Add(r.Settings.Time/2))
}

// checkEach holds payments against the provider, one by one, until a time.
func (r *run) checkEach(ctx context.Context, payments []id.ID, until time.Time) error {
	unanswered := 0
	for _, p := range payments {
		if !r.Now().Before(until) {
			return nil
		}
		c, err := r.check(ctx, p)
		switch {
		case err != nil:
			return err
		case c.Comparison == payment.Unanswered && c.Asked && !spoke(c.Status):
			unanswered++
		case c.Asked:
			unanswered = 0
		}
		if unanswered >= silences {
			r.stop("the provider does not answer: " + c.Why)
		}
		if r.report.Stopped != "" {
			return nil
		}
	}
	return nil
}

// spoke reports whether an answer that is not complete is still the provider's word about
// that one payment: an object that is not there, or bears another's id, or more than can be
// read. Payments of which there is no more to be had must not keep the others, nor the
// report, from being read, each hour anew.
func spoke(status int) bool {
	return status >= 200 && status < 300 || status == http.StatusNotFound
}

const insertCheck = `
	INSERT INTO payment_reconciliations (transaction_id, checked_at, next_at, outcome, evidence_id) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (transaction_id) DO UPDATE SET checked_at = excluded.checked_at, next_at = excluded.next_at,
		outcome = excluded.outcome, evidence_id = coalesce(excluded.evidence_id, payment_reconciliations.evidence_id)`

// check holds one payment against the provider, if a call may be made, and writes down
// that it was. The outcome is empty when no call may be made.
func (r *run) check(ctx context.Context, p id.ID) (payment.Compared, error) {
	if !r.mayCall(ctx) {
		return payment.Compared{}, nil
	}
	c, err := r.Payments.ReconcileAt(ctx, p, r.name)
	if err != nil {
		if ctx.Err() != nil {
			return c, err
		}
		// It may be this payment's trouble alone, which keeps no other from being held against
		// the provider: if it is the database's, the note below is not taken either.
		r.Log.ErrorContext(ctx, "a payment can't be held against its provider", "payment", p, "provider", r.name, "error", err)
		if r.trouble == nil {
			r.trouble = fmt.Errorf("payment %s: %w", p, err)
		}
		c = payment.Compared{Comparison: payment.Unanswered, Why: err.Error()}
	}
	if c.Asked {
		r.called(ctx)
	}
	r.report.Checked[c.Comparison]++
	r.Metrics.PaymentReconciled(ctx, r.name, string(c.Comparison))
	if c.Comparison == payment.Disagrees {
		r.Log.WarnContext(ctx, "a payment does not agree with its provider", "payment", p, "provider", r.name, "why", c.Why, "evidence", c.Evidence)
	}
	if c.Status == http.StatusTooManyRequests {
		r.stop("the provider asked for fewer calls")
	}
	now := r.Now()
	next := now
	switch c.Comparison {
	case payment.Agrees, payment.Followed:
		next = now.Add(againAfter)
	case payment.Disagrees, payment.Elsewhere:
		next = now.Add(disputedAfter)
	}
	_, err = r.Pool.Exec(ctx, insertCheck, p, now, next, c.Comparison, c.Evidence)
	return c, fault.Wrap(err, "write down that payment %s was checked", p)
}

// questioned is how many payments a run questions at most because of differences.
const questioned = 100

// A difference about a payment has its payment asked for once: since it was opened.
const selectQuestioned = `
	SELECT DISTINCT d.transaction_id FROM differences d
	LEFT JOIN payment_reconciliations r ON r.transaction_id = d.transaction_id
	WHERE d.state = 'OPEN' AND d.provider = $1 AND d.account = $2 AND d.transaction_id IS NOT NULL
	  AND d.kind IN ('missing_there', 'amount', 'currency', 'duplicate', 'ledger')
	  AND (r.checked_at IS NULL OR r.checked_at < d.opened_at) LIMIT $3`

// questionAll has the payments of new differences held against the provider: whether
// the payment is wrong, or the report.
func (r *run) questionAll(ctx context.Context) error {
	if r.report.Stopped != "" {
		return nil
	}
	rows, err := r.Pool.Query(ctx, selectQuestioned, r.name, r.account, questioned)
	if err != nil {
		return fault.Wrap(err, "list payments with differences")
	}
	payments, err := pgx.CollectRows(rows, pgx.RowTo[id.ID])
	if err != nil {
		return fault.Wrap(err, "list payments with differences")
	}
	for _, p := range payments {
		if err := r.Payments.Question(ctx, p, "difference"); err != nil {
			return err
		}
	}
	return r.checkEach(ctx, payments, r.began.Add(r.Settings.Time))
}
