package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
)

const (
	// window is the longest time that is asked for at once, longer than what is read again.
	// PayPal refuses more than 31 days:
	// https://developer.paypal.com/docs/api/transaction-search/v1/
	window = 30 * 24 * time.Hour

	// overlap is read again beyond what the provider says it may report late, since its
	// clock is not ours.
	overlap = time.Hour

	// What is missing there is looked for in older times again, each day, for so long.
	rereadEvery = 24 * time.Hour
	rereadFor   = 14 * 24 * time.Hour
)

// fetch reads the provider's report on, page by page, each written down with the cursor
// of the next.
func (r *run) fetch(ctx context.Context) error {
	for !r.fetched() {
		if err := r.aim(ctx); err != nil {
			return err
		}
		if !r.mayCall(ctx) {
			return nil
		}
		page := r.adapter.Entries(ctx, provider.EntryQuery{
			Account: r.account, Since: *r.cursor.Since, Until: *r.cursor.Until, Cursor: r.cursor.Cursor,
		})
		r.called(ctx)
		if err := r.store(ctx, page); err != nil {
			return err
		}
	}
	return nil
}

// fetched reports whether the report was read up to this run.
func (r *run) fetched() bool {
	return r.cursor.Since == nil && (r.readUp || !r.cursor.ImportedTo.Before(r.began))
}

const selectMissing = `
	SELECT min(opened_at) FROM differences
	WHERE provider = $1 AND account = $2 AND kind = 'missing_there' AND state = 'OPEN' AND opened_at > $3`

// aim chooses the times to be read next, unless some are being read.
func (r *run) aim(ctx context.Context) error {
	if r.cursor.Since != nil {
		return nil
	}
	lag := r.adapter.Capabilities().ReportLag
	since := r.cursor.ImportedTo.Add(-lag - overlap)
	if r.cursor.RereadAt == nil || !r.began.Before(r.cursor.RereadAt.Add(rereadEvery)) {
		var oldest *time.Time
		if err := r.Pool.QueryRow(ctx, selectMissing, r.name, r.account, r.began.Add(-rereadFor)).Scan(&oldest); err != nil {
			return fault.Wrap(err, "read since when something is missing")
		}
		if oldest != nil {
			if from := oldest.Add(-lag - 2*overlap); from.Before(since) {
				since = from
			}
			r.cursor.RereadAt = &r.began
		}
	}
	until := since.Add(window)
	if until.After(r.began) {
		until = r.began
	}
	r.cursor.Since, r.cursor.Until, r.cursor.Cursor = &since, &until, ""
	return nil
}

// What became known of an entry since is added. An amount that is another now is kept
// beside the first: what was booked by that has to be explained.
const insertEntry = `
	INSERT INTO provider_entries AS e (provider, account, id, kind, object_id, reference, echoed_payment, echoed_refund, currency,
		gross_minor, fee_minor, net_minor, payout_id, occurred_at, available_at, raw, imported_at, changed_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17)
	ON CONFLICT (provider, account, id) DO UPDATE SET
		object_id = coalesce(nullif(e.object_id, ''), excluded.object_id),
		reference = coalesce(nullif(e.reference, ''), excluded.reference),
		echoed_payment = coalesce(e.echoed_payment, excluded.echoed_payment),
		echoed_refund = coalesce(e.echoed_refund, excluded.echoed_refund),
		payout_id = coalesce(nullif(excluded.payout_id, ''), e.payout_id),
		available_at = coalesce(excluded.available_at, e.available_at),
		restated = CASE WHEN (e.kind, e.currency, e.gross_minor, e.fee_minor) IS DISTINCT FROM
				(excluded.kind, excluded.currency, excluded.gross_minor, excluded.fee_minor)
			THEN jsonb_build_object('kind', excluded.kind, 'currency', excluded.currency, 'gross_minor', excluded.gross_minor,
				'fee_minor', excluded.fee_minor) END,
		raw = excluded.raw, changed_at = excluded.changed_at,
		judged_at = CASE WHEN (coalesce(nullif(e.object_id, ''), excluded.object_id), coalesce(nullif(e.reference, ''), excluded.reference),
				coalesce(e.echoed_payment, excluded.echoed_payment), e.kind, e.currency, e.gross_minor, e.fee_minor) IS NOT DISTINCT FROM
				(e.object_id, e.reference, e.echoed_payment, excluded.kind, excluded.currency, excluded.gross_minor, excluded.fee_minor)
			THEN e.judged_at END
	WHERE (coalesce(nullif(e.object_id, ''), excluded.object_id), coalesce(nullif(e.reference, ''), excluded.reference),
			coalesce(e.echoed_payment, excluded.echoed_payment), coalesce(e.echoed_refund, excluded.echoed_refund),
			coalesce(nullif(excluded.payout_id, ''), e.payout_id), coalesce(excluded.available_at, e.available_at)) IS DISTINCT FROM
		(e.object_id, e.reference, e.echoed_payment, e.echoed_refund, e.payout_id, e.available_at)
		OR (e.kind, e.currency, e.gross_minor, e.fee_minor) IS DISTINCT FROM
			(excluded.kind, excluded.currency, excluded.gross_minor, excluded.fee_minor)
			AND (e.restated IS NULL OR (e.restated ->> 'gross_minor')::bigint <> excluded.gross_minor
				OR (e.restated ->> 'fee_minor')::bigint <> excluded.fee_minor OR e.restated ->> 'kind' <> excluded.kind
				OR e.restated ->> 'currency' <> excluded.currency)
		OR e.restated IS NOT NULL AND (e.kind, e.currency, e.gross_minor, e.fee_minor) IS NOT DISTINCT FROM
			(excluded.kind, excluded.currency, excluded.gross_minor, excluded.fee_minor)
	RETURNING payout_id`

// A payout with a new member is booked anew, to the difference.
const touchPayouts = `
	UPDATE provider_entries SET judged_at = NULL
	WHERE provider = $1 AND account = $2 AND kind = 'payout' AND payout_id = ANY ($3) AND judged_at IS NOT NULL`

// store writes a page down, with where to go on. Nothing of a page that is not whole
// counts.
func (r *run) store(ctx context.Context, page provider.EntryPage) error {
	if !page.OK {
		r.stop("the report can't be read: " + page.Evidence.Error)
		if page.RetryAfter <= 0 {
			return nil
		}
		until := r.Now().Add(page.RetryAfter)
		r.cursor.NotBefore = &until
		return fault.Wrap(postgres.InTx(ctx, r.Pool, func(tx pgx.Tx) error { return r.keep(ctx, tx) }), "keep when %s may be asked again", r.name)
	}
	for _, e := range page.Entries {
		if err := sound(e); err != nil {
			r.stop("the report makes no sense: " + err.Error())
			r.Log.ErrorContext(ctx, "an entry of a provider's report makes no sense", "provider", r.name, "entry", e.ID, "error", err)
			return nil
		}
	}
	next := r.cursor.after(page)
	behind := page.Next == "" && next.ImportedTo.Before(r.began) && !r.cursor.Until.Before(r.began)
	err := postgres.InTx(ctx, r.Pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		var payouts []string
		now := r.Now()
		for _, e := range page.Entries {
			var available *time.Time
			if !e.AvailableAt.IsZero() {
				available = &e.AvailableAt
			}
			b.Queue(insertEntry, r.name, r.account, e.ID, e.Kind, e.ObjectID, e.Reference, e.PaymentID, e.RefundID, e.Currency,
				e.Gross, e.Fee, e.Net, e.PayoutID, e.OccurredAt, available, e.Raw, now).QueryRow(func(row pgx.Row) error {
				var payout string
				err := row.Scan(&payout)
				if err == nil && payout != "" && e.Kind != provider.EntryPayout {
					payouts = append(payouts, payout)
				}
				if errors.Is(err, pgx.ErrNoRows) {
					return nil // nothing in it is new
				}
				return err
			})
		}
		if err := postgres.Pipeline(ctx, tx, b); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, touchPayouts, r.name, r.account, payouts); err != nil {
			return err
		}
		was := r.cursor
		r.cursor = next
		if err := r.keep(ctx, tx); err != nil {
			r.cursor = was
			return err
		}
		return nil
	})
	if err != nil {
		return fault.Wrap(err, "keep a page of %s's report", r.name)
	}
	r.report.Entries += len(page.Entries)
	if behind {
		r.readUp = true // the report has no more yet
	}
	return nil
}

// after is where to go on after a page.
func (c cursor) after(page provider.EntryPage) cursor {
	next := c
	next.Cursor = page.Next
	if page.Next != "" {
		return next
	}
	next.Since, next.Until, next.NotBefore = nil, nil, nil
	read := *c.Until
	if !page.AsOf.IsZero() && page.AsOf.Before(read) {
		read = page.AsOf
	}
	if read.After(c.ImportedTo) {
		next.ImportedTo = read
	}
	return next
}

// sound says what is wrong with an entry that can't be so.
func sound(e provider.Entry) error {
	switch {
	case e.ID == "" || e.OccurredAt.IsZero() || e.Currency.IsZero():
		return fmt.Errorf("entry %q lacks its id, its time or its currency", e.ID)
	case e.Net != e.Gross-e.Fee:
		return fmt.Errorf("entry %s: %d less %d is not %d", e.ID, e.Gross, e.Fee, e.Net)
	}
	return nil
}
