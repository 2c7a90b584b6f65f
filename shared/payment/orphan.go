package payment

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// Orphan is money that a provider took for no payment of ours, as its report has it.
type Orphan struct {
	Provider, Account string
	ObjectID          string // the charge
	Reference         string // the provider's payment object, which refunds name
	EchoedPayment     id.ID  // the payment that it names, though there is none such; usually zero
	Amount            money.Money
	OccurredAt        time.Time
	Raw               string // of the report, masked
}

// An obligation for the object may be there: the payment is known after all, or another
// charge of the object is an orphan too, or it was taken back and is made anew.
const insertProposal = `
	INSERT INTO obligations (id, provider, account, reference, kind, amount_minor, currency, reason, state, tries, attempt,
		echoed_payment, opened_at)
	VALUES ($1, $2, $3, $4, 'refund', $5, $6, 'orphan', 'proposed', 0, 0, $7, $8)
	ON CONFLICT (provider, reference, kind) DO UPDATE
		SET state = 'proposed', amount_minor = excluded.amount_minor, closed_at = NULL, approved_by = NULL
		WHERE obligations.state = 'rejected'`

// QueueProposal proposes that an orphan be refunded. Nothing is done about it until it is
// approved.
func QueueProposal(b *pgx.Batch, obligation id.ID, o Orphan, now time.Time) {
	b.Queue(insertProposal, obligation, o.Provider, o.Account, o.Reference, o.Amount.Minor, o.Amount.Currency, o.EchoedPayment, now)
}

const (
	openProposal = `UPDATE obligations SET state = 'open', due_at = $3, approved_by = $2 WHERE id = $1 AND state = 'proposed'`
	dropProposal = `UPDATE obligations SET state = 'rejected', closed_at = $3, approved_by = $2 WHERE id = $1 AND state = 'proposed'`
	insertOrphan = `
		INSERT INTO provider_facts (provider, object_id, state, kind, rank, amount_minor, currency, effect, source, evidence_id,
			occurred_at, recorded_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (provider, object_id, state) DO NOTHING`
)

// ApproveOrphan opens the obligation to refund an orphan, in the caller's transaction: the
// sweep has it done, and its proof kept. From now on the ledger has the money. It returns
// invalid_state when the obligation is not proposed any more.
func (s *Service) ApproveOrphan(ctx context.Context, tx pgx.Tx, obligation id.ID, o Orphan, by string) error {
	now := s.Now()
	done, err := tx.Exec(ctx, openProposal, obligation, by, now)
	if err != nil {
		return fault.Wrap(err, "open obligation %s", obligation)
	}
	if done.RowsAffected() == 0 {
		return fault.New(fault.InvalidState, "Obligation %s is not proposed any more.", obligation)
	}
	f := provider.Fact{Kind: provider.KindCapture, State: provider.StateSucceeded, ObjectID: o.ObjectID, Reference: o.Reference, Amount: o.Amount, OccurredAt: o.OccurredAt}
	b := &pgx.Batch{}
	evidence := s.queueResponse(b, &Payment{}, response{
		provider: o.Provider, obligation: obligation, operation: "statement",
		result: provider.Result{Outcome: provider.Approved, Evidence: provider.Evidence{Body: o.Raw}},
	}, now)
	s.queueOrphanFact(b, o.Provider, obligation, f, effectObligation, "settlement", evidence, now)
	return fault.Wrap(postgres.Pipeline(ctx, tx, b), "book the orphan %s", o.ObjectID)
}

// QueueReject closes a proposal without anything having been done about it.
func QueueReject(b *pgx.Batch, obligation id.ID, by string, now time.Time) {
	b.Queue(dropProposal, obligation, by, now)
}

// queueOrphanFact records a fact that was not known of an orphan, and what it moved.
func (s *Service) queueOrphanFact(b *pgx.Batch, from string, obligation id.ID, f provider.Fact, effect, source string, evidence id.ID, now time.Time) {
	b.Queue(insertOrphan, from, f.ObjectID, f.State, f.Kind, f.Rank(), f.Amount.Minor, f.Amount.Currency, effect, source, evidence, f.OccurredAt, now)
	p := ledger.Posting{
		ID: s.NewID(), SubjectID: obligation, Provider: from, Currency: f.Amount.Currency, ObjectID: f.ObjectID,
		Reference: "orphan/" + from + "/" + f.ObjectID + "/" + string(f.State), At: now,
	}
	switch {
	case f.Kind == provider.KindCapture && f.State == provider.StateSucceeded:
		p.Kind = ledger.Obligation
	case f.Kind == provider.KindCapture || f.State == provider.StateSucceeded:
		p.Kind = ledger.ObligationRefund // a capture that failed is back with its payer too
	default:
		p.Kind = ledger.ObligationRefundFailed
	}
	p.Entries = ledger.Entries(p.Kind, f.Amount.Minor)
	ledger.Queue(b, p)
}

// dischargeOrphan refunds an orphan by the same rules as Discharge: it looks first, and
// what it sends is written down before. The object may bear no id of ours, or the one of
// a payment that there is not: what is somebody's is not an orphan.
func (s *Service) dischargeOrphan(ctx context.Context, o *openObligation, adapter provider.Adapter) error {
	found := adapter.Find(ctx, provider.Query{Account: o.Account, Reference: o.Reference, PaymentID: o.EchoedPayment, Since: o.OpenedAt})
	left, err := s.orphanBy(ctx, o, "lookup", "", provider.Result{Outcome: provider.Unknown, Facts: found.Facts, Evidence: found.Evidence})
	if err != nil || !left.open || !found.Complete || left.moving || left.amount <= 0 {
		return err
	}
	call, err := s.orphanCall(ctx, o, left.amount, adapter.Capabilities())
	if err != nil {
		return err
	}
	_, err = s.orphanBy(ctx, o, "call", call.Attempt().Key, adapter.Execute(ctx, call))
	return err
}

func (s *Service) orphanCall(ctx context.Context, o *openObligation, amount int64, caps provider.Capabilities) (provider.Call, error) {
	if o.Attempt > 0 {
		last := provider.NewAttempt(o.ID, o.Attempt, *o.Request, *o.SentAt)
		if call, ok := provider.Replay(last, caps, s.Now()); ok {
			return call, nil
		}
	}
	bears := o.EchoedPayment
	if bears.IsZero() {
		bears = o.ID // what is sent bears a payment's id, and there is none: see Request.Orphan
	}
	next := provider.NewAttempt(o.ID, o.Attempt+1, provider.Request{
		Step: o.Kind, Account: o.Account, PaymentID: bears, ObligationID: o.ID, Reference: o.Reference,
		Amount: money.New(amount, o.Currency),
	}, s.Now())
	if _, err := s.Pool.Exec(ctx, attemptObligation, o.ID, next.Number, next.Request, next.SentAt); err != nil {
		return provider.Call{}, fault.Wrap(err, "write the attempt of obligation %s down", o.ID)
	}
	return provider.FirstCall(next)
}

const (
	lockObligation    = `SELECT state = 'open' FROM obligations WHERE id = $1 FOR NO KEY UPDATE`
	selectOrphanFacts = `
		SELECT provider, object_id, state, kind, rank, amount_minor, occurred_at FROM provider_facts
		WHERE provider = $1 AND object_id = ANY ($2) AND transaction_id IS NULL ORDER BY rank`
	finishOrphan = `UPDATE obligations SET state = 'done', closed_at = $2, proof_id = $3, due_at = NULL WHERE id = $1 AND state = 'open'`
)

// orphanBy records what a look-up or call showed of an orphan, and says what is left.
func (s *Service) orphanBy(ctx context.Context, o *openObligation, source, key string, res provider.Result) (left remains, err error) {
	operation := source
	if source == "call" {
		operation = string(o.Kind)
	}
	objects := make([]string, 0, len(res.Facts))
	for _, f := range res.Facts {
		objects = append(objects, f.ObjectID)
	}
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		var open bool
		if err := tx.QueryRow(ctx, lockObligation, o.ID).Scan(&open); err != nil || !open {
			return err
		}
		rows, err := tx.Query(ctx, selectOrphanFacts, o.Provider, objects)
		if err != nil {
			return err
		}
		old, err := pgx.CollectRows(rows, pgx.RowToStructByName[knownFact])
		if err != nil {
			return err
		}
		b, now := &pgx.Batch{}, s.Now()
		evidence := s.queueResponse(b, &Payment{}, response{provider: o.Provider, obligation: o.ID, key: key, operation: operation, result: res}, now)
		d := &dossier{Payment: &Payment{}, known: old, now: now}
		for _, f := range res.Facts {
			left.moving = left.moving || f.Kind == provider.KindRefund && (f.State == provider.StatePending || f.State == provider.StateRequiresAction)
			if f.Kind == provider.KindAuthorization || d.recall(f, o.Provider) != "" {
				continue
			}
			if f.Kind == provider.KindCapture && f.State == provider.StateSucceeded {
				continue // another charge of the object: what was approved is known since
			}
			if d.moves(f, o.Provider) {
				s.queueOrphanFact(b, o.Provider, o.ID, f, effectApplied, source, evidence, now)
			}
			d.known = append(d.known, d.knownAs(f, o.Provider))
		}
		left.amount = d.held(o.Provider, nil)
		left.open = !d.fulfilled(o)
		if !left.open {
			b.Queue(finishOrphan, o.ID, now, evidence)
		} else {
			b.Queue(`UPDATE obligations SET due_at = $2 WHERE id = $1 AND state = 'open'`, o.ID, now.Add(max(saga.Backoff(o.Tries), res.RetryAfter)))
		}
		return postgres.Pipeline(ctx, tx, b)
	})
	return left, fault.Wrap(err, "discharge obligation %s", o.ID)
}

// moves reports whether a fact about an orphan moved money: it came, or what had come or
// gone went back.
func (d *dossier) moves(f provider.Fact, from string) bool {
	switch f.State {
	case provider.StateSucceeded:
		return f.Kind == provider.KindCapture || f.Kind == provider.KindRefund
	case provider.StateFailed, provider.StateCanceled:
		return d.counted(f, from)
	}
	return false
}
