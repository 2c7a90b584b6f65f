// Package ingestwebhook is the function behind POST /v1/provider-webhooks/{provider}:
// it verifies what a provider tells us, stores it, and answers; then publishes it.
package ingestwebhook

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

func init() { api.Function("IngestWebhook", Build) }

// Build wires the function. Its callers prove themselves by their signatures, so it
// needs neither API keys nor what calls providers.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Topics   outbox.TopicConfig
		Stripe   stripe.WebhookConfig
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.Open(ctx, c.Postgres)
	if err != nil {
		return nil, err
	}
	topics, err := outbox.OpenTopics(ctx, c.Topics, env.Google...)
	if err != nil {
		return nil, err
	}
	in := &inbox.Inbox{
		Pool: pool, Topic: topics.ProviderEvents, Now: env.Now, NewID: env.NewID, Log: env.Log,
		Sources: map[string]inbox.Source{stripe.Name: {
			Verify: func(_ context.Context, h http.Header, body []byte, now time.Time) error {
				return stripe.Verify(h.Get(stripe.SignatureHeader), body, c.Stripe.Secrets, now)
			},
			Parse: stripe.ParseEvent,
		}},
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
