package payment

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// windowSlack is added to a key window before absence is believed: clocks differ,
// and a request may have been on its way when the window closed.
const windowSlack = 10 * time.Minute

// Resume carries on the saga of a task, if the task is the present one or the saga's
// time has come: it sends what was durably not sent, asks about what is pending, and
// resolves what is unknown. It returns nil when the saga is done, when it must wait
// longer or when another worker has it, and an error only for trouble of our own.
func (s *Service) Resume(ctx context.Context, w Wake) error {
	token := s.NewID()
	held, err := saga.TakeDue(ctx, s.Pool, w.SagaID, token, w.Try, s.Now())
	if err != nil || held == nil {
		return err
	}
	return s.resume(context.WithoutCancel(ctx), held, token, false)
}

// ResumeNow is Resume before its time, for a request that waits for the outcome.
func (s *Service) ResumeNow(ctx context.Context, sagaID id.ID) error {
	token := s.NewID()
	held, err := saga.Take(ctx, s.Pool, sagaID, token, s.Now())
	if err != nil || held == nil {
		return err
	}
	return s.resume(context.WithoutCancel(ctx), held, token, true)
}

func (s *Service) resume(ctx context.Context, held *saga.Held, token id.ID, forced bool) error {
	sagaID := held.ID
	attempts, err := saga.Attempts(ctx, s.Pool, sagaID)
	if err != nil {
		return err
	}
	if len(attempts) == 0 {
		return fault.New(fault.Internal, "saga %s has no attempt", sagaID)
	}
	if s.Providers[held.Provider] == nil {
		return fault.New(fault.Internal, "saga %s names the provider %q, which is not configured", sagaID, held.Provider)
	}
	w := work{
		saga: &held.Saga, token: token, provider: held.Provider, attempt: attempts[len(attempts)-1], forced: forced,
		was: held.Was, actor: s.self(ctx),
	}
	switch {
	case w.attempt.Unsent: // scheduled, or its worker died before it could send
		return s.sendScheduled(ctx, w)
	case held.Was == saga.AwaitingPayer:
		return s.askAboutPayer(ctx, w)
	case held.Was == saga.AwaitingProvider:
		return s.askProvider(ctx, w)
	}
	return s.resolve(ctx, w)
}

// silence is how long what waits may be waited for while its provider can't be asked, before
// a human hears of it.
const silence = 7 * 24 * time.Hour

// unheard calls a human when nothing could be learned for too long of what is waited for.
func (s *Service) unheard(ctx context.Context, w work) error {
	if s.Now().Before(w.saga.CreatedAt.Add(silence)) {
		return nil
	}
	return s.needsHuman(ctx, w)
}

// sendScheduled sends what is proven unsent, unless its time is over.
func (s *Service) sendScheduled(ctx context.Context, w work) error {
	p, err := find(ctx, s.Pool, selectPayment, w.saga.TransactionID, id.ID{})
	if err != nil {
		return err
	}
	switch approved := w.attempt.Request.Reference != ""; {
	case w.saga.Kind != provider.Authorize:
	case approved && !s.Now().Before(w.asked().Add(payerPatience)):
		return s.giveUp(ctx, w)
	case !approved && !s.Now().Before(p.ExpiresAt):
		return s.expire(ctx, w)
	}
	call, err := provider.FirstCall(w.attempt)
	if err != nil {
		return fault.Wrap(err, "send scheduled saga %s", w.saga.ID)
	}
	if err := saga.Sending(ctx, s.Pool, w.saga.ID, w.token, w.attempt.Number, s.Now()); err != nil {
		return fault.Wrap(err, "mark the attempt as being sent")
	}
	w.first, w.source = true, "call"
	if err := s.finishWork(ctx, w, s.execute(ctx, w, call)); err != nil {
		return err
	}
	return s.unheard(ctx, w)
}

// expire cancels a payment whose authorization provably never left.
func (s *Service) expire(ctx context.Context, w work) error {
	return postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := s.load(ctx, tx, w.saga.TransactionID, id.ID{}, w.saga.ID)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		saga.QueueFence(b, w.saga.ID, w.token)
		if sg := d.saga(w.saga.ID); sg != nil && sg.Open() && d.Status == Pending {
			d.fail(&provider.Refusal{Code: "expired", Message: "The provider could not be reached before expires_at; nothing was sent to it."})
			d.become(Canceled, event.PaymentCanceled)
			d.note("expired.unsent")
			d.close(sg, "expired", nil)
		}
		d.write(b, Source{Name: "expiry", Actor: w.actor})
		return postgres.Pipeline(ctx, tx, b)
	})
}

// again makes a step under a new key, by the request of the last attempt as change makes
// it. It may only be called where the provider's object allows the step once, so that it
// can't be done twice even if the old attempt is still on its way.
func (s *Service) again(ctx context.Context, w work, rule string, change func(*provider.Request, *Payment)) error {
	token := s.NewID()
	held, err := saga.Take(ctx, s.Pool, w.saga.ID, token, s.Now())
	if err != nil || held == nil {
		return err
	}
	r := w.attempt.Request
	if change != nil {
		p, err := find(ctx, s.Pool, selectPayment, w.saga.TransactionID, id.ID{})
		if err != nil {
			return err
		}
		change(&r, p)
	}
	next := provider.NewAttempt(w.saga.ID, w.attempt.Number+1, r, s.Now())
	b := &pgx.Batch{}
	saga.QueueFence(b, w.saga.ID, token)
	saga.QueueAttempt(b, w.saga.Provider, next)
	if err := postgres.Pipeline(ctx, s.Pool, b); postgres.Violates(err, "saga_attempts_pkey") {
		return nil // another worker has opened it meanwhile; when this lease ends, that one is carried on
	} else if err != nil {
		return fault.Wrap(err, "open the next attempt")
	}
	retry := work{
		saga: &held.Saga, token: token, provider: held.Provider, attempt: next, was: held.Was, source: "call", rule: rule, actor: w.actor,
	}
	var call provider.Call
	// Where nothing was in doubt, nothing that was sent before may still take effect.
	if retry.first = w.was == saga.AwaitingPayer || w.was == saga.AwaitingProvider; retry.first {
		call, err = provider.FirstCall(next)
	} else if c, ok := provider.Replay(next, s.Providers[w.saga.Provider].Capabilities(), s.Now()); ok {
		call = c
	} else {
		err = fault.New(fault.Internal, "a fresh attempt of saga %s is outside its key window", w.saga.ID)
	}
	if err != nil {
		return fault.Wrap(err, "call the provider again")
	}
	return s.finishWork(ctx, retry, s.execute(ctx, retry, call))
}

// needsHuman marks the payment of an operation that no rule can resolve any more: its
// key's window has closed, or it has waited for long, and the provider's records can't be
// read to the end. It stays as it is, and is tried again.
func (s *Service) needsHuman(ctx context.Context, w work) error {
	return postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := s.load(ctx, tx, w.saga.TransactionID, id.ID{}, id.ID{})
		if err != nil || d.ReconciliationStatus == ManualReview || d.saga(w.saga.ID) == nil || !d.saga(w.saga.ID).Open() {
			return err
		}
		d.ReconciliationStatus = ManualReview
		d.note("unresolved")
		b := &pgx.Batch{}
		d.write(b, Source{Name: "lookup", Actor: w.actor})
		return postgres.Pipeline(ctx, tx, b)
	})
}

// absent closes a saga whose attempt is proven never to have taken effect.
func (s *Service) absent(ctx context.Context, w work, proof provider.Evidence) error {
	token := s.NewID()
	held, err := saga.Take(ctx, s.Pool, w.saga.ID, token, s.Now())
	if err != nil || held == nil {
		return err
	}
	kind := provider.KindAuthorization
	if held.Kind == provider.Refund {
		kind = provider.KindRefund
	}
	w.saga, w.token, w.source, w.rule = &held.Saga, token, "lookup", RuleAbsent
	r := &provider.Refusal{Code: "not_charged", Message: "The provider never executed the request: after its idempotency window closed, its records show nothing of it."}
	return s.finishWork(ctx, w, provider.Result{Outcome: provider.Declined, Refusal: r, Evidence: proof, Facts: []provider.Fact{{
		Kind: kind, State: provider.StateFailed, ObjectID: provider.AttemptObject + w.attempt.Key, PaymentID: held.TransactionID,
		RefundID: held.RefundID, Refusal: r, OccurredAt: s.Now(),
	}}})
}

// finishWork records a result and does after it what a request does after its answer.
func (s *Service) finishWork(ctx context.Context, w work, res provider.Result) error {
	a, err := s.conduct(ctx, w, res, nil)
	if err != nil {
		return err
	}
	a.After(ctx)
	return nil
}

// keepResponse stores evidence that decides nothing yet.
func (s *Service) keepResponse(ctx context.Context, w work, res provider.Result) error {
	p := &Payment{ID: w.saga.TransactionID}
	b := &pgx.Batch{}
	s.queueResponse(b, p, response{provider: w.provider, saga: w.saga.ID, key: w.attempt.Key, operation: w.operation(), result: res}, s.Now())
	return fault.Wrap(postgres.Pipeline(ctx, s.Pool, b), "keep the provider's answer")
}
