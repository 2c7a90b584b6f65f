package payment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
)

// Comparison is what came of holding a payment against its provider.
type Comparison string

// The comparisons.
const (
	Agrees     Comparison = "agrees"     // the provider shows what is known already
	Followed   Comparison = "followed"   // it showed more, and the payment has followed
	Disagrees  Comparison = "disagrees"  // it does not show what is held to be so: for a human
	Leased     Comparison = "leased"     // a worker is at it; nothing was asked, or nothing made of the answer
	Moving     Comparison = "moving"     // it changed while it was asked about
	Unanswered Comparison = "unanswered" // the provider did not show all there is
	Elsewhere  Comparison = "elsewhere"  // it is not at that provider, or in another account of it
)

// Answered reports whether the provider has shown all there is of the payment.
func (c Comparison) Answered() bool {
	return c == Agrees || c == Followed || c == Disagrees || c == Elsewhere
}

// Compared is a Comparison with what it rests on.
type Compared struct {
	Comparison Comparison
	Evidence   id.ID // the provider response that is kept; zero when it showed nothing new
	Status     int   // the HTTP status of the provider's answer, 0 if none came
	Asked      bool  // the provider was asked
	Why        string
}

// Reconcile asks the payment's provider how it stands, strongly consistently, and has
// the payment follow where the state machine allows; else it is marked MANUAL_REVIEW. A
// payment under a live lease is left alone. Nothing but the provider's facts moves it: by
// an incomplete answer, or by the absence of one, nothing is concluded.
//
// It returns not_found for a payment that there is not, and errors only for trouble of
// our own.
func (s *Service) Reconcile(ctx context.Context, payment id.ID) (Compared, error) {
	return s.ReconcileAt(ctx, payment, "")
}

// ReconcileAt is Reconcile at a provider that the payment may have left; "" is the one
// where it is.
func (s *Service) ReconcileAt(ctx context.Context, payment id.ID, name string) (Compared, error) {
	p, err := find(ctx, s.Pool, selectPayment, payment, id.ID{})
	if err != nil {
		return Compared{}, err
	}
	if name == "" {
		name = p.Provider
	}
	adapter := s.Providers[name]
	if adapter == nil {
		return Compared{}, fault.New(fault.Internal, "payment %s is held against the provider %q, which is not configured", p.ID, name)
	}
	if name != p.Provider && p.Route.at(name) == nil || p.accountAt(name) != adapter.Account() {
		return Compared{Comparison: Elsewhere}, nil
	}
	before, err := s.knownOf(ctx, s.Pool, payment)
	if err != nil || before.leased {
		return Compared{Comparison: Leased}, err
	}
	until, err := s.lastMade(ctx, p, adapter)
	if err != nil {
		return Compared{}, err
	}
	found := adapter.Find(ctx, provider.Query{
		Account: p.accountAt(name), PaymentID: p.ID, Reference: p.referenceAt(name), Since: p.CreatedAt, Until: until,
	})
	c, err := s.compare(context.WithoutCancel(ctx), payment, name, before, found)
	c.Asked, c.Status = true, found.Evidence.Status
	if c.Why == "" {
		c.Why = found.Evidence.Error
	}
	return c, fault.Wrap(err, "hold payment %s against %s", payment, name)
}

const selectLastSent = `
	SELECT max(a.sent_at) FROM transaction_saga s JOIN saga_attempts a ON a.saga_id = s.id
	WHERE s.transaction_id = $1 AND a.provider = $2 AND a.step = 'authorize'`

// lastMade is when the payment's object can last have been made at a provider; zero when
// that is not over yet. A listing for want of a reference ends there: without an end it
// grows with all that was made since, until no look-up is complete any more.
func (s *Service) lastMade(ctx context.Context, p *Payment, adapter provider.Adapter) (end time.Time, err error) {
	var sent *time.Time
	if err := s.Pool.QueryRow(ctx, selectLastSent, p.ID, adapter.Name()).Scan(&sent); err != nil || sent == nil {
		return time.Time{}, fault.Wrap(err, "read when payment %s was last asked for", p.ID)
	}
	end = sent.Add(adapter.Capabilities().KeyWindow[provider.Authorize] + windowSlack)
	if s.Now().Before(end) {
		return time.Time{}, nil
	}
	return end, nil
}

// known is how far a payment was known before the provider was asked: what was recorded
// meanwhile its answer may lack.
type known struct {
	version, facts int64
	leased         bool
}

const selectKnown = `
	SELECT t.version, (SELECT count(*) FROM provider_facts f WHERE f.transaction_id = t.id),
		EXISTS (SELECT 1 FROM transaction_saga s WHERE s.transaction_id = t.id AND s.state = 'leased' AND s.lease_until > $2)
	FROM transactions t WHERE t.id = $1`

func (s *Service) knownOf(ctx context.Context, db postgres.DB, payment id.ID) (k known, err error) {
	err = db.QueryRow(ctx, selectKnown, payment, s.Now()).Scan(&k.version, &k.facts, &k.leased)
	return k, fault.Wrap(err, "read how far payment %s is known", payment)
}

// compare applies what a look-up showed, and judges whether the payment agrees with it.
func (s *Service) compare(ctx context.Context, payment id.ID, name string, before known, found provider.Finding) (c Compared, err error) {
	var d *dossier
	var next *wake
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		c, next = Compared{Comparison: Agrees}, nil
		if d, err = s.load(ctx, tx, payment, id.ID{}, id.ID{}); err != nil {
			return err
		}
		if d.worked() {
			c.Comparison = Leased
			return nil
		}
		now, err := s.knownOf(ctx, tx, payment)
		if err != nil {
			return err
		}
		for _, f := range found.Facts {
			if _, err := d.apply(f, name); err != nil {
				return err
			}
		}
		d.settle()
		switch {
		case !found.Complete:
			c.Comparison = Unanswered
		case now != before:
			c.Comparison = Moving
		default:
			c.Comparison, c.Why = d.agree(name, found.Facts)
		}
		if len(d.facts) == 0 && len(delta(d.oldPayment, d.Payment)) == 0 {
			return nil // a check that shows nothing new leaves nothing behind
		}
		b := &pgx.Batch{}
		c.Evidence = s.queueResponse(b, d.Payment, response{
			provider: name, operation: "lookup", result: provider.Result{Outcome: provider.Unknown, Facts: found.Facts, Evidence: found.Evidence},
		}, d.now)
		next = s.payerCameBack(b, d, found.Facts, name)
		d.write(b, Source{Name: "lookup", Evidence: c.Evidence, Actor: s.self(ctx)})
		return postgres.Pipeline(ctx, tx, b)
	})
	if err != nil || c.Evidence.IsZero() {
		return c, err
	}
	s.at(ctx, PointRecorded)
	s.measure(ctx, d, "")
	s.after(payment, next)(ctx)
	return c, nil
}

// worked reports whether a worker holds an operation on the payment.
func (d *dossier) worked() bool {
	for _, s := range d.open() {
		if s.Live(d.now) {
			return true
		}
	}
	return false
}

// agree says whether all that is held to be so of the payment's money is shown by a
// complete look-up, and keeps reconciliation_status by it.
func (d *dossier) agree(at string, shown []provider.Fact) (c Comparison, why string) {
	if wrong := d.contradictions(at, shown); len(wrong) > 0 {
		if d.ReconciliationStatus != ManualReview {
			d.ReconciliationStatus = ManualReview
			d.note("contradicted")
		}
		return Disagrees, strings.Join(wrong, "; ")
	}
	if d.ReconciliationStatus == PendingReconciliation {
		d.ReconciliationStatus = Synced
		d.note("reconciled")
	}
	if len(d.facts) > 0 {
		return Followed, ""
	}
	return Agrees, ""
}

// contradictions lists what is known of the provider's objects and is not so by what it
// shows now. Disputes are not held against it: not every provider shows them with the
// payment.
func (d *dossier) contradictions(at string, shown []provider.Fact) (wrong []string) {
	newest := map[string]knownFact{}
	for _, k := range d.known {
		money := k.Kind == provider.KindCapture || k.Kind == provider.KindRefund
		if k.Provider == at && money && !strings.HasPrefix(k.ObjectID, provider.AttemptObject) && k.Rank >= newest[k.ObjectID].Rank {
			newest[k.ObjectID] = k
		}
	}
	authorized := false
	for _, f := range shown {
		authorized = authorized || f.Kind == provider.KindAuthorization && f.State == provider.StateAuthorized
		k, ok := newest[f.ObjectID]
		if !ok || k.Kind != f.Kind {
			continue
		}
		delete(newest, f.ObjectID)
		switch {
		case f.Rank() < k.Rank:
			wrong = append(wrong, fmt.Sprintf("%s %s was %s, and is shown as %s", k.Kind, k.ObjectID, k.State, f.State))
		case f.Amount.Minor != k.Amount:
			wrong = append(wrong, fmt.Sprintf("%s %s was of %d, and is shown as of %d", k.Kind, k.ObjectID, k.Amount, f.Amount.Minor))
		}
	}
	for _, k := range d.known { // in the order in which they became known
		if n, ok := newest[k.ObjectID]; ok && n == k && k.State == provider.StateSucceeded {
			wrong = append(wrong, fmt.Sprintf("%s %s of %d is not shown", k.Kind, k.ObjectID, k.Amount))
		}
	}
	switch {
	case d.Status == Authorized && at == d.Provider && !authorized:
		wrong = append(wrong, "no authorization is shown")
	case d.Status == Pending && len(d.open()) == 0:
		wrong = append(wrong, "it is pending, and nothing is under way")
	}
	return wrong
}

// Question marks a payment that agreed with its provider as one that is to be held
// against it anew: why says what has come up. A payment under a live lease, and one that
// a human is to look at anyway, stays as it is.
func (s *Service) Question(ctx context.Context, payment id.ID, why string) error {
	return postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := s.load(ctx, tx, payment, id.ID{}, id.ID{})
		if err != nil || d.ReconciliationStatus != Synced || d.worked() {
			return err
		}
		d.ReconciliationStatus = PendingReconciliation
		d.note("questioned.%s", why)
		b := &pgx.Batch{}
		d.write(b, Source{Name: "settlement", Actor: s.self(ctx)})
		return postgres.Pipeline(ctx, tx, b)
	})
}
