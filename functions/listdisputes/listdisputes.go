// Package listdisputes is the function behind GET /v1/disputes and GET /v1/disputes/{id}:
// what became of a merchant's disputed payments. It only reads; providers' events move
// disputes.
package listdisputes

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
)

func init() { api.Function("ListDisputes", Build) }

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
	payments := core.Reader(env, "listdisputes", pool)
	return api.HandleAll(env, "listdisputes", api.Routes{
		"GET /v1/disputes":      gate.Merchant(list(payments)),
		"GET /v1/disputes/{id}": gate.Merchant(get(payments)),
	}), nil
}

func list(payments *payment.Service) api.MerchantFunc {
	return func(r *http.Request, caller merchant.Caller) (api.Response, error) {
		q := api.ReadQuery(r, "status", "payment", "limit", "cursor")
		filter := payment.DisputeFilter{
			Status:  q.Strings("status"),
			Payment: q.ID("payment", id.Payment),
			Limit:   q.Int("limit", 1, payment.MaxPage),
			Cursor:  q.String("cursor"),
		}
		if err := q.Err(); err != nil {
			return api.Response{}, err
		}
		return api.Result(payments.ListDisputes(r.Context(), caller.MerchantID, filter))
	}
}

func get(payments *payment.Service) api.MerchantFunc {
	return func(r *http.Request, caller merchant.Caller) (api.Response, error) {
		dispute, err := api.PathID(r, id.Dispute)
		if err != nil {
			return api.Response{}, err
		}
		return api.Result(payments.Dispute(r.Context(), caller.MerchantID, dispute))
	}
}
