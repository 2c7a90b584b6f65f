package payment

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// CaptureParams is how much to capture, in minor units; nil: all that is authorized.
type CaptureParams struct {
	Amount *int64
}

// RefundParams is how much to refund, in minor units; nil: all that is left.
type RefundParams struct {
	Amount *int64
	Reason string
}

// claim is what one operation on an existing payment checks and starts, under the
// payment's lock. It returns the work to do, or nil if it is done already.
type claim func(b *pgx.Batch, d *dossier, actor Actor) (*work, error)

// errBlocked says that an earlier operation's outcome must be known first.
type errBlocked struct{ saga id.ID }

func (errBlocked) Error() string { return "payment: blocked by an unknown outcome" }

// Capture takes authorized money: all of it, or a part, releasing the rest.
func (s *Service) Capture(ctx context.Context, c Caller, req idempotency.Request, payment id.ID, in CaptureParams) (idempotency.Answer, error) {
	return s.operate(ctx, c, req, payment, func(b *pgx.Batch, d *dossier, by Actor) (*work, error) {
		if err := d.unblocked(d.Status == Authorized); err != nil {
			return nil, err
		}
		if d.Status != Authorized {
			return nil, invalidState(d, "captured", "Only an AUTHORIZED payment can be captured.")
		}
		available := d.AuthorizedMinor - d.CapturedMinor
		amount := available
		if in.Amount != nil {
			amount = *in.Amount
		}
		if err := within("capture", amount, available); err != nil {
			return nil, err
		}
		caps := s.Providers[d.Provider].Capabilities()
		if amount < d.AuthorizedMinor && !caps.PartialCapture {
			return nil, fault.Invalid("amount", "%s captures all that is authorized, or nothing; leave it out", d.Provider)
		}
		if err := representable(caps, d.Money(amount)); err != nil {
			return nil, err
		}
		w := s.begin(d.Payment, provider.Capture, amount, id.ID{}, by, d.now)
		s.intend(b, d, w, map[string]any{"amount": amount})
		return &w, nil
	})
}

// Refund gives captured money back: all that is left, or a part. Refunds run side
// by side, each under its reservation.
func (s *Service) Refund(ctx context.Context, c Caller, req idempotency.Request, payment id.ID, in RefundParams) (idempotency.Answer, error) {
	var bad problems
	bad.length("reason", in.Reason, 0, maxReasonLen)
	if err := bad.fault(); err != nil {
		return idempotency.Answer{}, err
	}
	return s.operate(ctx, c, req, payment, func(b *pgx.Batch, d *dossier, by Actor) (*work, error) {
		if sg := d.exclusive(); sg != nil {
			return nil, blockedBy(sg, d.now)
		}
		if d.Status != Captured && d.Status != Settled {
			return nil, invalidState(d, "refunded", "Only a CAPTURED or SETTLED payment can be refunded.")
		}
		amount := d.Refundable()
		if in.Amount != nil {
			amount = *in.Amount
		}
		if err := within("refund", amount, d.Refundable()); err != nil {
			return nil, err
		}
		if err := representable(s.Providers[d.Provider].Capabilities(), d.Money(amount)); err != nil {
			return nil, err
		}
		r := &Refund{
			ID: s.NewID(), TransactionID: d.ID, MerchantID: d.MerchantID, Status: RefundPending, Origin: "merchant",
			Currency: d.Currency, AmountMinor: amount, CountedMinor: amount,
			Provider: d.Provider, CreatedAt: d.now,
		}
		r.PersonalDataID, r.Personal = PersonalData{Reason: in.Reason}.keep(s.NewID)
		d.refunds = append(d.refunds, r)
		d.RefundReservedMinor += amount // reserved first: what is not there can't be promised twice
		d.note("refund.reserved")
		d.announce = append(d.announce, announcement{event: event.RefundCreated, refund: r})
		w := s.begin(d.Payment, provider.Refund, amount, r.ID, by, d.now)
		w.attempt.Request.Reason = in.Reason
		return &w, nil
	})
}

// Cancel voids an authorization, or stops a payment that is still pending.
func (s *Service) Cancel(ctx context.Context, c Caller, req idempotency.Request, payment id.ID) (idempotency.Answer, error) {
	return s.operate(ctx, c, req, payment, s.claimCancel)
}

func (s *Service) claimCancel(b *pgx.Batch, d *dossier, by Actor) (*work, error) {
	if d.Status != Pending && d.Status != Authorized {
		return nil, invalidState(d, "cancelled", "Only a PENDING or AUTHORIZED payment can be cancelled; refund what was captured.")
	}
	unsent := false
	if sg := d.exclusive(); sg != nil {
		if sg.Kind == provider.Void || sg.State != saga.Scheduled && sg.State != saga.AwaitingPayer {
			return nil, blockedBy(sg, d.now)
		}
		unsent = sg.State == saga.Scheduled && sg.Kind == provider.Authorize && d.ProviderTransactionID == nil
		// Closing it fences whoever might still come for it.
		d.close(sg, "superseded", &provider.Refusal{Code: "superseded", Message: "A cancellation took its place before it was sent."})
	}
	w := s.begin(d.Payment, provider.Void, d.AuthorizedMinor, id.ID{}, by, d.now)
	if unsent {
		// Provably never sent: there is nothing at the provider to void.
		w.saga.State, w.saga.LeaseToken, w.saga.LeaseUntil = saga.Done, id.ID{}, nil
		outcome := string(provider.Approved)
		w.saga.Outcome = &outcome
		d.become(Canceled, event.PaymentCanceled)
		d.note("cancel.unsent")
	}
	s.intend(b, d, w, map[string]any{})
	return &w, nil
}

// unblocked is nil when no operation stands in the way. Where the status forbids the
// new operation anyway, only one that may yet change the status does.
func (d *dossier) unblocked(allowed bool) error {
	for _, sg := range d.open() {
		if allowed || sg.State == saga.Leased || sg.State == saga.Unknown {
			return blockedBy(sg, d.now)
		}
	}
	return nil
}

// blockedBy says what stands in the way: a worker at it now, or an outcome to be
// found out first.
func blockedBy(sg *saga.Saga, now time.Time) error {
	if unknown := sg.State == saga.Unknown || sg.State == saga.Leased && !sg.Live(now); !unknown || !sg.Exclusive() {
		f := fault.New(fault.OperationInProgress, "An operation (%s) is running on the payment. Nothing was changed. Send the request again after Retry-After seconds.", operation(sg.Kind)).
			With("operation", operation(sg.Kind))
		f.Retry = time.Second
		return f
	}
	return errBlocked{saga: sg.ID}
}

func within(what string, amount, available int64) error {
	switch {
	case amount < 1 && available > 0:
		return fault.Invalid("amount", "must be at least 1, in minor units of the payment's currency")
	case amount > available || available < 1:
		return fault.New(fault.AmountExceeds, "The %s of %d is more than the %d that are available. Nothing was changed.", what, amount, available).
			With("available_amount", available)
	}
	return nil
}

func invalidState(d *dossier, done, rule string) error {
	return fault.New(fault.InvalidState, "The payment is %s and can't be %s. %s", d.Status, done, rule).
		With("current_status", d.Status).With("payment_id", id.Payment.External(d.ID))
}

// intend writes the audit row of an intent that changes no version by itself.
func (s *Service) intend(b *pgx.Batch, d *dossier, w work, asked map[string]any) {
	queueAudit(b, s.NewID(), auditRow{
		payment: d.Payment, object: "payment", objectID: d.ID, kind: "intent",
		action: operation(w.saga.Kind), delta: asked,
	}, w.actor, d.now)
}

// operate claims and performs one operation on an existing payment. When an earlier
// operation's outcome is unknown, it tries once to find it out, and then again.
func (s *Service) operate(ctx context.Context, c Caller, req idempotency.Request, payment id.ID, start claim) (idempotency.Answer, error) {
	a, err := s.tryOperate(ctx, c, req, payment, start)
	blocked, ok := err.(errBlocked)
	if !ok {
		return a, err
	}
	if err := s.ResumeNow(ctx, blocked.saga); err != nil {
		return idempotency.Answer{}, err
	}
	a, err = s.tryOperate(ctx, c, req, payment, start)
	if _, ok := err.(errBlocked); ok {
		f := fault.New(fault.OutcomeUnknown, "The outcome of an earlier operation on the payment is not known yet. Nothing was changed. Send the request again after Retry-After seconds.")
		f.Retry = 5 * time.Second
		return idempotency.Answer{}, f
	}
	return a, err
}

func (s *Service) tryOperate(ctx context.Context, c Caller, req idempotency.Request, payment id.ID, start claim) (idempotency.Answer, error) {
	actor := c.actor(ctx)
	leave := func() {}
	defer func() { leave() }()
	var w *work
	var done idempotency.Answer
	s.at(ctx, PointClaiming)
	err := postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := s.load(ctx, tx, payment, c.MerchantID, id.ID{})
		if err != nil {
			return err
		}
		rec, err := idempotency.Find(ctx, tx, req)
		if err != nil {
			return err
		}
		if rec != nil {
			return errRepeat{rec}
		}
		if s.Providers[d.Provider] == nil {
			return fault.New(fault.Internal, "payment %s is at the provider %q, which is not configured", d.ID, d.Provider)
		}
		if ctx, leave, err = s.enter(ctx, d.Provider); err != nil {
			return err
		}
		b := &pgx.Batch{}
		if w, err = start(b, d, actor); err != nil {
			return err
		}
		done, err = s.queueClaim(b, d, w, req)
		if err != nil {
			return err
		}
		return postgres.Pipeline(ctx, tx, b)
	})
	if err != nil {
		return s.operateFailed(ctx, c, req, payment, err)
	}
	s.at(ctx, PointClaimed)
	if !w.saga.Open() {
		done.After = s.after(payment, nil)
		return done, nil
	}
	return s.send(ctx, *w, nil)
}

// queueClaim queues the claim's rows. An operation that is done with its claim is
// answered with it.
func (s *Service) queueClaim(b *pgx.Batch, d *dossier, w *work, req idempotency.Request) (idempotency.Answer, error) {
	idempotency.QueueClaim(b, req, w.saga.ID, d.ID, w.saga.RefundID, d.now)
	d.write(b, Source{Name: "claim", Actor: w.actor}) // closes what it supersedes before the next exclusive saga opens
	if w.saga.Open() {
		queueStart(b, *w)
		return idempotency.Answer{}, nil
	}
	saga.QueueStart(b, w.saga)
	a, _ := d.answer(w.saga, nil)
	idempotency.QueueAnswer(b, w.saga.ID, a.Status, a.Body, d.now)
	return a, nil
}

// errRepeat says that the key was used before.
type errRepeat struct{ *idempotency.Record }

func (errRepeat) Error() string { return "payment: the key was used before" }

func (s *Service) operateFailed(ctx context.Context, c Caller, req idempotency.Request, payment id.ID, err error) (idempotency.Answer, error) {
	if r, ok := err.(errRepeat); ok {
		return s.repeat(ctx, r.Record)
	}
	if idempotency.Taken(err) {
		return s.claimFailed(ctx, req, err, "")
	}
	if _, ok := err.(errBlocked); ok {
		return idempotency.Answer{}, err
	}
	if postgres.Violates(err, "transaction_saga_one_open") {
		f := fault.New(fault.OperationInProgress, "An operation is running on the payment. Nothing was changed. Send the request again after Retry-After seconds.")
		f.Retry = time.Second
		return idempotency.Answer{}, f
	}
	if fault.Is(err, fault.InvalidState) || fault.Is(err, fault.AmountExceeds) {
		s.auditRefused(ctx, c, req, payment, err)
	}
	return idempotency.Answer{}, err
}

// auditRefused writes the one row that a refused move leaves. The refusal stands
// even if that fails.
func (s *Service) auditRefused(ctx context.Context, c Caller, req idempotency.Request, payment id.ID, refusal error) {
	p, err := find(ctx, s.Pool, selectPayment, payment, c.MerchantID)
	if err == nil {
		b := &pgx.Batch{}
		f := fault.As(refusal)
		queueAudit(b, s.NewID(), auditRow{
			payment: p, object: "payment", objectID: payment, kind: "refused", action: req.Method + " " + req.Path,
			delta: map[string]any{"code": f.Code, "detail": f.Detail, "status": p.Status},
		}, c.actor(ctx), s.Now())
		err = postgres.Pipeline(ctx, s.Pool, b)
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "a refused move was not audited", "payment", payment, "error", err)
	}
}
