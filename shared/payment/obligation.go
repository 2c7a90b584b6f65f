package payment

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// obligation is an authorization or money that lost its purpose at a provider: a
// success that came after the payment had failed or been cancelled, or the object a
// decline left behind. It is released (voided or refunded) and stays open until a
// fact proves that.
type obligation struct {
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
func (d *dossier) supersedeVoid(reference string) {
	kept := d.obligations[:0]
	for _, o := range d.obligations {
		if o.kind != provider.Void || o.reference != reference {
			kept = append(kept, o)
		}
	}
	d.obligations = kept
	d.discharged = append(d.discharged, discharge{provider: d.Provider, reference: reference, kind: provider.Void})
}

// An object that comes back to life opens its obligation again.
const insertObligation = `
	INSERT INTO obligations (id, transaction_id, merchant_id, provider, account, reference, kind, amount_minor, currency,
		reason, state, tries, due_at, opened_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'open', 0, $11, $11)
	ON CONFLICT (provider, reference, kind) DO UPDATE
		SET state = 'open', reason = excluded.reason, amount_minor = excluded.amount_minor, due_at = excluded.due_at,
		    closed_at = NULL, proof_id = NULL
		WHERE obligations.state = 'done'`

func queueObligation(b *pgx.Batch, d *dossier, o obligation) {
	b.Queue(insertObligation, d.newID(), d.ID, d.MerchantID, d.Provider, d.ProviderAccount, o.reference, o.kind,
		o.amount, d.Currency, o.reason, d.now)
}

const dischargeObligation = `
	UPDATE obligations SET state = 'done', closed_at = $4, proof_id = $5, due_at = NULL, lease_token = NULL
	WHERE provider = $1 AND reference = $2 AND kind = $3 AND state = 'open'`

func queueDischarge(b *pgx.Batch, o discharge, proof id.ID, now time.Time) {
	b.Queue(dischargeObligation, o.provider, o.reference, o.kind, now, proof)
}

type openObligation struct {
	ID            id.ID         `db:"id"`
	TransactionID id.ID         `db:"transaction_id"`
	Provider      string        `db:"provider"`
	Account       string        `db:"account"`
	Reference     string        `db:"reference"`
	Kind          provider.Step `db:"kind"`
	AmountMinor   int64         `db:"amount_minor"`
	Tries         int           `db:"tries"`
	OpenedAt      time.Time     `db:"opened_at"`
}

const obligationColumns = `id, transaction_id, provider, account, reference, kind, amount_minor, tries, opened_at`

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
	now := s.Now()
	rows, err := s.Pool.Query(ctx, takeObligation, obligationID, now.Add(saga.Lease), now)
	if err != nil {
		return fault.Wrap(err, "take the obligation")
	}
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[openObligation])
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
	found := adapter.Find(ctx, provider.Query{Account: o.Account, Reference: o.Reference, PaymentID: o.TransactionID, Since: o.OpenedAt})
	done, err := s.dischargeBy(ctx, o, "lookup", "", provider.Result{Outcome: provider.Approved, Facts: found.Facts, Evidence: found.Evidence})
	if err != nil || done || !found.Complete {
		return err
	}
	p, err := find(ctx, s.Pool, selectPayment, o.TransactionID, id.ID{})
	if err != nil {
		return err
	}
	// The key is one for ever: void and refund-in-full of an object are each made once.
	a := provider.NewAttempt(o.ID, 1, provider.Request{
		Step: o.Kind, Account: o.Account, MerchantID: p.MerchantID, PaymentID: p.ID, ObligationID: o.ID,
		Reference: o.Reference, Amount: p.Money(max(o.AmountMinor, 0)),
	}, o.OpenedAt)
	call, ok := provider.Replay(a, adapter.Capabilities(), now)
	if !ok {
		// The key's window has closed. The look-up above was complete and shows it
		// undone, so a new key can't do it twice.
		a = provider.NewAttempt(o.ID, 1+o.Tries, a.Request, now)
		if call, err = provider.FirstCall(a); err != nil {
			return fault.Wrap(err, "discharge obligation %s", o.ID)
		}
	}
	res := adapter.Execute(ctx, call)
	_, err = s.dischargeBy(ctx, o, "call", a.Key, res)
	return err
}

// dischargeBy applies what a look-up or call showed, and reports whether that
// closed the obligation. What did not is tried again later.
func (s *Service) dischargeBy(ctx context.Context, o openObligation, source, key string, res provider.Result) (done bool, err error) {
	operation := source
	if source == "call" {
		operation = string(o.Kind)
	}
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := s.load(ctx, tx, o.TransactionID, id.ID{})
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		evidence := s.queueResponse(b, d.Payment, response{obligation: o.ID, key: key, operation: operation, result: res}, d.now)
		for _, f := range res.Facts {
			effect, err := d.apply(f)
			if err != nil {
				return err
			}
			if effect == effectRepeated && proves(o, f) {
				// Known before the obligation was opened: it proves the same again.
				d.discharged = append(d.discharged, discharge{provider: o.Provider, reference: o.Reference, kind: o.Kind})
			}
		}
		for _, c := range d.discharged {
			done = done || c.reference == o.Reference && c.kind == o.Kind
		}
		d.settle()
		d.write(b, Source{Name: source, Evidence: evidence, Actor: s.self(ctx)})
		b.Queue(`UPDATE obligations SET due_at = $2 WHERE id = $1 AND state = 'open'`, o.ID, d.now.Add(saga.Backoff(o.Tries)))
		return postgres.Pipeline(ctx, tx, b)
	})
	return done, fault.Wrap(err, "discharge obligation %s", o.ID)
}

// proves reports whether the fact shows the obligation fulfilled.
func proves(o openObligation, f provider.Fact) bool {
	switch o.Kind {
	case provider.Void:
		return f.Kind == provider.KindAuthorization && f.State == provider.StateCanceled
	case provider.Refund:
		return f.Kind == provider.KindRefund && f.State == provider.StateSucceeded && f.Amount.Minor >= o.AmountMinor
	}
	return false
}

const obligationGauge = `SELECT count(*), min(opened_at) FROM obligations WHERE state = 'open'`

// OpenObligations counts the open ones and says when the oldest was opened.
func (s *Service) OpenObligations(ctx context.Context) (count int64, oldest *time.Time, err error) {
	err = s.Pool.QueryRow(ctx, obligationGauge).Scan(&count, &oldest)
	return count, oldest, fault.Wrap(err, "count the obligations")
}
