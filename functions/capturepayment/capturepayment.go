// Package capturepayment is the function behind POST /v1/payments/{id}/capture: it
// takes authorized money, all of it or a part.
package capturepayment

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

func init() { api.Function("CapturePayment", Build) }

// Build wires the function.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		core.Config
		core.GateConfig
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	payments, err := core.Payments(ctx, env, "capturepayment", c.Config)
	if err != nil {
		return nil, err
	}
	gate, err := core.Gate(env, c.GateConfig, payments.Pool)
	if err != nil {
		return nil, err
	}
	return api.Handle(env, "capturepayment", "POST /v1/payments/{id}/capture", gate.Merchant(capture(payments))), nil
}

// request is the body.
type request struct {
	Amount *int64 `json:"amount"` // minor units; all that is authorized when left out
}

func capture(payments *payment.Service) api.MerchantFunc {
	return func(r *http.Request, caller merchant.Caller) (api.Response, error) {
		once, err := api.Idempotent(r, caller.MerchantID)
		if err != nil {
			return api.Response{}, err
		}
		var in request
		if err := api.Decode(r, &in); err != nil {
			return api.Response{}, err
		}
		paymentID, err := api.PathID(r, id.Payment)
		if err != nil {
			return api.Response{}, err
		}
		answer, err := payments.Capture(r.Context(), payment.Caller(caller), once, paymentID, payment.CaptureParams(in))
		if err != nil {
			return api.Response{}, err
		}
		return api.Answered(answer), nil
	}
}
