package payment

import (
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// pollAfter is what a merchant is told to wait before asking again.
const pollAfter = 2 * time.Second

// answer is what the request that started the saga gets now; final says that it
// won't change any more.
func (d *dossier) answer(s *saga.Saga, refused *provider.Refusal) (a idempotency.Answer, final bool) {
	if s.Kind == provider.Refund {
		r := d.refund(s.RefundID)
		if r.Status == RefundPending {
			return running(encode(r.View())), false
		}
		return idempotency.Answer{Status: http.StatusCreated, Body: encode(r.View())}, true
	}
	view := encode(d.View(pending(d.open())))
	switch {
	case s.Kind == provider.Authorize && d.Status != Pending:
		return idempotency.Answer{Status: http.StatusCreated, Body: view}, true
	case s.Kind == provider.Authorize || s.Open():
		return running(view), false
	case deref(s.Outcome) == string(provider.Approved):
		return idempotency.Answer{Status: http.StatusOK, Body: view}, true
	}
	return d.refused(s, refused), true
}

func running(body []byte) idempotency.Answer {
	return idempotency.Answer{Status: http.StatusAccepted, Body: body, RetryAfter: pollAfter}
}

// refused is the final answer to a capture or cancel that the provider refused.
// The payment keeps what the provider's facts made of it.
func (d *dossier) refused(s *saga.Saga, r *provider.Refusal) idempotency.Answer {
	code, path := fault.CaptureDeclined, "/capture"
	if s.Kind == provider.Void {
		code, path = fault.CancelDeclined, "/cancel"
	}
	f := fault.New(code, "It was not done, and this request moved no money. The payment is %s.", d.Status)
	f.With("payment_id", id.Payment.External(d.ID)).With("current_status", d.Status)
	if r != nil {
		f.Detail += " " + r.Message
		f.With("provider_code", r.ProviderCode)
	}
	return idempotency.Answer{
		Status: fault.Lookup(code).Status,
		Body:   fault.Problem(f, "/v1/payments/"+id.Payment.External(d.ID)+path),
	}
}

// repeat answers a request whose key was used before.
func (s *Service) repeat(ctx context.Context, rec *idempotency.Record) (a idempotency.Answer, err error) {
	if stored, ok := rec.Answer(); ok {
		return stored, nil
	}
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		d, err := s.load(ctx, tx, rec.TransactionID, id.ID{}, rec.SagaID)
		if err != nil {
			return err
		}
		a, err = s.answerOf(ctx, tx, d, rec.SagaID)
		return err
	})
	return a, err
}

// answerOf is what a saga's request gets by the state in d, which the payment's lock
// holds still: the stored bytes if there are any, the present state while the
// operation runs, and the answer rebuilt when its bytes have expired.
func (s *Service) answerOf(ctx context.Context, tx pgx.Tx, d *dossier, sagaID id.ID) (idempotency.Answer, error) {
	rec, err := idempotency.FindSaga(ctx, tx, sagaID)
	if err != nil {
		return idempotency.Answer{}, err
	}
	if rec != nil {
		if stored, ok := rec.Answer(); ok {
			return stored, nil
		}
	}
	sg := d.saga(sagaID)
	if sg == nil {
		return idempotency.Answer{}, fault.New(fault.Internal, "saga %s is not of payment %s", sagaID, d.ID)
	}
	a, final := d.answer(sg, nil)
	a.Replayed = final
	return a, nil
}
