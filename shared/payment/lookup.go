package payment

import (
	"context"
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// found is what a look-up told of a saga: whether it is decided, whether all there
// is was seen, whether nothing of this very step was among it, and whether the payer has
// approved what is now to be authorized.
type found struct {
	decided, complete, absent, approved bool
	evidence                            provider.Evidence
}

// lookUp asks the provider for the present state of the payment's objects, applies
// what it shows, and gives the lease back.
func (s *Service) lookUp(ctx context.Context, w work) (found, error) {
	p, err := find(ctx, s.Pool, selectPayment, w.saga.TransactionID, id.ID{})
	if err != nil {
		return found{}, err
	}
	f := s.Providers[w.provider].Find(ctx, provider.Query{
		Account: w.attempt.Request.Account, PaymentID: p.ID, Reference: p.referenceAt(w.provider), Since: p.CreatedAt, Until: s.lastEffect(w),
	})
	w.source = "lookup"
	if w.doubted() {
		w.rule = RuleLookup
	}
	res := provider.Result{Outcome: shown(f.Facts, w), Facts: f.Facts, Evidence: f.Evidence}
	if _, replayable := provider.Replay(w.attempt, s.capabilities(w), s.Now()); replayable && w.doubted() && !page(p, f.Facts) && res.Outcome == provider.RequiresAction {
		res.Outcome = provider.Unknown // the object waits for a payer whom only the reply can tell where to go
	}
	if err := s.finishWork(ctx, w, res); err != nil {
		return found{}, err
	}
	after, err := saga.Find(ctx, s.Pool, w.saga.ID)
	if err != nil || after == nil {
		return found{}, err
	}
	waits := after.Open() && w.saga.Kind == provider.Authorize && s.capabilities(w).PayerFirst && approvedByPayer(f.Facts)
	return found{
		decided: !after.Open(), complete: f.Complete, evidence: f.Evidence,
		absent:   !undecidedObject(f.Facts, w.attempt.Request) || waits && w.completing(),
		approved: waits && !w.completing(),
	}, nil
}

// doubted reports whether nobody knew, before the lease was taken, what became of the
// attempt.
func (w work) doubted() bool { return w.was == saga.Unknown || w.was == saga.Leased }

// completing reports whether the attempt in doubt is one that was to authorize an approved
// object. That the object is approved shows nothing of it.
func (w work) completing() bool {
	return w.doubted() && w.attempt.Request.Step == provider.Authorize && w.attempt.Request.Reference != ""
}

// page reports whether anybody knows where the payer is to act.
func page(p *Payment, facts []provider.Fact) bool {
	return p.NextAction != nil || slices.ContainsFunc(facts, func(f provider.Fact) bool { return f.NextAction != nil })
}

func (s *Service) capabilities(w work) provider.Capabilities {
	return s.Providers[w.provider].Capabilities()
}

// lastEffect is when the attempt can last have made anything at the provider: objects
// made later are not its.
func (s *Service) lastEffect(w work) time.Time {
	end := provider.WindowEnd(w.attempt, s.capabilities(w)).Add(windowSlack)
	if now := s.Now(); now.Before(end) {
		return now
	}
	return end
}

// shown is where a look-up shows the operation to stand, if it is not decided. What
// was pending stays so when nothing is shown.
func shown(facts []provider.Fact, w work) provider.Outcome {
	for _, f := range facts {
		mine := w.saga.Kind == provider.Authorize && f.Kind == provider.KindAuthorization ||
			w.saga.Kind == provider.Refund && f.Kind == provider.KindRefund && f.RefundID == w.saga.RefundID
		switch {
		case mine && f.State == provider.StateRequiresAction:
			return provider.RequiresAction
		case mine && (f.State == provider.StatePending || f.State == provider.StateApproved && !w.completing()):
			return provider.Pending
		}
	}
	switch w.was {
	case saga.AwaitingPayer:
		return provider.RequiresAction
	case saga.AwaitingProvider:
		return provider.Pending
	}
	return provider.Unknown
}

// undecidedObject reports whether the look-up found an object of this very step
// that has not come to an end: then there is nothing absent, only unfinished.
func undecidedObject(facts []provider.Fact, r provider.Request) bool {
	for _, f := range facts {
		switch r.Step {
		case provider.Authorize:
			if f.Kind == provider.KindAuthorization {
				return true
			}
		case provider.Refund:
			if f.Kind == provider.KindRefund && f.RefundID == r.RefundID {
				return true
			}
		}
	}
	return false
}
