package payment

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// askProvider looks what has become of what is pending, and goes on where the payer has
// done their part and the rest is ours. An object that the provider has forgotten, as it
// does with what was approved and not authorized in time, is given up like one whose
// payer stayed away.
func (s *Service) askProvider(ctx context.Context, w work) error {
	f, err := s.lookUp(ctx, w)
	switch {
	case err != nil || f.decided:
		return err
	case f.approved:
		return s.authorizeApproved(ctx, w)
	case !f.complete:
		return s.unheard(ctx, w)
	case w.saga.Kind != provider.Authorize || !f.absent || s.Now().Before(w.asked().Add(payerPatience)):
		return nil
	}
	return s.giveUp(ctx, w)
}

// authorizeApproved authorizes a payment object that its payer has approved, under a new
// attempt that names it. The object is authorized once, whatever the key.
func (s *Service) authorizeApproved(ctx context.Context, w work) error {
	return s.again(ctx, w, "", func(r *provider.Request, p *Payment) { r.Reference = p.Reference() })
}

// payerPatience is how long a payer may take to authenticate. After it the payment is
// cancelled at the provider, so that it can't come to life weeks later.
const payerPatience = 24 * time.Hour

// asked is when the payer was, at the latest, asked to act.
func (w work) asked() time.Time {
	if w.attempt.Request.Reference == "" {
		return w.attempt.SentAt
	}
	return w.saga.CreatedAt
}

// askAboutPayer looks whether the payer has come back, and gives up after payerPatience.
func (s *Service) askAboutPayer(ctx context.Context, w work) error {
	f, err := s.lookUp(ctx, w)
	switch {
	case err != nil || f.decided:
		return err
	case !f.complete:
		return s.unheard(ctx, w)
	case f.approved:
		return s.authorizeApproved(ctx, w)
	case s.Now().Before(w.asked().Add(payerPatience)):
		return nil
	}
	return s.giveUp(ctx, w)
}

// giveUp cancels, at the provider, a payment that its payer has abandoned. It does nothing
// when anything has happened since that was found: what is under way may not be voided.
func (s *Service) giveUp(ctx context.Context, w work) error {
	var void *work
	err := postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		void = nil
		d, err := s.load(ctx, tx, w.saga.TransactionID, id.ID{}, id.ID{})
		if err != nil {
			return err
		}
		attempts, err := saga.Attempts(ctx, tx, w.saga.ID)
		if err != nil {
			return err
		}
		sg := d.exclusive()
		if sg == nil || sg.ID != w.saga.ID || !w.asLeft(sg) || len(attempts) == 0 || attempts[len(attempts)-1].Number != w.attempt.Number {
			return nil
		}
		d.close(sg, "abandoned", nil)
		next := s.begin(d.Payment, provider.Void, d.AuthorizedMinor, id.ID{}, w.actor, d.now)
		b := &pgx.Batch{}
		s.intend(b, d, next, map[string]any{"reason": "the payer did not come back"})
		d.write(b, Source{Name: "expiry", Actor: w.actor})
		queueStart(b, next)
		void = &next
		return postgres.Pipeline(ctx, tx, b)
	})
	if err != nil || void == nil {
		return fault.Wrap(err, "give up waiting for the payer")
	}
	call, err := provider.FirstCall(void.attempt)
	if err != nil {
		return fault.Wrap(err, "cancel what the payer abandoned")
	}
	return s.finishWork(ctx, *void, s.execute(ctx, *void, call))
}

// asLeft reports whether a saga stands as a look-up that shows nothing new leaves it, or is
// held by this worker still.
func (w work) asLeft(sg *saga.Saga) bool {
	switch {
	case sg.State == saga.Leased:
		return sg.LeaseToken == w.token
	case w.was == saga.Leased:
		return sg.State == saga.Unknown
	}
	return sg.State == w.was
}
