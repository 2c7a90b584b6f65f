// Package ingestwebhook is the function behind POST /v1/provider-webhooks/{provider}:
// it verifies what a provider tells us, stores it, and answers; then publishes it.
package ingestwebhook

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
)

func init() { api.Function("IngestWebhook", Build) }

// Build wires the function. Its callers prove themselves by their signatures, so it
// needs neither API keys nor what calls providers, unless PayPal is to check its own.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Topics   outbox.TopicConfig
		Sources  sources
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	pool, err := core.Database(ctx, env, c.Postgres)
	if err != nil {
		return nil, err
	}
	topics, err := core.Topics(ctx, env, c.Topics)
	if err != nil {
		return nil, err
	}
	from, err := c.Sources.open(env)
	if err != nil {
		return nil, err
	}
	in := &inbox.Inbox{
		Pool: pool, Topic: topics.ProviderEvents, Now: env.Now, NewID: env.NewID, Log: env.Log, Sources: from,
	}
	return api.Handle(env, "ingestwebhook", "POST /v1/provider-webhooks/{provider}", ingest(in)), nil
}

// received is the answer.
type received struct {
	Received bool `json:"received"`
}

func ingest(in *inbox.Inbox) api.HandlerFunc {
	return func(r *http.Request) (api.Response, error) {
		body, err := api.Body(r, inbox.MaxBody)
		if err != nil {
			return api.Response{}, err
		}
		publish, err := in.Ingest(r.Context(), r.PathValue("provider"), r.Header, body)
		if err != nil {
			return api.Response{}, err
		}
		resp, err := api.JSON(http.StatusOK, received{true})
		resp.After = publish
		return resp, err
	}
}
