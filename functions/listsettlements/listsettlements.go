// Package listsettlements is the function behind everything that merchants read of their
// settlements: the list, one of them, its lines, and the whole as a CSV file. It is one
// function, since all of it reads the same two tables.
package listsettlements

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/settlement"
)

func init() { api.Function("ListSettlements", Build) }

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
	b := &books{&settlement.Reader{DB: pool}}
	return api.HandleAll(env, "listsettlements", api.Routes{
		"GET /v1/settlements":            gate.Merchant(b.list),
		"GET /v1/settlements/{id}":       gate.Merchant(b.get),
		"GET /v1/settlements/{id}/lines": gate.Merchant(b.lines),
		"GET /v1/settlements/{id}/csv":   gate.Merchant(b.csv),
	}), nil
}

// books has the handlers.
type books struct {
	settlements *settlement.Reader
}

func (b *books) list(r *http.Request, caller merchant.Caller) (api.Response, error) {
	q := api.ReadQuery(r, "business_date", "currency", "limit", "cursor")
	f := settlement.Filter{
		BusinessDate: q.String("business_date"), Currency: q.String("currency"),
		Limit: q.Int("limit", 1, settlement.MaxPage), Cursor: q.String("cursor"),
	}
	if err := q.Err(); err != nil {
		return api.Response{}, err
	}
	return api.Result(b.settlements.List(r.Context(), caller.MerchantID, f))
}

func (b *books) get(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := named(r)
	if err != nil {
		return api.Response{}, err
	}
	return api.Result(b.settlements.Get(r.Context(), caller.MerchantID, which))
}

func (b *books) lines(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := api.PathID(r, id.Settlement)
	if err != nil {
		return api.Response{}, err
	}
	q := api.ReadQuery(r, "limit", "cursor")
	limit, cursor := q.Int("limit", 1, settlement.MaxLinePage), q.String("cursor")
	if err := q.Err(); err != nil {
		return api.Response{}, err
	}
	return api.Result(b.settlements.Lines(r.Context(), caller.MerchantID, which, limit, cursor))
}

// csv sends the manifest itself, to the byte.
func (b *books) csv(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := named(r)
	if err != nil {
		return api.Response{}, err
	}
	v, err := b.settlements.Completed(r.Context(), caller.MerchantID, which)
	if err != nil {
		return api.Response{}, err
	}
	h := http.Header{}
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="settlement-%s-%s.csv"`, v.BusinessDate, v.Currency))
	if sum, err := hex.DecodeString(*v.ManifestSHA256); err == nil {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":") // RFC 9530
	}
	return api.Response{Status: http.StatusOK, Header: h, Stream: func(ctx context.Context, w io.Writer) error {
		return settlement.WriteManifest(ctx, b.settlements.DB, which, w)
	}}, nil
}

// named is the settlement of the path, of a request without parameters.
func named(r *http.Request) (id.ID, error) {
	if err := api.ReadQuery(r).Err(); err != nil {
		return id.ID{}, err
	}
	return api.PathID(r, id.Settlement)
}
