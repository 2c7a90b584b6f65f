package payment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// ApplyEvent merges a provider's webhook event into the payment it names, and says
// what came of each fact. An event that is only a hint is looked up first, and what that
// shows is merged. It returns not_found when no such payment is known (yet), and
// temporarily_unavailable when the provider does not confirm a hint now.
func (s *Service) ApplyEvent(ctx context.Context, providerName string, e provider.Event, evidence id.ID) (effect string, err error) {
	payment := e.PaymentID
	if payment.IsZero() {
		if payment, err = s.byReference(ctx, providerName, e.Reference); err != nil {
			return "", err
		}
	}
	if e.LookUp {
		if e.Facts, evidence, err = s.confirm(ctx, providerName, payment, e); err != nil {
			return "", err
		}
	}
	var effects []string
	var d *dossier
	var next *wake
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) (err error) {
		effects, next = nil, nil
		if d, err = s.load(ctx, tx, payment, id.ID{}, id.ID{}); err != nil {
			return err
		}
		if d.Provider != providerName && d.Route.at(providerName) == nil {
			return fault.New(fault.Internal, "%s sent event %s about payment %s, which is at %s", providerName, e.ID, payment, d.Provider)
		}
		for _, f := range e.Facts {
			if s.goesOn(d, f, providerName) {
				effects = append(effects, fmt.Sprintf("%s.%s: left to its worker", f.Kind, f.State))
				continue
			}
			effect, err := d.apply(f, providerName)
			if err != nil {
				return err
			}
			effects = append(effects, fmt.Sprintf("%s.%s: %s", f.Kind, f.State, effect))
		}
		d.settle()
		b := &pgx.Batch{}
		next = s.payerCameBack(b, d, e.Facts, providerName)
		d.write(b, Source{
			Name: "webhook", Rule: RuleWebhook, Evidence: evidence,
			Actor: Actor{Name: "provider:" + e.ID, RequestID: s.self(ctx).RequestID},
		})
		return postgres.Pipeline(ctx, tx, b)
	})
	if err != nil {
		return "", err
	}
	s.at(ctx, PointRecorded)
	s.measure(ctx, d, RuleWebhook)
	s.after(payment, next)(ctx)
	return strings.Join(effects, "; "), nil
}

// goesOn reports whether the fact is a decline after which the worker that is calling the
// provider now takes the payment to another. Recording it is theirs: an event that is
// quicker than the reply must not make the payment FAILED.
func (s *Service) goesOn(d *dossier, f provider.Fact, from string) bool {
	if f.Kind != provider.KindAuthorization || f.State != provider.StateFailed || f.Refusal == nil || d.sentToPayer(f) {
		return false
	}
	sg := d.exclusive()
	calling := sg != nil && sg.Kind == provider.Authorize && sg.State == saga.Leased && sg.Provider == from
	return calling && d.Status == Pending && d.now.Before(d.ExpiresAt) && d.Route.waits() &&
		s.Providers[from] != nil && s.Providers[from].Capabilities().Elsewhere[f.Refusal.Code]
}

// sentToPayer reports whether the object of the fact is known to have required the payer's
// action: the call that made it is over.
func (d *dossier) sentToPayer(f provider.Fact) bool {
	return slices.ContainsFunc(d.known, func(k knownFact) bool {
		return k.ObjectID == f.ObjectID && k.Kind == f.Kind && k.State == provider.StateRequiresAction
	})
}

// confirm asks the provider what a hint is about, and keeps what it answers.
func (s *Service) confirm(ctx context.Context, name string, payment id.ID, e provider.Event) ([]provider.Fact, id.ID, error) {
	p, err := find(ctx, s.Pool, selectPayment, payment, id.ID{})
	if err != nil {
		return nil, id.ID{}, err
	}
	if s.Providers[name] == nil {
		return nil, id.ID{}, fault.New(fault.Internal, "event %s is of the provider %q, which is not configured", e.ID, name)
	}
	reference := p.referenceAt(name)
	if reference == "" {
		reference = e.Reference
	}
	found := s.Providers[name].Find(ctx, provider.Query{
		Account: p.accountAt(name), PaymentID: p.ID, Reference: reference, Since: p.CreatedAt,
	})
	if !found.Complete {
		return nil, id.ID{}, fault.New(fault.Unavailable, "%s does not confirm event %s now: %s", name, e.ID, found.Evidence.Error)
	}
	b := &pgx.Batch{}
	evidence := s.queueResponse(b, p, response{
		provider: name, operation: "lookup", result: provider.Result{Outcome: provider.Unknown, Facts: found.Facts, Evidence: found.Evidence},
	}, s.Now())
	return found.Facts, evidence, fault.Wrap(postgres.Pipeline(ctx, s.Pool, b), "keep what the provider confirmed")
}

// payerCameBack makes an authorize that waits for its payer due at once when the payer is
// seen to have approved: the rest is ours to do.
func (s *Service) payerCameBack(b *pgx.Batch, d *dossier, facts []provider.Fact, from string) *wake {
	sg := d.exclusive()
	if sg == nil || sg.Kind != provider.Authorize || sg.State != saga.AwaitingPayer || sg.Provider != from || !approvedByPayer(facts) {
		return nil
	}
	saga.QueueRelease(b, sg.ID, saga.AwaitingProvider, d.now, 0, d.now)
	sg.State = saga.AwaitingProvider
	return &wake{body: Wake{SagaID: sg.ID}, provider: sg.Provider, at: d.now}
}

// approvedByPayer reports whether facts show that the payer has done their part.
func approvedByPayer(facts []provider.Fact) bool {
	return slices.ContainsFunc(facts, func(f provider.Fact) bool {
		return f.Kind == provider.KindAuthorization && f.State == provider.StateApproved
	})
}

// approved reports whether the payer is known to have approved at the payment's provider.
func (d *dossier) approved() bool {
	return slices.ContainsFunc(d.known, func(k knownFact) bool {
		return k.Provider == d.Provider && k.Kind == provider.KindAuthorization && k.State == provider.StateApproved
	})
}

// A payment that has left a provider is known there by the facts of its object.
const byReference = `
	SELECT id FROM transactions WHERE provider_transaction_id = $2 AND provider = $1
	UNION SELECT transaction_id FROM provider_facts WHERE provider = $1 AND object_id = $2 AND transaction_id IS NOT NULL`

func (s *Service) byReference(ctx context.Context, providerName, reference string) (id.ID, error) {
	var payment id.ID
	rows, err := s.Pool.Query(ctx, byReference, providerName, reference)
	if err != nil {
		return payment, fault.Wrap(err, "find the payment by its provider's id")
	}
	payments, err := pgx.CollectRows(rows, pgx.RowTo[id.ID])
	if err != nil {
		return payment, fault.Wrap(err, "find the payment by its provider's id")
	}
	if len(payments) != 1 {
		return payment, errNoPayment()
	}
	return payments[0], nil
}
