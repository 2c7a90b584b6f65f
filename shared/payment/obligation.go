package payment

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// obligation is an authorization or money that lost its purpose at a provider: a
// success that came after the payment had failed or been cancelled, or the object a
// decline left behind. It is released (voided or refunded) and stays open until a
// fact proves that.
type obligation struct {
	provider  string
	kind      provider.Step // Void or Refund
	reference string
	amount    int64
	reason    string
}

type discharge struct {
	provider, reference string
	kind                provider.Step
}

func (d *dossier) oblige(o obligation) {
	d.obligations = append(d.obligations, o)
	d.note("obligation.%s", o.kind)
}

// supersedeVoid drops a void that a capture has made impossible; the refund takes
// its place.
func (d *dossier) supersedeVoid(from, reference string) {
	kept := d.obligations[:0]
	for _, o := range d.obligations {
		if o.kind != provider.Void || o.provider != from || o.reference != reference {
			kept = append(kept, o)
		}
	}
	d.obligations = kept
	d.discharged = append(d.discharged, discharge{provider: from, reference: reference, kind: provider.Void})
}

// An object that comes back to life opens its obligation again; one that was taken for an
// orphan's has its payment now.
const insertObligation = `
	INSERT INTO obligations (id, transaction_id, merchant_id, provider, account, reference, kind, amount_minor, currency,
		reason, state, tries, due_at, attempt, opened_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'open', 0, $11, 0, $11)
	ON CONFLICT (provider, reference, kind) DO UPDATE
		SET state = 'open', reason = excluded.reason, amount_minor = excluded.amount_minor, due_at = excluded.due_at,
		    transaction_id = excluded.transaction_id, merchant_id = excluded.merchant_id, account = excluded.account,
		    closed_at = NULL, proof_id = NULL
		WHERE obligations.state <> 'open'`

func queueObligation(b *pgx.Batch, d *dossier, o obligation) {
	b.Queue(insertObligation, d.newID(), d.ID, d.MerchantID, o.provider, d.accountAt(o.provider), o.reference, o.kind,
		o.amount, d.Currency, o.reason, d.now)
}

const dischargeObligation = `
	UPDATE obligations SET state = 'done', closed_at = $4, proof_id = $5, due_at = NULL
	WHERE provider = $1 AND reference = $2 AND kind = $3 AND state = 'open'`

func queueDischarge(b *pgx.Batch, o discharge, proof id.ID, now time.Time) {
	b.Queue(dischargeObligation, o.provider, o.reference, o.kind, now, proof)
}

type openObligation struct {
	ID            id.ID             `db:"id"`
	TransactionID id.ID             `db:"transaction_id"`
	Provider      string            `db:"provider"`
	Account       string            `db:"account"`
	Reference     string            `db:"reference"`
	Kind          provider.Step     `db:"kind"`
	AmountMinor   int64             `db:"amount_minor"`
	Tries         int               `db:"tries"`
	Attempt       int               `db:"attempt"`
	Request       *provider.Request `db:"request"`
	SentAt        *time.Time        `db:"sent_at"`
	OpenedAt      time.Time         `db:"opened_at"`
	Currency      money.Currency    `db:"currency"`
	EchoedPayment id.ID             `db:"echoed_payment"` // of an orphan, which has no payment of ours
}

const obligationColumns = `id, transaction_id, provider, account, reference, kind, amount_minor, tries, attempt, request,
	sent_at, opened_at, currency, echoed_payment`

const dueObligations = `SELECT ` + obligationColumns + ` FROM obligations
	WHERE state = 'open' AND due_at <= $1 ORDER BY due_at LIMIT $2`

func listDueObligations(ctx context.Context, db postgres.DB, now time.Time, limit int) ([]openObligation, error) {
	rows, err := db.Query(ctx, dueObligations, now, limit)
	if err != nil {
		return nil, fault.Wrap(err, "list due obligations")
	}
	due, err := pgx.CollectRows(rows, pgx.RowToStructByName[openObligation])
	return due, fault.Wrap(err, "list due obligations")
}

// due_at is the lease: while one worker tries, no other finds it due.
const takeObligation = `
	UPDATE obligations SET due_at = $2, tries = tries + 1 WHERE id = $1 AND state = 'open' AND due_at <= $3
	RETURNING ` + obligationColumns

// Discharge tries to release what an obligation is about. It looks first: what was
// done already, by whomever, needs only its proof.
func (s *Service) Discharge(ctx context.Context, obligationID id.ID) error {
	ctx, now := context.WithoutCancel(ctx), s.Now()
	rows, err := s.Pool.Query(ctx, takeObligation, obligationID, now.Add(saga.Lease), now)
	if err != nil {
		return fault.Wrap(err, "take the obligation")
	}
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[openObligation])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // done, or another worker is at it
	}
	if err != nil {
		return fault.Wrap(err, "take the obligation")
	}
	adapter := s.Providers[o.Provider]
	if adapter == nil {
		return fault.New(fault.Internal, "obligation %s names the provider %q, which is not configured", o.ID, o.Provider)
	}
	if o.TransactionID.IsZero() {
		return s.dischargeOrphan(ctx, o, adapter)
	}
	found := adapter.Find(ctx, provider.Query{Account: o.Account, Reference: o.Reference, PaymentID: o.TransactionID, Since: o.OpenedAt})
	left, err := s.dischargeBy(ctx, o, "lookup", "", provider.Result{Outcome: provider.Unknown, Facts: found.Facts, Evidence: found.Evidence})
	if err != nil || !left.open || !found.Complete || left.moving {
		return err
	}
	call, err := s.dischargeCall(ctx, o, left.amount, adapter.Capabilities())
	if err != nil {
		return err
	}
	_, err = s.dischargeBy(ctx, o, "call", call.Attempt().Key, adapter.Execute(ctx, call))
	return err
}

const attemptObligation = `UPDATE obligations SET attempt = $2, request = $3, sent_at = $4 WHERE id = $1`

// dischargeCall is the next call of an obligation: the last one again while the
// provider is sure to know its key, then a new one, written down before it is sent. A
// new key can't do it twice: the look-up just before was complete, showed it undone,
// and showed nothing under way.
func (s *Service) dischargeCall(ctx context.Context, o *openObligation, amount int64, caps provider.Capabilities) (provider.Call, error) {
	if o.Attempt > 0 {
		last := provider.NewAttempt(o.ID, o.Attempt, *o.Request, *o.SentAt)
		if call, ok := provider.Replay(last, caps, s.Now()); ok {
			return call, nil
		}
	}
	p, err := find(ctx, s.Pool, selectPayment, o.TransactionID, id.ID{})
	if err != nil {
		return provider.Call{}, err
	}
	next := provider.NewAttempt(o.ID, o.Attempt+1, provider.Request{
		Step: o.Kind, Account: o.Account, MerchantID: p.MerchantID, PaymentID: p.ID, ObligationID: o.ID,
		Reference: o.Reference, Amount: p.Money(amount),
	}, s.Now())
	if _, err := s.Pool.Exec(ctx, attemptObligation, o.ID, next.Number, next.Request, next.SentAt); err != nil {
		return provider.Call{}, fault.Wrap(err, "write the attempt of obligation %s down", o.ID)
	}
	return provider.FirstCall(next)
}

// remains is what is left of an obligation: how much, and whether something that may
// fulfil it is under way at the provider.
type remains struct {
	open, moving bool
	amount       int64
}

// dischargeBy applies what a look-up or call showed, and says what is left. What is
// not done is tried again later.
func (s *Service) dischargeBy(ctx context.Context, o *openObligation, source, key string, res provider.Result) (left remains, err error) {
	operation := source
	if source == "call" {
		operation = string(o.Kind)
	}
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := s.load(ctx, tx, o.TransactionID, id.ID{}, id.ID{})
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		evidence := s.queueResponse(b, d.Payment, response{provider: o.Provider, obligation: o.ID, key: key, operation: operation, result: res}, d.now)
		left = remains{open: true}
		for _, f := range res.Facts {
			if _, err := d.apply(f, o.Provider); err != nil {
				return err
			}
			left.moving = left.moving || f.Kind == provider.KindRefund && f.ObligationID == o.ID &&
				(f.State == provider.StatePending || f.State == provider.StateRequiresAction)
		}
		if d.fulfilled(o) {
			d.discharged = append(d.discharged, discharge{provider: o.Provider, reference: o.Reference, kind: o.Kind})
		}
		for _, c := range d.discharged {
			left.open = left.open && (c.provider != o.Provider || c.reference != o.Reference || c.kind != o.Kind)
		}
		if o.Kind == provider.Refund {
			left.amount = d.held(o.Provider, nil)
		}
		d.settle()
		d.write(b, Source{Name: source, Evidence: evidence, Actor: s.self(ctx)})
		due := d.now.Add(max(saga.Backoff(o.Tries), res.RetryAfter))
		b.Queue(`UPDATE obligations SET due_at = $2 WHERE id = $1 AND state = 'open'`, o.ID, due)
		return postgres.Pipeline(ctx, tx, b)
	})
	return left, fault.Wrap(err, "discharge obligation %s", o.ID)
}

// fulfilled reports whether what is known of the provider's objects shows the
// obligation done: the authorization cancelled, or none of the money held any more.
func (d *dossier) fulfilled(o *openObligation) bool {
	captured := false
	for _, k := range d.known {
		switch {
		case k.Provider != o.Provider:
		case o.Kind == provider.Void && k.Kind == provider.KindAuthorization && k.ObjectID == o.Reference && k.State == provider.StateCanceled:
			return true
		case k.Kind == provider.KindCapture && k.State == provider.StateSucceeded:
			captured = true
		}
	}
	return o.Kind == provider.Refund && captured && d.held(o.Provider, nil) <= 0
}

const obligationGauge = `SELECT count(*), min(opened_at) FROM obligations WHERE state = 'open'`

// OpenObligations counts the open ones and says when the oldest was opened.
func (s *Service) OpenObligations(ctx context.Context) (count int64, oldest *time.Time, err error) {
	err = s.Pool.QueryRow(ctx, obligationGauge).Scan(&count, &oldest)
	return count, oldest, fault.Wrap(err, "count the obligations")
}
