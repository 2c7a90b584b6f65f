package payment

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// failOver moves a payment to its next candidate, when the provider it is at provably
// was not asked, or refused for a reason that says nothing of the payer. The old attempt
// is closed and the new one opened in one transaction, so that there is never doubt
// about two. nil: the payment stays where it is.
//
// An outcome that is unknown never gets here: until it is proven, there is no other
// provider.
func (s *Service) failOver(ctx context.Context, b *pgx.Batch, d *dossier, sg *saga.Saga, w work, res provider.Result) *work {
	if sg.Kind != provider.Authorize || w.attempt.Request.Reference != "" || d.Status != Pending || w.provider != d.Provider || w.source == "lookup" || !d.now.Before(d.ExpiresAt) {
		return nil
	}
	declined := res.Outcome == provider.Declined && res.Refusal != nil && s.Providers[w.provider].Capabilities().Elsewhere[res.Refusal.Code]
	unsent := res.Outcome == provider.NotSent && w.first
	if !declined && !unsent {
		return nil
	}
	to := s.next(ctx, d.Route, declined)
	if to == nil {
		return nil
	}
	state, reason := NotSent, res.Evidence.Error
	if declined {
		state, reason = Declined, res.Refusal.Code
	}
	saga.QueueOutcome(b, w.attempt, res.Outcome, unsent, d.now)
	d.abandon(res, w.provider)
	d.Route = d.Route.leave(w.provider, state, reason, res.Reference, to.Provider)
	d.note("failover.%s", to.Provider)
	d.Provider, d.ProviderAccount, d.PaymentMethod = to.Provider, to.Account, to.PaymentMethod
	d.ProviderTransactionID, d.NextAction = nil, nil

	r := w.attempt.Request
	r.Account, r.PaymentMethod, r.Reference = to.Account, to.PaymentMethod, ""
	next := w
	next.provider, next.first, next.source, next.rule = to.Provider, true, "call", ""
	next.attempt = provider.NewAttempt(sg.ID, w.attempt.Number+1, r, d.now)
	until := d.now.Add(saga.Lease)
	sg.Provider, sg.LeaseUntil = to.Provider, &until
	next.saga = sg
	saga.QueueMove(b, sg, d.now)
	saga.QueueAttempt(b, sg.Provider, next.attempt)
	return &next
}

// requestTime is how long a request may have taken already for the next provider to be
// called in it: each call may take its provider's whole time, and the request has 30 s.
const requestTime = 5 * time.Second

// handOver leaves the call of the next provider to a task. a is what the request gets:
// the payment as it is, pending.
func (s *Service) handOver(ctx context.Context, w work, a idempotency.Answer) (idempotency.Answer, error) {
	b, now := &pgx.Batch{}, s.Now()
	saga.QueueFence(b, w.saga.ID, w.token)
	saga.QueueOutcome(b, w.attempt, provider.NotSent, true, now)
	saga.QueueRelease(b, w.saga.ID, saga.Scheduled, now, w.saga.Tries, now)
	if err := postgres.Pipeline(context.WithoutCancel(ctx), s.Pool, b); saga.LeaseLost(err) {
		return a, nil // another worker has it
	} else if err != nil {
		return idempotency.Answer{}, fault.Wrap(err, "leave the next provider to a task")
	}
	a.After = s.after(w.saga.TransactionID, &wake{
		body: Wake{SagaID: w.saga.ID, Try: w.saga.Tries}, provider: w.provider, tries: w.saga.Tries, at: now,
	})
	return a, nil
}

// abandon records what a provider says that the payment leaves, and has the object that
// it made let go of, so that nobody can bring it to life later.
func (d *dossier) abandon(res provider.Result, from string) {
	for _, f := range res.Facts {
		if d.recall(f, from) == "" {
			d.record(f, from, id.ID{}, effectFailedOver)
		}
	}
	if res.Reference != "" {
		d.oblige(obligation{provider: from, kind: provider.Void, reference: res.Reference, reason: "declined_before_failover"})
	}
}
