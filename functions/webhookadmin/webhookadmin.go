// Package webhookadmin is the function behind everything that merchants administer about
// their webhooks: endpoints and their secrets, what was delivered and what was not,
// replays, and the events themselves. It is one function, since all of it is rare and
// needs the same few parts.
package webhookadmin

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
	"github.com/tollgate/tollgate/shared/webhook/seal"
)

func init() { api.Function("WebhookAdmin", Build) }

// Build wires the function. It makes tasks of deliveries and sends nothing itself.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		Postgres postgres.Config
		Tasks    outbox.TasksConfig
		Deliver  core.DeliverURL
		Schedule webhook.ScheduleConfig
		Seal     seal.Config
		Endpoint endpoint.Config
		core.GateConfig
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	schedule, err := webhook.NewSchedule(c.Schedule.Schedule)
	if err != nil {
		return nil, err
	}
	sealer, err := seal.Open(ctx, c.Seal, env.Now, env.KMS...)
	if err != nil {
		return nil, err
	}
	env.Lifecycle.Closes("kms", func(context.Context) error { return sealer.Close() })
	pool, err := core.Database(ctx, env, c.Postgres)
	if err != nil {
		return nil, err
	}
	gate, err := core.Gate(env, c.GateConfig, pool)
	if err != nil {
		return nil, err
	}
	tasks, err := core.Tasks(ctx, env, c.Tasks)
	if err != nil {
		return nil, err
	}
	a := &admin{log: env.Log}
	a.webhooks = &webhook.Service{
		Pool: pool, Now: env.Now, NewID: env.NewID, Tasks: tasks, Schedule: schedule, Log: env.Log, Metrics: env.Metrics,
	}
	a.endpoints = &endpoint.Service{
		DB: pool, Now: env.Now, NewID: env.NewID, Sealer: sealer, AllowLocal: c.Endpoint.AllowLocal, Log: env.Log, Webhooks: a.webhooks,
	}
	return api.HandleAll(env, "webhookadmin", a.routes(gate)), nil
}

// admin has the handlers.
type admin struct {
	endpoints *endpoint.Service
	webhooks  *webhook.Service
	log       *slog.Logger
}

func (a *admin) routes(gate *api.Gate) api.Routes {
	return api.Routes{
		"POST /v1/webhook-endpoints":                    gate.Merchant(a.createEndpoint),
		"GET /v1/webhook-endpoints":                     gate.Merchant(a.listEndpoints),
		"GET /v1/webhook-endpoints/{id}":                gate.Merchant(a.getEndpoint),
		"PATCH /v1/webhook-endpoints/{id}":              gate.Merchant(a.updateEndpoint),
		"DELETE /v1/webhook-endpoints/{id}":             gate.Merchant(a.deleteEndpoint),
		"POST /v1/webhook-endpoints/{id}/rotate-secret": gate.Merchant(a.rotateSecret),
		"POST /v1/webhook-endpoints/{id}/test":          gate.Merchant(a.testEndpoint),
		"POST /v1/webhook-endpoints/{id}/disable":       gate.Merchant(a.disableEndpoint),
		"POST /v1/webhook-endpoints/{id}/enable":        gate.Merchant(a.enableEndpoint),
		"POST /v1/webhook-endpoints/{id}/replay":        gate.Merchant(a.startReplay),
		"GET /v1/webhook-replays":                       gate.Merchant(a.listReplays),
		"GET /v1/webhook-replays/{id}":                  gate.Merchant(a.getReplay),
		"POST /v1/webhook-replays/{id}/cancel":          gate.Merchant(a.cancelReplay),
		"GET /v1/webhook-deliveries":                    gate.Merchant(a.listDeliveries),
		"GET /v1/webhook-deliveries/{id}":               gate.Merchant(a.getDelivery),
		"POST /v1/webhook-deliveries/{id}/redeliver":    gate.Merchant(a.redeliver),
		"GET /v1/events":                                gate.Merchant(a.listEvents),
		"GET /v1/events/{id}":                           gate.Merchant(a.getEvent),
		"GET /v1/event-types":                           gate.Merchant(a.listEventTypes),
	}
}

// list is a page of anything.
type list[T any] struct {
	Data       []T     `json:"data"`
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
}

func page[T any](data []T, next string) (api.Response, error) {
	l := list[T]{Data: data}
	if next != "" {
		l.HasMore, l.NextCursor = true, &next
	}
	return api.JSON(http.StatusOK, l)
}

// nothing is the body of a request that has nothing to say.
type nothing struct{}

// accepted answers 202 with what was made. That its task could not be made is no failure
// of the request: what is in the database is found by the sweep.
func (a *admin) accepted(r *http.Request, view any, made bool, err error) (api.Response, error) {
	if err != nil {
		if !made {
			return api.Response{}, err
		}
		a.log.WarnContext(r.Context(), "a task could not be made, and is left to the sweep", "error", err.Error())
	}
	return api.JSON(http.StatusAccepted, view)
}
