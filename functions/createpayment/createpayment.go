// Package createpayment is the function behind POST /v1/payments: it authorizes a
// payment, and captures it too when its capture_method is automatic.
package createpayment

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/payment"
)

func init() { api.Function("CreatePayment", Build) }

// Build wires the function.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		core.Config
		core.GateConfig
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	payments, err := core.Payments(ctx, env, "createpayment", c.Config)
	if err != nil {
		return nil, err
	}
	gate, err := core.Gate(env, c.GateConfig, payments.Pool)
	if err != nil {
		return nil, err
	}
	return api.Handle(env, "createpayment", "POST /v1/payments", gate.Merchant(create(payments))), nil
}

// request is the body.
type request struct {
	Amount            int64                 `json:"amount" api:"required"` // minor units
	Currency          string                `json:"currency" api:"required"`
	Provider          string                `json:"provider"`
	PaymentMethod     string                `json:"payment_method" api:"required"`
	Alternatives      []payment.Alternative `json:"alternatives"`
	CaptureMethod     string                `json:"capture_method"`
	MerchantReference string                `json:"merchant_reference"`
	Description       string                `json:"description"`
	ReturnURL         string                `json:"return_url"`
	Metadata          map[string]string     `json:"metadata"`
	ExpiresIn         *int64                `json:"expires_in"` // seconds
}

func create(payments *payment.Service) api.MerchantFunc {
	return func(r *http.Request, caller merchant.Caller) (api.Response, error) {
		once, err := api.Idempotent(r, caller.MerchantID)
		if err != nil {
			return api.Response{}, err
		}
		var in request
		if err := api.Decode(r, &in); err != nil {
			return api.Response{}, err
		}
		answer, err := payments.Create(r.Context(), payment.Caller(caller), once, payment.CreateParams(in))
		if err != nil {
			return api.Response{}, err
		}
		return api.Answered(answer), nil
	}
}
