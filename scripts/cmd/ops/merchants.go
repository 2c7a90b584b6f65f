package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
)

// created is what a merchant's maker is told. The secrets are in clear: this is the
// one time that they are shown.
type created struct {
	Merchant external[ofMerchant] `json:"merchant_id" col:"merchant"`
	Name     string               `json:"name" col:"name"`
	Key      external[ofKey]      `json:"api_key_id" col:"api key id"`
	KeyText  string               `json:"api_key" col:"api key"`
	Endpoint external[ofEndpoint] `json:"webhook_endpoint_id,omitzero" col:"webhook endpoint"`
	URL      string               `json:"webhook_url,omitempty" col:"webhook url"`
	Secret   string               `json:"signing_secret,omitempty" col:"signing secret"`
}

const shownOnce = "Keep the API key and the signing secret now: they are not shown again.\n"

func (c created) text(w io.Writer) error {
	if err := fields(w, c); err != nil {
		return err
	}
	_, err := io.WriteString(w, shownOnce)
	return err
}

func merchantsCreate(f *flag.FlagSet) action {
	name, url, sealed := f.String("name", "", ""), f.String("webhook-url", "", ""), sealFlag(f)
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		if *name == "" {
			return nil, usageError("give the merchant's name: --name NAME")
		}
		disclose, err := sealed(s)
		if err != nil {
			return nil, err
		}
		var endpoints *endpoint.Service
		if *url != "" {
			if endpoints, err = s.endpoints(ctx); err != nil {
				return nil, err
			}
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		made := created{URL: *url}
		// All or nothing: a merchant whose endpoint is refused is not made.
		err = postgres.InTx(ctx, db, func(tx pgx.Tx) error {
			merchants := merchant.Store{DB: tx, Now: s.now, NewID: s.newID}
			m, err := merchants.Create(ctx, *name)
			if err != nil {
				return err
			}
			key, text, err := merchants.IssueKey(ctx, m.ID, "")
			if err != nil {
				return err
			}
			made.Merchant.ID, made.Name, made.Key.ID = m.ID, m.Name, key
			if made.KeyText, err = disclose(text.Reveal()); err != nil || *url == "" {
				return err
			}
			endpoints.DB = tx
			e, secret, err := endpoints.Create(ctx, m.ID, endpoint.New{URL: *url})
			if err != nil {
				return err
			}
			made.Endpoint.ID = e.ID
			made.Secret, err = disclose(secret.Reveal())
			return err
		})
		return made, err
	}
}

type merchantRow struct {
	ID        external[ofMerchant] `db:"id" json:"id" col:"merchant"`
	Name      string               `db:"name" json:"name" col:"name"`
	Status    string               `db:"status" json:"status" col:"status"`
	Prefers   string               `db:"prefers" json:"provider_preference" col:"prefers"`
	Keys      int64                `db:"keys" json:"active_api_keys" col:"api keys"`
	Endpoints int64                `db:"endpoints" json:"enabled_webhook_endpoints" col:"endpoints"`
	CreatedAt time.Time            `db:"created_at" json:"created_at" col:"created"`
}

const selectMerchants = `
	SELECT m.id, m.name, m.status, m.created_at, array_to_string(m.provider_preference, ',') AS prefers,
		(SELECT count(*) FROM api_keys k WHERE k.merchant_id = m.id AND k.revoked_at IS NULL) AS keys,
		(SELECT count(*) FROM webhook_endpoints e WHERE e.merchant_id = m.id AND e.enabled) AS endpoints
	FROM merchants m ORDER BY m.created_at DESC, m.id DESC`

func merchantsList(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		rows, err := query[merchantRow](ctx, s, selectMerchants)
		return list[merchantRow]{rows, "There are no merchants. Make one: scripts/ops merchants create --name NAME"}, err
	}
}

func merchantsSuspend(*flag.FlagSet) action {
	return onMerchant((*merchant.Store).Suspend, "Requests of %s are refused from now on.")
}

func merchantsActivate(*flag.FlagSet) action {
	return onMerchant((*merchant.Store).Activate, "Requests of %s are accepted from now on.")
}

// onMerchant is a command that does one thing to the merchant of its argument.
func onMerchant(do func(*merchant.Store, context.Context, id.ID) error, said string) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		m, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		store, err := s.merchants(ctx)
		if err != nil {
			return nil, err
		}
		return done{fmt.Sprintf(said, m)}, do(store, ctx, m.ID)
	}
}

func merchantsPrefer(f *flag.FlagSet) action {
	providers := f.String("providers", "", "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		m, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		store, err := s.merchants(ctx)
		if err != nil {
			return nil, err
		}
		if *providers == "" {
			return done{fmt.Sprintf("%s prefers no provider.", m)}, store.Prefer(ctx, m.ID, nil)
		}
		return done{fmt.Sprintf("%s prefers %s.", m, *providers)}, store.Prefer(ctx, m.ID, strings.Split(*providers, ","))
	}
}

// merchants opens the store of merchants and keys.
func (s *session) merchants(ctx context.Context) (*merchant.Store, error) {
	db, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	return &merchant.Store{DB: db, Now: s.now, NewID: s.newID}, nil
}

// query reads rows by one of the statements of this program.
func query[T any](ctx context.Context, s *session, sql string, args ...any) ([]T, error) {
	db, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	rows, _ := db.Query(ctx, sql, args...) // CollectRows returns the error
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}
