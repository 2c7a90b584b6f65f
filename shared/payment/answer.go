package payment

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
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
	f := fault.New(code, "The provider refused; no money moved by this request. The payment is %s.", d.Status)
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

// repeat answers a request whose key was used before: the stored bytes, or the
// present state while the operation runs, or the answer rebuilt when its bytes have
// expired.
func (s *Service) repeat(ctx context.Context, rec *idempotency.Record) (idempotency.Answer, error) {
	if rec.ResponseStatus != nil && rec.ResponseBody != nil {
		return idempotency.Answer{Status: *rec.ResponseStatus, Body: rec.ResponseBody, Replayed: true}, nil
	}
	d, err := s.peek(ctx, rec.TransactionID)
	if err != nil {
		return idempotency.Answer{}, err
	}
	sg, err := s.sagaOf(ctx, rec.SagaID)
	if err != nil {
		return idempotency.Answer{}, err
	}
	a, final := d.answer(sg, nil)
	a.Replayed = final
	return a, nil
}

func (s *Service) sagaOf(ctx context.Context, sagaID id.ID) (*saga.Saga, error) {
	sg, err := saga.Find(ctx, s.Pool, sagaID)
	if err == nil && sg == nil {
		err = fault.New(fault.Internal, "an idempotency key names saga %s, which does not exist", sagaID)
	}
	return sg, err
}
