// Package getpayment is the function behind GET /v1/payments/{id}.
package getpayment

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
)

func init() { api.Function("GetPayment", Build) }

// Build wires the function. It knows no provider and has none of their secrets.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		core.GateConfig
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	pool, err := core.Database(ctx, env, c.Postgres)
	if err != nil {
		return nil, err
	}
	gate, err := core.Gate(env, c.GateConfig, pool)
	if err != nil {
		return nil, err
	}
	payments := core.Reader(env, "getpayment", pool)
	return api.Handle(env, "getpayment", "GET /v1/payments/{id}", gate.Merchant(get(payments))), nil
}

func get(payments *payment.Service) api.MerchantFunc {
	return func(r *http.Request, caller merchant.Caller) (api.Response, error) {
		expand, err := expansions(r)
		if err != nil {
			return api.Response{}, err
		}
		paymentID, err := api.PathID(r, id.Payment)
		if err != nil {
			return api.Response{}, err
		}
		return api.Result(payments.Get(r.Context(), caller.MerchantID, paymentID, expand))
	}
}

func expansions(r *http.Request) (payment.Expand, error) {
	query := api.ReadQuery(r, "expand")
	names := query.Strings("expand")
	var e payment.Expand
	for _, name := range names {
		switch name {
		case "refunds":
			e.Refunds = true
		case "disputes":
			e.Disputes = true
		case "events":
			e.Events = true
		case "attempts":
			e.Attempts = true
		default:
			return e, fault.Invalid("expand", "may name refunds, disputes, events and attempts, separated by commas")
		}
	}
	return e, query.Err()
}
