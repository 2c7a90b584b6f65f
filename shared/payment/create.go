package payment

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// Create makes a payment and authorizes it, and captures it too when its capture
// method is automatic.
//
// The answer is 201 with the payment once the provider decided (a decline is a
// decision: status FAILED), 202 while that is open, and 503 with the provider's own code
// (STRIPE_UNAVAILABLE) when the request provably did not leave.
func (s *Service) Create(ctx context.Context, c Caller, req idempotency.Request, in CreateParams) (idempotency.Answer, error) {
	currency, route, err := s.check(ctx, c, &in)
	if err != nil {
		return s.repeatOr(ctx, req, err)
	}
	now := s.Now()
	p := s.newPayment(c, in, currency, route, now)
	ctx, leave, err := s.enter(ctx, p.Provider)
	if err != nil {
		return s.repeatOr(ctx, req, err)
	}
	defer leave()
	w := s.begin(p, provider.Authorize, p.AmountMinor, id.ID{}, c.actor(ctx), now)
	d := s.newDossier(p)
	d.now = now

	b := &pgx.Batch{}
	idempotency.QueueClaim(b, req, w.saga.ID, p.ID, id.ID{}, now)
	queueInsertPayment(b, p)
	queueStart(b, w)
	ledger.QueueSchedules(b, p.MerchantID, p.Currency, now, &d.schedules)
	d.audit(b, Source{Actor: w.actor}, auditRow{object: "payment", objectID: p.ID, version: &p.Version, action: "create", delta: delta(nil, p)})
	s.at(ctx, PointClaiming)
	if err := postgres.Pipeline(ctx, s.Pool, b); err != nil {
		return s.claimFailed(ctx, req, err, in.MerchantReference)
	}
	s.at(ctx, PointClaimed)
	d.before()
	s.Metrics.Routed(ctx, p.Provider, route.Reason)
	return s.send(ctx, w, d)
}

// repeatOr refuses a request that can't be taken now, unless it is a repeat: what was done
// at its first coming stands, whoever could take it today.
func (s *Service) repeatOr(ctx context.Context, req idempotency.Request, refusal error) (idempotency.Answer, error) {
	if rec, err := idempotency.Find(ctx, s.Pool, req); err == nil && rec != nil {
		return s.repeat(ctx, rec)
	}
	return idempotency.Answer{}, refusal
}

// enter takes a place for the calls to a provider before anything is claimed, so that
// nothing is claimed that can't be tried.
func (s *Service) enter(ctx context.Context, name string) (inside context.Context, leave func(), err error) {
	g, gated := s.Providers[name].(provider.Gate)
	if !gated {
		return ctx, func() {}, nil
	}
	inside, leave, ok := g.Enter(ctx)
	if ok {
		return inside, leave, nil
	}
	f := fault.New(fault.ProviderBusy, "Too many requests to %s are under way here. Nothing was changed. Send the request again after Retry-After seconds.", name)
	f.Retry = time.Second
	return ctx, func() {}, f
}

// begin makes the saga of an operation, leased to this worker, with its first attempt.
func (s *Service) begin(p *Payment, step provider.Step, amount int64, refund id.ID, by Actor, now time.Time) work {
	until := now.Add(saga.Lease)
	sg := &saga.Saga{
		ID: s.NewID(), TransactionID: p.ID, MerchantID: p.MerchantID, RefundID: refund, Kind: step, State: saga.Leased,
		Provider: p.Provider, AmountMinor: amount, LeaseToken: s.NewID(), LeaseUntil: &until,
		RequestID: by.RequestID, CreatedAt: now,
	}
	r := provider.Request{
		Step: step, Account: p.ProviderAccount, MerchantID: p.MerchantID, PaymentID: p.ID, RefundID: refund,
		Reference: p.Reference(), Amount: p.Money(amount),
	}
	if step == provider.Authorize {
		r.AutoCapture = p.CaptureMethod == Automatic
		personal := deref(p.Personal)
		r.PaymentMethod, r.ReturnURL, r.Description = p.PaymentMethod, personal.ReturnURL, personal.Description
	}
	return work{
		saga: sg, token: sg.LeaseToken, provider: sg.Provider, attempt: provider.NewAttempt(sg.ID, 1, r, now), first: true,
		source: "call", actor: by,
	}
}

func queueStart(b *pgx.Batch, w work) {
	saga.QueueStart(b, w.saga)
	saga.QueueAttempt(b, w.saga.Provider, w.attempt)
}

// send makes the first call of a claimed operation and records what it yields.
func (s *Service) send(ctx context.Context, w work, known *dossier) (idempotency.Answer, error) {
	call, err := provider.FirstCall(w.attempt)
	if err != nil {
		return idempotency.Answer{}, fault.Wrap(err, "call the provider")
	}
	return s.conduct(ctx, w, s.execute(ctx, w, call), known)
}

// claimFailed answers a request whose claim the database refused: a repeat of an
// earlier request gets that one's answer.
func (s *Service) claimFailed(ctx context.Context, req idempotency.Request, claim error, reference string) (idempotency.Answer, error) {
	switch {
	case idempotency.Taken(claim):
		rec, err := idempotency.Find(ctx, s.Pool, req)
		if err != nil {
			return idempotency.Answer{}, err
		}
		if rec == nil {
			return idempotency.Answer{}, fault.Wrap(claim, "the key is taken and gone")
		}
		return s.repeat(ctx, rec)
	case postgres.Violates(claim, "transactions_merchant_reference"):
		f := fault.New(fault.ReferenceTaken,
			"The merchant_reference %q was used for another payment, and is unique for ever. Nothing was changed. Fetch that payment, or send a new reference for a new payment.", reference)
		var existing id.ID
		const byReference = `SELECT id FROM transactions WHERE merchant_id = $1 AND merchant_reference = $2`
		if err := s.Pool.QueryRow(ctx, byReference, req.MerchantID, reference).Scan(&existing); err == nil {
			f.With("payment_id", id.Payment.External(existing))
		}
		return idempotency.Answer{}, f
	}
	return idempotency.Answer{}, fault.Wrap(claim, "claim the operation")
}

func (s *Service) newPayment(c Caller, in CreateParams, currency money.Currency, route *Route, now time.Time) *Payment {
	expires := int64(defaultExpiry / time.Second)
	if in.ExpiresIn != nil {
		expires = *in.ExpiresIn
	}
	to := route.Candidates[0]
	p := &Payment{
		ID: s.NewID(), MerchantID: c.MerchantID, Version: 1, Status: Pending, ReconciliationStatus: Synced,
		Currency: currency, AmountMinor: in.Amount, CaptureMethod: CaptureMethod(in.CaptureMethod),
		PaymentMethod: to.PaymentMethod, Provider: to.Provider, ProviderAccount: to.Account, Route: route,
		MerchantReference: optional(in.MerchantReference), ExpiresAt: now.Add(time.Duration(expires) * time.Second),
		CreatedAt: now, UpdatedAt: now,
	}
	p.PersonalDataID, p.Personal = PersonalData{Description: in.Description, Metadata: in.Metadata, ReturnURL: in.ReturnURL}.keep(s.NewID)
	return p
}
