// Package listpayments is the function behind GET /v1/payments: a merchant's payments,
// newest first, a page at a time.
package listpayments

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
)

func init() { api.Function("ListPayments", Build) }

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
	payments := core.Reader(env, "listpayments", pool)
	return api.Handle(env, "listpayments", "GET /v1/payments", gate.Merchant(list(payments))), nil
}

func list(payments *payment.Service) api.MerchantFunc {
	return func(r *http.Request, caller merchant.Caller) (api.Response, error) {
		filter, err := filter(r)
		if err != nil {
			return api.Response{}, err
		}
		return api.Result(payments.List(r.Context(), caller.MerchantID, filter))
	}
}

func filter(r *http.Request) (payment.Filter, error) {
	q := api.ReadQuery(r, "status", "created_after", "created_before", "merchant_reference", "currency", "provider", "limit", "cursor")
	f := payment.Filter{
		Status:            q.Strings("status"),
		CreatedAfter:      q.Time("created_after"),
		CreatedBefore:     q.Time("created_before"),
		MerchantReference: q.String("merchant_reference"),
		Currency:          q.String("currency"),
		Provider:          q.String("provider"),
		Limit:             q.Int("limit", 1, payment.MaxPage),
		Cursor:            q.String("cursor"),
	}
	return f, q.Err()
}
