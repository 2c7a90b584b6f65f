// Package cancelpayment is the function behind POST /v1/payments/{id}/cancel: it voids
// an authorization, or stops a payment that is still pending.
package cancelpayment

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/payment"
)

func init() { api.Function("CancelPayment", Build) }

// Build wires the function.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		core.Config
		core.GateConfig
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	payments, err := core.Payments(ctx, env, "cancelpayment", c.Config)
	if err != nil {
		return nil, err
	}
	gate, err := core.Gate(env, c.GateConfig, payments.Pool)
	if err != nil {
		return nil, err
	}
	return api.Handle(env, "cancelpayment", "POST /v1/payments/{id}/cancel", gate.Merchant(cancel(payments))), nil
}

// request is the body: an empty object. There is one, so that what a client means to
// say has to be understood.
type request struct{}

func cancel(payments *payment.Service) api.MerchantFunc {
	return func(r *http.Request, caller merchant.Caller) (api.Response, error) {
		once, err := api.Idempotent(r, caller.MerchantID)
		if err != nil {
			return api.Response{}, err
		}
		if err := api.Decode(r, &request{}); err != nil {
			return api.Response{}, err
		}
		paymentID, err := api.PathID(r, id.Payment)
		if err != nil {
			return api.Response{}, err
		}
		answer, err := payments.Cancel(r.Context(), payment.Caller(caller), once, paymentID)
		if err != nil {
			return api.Response{}, err
		}
		return api.Answered(answer), nil
	}
}
